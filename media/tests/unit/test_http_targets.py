from __future__ import annotations

import base64
import string
from urllib.parse import urlsplit

import pytest
from fakes.clock import SettableClock
from fakes.samples import a_media
from hypothesis import assume, given
from hypothesis import strategies as st
from media_service.core.access import (
    ANSWER_EXPIRY,
    Links,
    Signature,
    Signer,
    SigningKey,
    media_path,
)
from media_service.core.errors import (
    InvalidMediaId,
    InvalidRequest,
    InvalidSignature,
    InvalidTransformation,
    MediaError,
    NotFound,
)
from media_service.core.media import MediaId
from media_service.core.transformations import parse_transformation
from media_service.entrypoints.http_api.targets import Target, parse_target, seems_signed
from unit.test_transformations import ODD, SUPERFLUOUS

ID = "0190a0b1-c2d3-7e4f-8a5b-6c7d8e9f0a1b"
PATH = f"/media/{ID}/full".encode()
SIGNER = Signer((SigningKey("k1", b"a secret of the tests"),))
CLOCK = SettableClock()
QUERY_SIGNATURE = "A" * 43
SIGNED_QUERY = f"v=0123456789&exp=1893499200&kid=k1&sig={QUERY_SIGNATURE}".encode()


def _signed_url() -> tuple[bytes, bytes]:
    media = a_media(id=MediaId(ID))
    links = Links("", SIGNER)
    full = media.rendition("full")
    assert full
    url = urlsplit(links.signed_url(media, full, expires_at=CLOCK.now + ANSWER_EXPIRY))
    return url.path.encode(), url.query.encode()


URL_PATH, URL_QUERY = _signed_url()
URL = URL_PATH + b"?" + URL_QUERY
URL_CHARACTERS = (string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@%/?").encode()


def _open(path: bytes, query: bytes) -> Target:
    """What the route and the core together make of a URL. Raises MediaError."""
    target = parse_target(path, query)
    if target.signature is None:
        raise NotFound  # what private media are without a signature
    SIGNER.verify(
        target.signature,
        media_path(target.media_id, target.rendition),
        version=target.version,
        now=CLOCK.now,
    )
    return target


def _refusal(url: bytes) -> MediaError:
    path, _, query = url.partition(b"?")
    with pytest.raises(MediaError) as caught:
        _open(path, query)
    return caught.value


def test_a_plain_url_names_a_rendition() -> None:
    assert parse_target(PATH, b"") == Target(MediaId(ID), "full", "", None)
    assert parse_target(PATH, b"v=") == Target(MediaId(ID), "full", "", None)
    assert parse_target(PATH, b"v=0a1b2c3d4e") == Target(MediaId(ID), "full", "0a1b2c3d4e", None)


def test_what_others_append_to_links_is_ignored() -> None:
    query = b"utm_source=mail&v=0a1b2c3d4e&fbclid=x&design=1&a%20b"

    assert parse_target(PATH, query).version == "0a1b2c3d4e"


def test_a_signed_url_carries_its_signature() -> None:
    target = parse_target(PATH, SIGNED_QUERY)

    assert target.version == "0123456789"
    assert target.signature == Signature(expires=1893499200, key_id="k1", signature=QUERY_SIGNATURE)


def test_the_order_of_parameters_is_free() -> None:
    query = b"&".join(reversed(URL_QUERY.split(b"&")))

    assert _open(URL_PATH, query) == _open(URL_PATH, URL_QUERY)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/media/", NotFound),
        ("/media/x", NotFound),
        (f"/media/{ID}", NotFound),
        (f"/media/{ID}/", NotFound),
        (f"/media/{ID}/full/", NotFound),
        (f"/media/{ID}/full/more", NotFound),
        (f"/media//{ID}/full", NotFound),
        (f"/media/./{ID}/full", NotFound),
        (f"/media/{ID}/f%75ll", NotFound),
        (f"/media/{ID}/..", NotFound),
        (f"/media/{ID}/{'x' * 65}", NotFound),
        ("/media/x/full", InvalidMediaId),
        ("/media/../full", InvalidMediaId),
        ("/media/%2e%2e/full", InvalidMediaId),
        (f"/media/{ID.upper()}/full", InvalidMediaId),
        (f"/media/{ID[:-1]}/full", InvalidMediaId),
        (f"/media/{ID}0/full", InvalidMediaId),
        (f"/media/{ID.replace('-', '')}/full", InvalidMediaId),
        (f"/media/%30{ID[1:]}/full", InvalidMediaId),
        (f"/media/{ID};x/full", InvalidMediaId),
        (f"/media/{ID}\\/full", InvalidMediaId),
    ],
)
def test_other_spellings_of_a_path_are_refused(path: str, expected: type[MediaError]) -> None:
    with pytest.raises(MediaError) as unsigned:
        parse_target(path.encode(), b"v=0123456789")
    with pytest.raises(MediaError) as signed:
        parse_target(path.encode(), SIGNED_QUERY)

    assert type(unsigned.value) is expected
    assert type(signed.value) is InvalidSignature


