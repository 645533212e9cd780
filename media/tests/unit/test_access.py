from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes.samples import NOON, a_media
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.access import (
    ANSWER_EXPIRY,
    Links,
    Signature,
    Signer,
    SigningKey,
    media_path,
    parse_expiry,
    quantised_expiry,
    split_renditions,
)
from media_service.core.errors import InvalidExpiry, InvalidSignature
from media_service.core.media import MediaId, Visibility

OLD, NEW = SigningKey("old", b"old secret"), SigningKey("new", b"new secret")
SIGNER = Signer((OLD,))
PATH = media_path(MediaId("0198c0de-1234-7abc-8def-0123456789ab"), "full")
VERSION = "0123456789"
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
WEEK_SECONDS = 7 * 86_400

moments = st.integers(0, 4 * 10**15).map(
    lambda microseconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def _signature() -> Signature:
    return SIGNER.sign(PATH, version=VERSION, expires_at=NOON + HOUR)


def _verify(signature: Signature, *, path: str = PATH, version: str = VERSION) -> None:
    SIGNER.verify(signature, path, version=version, now=NOON)


def _flips(text: str) -> list[str]:
    """The text with each of its characters changed."""
    return [text[:n] + ("x" if c != "x" else "y") + text[n + 1 :] for n, c in enumerate(text)]


# Signatures


def test_what_was_signed_is_accepted() -> None:
    _verify(_signature())


def test_a_signature_is_the_same_every_time() -> None:
    assert _signature() == _signature()


def test_a_signature_is_the_one_that_is_in_use() -> None:
    assert _signature().signature == "QGlafj1iriiE7c1t0xdYw34VwDWde_h-0AuyzlYPVoU"


def test_no_character_of_the_path_may_change() -> None:
    for path in _flips(PATH):
        with pytest.raises(InvalidSignature):
            _verify(_signature(), path=path)


def test_no_character_of_the_version_may_change() -> None:
    for version in [*_flips(VERSION), "", VERSION + "0", VERSION[:-1]]:
        with pytest.raises(InvalidSignature):
            _verify(_signature(), version=version)


def test_no_character_of_the_signature_may_change() -> None:
    made = _signature().signature
    for changed in [*_flips(made), "", made + "=", made[:-1], made + "\0", made.upper(), "é"]:
        with pytest.raises(InvalidSignature):
            _verify(dataclasses.replace(_signature(), signature=changed))


@pytest.mark.parametrize("seconds", [-1, 1, 3600, 10**12, 10**300])
def test_the_expiry_may_not_change(seconds: int) -> None:
    signature = _signature()

    with pytest.raises(InvalidSignature):
        _verify(dataclasses.replace(signature, expires=signature.expires + seconds))


@pytest.mark.parametrize("key_id", ["", "k", "OLD", "new", "\0"])
def test_the_key_may_not_change(key_id: str) -> None:
    with pytest.raises(InvalidSignature):
        _verify(dataclasses.replace(_signature(), key_id=key_id))


@pytest.mark.parametrize(
    ("path", "version"), [(f"{PATH}\n{VERSION}", ""), (PATH[:6], PATH[6:]), ("", PATH + VERSION)]
)
def test_nothing_can_be_moved_from_one_part_to_another(path: str, version: str) -> None:
    with pytest.raises(InvalidSignature):
        _verify(_signature(), path=path, version=version)


def test_a_signature_ends_the_moment_it_expires() -> None:
    signature = _signature()

    SIGNER.verify(signature, PATH, version=VERSION, now=NOON + HOUR - timedelta(microseconds=1))
    with pytest.raises(InvalidSignature):
        SIGNER.verify(signature, PATH, version=VERSION, now=NOON + HOUR)


@pytest.mark.parametrize("expires", [0, -1, -(2**63)])
def test_a_signature_that_never_was_in_time_is_refused(expires: int) -> None:
    signed = SIGNER.sign(PATH, version=VERSION, expires_at=datetime(1970, 1, 1, tzinfo=UTC))

    with pytest.raises(InvalidSignature):
        _verify(dataclasses.replace(signed, expires=expires))


def test_another_secret_makes_another_signature() -> None:
    forged = Signer((SigningKey("old", b"guess"),)).sign(
        PATH, version=VERSION, expires_at=NOON + HOUR
    )

    with pytest.raises(InvalidSignature):
        _verify(forged)


def test_the_first_key_signs_and_every_key_is_accepted() -> None:
    both = Signer((NEW, OLD))

    both.verify(_signature(), PATH, version=VERSION, now=NOON)
    assert both.sign(PATH, version=VERSION, expires_at=NOON + HOUR).key_id == "new"


def test_a_key_that_was_removed_opens_nothing() -> None:
    with pytest.raises(InvalidSignature):
        Signer((NEW,)).verify(_signature(), PATH, version=VERSION, now=NOON)


def test_a_key_does_not_show_its_secret() -> None:
    assert "secret" not in repr(OLD)


# Expiries


@pytest.mark.parametrize("seconds", [1, 60, WEEK_SECONDS])
def test_an_expiry_within_a_week_is_taken(seconds: int) -> None:
    assert parse_expiry(seconds) == timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [0, -1, WEEK_SECONDS + 1, 315_360_000, -(2**63), 2**63])
