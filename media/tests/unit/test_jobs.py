from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.admitting import Admitting
from media_service.core.errors import (
    BrokenFile,
    DatabaseUnavailable,
    DecoderUnavailable,
    MediaDamaged,
    QueueFull,
    StorageFull,
    StorageUnavailable,
    TooManyUploads,
    is_passing,
)
from media_service.core.jobs import (
    KILLED_TRIES,
    SLOW_TRIES,
    TRIES,
    JobFilter,
    QueueLimits,
    Urgency,
    final_code,
    next_try,
    slow_tries_after,
)
from media_service.core.media import ProcessingStatus
from media_service.core.renditions import ProcessingOptions

ALL = JobFilter()
TINY = QueueLimits(waiting=3, of_one_owner=2)
SMALL = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, max_width=100)


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


# When a job is tried again


def test_pauses_grow_and_spread() -> None:
    shortest = [next_try(n, slow_tries=0, luck=0) for n in range(1, TRIES)]
    longest = [next_try(n, slow_tries=0, luck=1) for n in range(1, TRIES)]

    assert shortest == [timedelta(seconds=s) for s in (2, 4, 8, 16)]
    assert longest == [timedelta(seconds=s) for s in (3, 6, 12, 24)]


def test_what_does_not_pass_is_over_after_five_tries() -> None:
    assert next_try(TRIES, slow_tries=slow_tries_after(BrokenFile()), luck=0) is None


def test_what_passes_is_tried_hourly_for_days() -> None:
    slow_tries = slow_tries_after(StorageUnavailable())

    assert next_try(TRIES, slow_tries=slow_tries, luck=0) == timedelta(minutes=45)
    assert next_try(TRIES, slow_tries=slow_tries, luck=1) == timedelta(minutes=75)
    assert next_try(TRIES + SLOW_TRIES - 1, slow_tries=slow_tries, luck=0)
    assert next_try(TRIES + SLOW_TRIES, slow_tries=slow_tries, luck=0) is None


def test_what_decoders_are_killed_at_is_tried_for_hours() -> None:
    slow_tries = slow_tries_after(DecoderUnavailable(was_killed=True))

    assert next_try(TRIES + KILLED_TRIES - 1, slow_tries=slow_tries, luck=0)
    assert next_try(TRIES + KILLED_TRIES, slow_tries=slow_tries, luck=0) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DecoderUnavailable(was_killed=True), "too_complex"),
        (DecoderUnavailable(), "decoder_unavailable"),
        (ZeroDivisionError(), "internal_error"),
    ],
)
def test_what_is_given_up_says_why(error: Exception, code: str) -> None:
    assert final_code(error) == code


@pytest.mark.parametrize(
    "error", [StorageUnavailable(), DatabaseUnavailable(), StorageFull(), MediaDamaged(),
              TooManyUploads()],
)  # fmt: skip
def test_outages_pass(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize("error", [BrokenFile(), ZeroDivisionError()])
def test_broken_files_and_bugs_do_not(error: Exception) -> None:
    assert not is_passing(error)


# Limits


async def test_a_full_queue_takes_nothing_in_and_keeps_nothing() -> None:
    fake = fake_service(queue_limits=QueueLimits(waiting=0, of_one_owner=0))

    with pytest.raises(QueueFull):
        await fake.upload()

    assert fake.blobs.contents == {}
    assert fake.staging.open_files == 0


async def test_an_owner_s_part_of_the_queue_is_limited_too() -> None:
    fake = fake_service(queue_limits=TINY)
    for name in "ab":
        await fake.upload(picture(name))
    beside = fake_service(beside=fake, queue_limits=TINY)

    with pytest.raises(QueueFull):
        await beside.upload(picture("c"))

    await beside.upload(picture("d"), owner=BOB)


async def test_a_full_queue_refuses_processing_too_but_not_reading_and_deleting() -> None:
    fake = fake_service()
    media = await fake.upload_done()
    full = fake_service(beside=fake, queue_limits=QueueLimits(waiting=0, of_one_owner=0))

    with pytest.raises(QueueFull):
        await full.service.processing.request(media.id, user=ALICE, options=SMALL)

    await full.service.reading.get(media.id)
    await full.service.deleting.delete(media.id, user=ALICE)


async def test_the_queue_is_counted_once_a_second_at_most(fake: FakeService) -> None:
    now = 0.0
    admitting = Admitting(
        queue=fake.database.queue,
        limits=QueueLimits(),
        monotonic=lambda: now,
    )
    for _ in range(100):
        await admitting.admit(ALICE)
    assert fake.database.queue.counted == 1

    now = 1.0
    await admitting.admit(ALICE)

    assert fake.database.queue.counted == 2


# Operators


async def test_a_cancelled_job_fails_its_medium_until_it_is_asked_for_again(
    fake: FakeService,
) -> None:
    media = await fake.upload()
    [job] = await fake.service.queueing.find(ALL, limit=9)

    await fake.service.queueing.cancel([job.id])

    known = await fake.service.reading.get(media.id)
    assert (known.status, known.failure_code) == ("failed", "cancelled_by_operator")
    assert fake.database.jobs == []
    await fake.service.processing.request(media.id, user=ALICE, options=None)
    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED


async def test_what_was_completed_meanwhile_stays_so(fake: FakeService) -> None:
    media = await fake.upload()
    [job] = await fake.service.queueing.find(ALL, limit=9)
    await fake.service.processing.run(media.id, revision=1)

    assert await fake.service.queueing.retry([job.id]) == []
    await fake.service.queueing.cancel([job.id])

    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED
    assert fake.database.jobs == []


async def test_a_job_begun_again_keeps_its_urgency(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.service.processing.request(
        media.id, user=ALICE, options=SMALL, urgency=Urgency.BACKFILL
    )
    [job] = await fake.service.queueing.find(ALL, limit=9)

    assert await fake.service.queueing.retry([job.id]) == [job.id]

    [again] = await fake.service.queueing.find(ALL, limit=9)
    assert (again.urgency, again.revision) == (Urgency.BACKFILL, 3)


async def test_a_deleted_medium_s_job_goes_with_it(fake: FakeService) -> None:
    media = await fake.upload()

    await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.database.jobs == []


# Progress


async def test_progress_tells_what_was_made_before(fake: FakeService) -> None:
    media = await fake.upload_done()
    assert media.progress_percent == 100
    again = await fake.service.processing.request(media.id, user=ALICE, options=SMALL)
    assert again.progress_percent == 75
    seen: list[int] = []

    async def look() -> None:
        seen.append(fake.database.media[media.id].progress_percent)

    fake.database.before["renditions.put"] = look
    await fake.work()

    assert seen == [75]
    assert fake.database.media[media.id].progress_percent == 100


async def test_a_job_put_off_shows_its_medium_pending(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = StorageUnavailable()
    with pytest.raises(StorageUnavailable):
        await fake.service.processing.run(media.id, revision=1)
    assert fake.database.media[media.id].status is ProcessingStatus.PROCESSING

    await fake.service.processing.postpone(media.id, revision=1)

    assert fake.database.media[media.id].status is ProcessingStatus.PENDING
