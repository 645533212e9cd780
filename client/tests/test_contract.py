"""What the service promises, asked of the double and of a real `mediad serve`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from media_client import (
    MediaApi,
    MediaError,
    MediaType,
    ProcessingOptions,
    Purpose,
    Status,
    Visibility,
    errors,
    request_id,
    transformations,
)
from media_client.testing import sample_picture
from PIL import Image

MB = 1024 * 1024
PHOTO = Path(__file__).parents[2] / "docs" / "samples" / "photo.jpg"
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
_seeds = itertools.count(1000)


def picture(width: int = 64, height: int = 48) -> bytes:
    """A picture that no other test uploads."""
    return sample_picture(width, height, seed=next(_seeds))


@pytest.fixture
def alice() -> str:
    """A user that no other test knows."""
    return f"alice-{uuid.uuid4()}"


def encoded(format: str, **how: Any) -> bytes:
    file = io.BytesIO()
    colour = (next(_seeds) % 256, 80, 160)
    Image.new(how.pop("mode", "RGB"), (90, 60), colour).save(file, format, **how)
    return file.getvalue()


async def uploaded(media: MediaApi, user_id: str, data: bytes = b"", **changes: Any) -> Any:
    about: dict[str, Any] = {"filename": "me.png", "user_id": user_id, "purpose": Purpose.AVATAR}
    return await media.upload_media(data or picture(), **(about | changes))


async def completed(media: MediaApi, media_id: str) -> Any:
    """The medium when its work is done."""
    async with asyncio.timeout(60):
        while (known := await media.get_media(media_id)).status is not Status.COMPLETED:
            assert known.status is not Status.FAILED, known.failure_code
            await asyncio.sleep(0.05)
    return known


# Uploading


async def test_an_upload_tells_what_was_stored(media: MediaApi, alice: str) -> None:
    data = picture(640, 480)
    before = datetime.now(UTC)

    stored = await media.upload_profile_picture(data, "me.png", alice)

    assert uuid.UUID(stored.media_id).version == 7
    assert (stored.width, stored.height, stored.size_bytes) == (640, 480, len(data))
    assert (stored.media_type, stored.content_type) == (MediaType.IMAGE, "image/png")
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.status in set(Status) - {Status.UNKNOWN}
    assert len(stored.blurhash) == 28
    assert not stored.deduplicated
    assert abs(stored.created_at - before) < timedelta(minutes=1)
    assert f"/media/{stored.media_id}/full?v=" in stored.url
    assert stored.thumbnail_url == stored.thumbnails[0].url


async def test_what_is_known_is_what_was_answered(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    known = await completed(media, stored.media_id)

    for name in ("media_id", "url", "thumbnail_url", "width", "height", "blurhash", "sha256"):
        assert getattr(known, name) == getattr(stored, name)
    assert (known.user_id, known.purpose, known.filename) == (alice, Purpose.AVATAR, "me.png")
    assert known.visibility is Visibility.PUBLIC
    assert [each.name for each in known.renditions] == ["full"]
    assert all(each.size_bytes > 0 for each in (*known.renditions, *known.thumbnails))
    assert (known.duration_ms, known.failure_code, known.expires_at) == (0, "", None)
    assert known.updated_at >= known.created_at


SIZES = {
    Purpose.PROFILE_PICTURE: [("small", 150, 150), ("medium", 300, 300), ("large", 600, 600)],
    Purpose.AVATAR: [("small", 150, 150), ("medium", 300, 300), ("large", 600, 600)],
    Purpose.COVER_PHOTO: [("thumb", 400, 150), ("medium", 800, 300), ("large", 1600, 600)],
    Purpose.POST_ATTACHMENT: [("320", 320, 160), ("640", 640, 320), ("1080", 1080, 540)],
    Purpose.MESSAGE_ATTACHMENT: [("320", 320, 160), ("640", 640, 320), ("1080", 1080, 540)],
    Purpose.STORY: [("story", 1080, 540), ("320", 320, 160)],
}


@pytest.mark.parametrize("purpose", SIZES)
async def test_thumbnails_hang_on_the_purpose(
    media: MediaApi, alice: str, purpose: Purpose
) -> None:
    stored = await uploaded(media, alice, picture(2400, 1200), purpose=purpose)
    full = (await media.get_media(stored.media_id)).rendition("full")

    assert [(t.name, t.width, t.height) for t in stored.thumbnails] == SIZES[purpose]
    assert full
    assert (full.width, full.height) == (2048, 1024)


@pytest.mark.parametrize("size", [(1, 1), (7, 400), (400, 7), (149, 151), (601, 599)])
async def test_small_pictures_are_not_made_larger(
    media: MediaApi, alice: str, size: tuple[int, int]
) -> None:
    stored = await media.upload_cover_photo(picture(*size), "me.png", alice)

    for each in stored.thumbnails:
        assert 1 <= each.width <= size[0]
        assert 1 <= each.height <= size[1]


async def test_thumbnail_sizes_are_the_same_in_both(alice: str, mediad: Any) -> None:
    from media_client import MediaClient
    from media_client.testing import FakeMediaClient

    async with (
        FakeMediaClient() as double,
        MediaClient(f"127.0.0.1:{mediad.grpc_port}") as service,
    ):
        for width, height in ((33, 77), (500, 100), (1201, 799), (3000, 50)):
            for purpose in SIZES:
                data = picture(width, height)
                told = [await uploaded(m, alice, data, purpose=purpose) for m in (double, service)]
                double_sizes, service_sizes = (
                    [(t.name, t.width, t.height, t.content_type) for t in each.thumbnails]
                    for each in told
                )
                assert double_sizes == service_sizes


async def test_a_photograph_is_told_upright(media: MediaApi, alice: str) -> None:
    stored = await media.upload_media_stream(
        PHOTO, filename="photo.jpg", user_id=alice, purpose=Purpose.POST_ATTACHMENT
    )

    assert (stored.width, stored.height) == (1600, 1200)
    assert stored.content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("format", "content_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("GIF", "image/gif"), ("WEBP", "image/webp")],
)
async def test_the_bytes_say_what_they_are(
    media: MediaApi, alice: str, format: str, content_type: str
) -> None:
    stored = await uploaded(media, alice, encoded(format), filename="x", content_type="")

    assert (stored.content_type, stored.width, stored.height) == (content_type, 90, 60)


async def test_another_format_of_the_same_kind_may_be_claimed(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice, filename="IMG_1.JPG", content_type="image/jpeg")

    assert stored.content_type == "image/png"


async def test_equal_bytes_are_told_and_stay_apart(media: MediaApi, alice: str) -> None:
    data = picture()
    first = await uploaded(media, alice, data)
    second = await uploaded(media, f"{alice}-2", data)

    assert (first.deduplicated, second.deduplicated) == (False, True)
    assert first.media_id != second.media_id
    await media.delete_media(first.media_id, user_id=alice)
    assert (await media.get_media(second.media_id)).user_id == f"{alice}-2"


async def test_what_was_developed_before_is_complete_at_once(media: MediaApi, alice: str) -> None:
    data = picture()
    first = await uploaded(media, alice, data)
    await completed(media, first.media_id)

    assert (await uploaded(media, alice, data)).status is Status.COMPLETED


async def test_options_say_how_renditions_are_made(media: MediaApi, alice: str) -> None:
    options = ProcessingOptions(generate_thumbnails=False, generate_blurhash=False, max_width=100)
    stored = await uploaded(media, alice, picture(400, 200), processing_options=options)

    full = (await media.get_media(stored.media_id)).rendition("full")
    assert (stored.thumbnails, stored.thumbnail_url, stored.blurhash) == ((), "", "")
    assert full
    assert (full.width, full.height) == (100, 50)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/x.png", "x.png"),
        ("C:\\me\\x.png", "x.png"),
        ("a\nb.png", "ab.png"),
        ("\u202egnp.exe.png", "gnp.exe.png"),
        ("", "file"),
        ("  .. ", "file"),
        ("Grüße 🙂.png", "Grüße 🙂.png"),
    ],
)
async def test_names_are_made_safe(media: MediaApi, alice: str, sent: str, kept: str) -> None:
    stored = await uploaded(media, alice, filename=sent)

    assert (await media.get_media(stored.media_id)).filename == kept


async def test_a_story_is_gone_after_a_day(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice, purpose=Purpose.STORY)

    known = await media.get_media(stored.media_id)
    assert known.expires_at == known.created_at + timedelta(hours=24)


# What is refused


REFUSED: dict[str, tuple[dict[str, Any], type[MediaError]]] = {
    "no bytes": ({"data": b""}, errors.EmptyFile),
    "too few bytes": ({"data": b"\x89PNG\r\n"}, errors.BrokenFile),
    "text": ({"data": b"hello, this is text"}, errors.UnsupportedType),
    "a page named .jpg": (
        {"data": b"<!doctype html>" * 400, "filename": "me.jpg"},
        errors.UnsupportedType,
    ),
    "half a picture": ({"data": PHOTO.read_bytes()[:80_000]}, errors.BrokenFile),
    "a picture that claims to be a film": ({"content_type": "video/mp4"}, errors.TypeMismatch),
    "a picture named as a film": ({"filename": "me.mp4"}, errors.TypeMismatch),
    "a picture named as a page": ({"filename": "me.html"}, errors.TypeMismatch),
    "a type that is none": ({"content_type": "nonsense"}, errors.InvalidContentType),
    "a type with a line break": ({"content_type": "image/\npng"}, errors.InvalidContentType),
    "no user": ({"user_id": ""}, errors.InvalidUserId),
    "a user with a space": ({"user_id": "a b"}, errors.InvalidUserId),
    "a long user": ({"user_id": "x" * 129}, errors.InvalidUserId),
    "a user that is no ASCII": ({"user_id": "älice"}, errors.InvalidUserId),
    "a long name": ({"filename": "x" * 1025}, errors.InvalidFilename),
    "another hash": ({"expected_sha256": "0" * 64}, errors.ChecksumMismatch),
    "no hash": ({"expected_sha256": "0" * 63}, errors.InvalidChecksum),
    "a long key": ({"idempotency_key": "x" * 129}, errors.InvalidIdempotencyKey),
    "a key with a space": ({"idempotency_key": "a b"}, errors.InvalidIdempotencyKey),
    "no purpose": ({"purpose": Purpose.UNKNOWN}, errors.InvalidPurpose),
    "no visibility": ({"visibility": Visibility.UNKNOWN}, errors.InvalidVisibility),
    "quality 101": ({"processing_options": ProcessingOptions(quality=101)}, errors.InvalidOptions),
    "width -1": ({"processing_options": ProcessingOptions(max_width=-1)}, errors.InvalidOptions),
    "height of 2^40": (
        {"processing_options": ProcessingOptions(max_height=2**40)},
        errors.InvalidOptions,
    ),
}


@pytest.mark.parametrize("way", ["upload_media", "upload_media_stream"])
@pytest.mark.parametrize("name", REFUSED)
async def test_what_can_not_be_right_is_refused(
    media: MediaApi, alice: str, name: str, way: str
) -> None:
    changes, expected = REFUSED[name]
    about = {
        "data": picture(),
        "filename": "me.png",
        "user_id": alice,
        "purpose": Purpose.AVATAR,
        **changes,
    }
    data = about.pop("data")

    with pytest.raises(expected) as caught, request_id("req-1"):
        await getattr(media, way)(data, **about)

    assert type(caught.value) is expected
    assert caught.value.code == expected.code
    assert caught.value.message == str(expected())
    assert caught.value.request_id == "req-1"


@pytest.mark.parametrize(
    ("purpose", "most"),
    [
        (Purpose.PROFILE_PICTURE, 10 * MB),
        (Purpose.AVATAR, 10 * MB),
        (Purpose.COVER_PHOTO, 20 * MB),
        (Purpose.POST_ATTACHMENT, 25 * MB),
    ],
)
async def test_limits_hang_on_the_purpose(
    media: MediaApi, alice: str, purpose: Purpose, most: int
) -> None:
    about: Any = {"filename": "me.png", "user_id": alice, "purpose": purpose}
    data = picture()
    padded = data + bytes(most - len(data))  # what follows the end of a PNG counts, too

    with pytest.raises(errors.FileTooLarge):
        await media.upload_media(padded + b"x", **about)
    assert (await media.upload_media(padded, **about)).size_bytes == most


async def test_a_size_that_is_too_large_is_refused_before_it_is_sent(
    media: MediaApi, alice: str
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MB)
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        with pytest.raises(errors.FileTooLarge):
            await media.upload_media_stream(
                endless(),
                filename="me.png",
                user_id=alice,
                purpose=Purpose.AVATAR,
                expected_size_bytes=10 * MB + 1,
            )


async def test_another_size_than_announced_is_refused(media: MediaApi, alice: str) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield picture()

    with pytest.raises(errors.SizeMismatch):
        await media.upload_media_stream(
            once(),
            filename="me.png",
            user_id=alice,
            purpose=Purpose.AVATAR,
            expected_size_bytes=99,
        )


# Idempotency


async def test_a_key_that_comes_again_answers_with_the_first(media: MediaApi, alice: str) -> None:
    data = picture()
    first = await uploaded(media, alice, data, idempotency_key="form-7")
    again = await uploaded(media, alice, data, idempotency_key="form-7", filename="other.png")
    other = await uploaded(media, f"{alice}-2", data, idempotency_key="form-7")

    assert again.media_id == first.media_id
    assert other.media_id != first.media_id


async def test_without_a_key_every_upload_is_its_own(media: MediaApi, alice: str) -> None:
    data = picture()

    ids = {(await uploaded(media, alice, data)).media_id for _ in range(3)}

    assert len(ids) == 3


@pytest.mark.parametrize("change", ["data", "purpose"])
async def test_a_key_is_for_one_file(media: MediaApi, alice: str, change: str) -> None:
    data = picture()
    await uploaded(media, alice, data, idempotency_key="form-7")
    changed: Any = {"purpose": Purpose.STORY} if change == "purpose" else {}

    with pytest.raises(errors.IdempotencyKeyReused):
        await uploaded(
            media,
            alice,
            picture() if change == "data" else data,
            idempotency_key="form-7",
            **changed,
        )


async def test_a_key_is_free_when_its_medium_is_deleted(media: MediaApi, alice: str) -> None:
    data = picture()
    first = await uploaded(media, alice, data, idempotency_key="form-7")
    await media.delete_media(first.media_id, user_id=alice)

    assert (await uploaded(media, alice, data, idempotency_key="form-7")).media_id != first.media_id


async def test_equal_uploads_at_once_are_one(media: MediaApi, alice: str) -> None:
    data = picture()
    uploads = (uploaded(media, alice, data, idempotency_key="form-7") for _ in range(8))

    stored = await asyncio.gather(*uploads)

    assert len({each.media_id for each in stored}) == 1


# Streams


@pytest.mark.parametrize("kind", ["bytes", "path", "name", "file", "iterator"])
async def test_a_stream_may_come_from_anywhere(
    media: MediaApi, alice: str, kind: str, tmp_path: Path
) -> None:
    data = picture() + bytes(3 * MB)
    path = tmp_path / "me.png"
    path.write_bytes(data)

    async def iterator() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_001):
            yield data[at : at + 100_001]

    sources: dict[str, Any] = {
        "bytes": data,
        "path": path,
        "name": str(path),
        "file": io.BytesIO(data),
        "iterator": iterator(),
    }
    told: list[int] = []
    stored = await media.upload_media_stream(
        sources[kind],
        filename="me.png",
        user_id=alice,
        purpose=Purpose.AVATAR,
        on_progress=lambda sent, _: told.append(sent),
        hash_first=kind != "iterator",
    )

    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert told == sorted(told)
    assert told[-1] == len(data)


# Reading


async def test_what_is_not_there_is_not_found(media: MediaApi) -> None:
    with pytest.raises(errors.MediaNotFound):
        await media.get_media(UNKNOWN_ID)


@pytest.mark.parametrize("wrong", ["", "42", "../x", UNKNOWN_ID[:-1], "{" + UNKNOWN_ID + "}",
                                   UNKNOWN_ID.replace("-", ""), UNKNOWN_ID + "\n"])  # fmt: skip
async def test_what_is_no_id_is_refused(media: MediaApi, alice: str, wrong: str) -> None:
    for call in (
        media.get_media(wrong),
        media.delete_media(wrong, user_id=alice),
        media.process_media(wrong, user_id=alice),
        media.get_signed_url(wrong),
    ):
        with pytest.raises(errors.InvalidMediaId):
            await call


async def test_ids_may_be_in_capitals(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    assert (await media.get_media(stored.media_id.upper())).media_id == stored.media_id


async def test_a_batch_keeps_the_order_and_names_what_is_missing(
    media: MediaApi, alice: str
) -> None:
    first, second = [(await uploaded(media, alice)).media_id for _ in range(2)]

    batch = await media.batch_get_media([second, UNKNOWN_ID, first, "nonsense", second])

    assert [each.media_id for each in batch.media] == [second, first, second]
    assert batch.missing_ids == (UNKNOWN_ID, "nonsense")


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_is_of_1_to_100(media: MediaApi, alice: str, count: int) -> None:
    with pytest.raises(errors.InvalidBatch):
        await media.batch_get_media([UNKNOWN_ID] * count)
    with pytest.raises(errors.InvalidBatch):
        await media.batch_delete_media([UNKNOWN_ID] * count, user_id=alice)


async def test_a_batch_of_100_is_answered(media: MediaApi) -> None:
    assert len((await media.batch_get_media([UNKNOWN_ID] * 100)).missing_ids) == 100


# Private media, ownership


@pytest.mark.parametrize(
    ("purpose", "asked", "visibility"),
    [
        (Purpose.MESSAGE_ATTACHMENT, None, Visibility.PRIVATE),
        (Purpose.POST_ATTACHMENT, None, Visibility.PUBLIC),
        (Purpose.AVATAR, Visibility.PRIVATE, Visibility.PRIVATE),
        (Purpose.MESSAGE_ATTACHMENT, Visibility.PUBLIC, Visibility.PUBLIC),
    ],
)
async def test_who_may_see_it(
    media: MediaApi, alice: str, purpose: Purpose, asked: Visibility, visibility: Visibility
) -> None:
    stored = await uploaded(media, alice, purpose=purpose, visibility=asked)

    known = await media.get_media(stored.media_id)
    is_signed = "&sig=" in stored.url and "exp=" in stored.url
    assert known.visibility is visibility
    assert is_signed == (visibility is Visibility.PRIVATE)


async def test_public_media_of_others_can_not_be_touched(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    with pytest.raises(errors.NotTheOwner):
        await media.delete_media(stored.media_id, user_id="bob")
    with pytest.raises(errors.NotTheOwner):
        await media.process_media(stored.media_id, user_id="bob")
    assert await media.get_media(stored.media_id)


async def test_private_media_of_others_are_not_there(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice, purpose=Purpose.MESSAGE_ATTACHMENT)

    with pytest.raises(errors.MediaNotFound):
        await media.delete_media(stored.media_id, user_id="bob")
    with pytest.raises(errors.MediaNotFound):
        await media.process_media(stored.media_id, user_id="bob")


# Deleting


async def test_what_is_deleted_is_gone_and_deleting_twice_is_no_error(
    media: MediaApi, alice: str
) -> None:
    stored = await uploaded(media, alice)

    for _ in range(2):
        await media.delete_media(stored.media_id, user_id=alice)

    with pytest.raises(errors.MediaNotFound):
        await media.get_media(stored.media_id)
    with pytest.raises(errors.MediaNotFound):
        await media.get_signed_url(stored.media_id)
    with pytest.raises(errors.MediaNotFound):
        await media.process_media(stored.media_id, user_id=alice)
    with pytest.raises(errors.MediaNotFound):
        await media.delete_media(stored.media_id, user_id="bob")
    assert (await media.batch_get_media([stored.media_id])).media == ()


async def test_what_never_was_can_not_be_deleted(media: MediaApi, alice: str) -> None:
    with pytest.raises(errors.MediaNotFound):
        await media.delete_media(UNKNOWN_ID, user_id=alice)


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 129])
async def test_who_asks_must_be_somebody(media: MediaApi, wrong: str) -> None:
    for call in (
        media.delete_media(UNKNOWN_ID, user_id=wrong),
        media.process_media(UNKNOWN_ID, user_id=wrong),
        media.batch_delete_media([UNKNOWN_ID], user_id=wrong),
    ):
        with pytest.raises(errors.InvalidUserId):
            await call


async def test_in_a_batch_one_that_stays_spoils_nothing(media: MediaApi, alice: str) -> None:
    mine = (await uploaded(media, alice)).media_id
    theirs = (await uploaded(media, "bob")).media_id
    hidden = (await uploaded(media, "bob", purpose=Purpose.MESSAGE_ATTACHMENT)).media_id
    ids = [theirs, mine, "nonsense", hidden, mine, UNKNOWN_ID]

    for _ in range(2):
        outcome = await media.batch_delete_media(ids, user_id=alice)

        assert outcome.deleted_count == 1
        assert {(f.media_id, f.code, f.message) for f in outcome.failures} == {
            (theirs, "not_the_owner", str(errors.NotTheOwner())),
            ("nonsense", "invalid_media_id", str(errors.InvalidMediaId())),
            (hidden, "media_not_found", str(errors.MediaNotFound())),
            (UNKNOWN_ID, "media_not_found", str(errors.MediaNotFound())),
        }
        assert outcome.failed_ids == (theirs, "nonsense", hidden, UNKNOWN_ID)


# Processing


async def test_processing_makes_renditions_anew(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice, picture(400, 200))
    before = await completed(media, stored.media_id)
    options = ProcessingOptions(max_width=100, generate_blurhash=False)

    asked = await media.process_media(stored.media_id, user_id=alice, processing_options=options)
    after = await completed(media, stored.media_id)

    assert asked.media_id == stored.media_id
    assert asked.status in (Status.PENDING, Status.PROCESSING, Status.COMPLETED)
    assert after.renditions[0].width == 100
    assert after.blurhash == ""
    assert after.url != before.url
    assert after.updated_at > before.updated_at


async def test_equal_options_change_nothing(media: MediaApi, alice: str) -> None:
    options = ProcessingOptions(quality=50)
    stored = await uploaded(media, alice, processing_options=options)
    before = await completed(media, stored.media_id)

    asked = await media.process_media(stored.media_id, user_id=alice, processing_options=options)

    assert asked.status is Status.COMPLETED
    assert await media.get_media(stored.media_id) == before


async def test_a_picture_has_no_loudness(media: MediaApi, alice: str) -> None:
    options = ProcessingOptions(normalize_loudness=True)
    stored = await uploaded(media, alice, processing_options=options)
    before = await completed(media, stored.media_id)

    await media.process_media(
        stored.media_id, user_id=alice, processing_options=ProcessingOptions()
    )

    assert (await completed(media, stored.media_id)).renditions == before.renditions


async def test_options_that_can_not_be_are_refused(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    with pytest.raises(errors.InvalidOptions):
        await media.process_media(
            stored.media_id, user_id=alice, processing_options=ProcessingOptions(max_height=5000)
        )


# Signed URLs


@pytest.mark.parametrize("seconds", [1, 59, 3600, 604_800])
async def test_a_signed_url_works_as_long_as_asked_or_a_little_longer(
    media: MediaApi, alice: str, seconds: int
) -> None:
    stored = await uploaded(media, alice)
    before = datetime.now(UTC)

    link = await media.get_signed_url(stored.media_id, expiry_seconds=seconds, rendition="small")

    after = datetime.now(UTC)
    asked, longer = timedelta(seconds=seconds), timedelta(seconds=seconds * 1.25 + 1)
    assert before + asked <= link.expires_at <= after + longer
    assert f"/media/{stored.media_id}/small?" in link.url
    assert f"exp={int(link.expires_at.timestamp())}" in link.url


async def test_equal_requests_get_equal_urls(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    links = [await media.get_signed_url(stored.media_id, expiry_seconds=604_800) for _ in range(3)]

    assert len({link.url for link in links}) == 1


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 2**40, -(2**40)])
async def test_an_expiry_out_of_range_is_refused(media: MediaApi, alice: str, seconds: int) -> None:
    stored = await uploaded(media, alice)

    with pytest.raises(errors.InvalidExpiry):
        await media.get_signed_url(stored.media_id, expiry_seconds=seconds)


async def test_a_rendition_that_is_not_there_can_not_be_signed(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    with pytest.raises(errors.RenditionNotFound):
        await media.get_signed_url(stored.media_id, rendition="gigantic")


@pytest.mark.parametrize(
    "spelled",
    [
        transformations.fit(640, 480),
        transformations.fill(64, 2048, quality=70),
        transformations.crop(320, 320, format="avif"),
        transformations.crop(320, 320, focus=(0.05, 1), quality=100, format="jpg"),
        transformations.crop(320, 320, focus=(0, 0.333)),
    ],
)
async def test_a_transformation_of_what_is_public_has_one_url(
    media: MediaApi, alice: str, spelled: str
) -> None:
    stored = await uploaded(media, alice)

    links = [
        await media.get_signed_url(stored.media_id, rendition=spelled, expiry_seconds=seconds)
        for seconds in (1, 604_800)
    ]

    assert links[0] == links[1]
    assert f"/media/{stored.media_id}/{spelled}?" in links[0].url
    assert links[0].expires_at.year == 2100


async def test_a_transformation_of_what_is_private_ends(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice, visibility=Visibility.PRIVATE)

    link = await media.get_signed_url(
        stored.media_id, rendition=transformations.fit(64, 64), expiry_seconds=60
    )

    assert link.expires_at <= datetime.now(UTC) + timedelta(seconds=76)


@pytest.mark.parametrize(
    "spelled",
    [
        "fit:641:480",
        "fit:0640:480",
        "fit:-1:480",
        "fit:1000000000:480",
        "fit:640",
        "scale:640:480",
        "fit:640:480,focus:0.1:0.2",
        "crop:640:480,focus:0.5:0.5",
        "crop:640:480,focus:0.10:0.2",
        "crop:640:480,focus:1.5:0.2",
        "fit:640:480,q:85",
        "fit:640:480,q:0",
        "fit:640:480,q:101",
        "fit:640:480.png",
        "fit:640:480/../x",
        "crop:640:480,q:70,focus:0.1:0.2",
    ],
)
async def test_what_is_no_transformation_can_not_be_signed(
    media: MediaApi, alice: str, spelled: str
) -> None:
    stored = await uploaded(media, alice)

    with pytest.raises(errors.InvalidTransformation):
        await media.get_signed_url(stored.media_id, rendition=spelled)


async def test_what_is_not_there_can_not_be_signed(media: MediaApi) -> None:
    with pytest.raises(errors.MediaNotFound):
        await media.get_signed_url(UNKNOWN_ID)


# Watching


async def test_watching_ends_with_the_work(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    states = [known async for known in media.watch(stored.media_id, timeout=60)]

    assert states[-1].status is Status.COMPLETED
    assert states[-1] == await media.get_media(stored.media_id)
    assert all(one != next_one for one, next_one in itertools.pairwise(states))
    percents = [known.progress_percent for known in states]
    assert percents == sorted(percents)


async def test_waiting_answers_what_was_waited_for(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)

    known = await media.wait_until_done(stored.media_id, timeout=60)

    assert known.status is Status.COMPLETED
    assert (known.page_count, known.has_audio) == (0, False)


async def test_what_is_done_is_told_once(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)
    await completed(media, stored.media_id)

    assert len([known async for known in media.watch(stored.media_id)]) == 1


async def test_work_that_began_anew_is_waited_for(media: MediaApi, alice: str) -> None:
    stored = await uploaded(media, alice)
    await media.wait_until_done(stored.media_id, timeout=60)
    smaller = ProcessingOptions(max_width=next(_seeds) % 40 + 8)

    await media.process_media(stored.media_id, user_id=alice, processing_options=smaller)
    known = await media.wait_until_done(stored.media_id, timeout=60)

    full = known.rendition("full")
    assert full
    assert (full.width, full.size_bytes > 0) == (smaller.max_width, True)


async def test_there_is_nothing_to_watch_where_there_is_nothing(
    media: MediaApi, alice: str
) -> None:
    stored = await uploaded(media, alice)
    await media.delete_media(stored.media_id, user_id=alice)

    for media_id in (UNKNOWN_ID, stored.media_id):
        with pytest.raises(errors.MediaNotFound):
            await media.wait_until_done(media_id, timeout=10)
    with pytest.raises(errors.InvalidMediaId):
        await media.wait_until_done("nonsense", timeout=10)
