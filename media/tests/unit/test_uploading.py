from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from fakes.in_memory_blobs import InMemoryStagedFile, InMemoryStaging
from fakes.in_memory_database import QueuedJob
from fakes.samples import ALICE, BOB, a_declaration, a_media, recipe_of, sha256_of
from fakes.scripted_codecs import broken_picture, picture
from fakes.service import GRACE, FakeService, fake_service, in_chunks
from media_service.core.admitting import Admitting
from media_service.core.blobs import BlobState, original_key
from media_service.core.errors import (
    BrokenFile,
    ChecksumMismatch,
    DatabaseUnavailable,
    DecoderUnavailable,
    EmptyFile,
    FileTooLarge,
    IdempotencyKeyReused,
    InvalidUserId,
    MediaError,
    MetadataTooLarge,
    SizeMismatch,
    StorageFull,
    StorageUnavailable,
    TooComplex,
    TooManyPixels,
    TypeMismatch,
    UnsupportedType,
)
from media_service.core.formats import Format
from media_service.core.jobs import QueueLimits
from media_service.core.media import MediaType, ProcessingStatus, Purpose, Visibility
from media_service.core.planning import plan_renditions
from media_service.core.ports import StagedFile
from media_service.core.purposes import DEFAULT_POLICIES, Policies
from media_service.core.renditions import ProcessingOptions
from media_service.core.repairing import Repairing
from media_service.core.sniffing import SNIFF_BYTES
from media_service.core.uploading import Uploading

LIMIT = 10_000


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _limited(limits: dict[MediaType, int]) -> FakeService:
    """A service whose profile pictures have these limits."""
    policy = dataclasses.replace(DEFAULT_POLICIES.of[Purpose.PROFILE_PICTURE], max_bytes=limits)
    policies = Policies(version=7, of={**DEFAULT_POLICIES.of, Purpose.PROFILE_PICTURE: policy})
    return fake_service(policies=policies)


def _require_nothing_left(fake: FakeService) -> None:
    assert fake.staging.open_files == 0
    assert fake.blobs.contents == {}
    assert fake.database.blobs == {}
    assert fake.database.media == {}
    assert fake.database.jobs == []


# What is taken


async def test_an_upload_is_answered_with_all_that_is_known(fake: FakeService) -> None:
    content = picture("sea", size=(1200, 800))

    media = await fake.upload(content, filename="../sea.jpg", content_type="image/jpeg")

    policy = DEFAULT_POLICIES.of[Purpose.PROFILE_PICTURE].developing
    blob = fake.database.blobs[sha256_of(content)]
    assert media == a_media(
        blob,
        id=media.id,
        filename="sea.jpg",
        size_bytes=len(content),
        blurhash="Lsea",
        renditions=plan_renditions(
            policy, format=blob.format, options=None, inspection=blob.inspection
        ),
    )


async def test_an_upload_that_was_answered_is_kept(fake: FakeService) -> None:
    media = await fake.upload(picture())

    assert fake.database.media == {media.id: media}
    assert fake.blobs.contents == {original_key(media.sha256): picture()}
    assert fake.database.jobs == [QueuedJob(media.id, 1)]
    assert fake.staging.open_files == 0


@pytest.mark.parametrize("format", [f for f in Format if f.media_type is MediaType.IMAGE])
async def test_every_format_is_taken(fake: FakeService, format: Format) -> None:
    media = await fake.upload(picture(format=format), filename="", content_type="")

    assert media.content_type == format.value


@pytest.mark.parametrize("size", [1, 7, 4095, 4096, 4097, 100_000])
async def test_chunks_may_have_any_size(fake: FakeService, size: int) -> None:
    content = picture(size_bytes=20_000)

    chunks = in_chunks(content, size=size)
    media = await fake.service.uploading.upload(a_declaration(), chunks)

    assert fake.blobs.contents[original_key(media.sha256)] == content


async def test_chunks_may_be_empty_or_views(fake: FakeService) -> None:
    async def chunks() -> AsyncIterator[bytes | memoryview]:
        yield b""
        yield memoryview(picture())
        yield b""

    media = await fake.service.uploading.upload(a_declaration(), chunks())

    assert media.sha256 == sha256_of(picture())


async def test_a_story_ends_after_a_day(fake: FakeService) -> None:
    media = await fake.upload(purpose=Purpose.STORY)

    assert media.expires_at == fake.clock.now + timedelta(hours=24)


