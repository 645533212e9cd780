from __future__ import annotations

import asyncio

import pytest
from fakes.in_memory_database import QueuedJob
from fakes.samples import ALICE, BOB, recipe_of
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import original_key
from media_service.core.errors import (
    BrokenFile,
    DatabaseUnavailable,
    DecoderUnavailable,
    MediaDamaged,
    MediaError,
    MediaNotFound,
    MetadataTooLarge,
    NotTheOwner,
    StorageFull,
    StorageUnavailable,
    TooComplex,
)
from media_service.core.media import (
    Media,
    ProcessingStatus,
    Purpose,
    Visibility,
    new_media_id,
)
from media_service.core.renditions import ProcessingOptions

SMALL = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, max_width=100)


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _row(fake: FakeService, media: Media) -> Media:
    return fake.database.media[media.id]


async def _run(fake: FakeService, media: Media) -> ProcessingStatus:
    return await fake.service.processing.run(media.id, revision=media.revision)


async def _running(fake: FakeService, media: Media) -> asyncio.Task[ProcessingStatus]:
    """A job that has come as far as the decoder, which waits for `gate`."""
    fake.codecs.gate.clear()
    begun = len(fake.codecs.developed)
    task = asyncio.create_task(_run(fake, media))
    while len(fake.codecs.developed) == begun:
        await asyncio.sleep(0)
    return task


# Jobs


async def test_a_job_ends_with_every_rendition_made(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.clock.now = fake.clock.now.replace(hour=20)

    assert await _run(fake, media) is ProcessingStatus.COMPLETED

    row = _row(fake, media)
    assert row.status is ProcessingStatus.COMPLETED
    assert row.updated_at == fake.clock.now
    for rendition in row.renditions:
        made = fake.database.renditions[media.sha256, rendition.recipe.key]
        content = fake.blobs.contents[made.key]
        assert content == developed_bytes(picture(), rendition.recipe)
        assert rendition.size_bytes == made.size_bytes == len(content)


async def test_a_job_makes_all_renditions_from_one_decode(fake: FakeService) -> None:
    media = await fake.upload()

    await _run(fake, media)

    assert fake.codecs.developed == [[r.recipe.key for r in media.renditions]]


async def test_a_medium_is_processing_while_its_job_runs(fake: FakeService) -> None:
    media = await fake.upload()

    job = await _running(fake, media)

    assert _row(fake, media).status is ProcessingStatus.PROCESSING
    fake.codecs.gate.set()
    await job


async def test_readers_see_every_state_at_once(fake: FakeService) -> None:
    media = await fake.upload()
    seen = [(await fake.service.reading.get(media.id)).status]

    job = await _running(fake, media)
    seen.append((await fake.service.reading.get(media.id)).status)
    fake.codecs.gate.set()
    await job
    seen.append((await fake.service.reading.get(media.id)).status)

    assert seen == ["pending", "processing", "completed"]


async def test_a_repeated_job_changes_nothing(fake: FakeService) -> None:
    media = await fake.upload_done()

    assert await _run(fake, media) is ProcessingStatus.COMPLETED

    assert _row(fake, media) == media
    assert len(fake.codecs.developed) == 1


async def test_a_job_done_twice_at_once_shows_one_result(fake: FakeService) -> None:
    media = await fake.upload()

    await asyncio.gather(_run(fake, media), _run(fake, media))

    assert _row(fake, media).status is ProcessingStatus.COMPLETED
    assert len(fake.codecs.developed) == 1


async def test_a_job_for_no_medium_is_cancelled(fake: FakeService) -> None:
    status = await fake.service.processing.run(new_media_id(), revision=1)

    assert status is ProcessingStatus.CANCELLED


async def test_a_job_for_a_deleted_medium_is_cancelled(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.deleting.delete(media.id, user=ALICE)

    assert await _run(fake, media) is ProcessingStatus.CANCELLED

    assert fake.codecs.developed == []


async def test_a_job_whose_medium_is_deleted_meanwhile_is_cancelled(fake: FakeService) -> None:
    media = await fake.upload()
    job = await _running(fake, media)

    await fake.service.deleting.delete(media.id, user=ALICE)
    fake.codecs.gate.set()

    assert await job is ProcessingStatus.CANCELLED
    assert _row(fake, media).status is ProcessingStatus.CANCELLED
    assert _row(fake, media).deleted_at == fake.clock.now


async def test_a_job_of_an_earlier_revision_does_nothing(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)

    await _run(fake, media)

    assert _row(fake, media).status is ProcessingStatus.PENDING
    assert fake.codecs.developed == []


async def test_a_job_overtaken_by_a_new_revision_does_not_show(fake: FakeService) -> None:
    media = await fake.upload()
    job = await _running(fake, media)

    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)
    fake.codecs.gate.set()
    await job

    row = _row(fake, media)
    assert (row.status, row.revision, row.options) == (ProcessingStatus.PENDING, 2, SMALL)


@pytest.mark.parametrize("error", [BrokenFile(), TooComplex(), None])
async def test_a_worker_that_comes_late_does_not_undo_what_another_completed(
    fake: FakeService, error: MediaError | None
) -> None:
    media = await fake.upload()
    late = await _running(fake, media)
    done = media.advanced(ProcessingStatus.COMPLETED, fake.clock.now)
    await fake.database.latest.media.update(done, revision=1)
    fake.clock.now = fake.clock.now.replace(hour=20)

    fake.codecs.develop_error = error
    fake.codecs.gate.set()
    await late

    assert _row(fake, media) == done


async def test_a_worker_that_was_given_up_may_still_complete(fake: FakeService) -> None:
    media = await fake.upload()
    late = await _running(fake, media)
    await fake.service.processing.give_up(media.id, revision=1, code="too_complex")

    fake.codecs.gate.set()

    assert await late is ProcessingStatus.COMPLETED
    row = _row(fake, media)
    assert (row.status, row.failure_code) == (ProcessingStatus.COMPLETED, "")


# Failures


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BrokenFile(), "broken_file"),
        (TooComplex(), "too_complex"),
        (MetadataTooLarge(), "metadata_too_large"),
    ],
)
async def test_a_file_at_fault_fails_with_a_code(
    fake: FakeService, error: MediaError, code: str
) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = error

    assert await _run(fake, media) is ProcessingStatus.FAILED

    row = _row(fake, media)
    assert (row.status, row.failure_code) == (ProcessingStatus.FAILED, code)


