"""What every queue of jobs promises: the one in memory, and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.in_memory_database import InMemoryDatabase
from fakes.postgres_server import Databases
from fakes.samples import ALICE, BOB, a_blob, a_media
from media_service.core.jobs import JobCounts, JobFilter, JobState, Queue, Urgency
from media_service.core.media import Media, UserId
from media_service.infra.postgres.database import PostgresDatabase, open_database

Subject = InMemoryDatabase | PostgresDatabase
ALL = JobFilter()


@pytest.fixture(params=["in memory", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "in memory":
        yield InMemoryDatabase()
        return
    databases: Databases = request.getfixturevalue("databases")
    async with databases.borrow() as url, open_database(url, max_connections=3) as opened:
        yield opened


async def _enqueue(
    database: Subject, owner: UserId = ALICE, *, urgency: Urgency = Urgency.PERSON
) -> Media:
    media = a_media(owner=owner)
    await database.latest.blobs.keep(a_blob())
    await database.latest.media.insert(media)
    await database.latest.jobs.enqueue_developing(media, urgency=urgency)
    return media


async def test_jobs_are_found_in_the_order_in_which_they_came(database: Subject) -> None:
    media = [await _enqueue(database) for _ in range(3)]

    jobs = await database.queue.find(ALL, limit=9)

    assert [job.media_id for job in jobs] == [m.id for m in media]
    assert {(j.revision, j.owner, j.state, j.attempts, j.failure_code) for j in jobs} == {
        (1, ALICE, JobState.WAITING, 0, "")
    }
    assert [job.id for job in await database.queue.find(ALL, limit=2)] == [j.id for j in jobs[:2]]


async def test_jobs_are_found_by_what_is_said_of_them(database: Subject) -> None:
    await _enqueue(database)
    await _enqueue(database, BOB, urgency=Urgency.BACKFILL)
    [bobs] = await database.queue.find(JobFilter(owner=BOB), limit=9)

    assert bobs.urgency is Urgency.BACKFILL
    assert await database.queue.find(JobFilter(ids=(bobs.id, 999_999)), limit=9) == [bobs]
    assert await database.queue.find(JobFilter(ids=(bobs.id,), owner=ALICE), limit=9) == []
    assert await database.queue.find(JobFilter(ids=()), limit=9) == []
    assert await database.queue.find(JobFilter(state=JobState.RUNNING), limit=9) == []
    assert len(await database.queue.find(JobFilter(state=JobState.WAITING), limit=9)) == 2


async def test_those_that_wait_are_counted_up_to_a_limit(database: Subject) -> None:
    for owner in (ALICE, ALICE, BOB):
        await _enqueue(database, owner)

    assert await database.queue.count_waiting(at_most=9) == 3
    assert await database.queue.count_waiting(at_most=2) == 2
    assert await database.queue.count_waiting_of(ALICE, at_most=9) == 2
    assert await database.queue.count_waiting_of(ALICE, at_most=1) == 1
    assert await database.queue.count_waiting_of(UserId("nobody"), at_most=1) == 0


async def test_how_full_the_queue_is_is_told_by_urgency(database: Subject) -> None:
    for urgency in (Urgency.PERSON, Urgency.PERSON, Urgency.BACKFILL):
        await _enqueue(database, urgency=urgency)

    counts = (await database.queue.counts())[Queue.DEVELOPING]

    assert (counts.waiting_for_a_person, counts.waiting_backfill) == (2, 1)
    assert (counts.running, counts.parked, counts.failed) == (0, 0, 0)


async def test_each_queue_is_told_of_by_itself(database: Subject) -> None:
    await _enqueue(database)
    await database.latest.jobs.enqueue_transcoding(a_media(), urgency=Urgency.BACKFILL)

    counts = await database.queue.counts()

    assert counts.keys() == set(Queue)
    assert counts[Queue.DEVELOPING].waiting_for_a_person == 1
    assert counts[Queue.TRANSCODING].waiting_backfill == 1
    assert [job.queue for job in await database.queue.find(ALL, limit=9)] == list(Queue)
    assert await database.queue.count_waiting(at_most=9) == 2


async def test_queues_that_are_empty_are_told_of(database: Subject) -> None:
    assert await database.queue.counts() == dict.fromkeys(Queue, JobCounts())


async def test_discarded_jobs_are_gone_with_the_commit(database: Subject) -> None:
    gone, stays = await _enqueue(database), await _enqueue(database)

    async with database.transaction() as rows:
        await rows.jobs.discard(gone.id)
        assert len(await database.queue.find(ALL, limit=9)) == 2

    assert [job.media_id for job in await database.queue.find(ALL, limit=9)] == [stays.id]


async def test_a_job_can_take_the_place_of_a_discarded_one(database: Subject) -> None:
    media = await _enqueue(database)
    [before] = await database.queue.find(ALL, limit=9)

    async with database.transaction() as rows:
        await rows.jobs.discard(media.id)
        await rows.jobs.enqueue_developing(media)

    [after] = await database.queue.find(ALL, limit=9)
    assert (after.media_id, after.id > before.id) == (media.id, True)