@pytest.mark.parametrize(
    ("purpose", "asked", "visibility"),
    [
        (Purpose.AVATAR, None, Visibility.PUBLIC),
        (Purpose.AVATAR, Visibility.PRIVATE, Visibility.PRIVATE),
        (Purpose.MESSAGE_ATTACHMENT, None, Visibility.PRIVATE),
        (Purpose.MESSAGE_ATTACHMENT, Visibility.PUBLIC, Visibility.PUBLIC),
    ],
)
async def test_the_caller_s_visibility_goes_before_the_policy_s(
    fake: FakeService, purpose: Purpose, asked: Visibility | None, visibility: Visibility
) -> None:
    media = await fake.upload(purpose=purpose, visibility=asked)

    assert media.visibility is visibility


async def test_options_shape_what_is_planned(fake: FakeService) -> None:
    options = ProcessingOptions(generate_thumbnails=False, generate_blurhash=False, quality=50)

    media = await fake.upload(options=options)

    assert [recipe_of(r).quality for r in media.renditions] == [50]
    assert (media.options, media.blurhash) == (options, "")


async def test_a_right_checksum_and_size_are_taken(fake: FakeService) -> None:
    await fake.upload(picture(), sha256=sha256_of(picture()), size_bytes=len(picture()))


# What is refused


REFUSALS: list[tuple[str, bytes, dict[str, Any], type[MediaError]]] = [
    ("no bytes", b"", {}, EmptyFile),
    ("three bytes", b"\xff\xd8\xff", {}, BrokenFile),
    ("eleven bytes", b"GIF89a<?php", {"filename": "", "content_type": ""}, BrokenFile),
    ("HTML", b"<html><script>alert(1)</script>", {}, UnsupportedType),
    ("a program", b"\x7fELF\x02\x01\x01" + bytes(9), {"filename": "a.png"}, UnsupportedType),
    ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"filename": "a.png"}, UnsupportedType),
    ("PHP as GIF", b"GIF89a<?php system('id');", {"filename": "a.gif"}, UnsupportedType),
    ("another type", picture(), {"content_type": "text/html"}, TypeMismatch),
    ("another name", picture(), {"filename": "a.exe"}, TypeMismatch),
    ("another checksum", picture(), {"sha256": sha256_of("other")}, ChecksumMismatch),
    ("more than announced", picture(), {"size_bytes": len(picture()) - 1}, SizeMismatch),
    ("less than announced", picture(), {"size_bytes": len(picture()) + 1}, SizeMismatch),
    ("no announced byte", b"", {"size_bytes": 10}, EmptyFile),
    ("half a file", broken_picture(), {}, BrokenFile),
    ("nobody", picture(), {"owner": ""}, InvalidUserId),
    ("2^63 bytes", picture(), {"size_bytes": 2**63}, FileTooLarge),
]