async def test_a_failed_job_is_not_tried_again(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = BrokenFile()
    await _run(fake, media)
    fake.codecs.develop_error = None

    assert await _run(fake, media) is ProcessingStatus.FAILED

    assert len(fake.codecs.developed) == 1


@pytest.mark.parametrize("error", [DecoderUnavailable, StorageFull, StorageUnavailable])
async def test_an_error_that_may_pass_is_left_to_another_attempt(
    fake: FakeService, error: type[MediaError]
) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = error()

    with pytest.raises(error):
        await _run(fake, media)

    assert _row(fake, media).status is ProcessingStatus.PROCESSING
    fake.codecs.develop_error = None
    assert await _run(fake, media) is ProcessingStatus.COMPLETED


async def test_a_database_that_is_away_is_left_to_another_attempt(fake: FakeService) -> None:
    media = await fake.upload()
    fake.database.go_away()
    with pytest.raises(DatabaseUnavailable):
        await _run(fake, media)

    fake.database.come_back()

    assert await _run(fake, media) is ProcessingStatus.COMPLETED


async def test_a_damaged_original_is_left_to_another_attempt(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"
    with pytest.raises(MediaDamaged):
        await _run(fake, media)

    await fake.upload(picture(), owner=BOB)

    assert await _run(fake, media) is ProcessingStatus.COMPLETED


async def test_after_the_last_attempt_a_medium_is_given_up(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.reading.get(media.id)

    await fake.service.processing.give_up(media.id, revision=1, code="storage_unavailable")

    row = await fake.service.reading.get(media.id)
    assert (row.status, row.failure_code) == (ProcessingStatus.FAILED, "storage_unavailable")


@pytest.mark.parametrize("revision", [0, 2])
async def test_another_revision_is_not_given_up(fake: FakeService, revision: int) -> None:
    media = await fake.upload()

    await fake.service.processing.give_up(media.id, revision=revision, code="x")

    assert _row(fake, media) == media


async def test_what_is_completed_is_not_given_up(fake: FakeService) -> None:
    media = await fake.upload_done()

    await fake.service.processing.give_up(media.id, revision=1, code="x")

    assert _row(fake, media) == media


async def test_nothing_can_be_given_up(fake: FakeService) -> None:
    await fake.service.processing.give_up(new_media_id(), revision=1, code="x")

    assert fake.database.media == {}


# Requests


async def test_other_options_begin_a_new_revision(fake: FakeService) -> None:
    media = await fake.upload_done()

    asked = await fake.service.processing.request(media.id, user=ALICE, options=SMALL)

    assert asked == _row(fake, media)
    assert (asked.revision, asked.status, asked.options) == (2, ProcessingStatus.PENDING, SMALL)
    assert recipe_of(asked.renditions[0]).width == 100
    assert fake.database.jobs == [QueuedJob(media.id, 2)]


async def test_equal_options_change_nothing(fake: FakeService) -> None:
    media = await fake.upload_done(options=SMALL)

    assert await fake.service.processing.request(media.id, user=ALICE, options=SMALL) == media

    assert _row(fake, media) == media
    assert fake.database.jobs == []


async def test_equal_requests_at_once_begin_one_revision(fake: FakeService) -> None:
    media = await fake.upload_done()

    await asyncio.gather(
        *(fake.service.processing.request(media.id, user=ALICE, options=SMALL) for _ in range(5))
    )

    assert _row(fake, media).revision == 2
    assert fake.database.jobs == [QueuedJob(media.id, 2)]


async def test_what_failed_is_tried_again_with_equal_options(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.processing.give_up(media.id, revision=1, code="storage_unavailable")

    asked = await fake.service.processing.request(media.id, user=ALICE, options=None)
    await fake.work()

    assert (asked.revision, asked.failure_code) == (2, "")
    assert _row(fake, media).status is ProcessingStatus.COMPLETED


async def test_a_blurhash_can_be_declined_and_asked_for_again(fake: FakeService) -> None:
    media = await fake.upload_done(picture("sea"))
    none = ProcessingOptions(generate_thumbnails=True, generate_blurhash=False)

    without = await fake.service.processing.request(media.id, user=ALICE, options=none)
    again = await fake.service.processing.request(media.id, user=ALICE, options=None)

    assert (media.blurhash, without.blurhash, again.blurhash) == ("Lsea", "", "Lsea")


async def test_readers_see_a_new_revision_at_once(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.service.reading.get(media.id)

    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)

    assert (await fake.service.reading.get(media.id)).revision == 2


@pytest.mark.parametrize(
    ("visibility", "error"),
    [(Visibility.PUBLIC, NotTheOwner), (Visibility.PRIVATE, MediaNotFound)],
)
async def test_another_may_ask_for_nothing(
    fake: FakeService, visibility: Visibility, error: type[MediaError]
) -> None:
    media = await fake.upload_done(visibility=visibility)

    with pytest.raises(error):
        await fake.service.processing.request(media.id, user=BOB, options=SMALL)

    assert _row(fake, media) == media


async def test_nobody_asks_for_what_is_not_there(fake: FakeService) -> None:
    with pytest.raises(MediaNotFound):
        await fake.service.processing.request(new_media_id(), user=ALICE, options=None)


async def test_the_owner_asks_in_vain_for_what_is_gone(fake: FakeService) -> None:
    deleted = await fake.upload_done()
    await fake.service.deleting.delete(deleted.id, user=ALICE)
    expired = await fake.upload_done(purpose=Purpose.STORY)
    assert expired.expires_at
    fake.clock.now = expired.expires_at

    for media in (deleted, expired):
        with pytest.raises(MediaNotFound):
            await fake.service.processing.request(media.id, user=ALICE, options=SMALL)


async def test_a_request_does_not_bring_a_deleted_medium_back(fake: FakeService) -> None:
    media = await fake.upload_done()

    async def delete() -> None:
        del fake.database.before["begin"]
        await fake.service.deleting.delete(media.id, user=ALICE)

    fake.database.before["begin"] = delete
    with pytest.raises(MediaNotFound):
        await fake.service.processing.request(media.id, user=ALICE, options=SMALL)

    assert _row(fake, media).deleted_at
    assert fake.database.jobs == []
