"""Media whose renditions are made in stages: what is shown when, and what becomes of failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.in_memory_database import QueuedJob
from fakes.patience import eventually
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import film, picture, sound
from fakes.service import FakeService, fake_service
from media_service.core.blobs import developing_lock, original_key
from media_service.core.developing import DevelopingLimits
from media_service.core.errors import (
    BrokenFile,
    DatabaseUnavailable,
    DecoderUnavailable,
    MediaDamaged,
    RenditionNotReady,
)
from media_service.core.jobs import JobFilter, Queue, Urgency
from media_service.core.media import Media, ProcessingStatus, Purpose
from media_service.core.recipes import StreamRecipe
from media_service.core.renditions import ProcessingOptions, Stage

SMALL = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, max_width=100)
LOUD = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, normalize_loudness=True)
POST = {"purpose": Purpose.POST_ATTACHMENT, "filename": "", "content_type": ""}


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def _upload(fake: FakeService, content: bytes | None = None, **declared: Any) -> Media:
    return await fake.upload(content or film(), **{**POST, **declared})


async def _uploaded_and_shown(fake: FakeService, **declared: Any) -> Media:
    """A film whose first job is done: what takes minutes waits in its queue."""
    media = await _upload(fake, **declared)
    assert await fake.do(fake.database.jobs.pop()) is ProcessingStatus.PROCESSING
    return media


def _row(fake: FakeService, media: Media) -> Media:
    return fake.database.media[media.id]


def _made(media: Media) -> set[str]:
    return {r.name for r in media.renditions if r.size_bytes}


def _of(media: Media, *stages: Stage) -> set[str]:
    return {r.name for r in media.renditions if r.stage in stages}


async def _transcode(fake: FakeService, media: Media) -> ProcessingStatus:
    return await fake.service.processing.transcode(media.id, revision=media.revision)


async def _transcoding(fake: FakeService, media: Media) -> asyncio.Task[ProcessingStatus]:
    """A job that has come as far as the encoder, which waits for `slow_gate`."""
    fake.codecs.slow_gate.clear()
    task = asyncio.create_task(_transcode(fake, media))
    begun = len(fake.codecs.developed)
    await eventually(lambda: len(fake.codecs.developed) > begun)
    return task


async def _looked_again(fake: FakeService) -> None:
    """The job has looked whether equal bytes wait for what it makes, and gone on."""
    before = fake.database.calls["media.holding"]
    await eventually(lambda: fake.database.calls["media.holding"] > before + 1)


def _made_how_often(fake: FakeService, media: Media, name: str) -> int:
    rendition = media.rendition(name)
    assert rendition
    return sum(rendition.recipe.key in keys for keys in fake.codecs.developed)


# The way through


async def test_the_first_stage_is_made_and_the_rest_is_queued_at_once(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)

    row = _row(fake, media)
    assert row.status is ProcessingStatus.PROCESSING
    assert _made(row) == _of(media, Stage.PREVIEW)
    [job] = fake.database.jobs
    assert job == QueuedJob(media.id, 1, queue=Queue.TRANSCODING)


async def test_each_stage_is_made_in_one_go_and_shown_when_it_is_there(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)
    fake.codecs.slow_gate.set()
    shown: list[set[str]] = []

    async def look() -> None:
        shown.append(_made(_row(fake, media)))

    fake.database.before["renditions.put"] = look
    assert await job is ProcessingStatus.COMPLETED

    assert shown == [_of(media, Stage.PREVIEW), _of(media, Stage.PREVIEW, Stage.PLAYABLE)]
    assert _made(_row(fake, media)) == {r.name for r in media.renditions}
    stages = [{r.recipe.key for r in media.renditions if r.stage is s} for s in Stage]
    assert [set(keys) for keys in fake.codecs.developed] == stages


async def test_the_urgency_of_a_job_is_that_of_the_next(fake: FakeService) -> None:
    media = await _upload(fake)

    await fake.service.processing.run(media.id, revision=1, urgency=Urgency.BACKFILL)

    assert fake.database.jobs[-1].urgency is Urgency.BACKFILL


async def test_sounds_come_in_stages_too(fake: FakeService) -> None:
    media = await fake.upload_done(sound(), **POST)

    assert media.status is ProcessingStatus.COMPLETED
    assert [len(keys) for keys in fake.codecs.developed] == [2, 1, 1]


async def test_the_row_and_the_next_job_are_written_together(fake: FakeService) -> None:
    media = await _upload(fake)

    async def away() -> None:
        raise DatabaseUnavailable

    fake.database.before["jobs.enqueue_transcoding"] = away
    with pytest.raises(DatabaseUnavailable):
        await fake.service.processing.run(media.id, revision=1)

    assert _made(_row(fake, media)) == set()
    assert fake.database.jobs == [QueuedJob(media.id, 1)]


# Progress


async def test_progress_is_shown_while_a_stage_is_made(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    fake.codecs.shares = (0.3,)

    job = await _transcoding(fake, media)

    await eventually(lambda: _row(fake, media).stage_percent == 30)
    assert _row(fake, media).progress_percent == (100 + 30 + 0) // 3
    assert (await fake.service.reading.get(media.id)).progress_percent == 43
    fake.codecs.slow_gate.set()
    await job
    assert _row(fake, media).progress_percent == 100


async def test_progress_never_falls(fake: FakeService) -> None:
    media = await _upload(fake)
    fake.codecs.shares = (0.2, 0.9, 0.4)
    seen: list[int] = []

    async def look() -> None:
        seen.append(_row(fake, media).progress_percent)

    for name in ("media.update", "media.note_progress", "renditions.put", "renditions.find"):
        fake.database.before[name] = look
    await fake.work()

    seen.append(_row(fake, media).progress_percent)
    assert seen == sorted(seen)
    assert seen[-1] == 100


async def test_progress_does_not_fall_when_a_job_begins_again(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    await fake.database.latest.media.note_progress(media.id, revision=1, percent=80)
    fake.codecs.shares = (0.1,)

    job = await _transcoding(fake, media)
    await asyncio.sleep(0.02)

    assert _row(fake, media).stage_percent == 80
    fake.codecs.slow_gate.set()
    await job


async def test_progress_that_cannot_be_told_holds_nothing_up(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)

    async def away() -> None:
        raise DatabaseUnavailable

    fake.database.before["media.note_progress"] = away
    job = await _transcoding(fake, media)
    await eventually(lambda: fake.database.calls["media.note_progress"] > 0)
    fake.codecs.slow_gate.set()

    assert await job is ProcessingStatus.COMPLETED


async def test_what_is_made_is_shown_while_the_rest_is_made_anew(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)

    again = await fake.service.processing.request(media.id, user=ALICE, options=SMALL)

    assert again.status is ProcessingStatus.PENDING
    assert _made(again) == _made(media) - {"poster"}


# Late and repeated jobs


async def test_a_repeated_job_changes_nothing(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)

    assert await _transcode(fake, media) is ProcessingStatus.COMPLETED

    assert _row(fake, media) == media
    assert len(fake.codecs.developed) == 3


async def test_a_new_revision_breaks_the_work_on_another_film_off(fake: FakeService) -> None:
    media = await _upload(fake, sound())
    await fake.do(fake.database.jobs.pop())
    fake.codecs.shares = (0.1, 0.2)
    job = await _transcoding(fake, media)

    await fake.service.processing.request(media.id, user=ALICE, options=LOUD)
    fake.codecs.shares = (0.1,)

    async with asyncio.timeout(5):
        assert await job is ProcessingStatus.CANCELLED
    assert len(fake.codecs.broken_off) == 1
    assert fake.staging.open_files == 0
    row = _row(fake, media)
    assert (row.status, row.revision) == (ProcessingStatus.PENDING, 2)


async def test_a_new_revision_finds_made_what_is_the_same(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)

    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)
    await _looked_again(fake)
    fake.codecs.slow_gate.set()

    assert await job is ProcessingStatus.CANCELLED
    await fake.work()
    assert _row(fake, media).status is ProcessingStatus.COMPLETED
    assert _made_how_often(fake, media, "full") == 1


async def test_work_that_has_nothing_new_to_tell_is_broken_off_too(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    fake.codecs.shares = (0.1,)
    job = await _transcoding(fake, media)
    await eventually(lambda: _row(fake, media).stage_percent == 10)

    await fake.service.deleting.delete(media.id, user=ALICE)

    async with asyncio.timeout(5):
        assert await job is ProcessingStatus.CANCELLED
    assert len(fake.codecs.broken_off) == 1


async def test_a_job_that_is_cancelled_leaves_nothing(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    before = dict(fake.blobs.contents)
    job = await _transcoding(fake, media)

    await fake.service.deleting.delete(media.id, user=ALICE)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job

    assert len(fake.codecs.broken_off) == 1
    assert fake.staging.open_files == 0
    assert fake.blobs.contents == before
    assert _row(fake, media).status is ProcessingStatus.CANCELLED


async def test_what_is_done_when_its_medium_is_gone_does_not_show(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)

    await fake.service.deleting.delete(media.id, user=ALICE)
    fake.codecs.slow_gate.set()

    assert await job is ProcessingStatus.CANCELLED
    assert _row(fake, media).deleted_at


async def test_two_that_make_the_same_at_once_leave_one_result(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    other = fake_service(beside=fake)
    other.codecs.engine = "other"
    late = await _transcoding(fake, media)

    assert await _transcode(other, media) is ProcessingStatus.COMPLETED
    row = _row(fake, media)
    stored = dict(fake.database.renditions)
    fake.codecs.slow_gate.set()

    assert await late in (ProcessingStatus.COMPLETED, ProcessingStatus.CANCELLED)
    assert _row(fake, media) == row
    assert fake.database.renditions == stored


# Equal bytes


async def test_equal_bytes_are_transcoded_once(fake: FakeService) -> None:
    first = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, first)

    second = await _upload(fake, owner=BOB)
    assert await fake.do(fake.database.jobs.pop()) is ProcessingStatus.PROCESSING
    waiting = asyncio.create_task(_transcode(fake, second))
    fake.codecs.slow_gate.set()

    assert [await job, await waiting] == [ProcessingStatus.COMPLETED] * 2
    assert len(fake.codecs.developed) == 3
    assert _made(_row(fake, second)) == {r.name for r in first.renditions}


async def test_what_equal_bytes_wait_for_is_made_though_its_medium_goes(fake: FakeService) -> None:
    first = await _uploaded_and_shown(fake)
    second = await _uploaded_and_shown(fake, owner=BOB)
    job = await _transcoding(fake, first)

    await fake.service.deleting.delete(first.id, user=ALICE)
    await _looked_again(fake)
    fake.codecs.slow_gate.set()

    assert await job is ProcessingStatus.CANCELLED
    assert await _transcode(fake, second) is ProcessingStatus.COMPLETED
    assert fake.codecs.broken_off == []
    assert len(fake.codecs.developed) == 3


async def test_what_the_last_of_equal_bytes_waits_for_goes_with_it(fake: FakeService) -> None:
    first = await _uploaded_and_shown(fake)
    second = await _uploaded_and_shown(fake, owner=BOB)
    job = await _transcoding(fake, first)
    await fake.service.deleting.delete(first.id, user=ALICE)
    await _looked_again(fake)

    await fake.service.deleting.delete(second.id, user=BOB)

    async with asyncio.timeout(5):
        assert await job is ProcessingStatus.CANCELLED
    assert len(fake.codecs.broken_off) == 1


async def test_what_equal_bytes_want_otherwise_is_not_made_for_them(fake: FakeService) -> None:
    first = await _upload(fake, sound())
    await fake.do(fake.database.jobs.pop())
    job = await _transcoding(fake, first)
    await _upload(fake, sound(), owner=BOB, options=LOUD)

    await fake.service.deleting.delete(first.id, user=ALICE)

    async with asyncio.timeout(5):
        assert await job is ProcessingStatus.CANCELLED
    assert len(fake.codecs.broken_off) == 1


async def test_equal_bytes_are_completed_at_once_when_all_is_made(fake: FakeService) -> None:
    await fake.upload_done(film(), **POST)

    second = await _upload(fake, owner=BOB)

    assert second.status is ProcessingStatus.COMPLETED
    assert fake.database.jobs == []


async def test_equal_bytes_show_at_once_what_is_made(fake: FakeService) -> None:
    first = await _uploaded_and_shown(fake)

    second = await _upload(fake, owner=BOB)

    assert _made(second) == _of(first, Stage.PREVIEW)
    assert second.status is ProcessingStatus.PENDING


# Failures


async def test_a_failure_half_way_keeps_what_was_made(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    fake.codecs.slow_error = BrokenFile()

    assert await _transcode(fake, media) is ProcessingStatus.FAILED

    row = _row(fake, media)
    assert (row.failure_code, _made(row)) == ("broken_file", _of(media, Stage.PREVIEW))
    assert fake.staging.open_files == 0
    assert len(fake.database.renditions) == len(_of(media, Stage.PREVIEW))


async def test_a_picture_is_complete_without_a_film_that_cannot_be_made(fake: FakeService) -> None:
    media = await fake.upload(picture(frames=12), **POST)
    assert _of(media, Stage.COMPLETE) == {"motion"}
    await fake.do(fake.database.jobs.pop())
    fake.codecs.develop_error = BrokenFile()

    assert await _transcode(fake, media) is ProcessingStatus.COMPLETED

    row = _row(fake, media)
    assert row.rendition("motion") is None
    assert all(rendition.size_bytes for rendition in row.renditions)


async def test_a_picture_is_complete_though_a_film_of_it_was_given_up(fake: FakeService) -> None:
    media = await fake.upload(picture(frames=12), **POST)
    await fake.do(fake.database.jobs.pop())

    await fake.service.processing.give_up(media.id, revision=media.revision, code="too_complex")

    row = _row(fake, media)
    assert (row.status, row.failure_code) == (ProcessingStatus.COMPLETED, "")
    assert row.rendition("motion") is None


async def test_a_picture_that_was_given_up_before_anything_was_made_failed(
    fake: FakeService,
) -> None:
    media = await fake.upload(picture(frames=12), **POST)
    await fake.service.processing.give_up(media.id, revision=media.revision, code="too_complex")

    row = _row(fake, media)
    assert (row.status, row.failure_code) == (ProcessingStatus.FAILED, "too_complex")


async def test_a_failure_that_passes_is_left_to_another_attempt(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    fake.codecs.slow_error = DecoderUnavailable()
    with pytest.raises(DecoderUnavailable):
        await _transcode(fake, media)
    assert _row(fake, media).status is ProcessingStatus.PROCESSING

    fake.codecs.slow_error = None

    assert await _transcode(fake, media) is ProcessingStatus.COMPLETED


async def test_the_database_may_go_away_while_a_film_is_transcoded(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)

    fake.database.go_away()
    await asyncio.sleep(0.02)
    fake.database.come_back()
    fake.codecs.slow_gate.set()

    assert await job is ProcessingStatus.COMPLETED


async def test_a_database_that_is_away_at_the_end_is_left_to_another_attempt(
    fake: FakeService,
) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)
    fake.database.go_away()
    fake.codecs.slow_gate.set()
    with pytest.raises(DatabaseUnavailable):
        await job
    fake.database.come_back()
    assert _made(_row(fake, media)) == _of(media, Stage.PREVIEW)

    assert await _transcode(fake, media) is ProcessingStatus.COMPLETED


async def test_a_damaged_original_is_noted(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"

    with pytest.raises(MediaDamaged):
        await _transcode(fake, media)

    assert fake.database.blobs[media.sha256].damaged_at


# What else goes on meanwhile


async def test_previews_are_made_while_a_film_of_equal_bytes_is_transcoded() -> None:
    fake = fake_service(limits=DevelopingLimits(at_once=1))
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)

    async with asyncio.timeout(5):
        other = await _upload(fake, owner=BOB, options=SMALL)
        await fake.developing.ensure(other)
        async with fake.database.transaction(developing_lock(media.sha256)):
            pass

    fake.codecs.slow_gate.set()
    assert await job is ProcessingStatus.COMPLETED


async def test_no_more_films_are_transcoded_at_once_than_allowed() -> None:
    fake = fake_service(limits=DevelopingLimits(at_once=9, transcodes=2))
    media = [await _uploaded_and_shown(fake, content=film(name)) for name in "abc"]
    fake.codecs.slow_gate.clear()
    before = len(fake.codecs.developed)
    jobs = [asyncio.create_task(_transcode(fake, m)) for m in media]

    await eventually(lambda: len(fake.codecs.developed) == before + 2)
    await asyncio.sleep(0.02)

    assert len(fake.codecs.developed) == before + 2
    fake.codecs.slow_gate.set()
    assert await asyncio.gather(*jobs) == [ProcessingStatus.COMPLETED] * 3


async def test_a_stream_of_which_a_part_is_missing_is_made_anew_as_a_whole(
    fake: FakeService,
) -> None:
    media = await fake.upload_done(film(), **POST)
    parts = {r.recipe.key for r in media.renditions if isinstance(r.recipe, StreamRecipe)}
    del fake.database.renditions[media.sha256, min(parts)]

    await fake.developing.ensure(media, stage=Stage.COMPLETE)

    assert set(fake.codecs.developed[-1]) == parts


async def test_what_is_forgotten_meanwhile_is_left_to_another_attempt(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    job = await _transcoding(fake, media)
    poster = media.rendition("poster")
    assert poster
    del fake.database.renditions[media.sha256, poster.recipe.key]

    fake.codecs.slow_gate.set()
    with pytest.raises(RenditionNotReady):
        await job

    assert await _transcode(fake, media) is ProcessingStatus.COMPLETED


# What operators do


async def test_a_job_that_is_begun_again_begins_at_the_first_stage(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    [job] = await fake.service.queueing.find(JobFilter(), limit=9)
    assert job.queue is Queue.TRANSCODING

    assert await fake.service.queueing.retry([job.id]) == [job.id]

    assert fake.database.jobs == [QueuedJob(media.id, 2)]
    await fake.work()
    assert _row(fake, media).status is ProcessingStatus.COMPLETED
    assert len(fake.codecs.developed) == 3


async def test_a_cancelled_job_leaves_what_was_made(fake: FakeService) -> None:
    media = await _uploaded_and_shown(fake)
    [job] = await fake.service.queueing.find(JobFilter(), limit=9)

    await fake.service.queueing.cancel([job.id])

    row = _row(fake, media)
    assert (row.failure_code, _made(row)) == ("cancelled_by_operator", _of(media, Stage.PREVIEW))
    assert fake.database.jobs == []