@pytest.mark.parametrize(
    ("content", "declared", "error"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
async def test_what_is_refused_leaves_nothing(
    fake: FakeService, content: bytes, declared: dict[str, Any], error: type[MediaError]
) -> None:
    with pytest.raises(error):
        await fake.upload(content, **declared)

    _require_nothing_left(fake)


@pytest.mark.parametrize(
    "error", [BrokenFile, TooManyPixels, TooComplex, MetadataTooLarge, DecoderUnavailable]
)
async def test_what_can_not_be_decoded_leaves_nothing(
    fake: FakeService, error: type[MediaError]
) -> None:
    fake.codecs.inspect_error = error()

    with pytest.raises(error):
        await fake.upload()

    _require_nothing_left(fake)


async def test_a_format_whose_decoder_is_missing_is_refused(fake: FakeService) -> None:
    fake.codecs.known_formats = frozenset({Format.PNG})

    with pytest.raises(UnsupportedType):
        await fake.upload(picture(format=Format.JPEG))

    _require_nothing_left(fake)


async def test_a_media_type_that_the_purpose_does_not_take_is_refused() -> None:
    fake = _limited({MediaType.VIDEO: LIMIT})

    with pytest.raises(UnsupportedType):
        await fake.upload()

    _require_nothing_left(fake)


@pytest.mark.parametrize("error", [StorageFull, StorageUnavailable])
async def test_a_staging_that_fails_leaves_nothing(
    fake: FakeService, error: type[MediaError]
) -> None:
    fake.staging.failure = error()

    with pytest.raises(error):
        await fake.upload()

    _require_nothing_left(fake)


@pytest.mark.parametrize("error", [StorageFull, StorageUnavailable])
async def test_a_store_that_fails_leaves_nothing(
    fake: FakeService, error: type[MediaError]
) -> None:
    fake.blobs.failure = error()

    with pytest.raises(error):
        await fake.upload()

    fake.blobs.failure = None
    _require_nothing_left(fake)


STATEMENTS = [
    "blobs.find",
    "begin",
    "blobs.keep",
    "renditions.find",
    "media.insert",
    "jobs.enqueue_developing",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_database_that_fails_leaves_nothing(fake: FakeService, statement: str) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable

    fake.database.before[statement] = fail

    with pytest.raises(DatabaseUnavailable):
        await fake.upload()

    _require_nothing_left(fake)


async def test_a_commit_that_fails_leaves_bytes_only_until_orphans_are_collected(
    fake: FakeService,
) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable

    fake.database.before["commit"] = fail
    with pytest.raises(DatabaseUnavailable):
        await fake.upload()
    fake.database.before.clear()

    await fake.service.housekeeping.collect_orphans()

    _require_nothing_left(fake)


async def test_a_caller_who_breaks_off_leaves_nothing(fake: FakeService) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield picture(size_bytes=5000)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await fake.service.uploading.upload(a_declaration(), chunks())

    _require_nothing_left(fake)


async def test_an_upload_cancelled_at_any_step_is_kept_whole_or_not_at_all() -> None:
    kept = 0
    for steps in range(60):
        fake = fake_service()
        uploading = asyncio.create_task(fake.upload())
        for _ in range(steps):
            await asyncio.sleep(0)
        uploading.cancel()
        await asyncio.wait([uploading])

        await fake.service.housekeeping.collect_orphans()

        assert fake.staging.open_files == 0
        assert set(fake.blobs.contents) == {b.key for b in fake.database.blobs.values()}
        assert len(fake.database.media) == len(fake.database.blobs) == len(fake.database.jobs)
        kept += len(fake.database.media)
    assert 0 < kept < 60


# Sizes


@pytest.mark.parametrize("size_bytes", [LIMIT - 1, LIMIT])
async def test_a_file_up_to_the_limit_is_taken(size_bytes: int) -> None:
    fake = _limited({MediaType.IMAGE: LIMIT})

    media = await fake.upload(picture(size_bytes=size_bytes))

    assert media.size_bytes == size_bytes


async def test_a_file_of_one_byte_more_is_refused() -> None:
    fake = _limited({MediaType.IMAGE: LIMIT})

    with pytest.raises(FileTooLarge):
        await fake.upload(picture(size_bytes=LIMIT + 1))

    _require_nothing_left(fake)


@pytest.mark.parametrize("size_bytes", [500, 5000])
async def test_the_limit_is_that_of_the_file_s_own_type(size_bytes: int) -> None:
    fake = _limited({MediaType.IMAGE: size_bytes - 1, MediaType.VIDEO: LIMIT})

    with pytest.raises(FileTooLarge):
        await fake.upload(picture(size_bytes=size_bytes))

    _require_nothing_left(fake)


class Sender:
    """Sends chunks of 1000 bytes and counts those that were taken."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.sent = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in in_chunks(self._content):
            self.sent += 1
            yield chunk


async def _refused_after(fake: FakeService, content: bytes, **declared: Any) -> int:
    """How many chunks were taken until the upload was refused."""
    sender = Sender(content)
    with pytest.raises(MediaError):
        await fake.service.uploading.upload(a_declaration(**declared), sender.chunks())
    return sender.sent


async def test_a_size_beyond_every_limit_is_refused_before_the_first_byte() -> None:
    fake = _limited({MediaType.IMAGE: LIMIT})

    assert await _refused_after(fake, picture(size_bytes=LIMIT), size_bytes=LIMIT + 1) == 0


async def test_a_size_beyond_the_type_s_limit_is_refused_when_the_type_is_known() -> None:
    fake = _limited({MediaType.IMAGE: LIMIT, MediaType.VIDEO: 9 * LIMIT})

    taken = await _refused_after(fake, picture(size_bytes=2 * LIMIT), size_bytes=2 * LIMIT)

    assert taken == -(-SNIFF_BYTES // 1000)


async def test_a_file_beyond_the_limit_is_refused_when_it_goes_beyond() -> None:
    fake = _limited({MediaType.IMAGE: LIMIT})

    assert await _refused_after(fake, picture(size_bytes=9 * LIMIT)) == LIMIT // 1000 + 1


async def test_a_wrong_type_is_refused_on_its_first_bytes(fake: FakeService) -> None:
    taken = await _refused_after(fake, b"<html>" * 10_000)

    assert taken == -(-SNIFF_BYTES // 1000)


async def test_a_type_other_than_declared_is_refused_on_its_first_bytes(fake: FakeService) -> None:
    taken = await _refused_after(fake, picture(size_bytes=100_000), filename="a.pdf")

    assert taken == -(-SNIFF_BYTES // 1000)


# Equal bytes


async def test_equal_bytes_share_a_blob_and_never_a_row(fake: FakeService) -> None:
    first = await fake.upload(picture(), owner=ALICE)
    second = await fake.upload(picture(), owner=BOB)

    assert first.id != second.id
    assert (first.owner, second.owner) == (ALICE, BOB)
    assert (first.deduplicated, second.deduplicated) == (False, True)
    assert len(fake.database.blobs) == len(fake.blobs.contents) == 1


async def test_equal_bytes_are_decoded_once(fake: FakeService) -> None:
    await fake.upload(picture())
    await fake.upload(picture(), owner=BOB, purpose=Purpose.STORY)

    assert len(fake.codecs.inspected) == 1


async def test_many_uploads_of_equal_bytes_at_once_make_one_blob(fake: FakeService) -> None:
    media = await asyncio.gather(*(fake.upload(picture()) for _ in range(20)))

    assert len({m.id for m in media}) == len(fake.database.media) == 20
    assert sum(not m.deduplicated for m in media) == 1
    assert len(fake.database.blobs) == len(fake.blobs.contents) == 1


async def test_bytes_that_were_developed_before_are_completed_at_once(fake: FakeService) -> None:
    first = await fake.upload_done(picture())

    second = await fake.upload(picture(), owner=BOB)

    assert second.status is ProcessingStatus.COMPLETED
    assert second.renditions == first.renditions
    assert fake.database.jobs == []


async def test_bytes_that_were_developed_by_other_recipes_are_developed_again(
    fake: FakeService,
) -> None:
    await fake.upload_done(picture())

    second = await fake.upload(picture(), purpose=Purpose.COVER_PHOTO)

    assert second.status is ProcessingStatus.PENDING
    assert fake.database.jobs == [QueuedJob(second.id, 1)]


async def test_an_upload_of_equal_bytes_heals_what_was_damaged(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"

    await fake.upload(picture(), owner=BOB)

    assert fake.blobs.contents[original_key(media.sha256)] == picture()


async def test_an_upload_revives_a_condemned_blob(fake: FakeService) -> None:
    first = await fake.upload_done(picture())
    await fake.service.deleting.delete(first.id, user=ALICE)

    second = await fake.upload(picture())

    assert fake.database.blobs[second.sha256].state is BlobState.LIVE
    fake.clock.advance(2 * GRACE)
    assert (await fake.service.housekeeping.sweep()).condemned_blobs == 0
    assert fake.blobs.contents[original_key(second.sha256)] == picture()


async def test_an_upload_of_what_was_swept_is_stored_again(fake: FakeService) -> None:
    first = await fake.upload_done(picture())
    await fake.service.deleting.delete(first.id, user=ALICE)
    await fake.service.housekeeping.sweep(grace=timedelta(0))

    second = await fake.upload_done(picture())

    assert not second.deduplicated
    assert second.status is ProcessingStatus.COMPLETED
    assert fake.blobs.contents[original_key(second.sha256)] == picture()


async def test_a_blob_swept_between_inspection_and_storing_is_stored_again(
    fake: FakeService,
) -> None:
    first = await fake.upload(picture())
    await fake.service.deleting.delete(first.id, user=ALICE)

    async def sweep() -> None:
        del fake.database.before["begin"]
        await fake.service.housekeeping.sweep(grace=timedelta(0))

    fake.database.before["begin"] = sweep
    second = await fake.upload(picture())

    blob = fake.database.blobs[second.sha256]
    assert (blob.state, blob.condemned_at) == (BlobState.LIVE, None)
    assert fake.blobs.contents == {blob.key: picture()}


# Idempotency keys


async def test_the_same_key_and_bytes_give_the_same_medium(fake: FakeService) -> None:
    first = await fake.upload(picture(), idempotency_key="k")

    assert await fake.upload(picture(), idempotency_key="k") == first
    assert len(fake.database.media) == len(fake.database.jobs) == 1


async def test_a_repeated_upload_is_answered_with_how_it_stands_now(fake: FakeService) -> None:
    await fake.upload_done(picture(), idempotency_key="k")

    again = await fake.upload(picture(), idempotency_key="k")

    assert again.status is ProcessingStatus.COMPLETED


async def test_the_same_key_for_other_bytes_is_refused(fake: FakeService) -> None:
    await fake.upload(picture("one"), idempotency_key="k")

    with pytest.raises(IdempotencyKeyReused):
        await fake.upload(picture("other"), idempotency_key="k")

    assert len(fake.blobs.contents) == len(fake.database.blobs) == 1


async def test_the_same_key_for_another_purpose_is_refused(fake: FakeService) -> None:
    await fake.upload(picture(), idempotency_key="k")

    with pytest.raises(IdempotencyKeyReused):
        await fake.upload(picture(), idempotency_key="k", purpose=Purpose.AVATAR)


async def test_another_owner_s_key_is_another_key(fake: FakeService) -> None:
    await fake.upload(picture("one"), idempotency_key="k")

    await fake.upload(picture("other"), idempotency_key="k", owner=BOB)


async def test_the_key_of_a_deleted_medium_is_free_again(fake: FakeService) -> None:
    first = await fake.upload(picture(), idempotency_key="k")
    await fake.service.deleting.delete(first.id, user=ALICE)

    second = await fake.upload(picture("other"), idempotency_key="k")

    assert second.id != first.id


async def test_the_key_of_an_expired_story_is_free_again(fake: FakeService) -> None:
    first = await fake.upload(picture(), purpose=Purpose.STORY, idempotency_key="k")
    fake.clock.now += timedelta(hours=25)

    second = await fake.upload(picture(), purpose=Purpose.STORY, idempotency_key="k")

    assert second.id != first.id
    assert fake.database.media[first.id].deleted_at is not None


async def test_repeats_at_once_give_one_medium(fake: FakeService) -> None:
    media = await asyncio.gather(*(fake.upload(picture(), idempotency_key="k") for _ in range(10)))

    assert len({m.id for m in media}) == len(fake.database.media) == 1


async def test_of_other_bytes_under_one_key_at_once_one_is_kept_and_the_rest_leave_nothing(
    fake: FakeService,
) -> None:
    answers = await asyncio.gather(
        *(fake.upload(picture(f"p{n}"), idempotency_key="k") for n in range(5)),
        return_exceptions=True,
    )

    refused = [answer for answer in answers if isinstance(answer, IdempotencyKeyReused)]
    assert len(refused) == 4
    [media] = fake.database.media.values()
    assert list(fake.blobs.contents) == [original_key(media.sha256)]
    assert list(fake.database.blobs) == [media.sha256]


# Order


class SlowStagedFile(InMemoryStagedFile):
    """Notes whether it was closed while it was being flushed."""

    is_flushing = False
    was_closed_early = False

    async def flush(self) -> None:
        self.is_flushing = True
        for _ in range(100):
            await asyncio.sleep(0)
        await super().flush()
        self.is_flushing = False

    def close(self) -> None:
        self.was_closed_early = self.is_flushing
        super().close()


class SlowStaging(InMemoryStaging):
    """Staging whose files take long to flush."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[SlowStagedFile] = []

    @asynccontextmanager
    async def new(self) -> AsyncIterator[StagedFile]:
        self.files.append(SlowStagedFile(self))
        yield self.files[-1]
        self.files[-1].close()


async def test_a_file_refused_while_it_is_flushed_goes_only_after_that(fake: FakeService) -> None:
    staging = SlowStaging()
    uploading = Uploading(
        database=fake.database,
        staging=staging,
        blobs=fake.blobs,
        codecs=fake.codecs,
        admitting=Admitting(queue=fake.database.queue, limits=QueueLimits()),
        repairing=Repairing(database=fake.database, cache=fake.cache, clock=fake.clock),
        policies=DEFAULT_POLICIES,
        clock=fake.clock,
    )
    fake.codecs.inspect_error = BrokenFile()

    with pytest.raises(BrokenFile):
        await uploading.upload(a_declaration(), in_chunks(picture()))

    assert [(file.flushes, file.was_closed_early) for file in staging.files] == [(1, False)]


async def test_bytes_lie_where_they_belong_before_the_rows_are_seen(fake: FakeService) -> None:
    seen: list[bool] = []

    async def look() -> None:
        seen.append(bool(fake.blobs.contents))

    fake.database.before["commit"] = look
    await fake.upload()

    assert seen == [True]