def test_any_other_expiry_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidExpiry):
        parse_expiry(seconds)


@given(moments, st.integers(1, WEEK_SECONDS))
def test_a_url_never_ends_early_and_at_most_a_quarter_late(now: datetime, seconds: int) -> None:
    lasting = timedelta(seconds=seconds)

    late = quantised_expiry(now, lasting) - (now + lasting)

    assert timedelta(0) <= late <= max(lasting / 4, SECOND)


@given(moments, st.integers(1, WEEK_SECONDS))
def test_a_url_ends_on_a_whole_second(now: datetime, seconds: int) -> None:
    assert quantised_expiry(now, timedelta(seconds=seconds)).microsecond == 0


@given(moments, st.integers(1, WEEK_SECONDS), st.floats(0, 1))
def test_a_url_asked_for_later_never_ends_sooner(now: datetime, seconds: int, part: float) -> None:
    lasting = timedelta(seconds=seconds)

    assert quantised_expiry(now + part * lasting, lasting) >= quantised_expiry(now, lasting)


@pytest.mark.parametrize(
    ("seconds", "step"),
    [(WEEK_SECONDS, 86_400), (86_400, 21_600), (3600, 900), (60, 15), (20, 5), (3, 1), (1, 1)],
)
def test_urls_asked_for_within_a_step_end_together(seconds: int, step: int) -> None:
    # Midnight is on every grid, and so is the end of what lasts a number of steps.
    start, lasting = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=seconds)
    asked = [start + timedelta(seconds=s) for s in (0.001, step / 2, step)]

    ends = {quantised_expiry(now, lasting) for now in asked}

    assert len(ends) == 1
    assert quantised_expiry(start + timedelta(seconds=step, milliseconds=1), lasting) not in ends


# Links


def _query(url: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_the_url_of_a_public_medium_carries_its_version_only() -> None:
    media = a_media()
    links = Links("https://cdn.example/", SIGNER)

    url = links.url(media, media.renditions[0], now=NOON)

    version = media.renditions[0].recipe.version
    assert url == f"https://cdn.example/media/{media.id}/full?v={version}"


def test_the_url_of_a_private_medium_is_signed_for_about_an_hour() -> None:
    media = a_media(visibility=Visibility.PRIVATE)

    url = Links("https://cdn.example", SIGNER).url(media, media.renditions[1], now=NOON)

    query = _query(url)
    signature = Signature(expires=int(query["exp"]), key_id=query["kid"], signature=query["sig"])
    assert urlsplit(url).path == f"/media/{media.id}/small"
    SIGNER.verify(signature, urlsplit(url).path, version=query["v"], now=NOON)
    left = signature.expires - NOON.timestamp()
    assert ANSWER_EXPIRY.total_seconds() <= left <= 1.25 * ANSWER_EXPIRY.total_seconds()


def test_equal_requests_get_equal_urls() -> None:
    media = a_media(visibility=Visibility.PRIVATE)
    links = Links("https://cdn.example", SIGNER)
    start = NOON + SECOND

    urls = {links.url(media, media.renditions[0], now=start + n * SECOND) for n in range(600)}

    assert len(urls) == 1


def test_a_public_medium_can_be_signed_too() -> None:
    media = a_media()

    url = Links("https://cdn.example", SIGNER).signed_url(
        media, media.renditions[0], expires_at=NOON
    )

    assert _query(url)["exp"] == str(int(NOON.timestamp()))


def test_full_is_told_from_the_thumbnails() -> None:
    proper, thumbnails = split_renditions(media := a_media())

    assert [r.name for r in proper] == ["full"]
    assert thumbnails == media.renditions[1:]