def test_a_transformation_is_named_by_its_spelling() -> None:
    target = parse_target(f"/media/{ID}/fit:640:480,q:70.webp".encode(), SIGNED_QUERY)

    assert target.transformation == parse_transformation("fit:640:480,q:70.webp")
    assert target.rendition == "fit:640:480,q:70.webp"
    assert target.signature


@pytest.mark.parametrize("spelled", [text for text in [*ODD, *SUPERFLUOUS] if ":" in text])
@pytest.mark.parametrize("ending", ["", "/../x", "?", "%00", "\0", ":" + "9" * 5000])
def test_other_spellings_of_a_transformation_are_refused(spelled: str, ending: str) -> None:
    path = f"/media/{ID}/{spelled}{ending}".encode()

    with pytest.raises(InvalidTransformation):
        parse_target(path, b"v=0123456789")
    with pytest.raises(InvalidSignature):
        parse_target(path, SIGNED_QUERY)


@pytest.mark.parametrize(
    "query", [b"v=1&v=1", b"v=a b", b"v=%31", b"v=1;v=2", b"v=" + b"1" * 65, b"v=\xff", b"v=1=2"]
)
def test_a_version_that_is_none_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_target(PATH, query)


@pytest.mark.parametrize(
    "query",
    [
        b"sig=",
        b"sig",
        b"exp=1",
        b"kid=k1",
        b"SIG=x",
        b"s%69g=x",
        b"%73ig=x",
        b"v=0123456789;sig=x",
        SIGNED_QUERY + b"&",
        b"&" + SIGNED_QUERY,
        SIGNED_QUERY + b"&x=1",
        SIGNED_QUERY + b"&sig=" + QUERY_SIGNATURE.encode(),
        SIGNED_QUERY + b"&v=0123456789",
        SIGNED_QUERY + b"=",
        SIGNED_QUERY + b"%00",
        SIGNED_QUERY.replace(b"exp=1", b"exp=+1"),
        SIGNED_QUERY.replace(b"exp=1", b"exp=-1"),
        SIGNED_QUERY.replace(b"exp=1", b"exp=01"),
        SIGNED_QUERY.replace(b"exp=1893499200", b"exp=1_893499200"),
        SIGNED_QUERY.replace(b"exp=1893499200", b"exp=1893499200.0"),
        SIGNED_QUERY.replace(b"exp=1893499200", b"exp=NaN"),
        SIGNED_QUERY.replace(b"exp=1893499200", b"exp=" + b"9" * 5000),
        SIGNED_QUERY.replace(b"exp=1893499200", "exp=١٨٩٣٤٩٩٢٠٠".encode()),
        SIGNED_QUERY.replace(b"exp=", b"Exp="),
        SIGNED_QUERY.replace(b"sig=", b"sig[]="),
        SIGNED_QUERY.replace(b"&sig=", b"&amp;sig="),
        SIGNED_QUERY.replace(b"kid=k1", b"kid=../k1"),
        SIGNED_QUERY.replace(b"kid=k1", b"kid="),
        SIGNED_QUERY.replace(b"v=0123456789&", b""),
    ],
)
def test_whatever_is_odd_about_a_signed_query_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidSignature):
        parse_target(PATH, query)


def test_the_url_as_it_was_given_out_is_good() -> None:
    assert _open(URL_PATH, URL_QUERY).media_id == ID


def test_every_dropped_or_doubled_character_is_refused() -> None:
    dropped = [URL[:at] + URL[at + 1 :] for at in range(len(URL))]
    doubled = [URL[:at] + URL[at : at + 1] + URL[at:] for at in range(len(URL))]

    for url in dropped + doubled:
        if b"?" in url:
            assert type(_refusal(url)) is InvalidSignature, url


@given(at=st.integers(0, len(URL) - 1), character=st.sampled_from(URL_CHARACTERS))
def test_every_changed_character_is_refused(at: int, character: int) -> None:
    changed = bytearray(URL)
    changed[at] = character
    assume(bytes(changed) != URL)

    assert type(_refusal(bytes(changed))) is InvalidSignature


@given(
    at=st.integers(0, len(URL)),
    inserted=st.text(st.sampled_from(URL_CHARACTERS.decode()), min_size=1),
)
def test_every_insertion_is_refused(at: int, inserted: str) -> None:
    assert _refusal(URL[:at] + inserted.encode() + URL[at:])


@pytest.mark.parametrize("name", [b"v", b"exp", b"kid", b"sig"])
def test_every_dropped_or_doubled_parameter_is_refused(name: bytes) -> None:
    parts = URL_QUERY.split(b"&")
    mine = next(part for part in parts if part.startswith(name + b"="))
    without = [part for part in parts if part != mine]

    assert type(_refusal(URL_PATH + b"?" + b"&".join(without))) is InvalidSignature
    assert type(_refusal(URL + b"&" + mine)) is InvalidSignature


def test_a_character_in_another_case_or_encoding_is_refused() -> None:
    for at, character in enumerate(URL):
        swapped = URL[:at] + bytes([character]).swapcase() + URL[at + 1 :]
        encoded = URL[:at] + b"%%%02X" % character + URL[at + 1 :]
        if swapped != URL:
            assert type(_refusal(swapped)) is InvalidSignature, swapped
        if character not in b"?":
            assert type(_refusal(encoded)) is InvalidSignature, encoded


def test_another_spelling_of_the_same_signature_is_refused() -> None:
    signature = URL_QUERY.split(b"sig=")[1]
    digest = base64.urlsafe_b64decode(signature + b"=")
    same_bits = [
        signature[:-1] + bytes([last])
        for last in string.ascii_letters.encode() + string.digits.encode() + b"-_"
        if base64.urlsafe_b64decode(signature[:-1] + bytes([last]) + b"=") == digest
    ]

    assert len(same_bits) > 1
    for spelling in same_bits:
        if spelling != signature:
            assert _refusal(URL.replace(signature, spelling))


def test_a_signature_is_good_until_it_expires_and_for_nothing_else() -> None:
    target = parse_target(URL_PATH, URL_QUERY)
    assert target.signature
    path = media_path(target.media_id, target.rendition)
    expires = target.signature.expires

    late = CLOCK.now.fromtimestamp(expires, CLOCK.now.tzinfo)
    with pytest.raises(InvalidSignature):
        SIGNER.verify(target.signature, path, version=target.version, now=late)


def test_only_signed_urls_seem_signed() -> None:
    assert seems_signed(URL_PATH, URL_QUERY)
    assert not seems_signed(PATH, b"v=0123456789")
    assert not seems_signed(PATH, b"design=1&expires=2&akid=3")
