"""The queue on the real job engine: who is next, what becomes of failures, who may say so."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import asyncpg
import procrastinate
import pytest
from fakes.in_memory_cache import InMemoryCache
from fakes.patience import eventually
from fakes.samples import ALICE, BOB, NOON, a_blob, a_media
from media_service.core.blobs import LockNumber
from media_service.core.errors import DecoderUnavailable, MediaError, StorageUnavailable
from media_service.core.jobs import (
    KILLED_TRIES,
    SLOW_TRIES,
    TRIES,
    JobFilter,
    JobState,
    Queue,
    Urgency,
)
from media_service.core.media import Media, MediaId, ProcessingStatus, UserId
from media_service.core.queueing import Queueing
from media_service.entrypoints.worker import jobs as worker_jobs
from media_service.entrypoints.worker.duties import Duty, do_duties
from media_service.entrypoints.worker.fencing import FencedJobs
from media_service.entrypoints.worker.jobs import WorkerSettings, work
from media_service.infra.postgres.database import PostgresDatabase, open_database

pytestmark = pytest.mark.needs_postgres

ALL = JobFilter()


class RecordingProcessing:
    """Does nothing but remember; fails or waits as it is told."""

    def __init__(self) -> None:
        self.ran: list[MediaId] = []
        self.transcoded: list[MediaId] = []
        self.urgencies: list[Urgency] = []
        self.given_up: list[tuple[MediaId, str]] = []
        self.postponed: list[MediaId] = []
        self.broken_off: list[MediaId] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.slow_gate = asyncio.Event()
        self.slow_gate.set()

    async def run(
        self, media_id: MediaId, *, revision: int, urgency: Urgency = Urgency.PERSON
    ) -> ProcessingStatus:
        self.urgencies.append(urgency)
        return await self._do(media_id, self.gate)

    async def transcode(self, media_id: MediaId, *, revision: int) -> ProcessingStatus:
        self.transcoded.append(media_id)
        return await self._do(media_id, self.slow_gate)

    async def _do(self, media_id: MediaId, gate: asyncio.Event) -> ProcessingStatus:
        self.ran.append(media_id)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.broken_off.append(media_id)
            raise
        if self.error:
            raise self.error
        return ProcessingStatus.COMPLETED

    async def give_up(self, media_id: MediaId, *, revision: int, code: str) -> None:
        self.given_up.append((media_id, code))

    async def postpone(self, media_id: MediaId, *, revision: int) -> None:
        self.postponed.append(media_id)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A queue, a worker to be, and what it did."""

    url: str
    database: PostgresDatabase
    processing: RecordingProcessing
    queueing: Queueing

    async def enqueue(
        self, count: int = 1, *, owner: UserId = ALICE, urgency: Urgency = Urgency.PERSON
    ) -> list[Media]:
        """Media with a job each."""
        made = [a_media(owner=owner) for _ in range(count)]
        await self.database.latest.blobs.keep(a_blob())
        for media in made:
            await self.database.latest.media.insert(media)
            await self.database.latest.jobs.enqueue_developing(media, urgency=urgency)
        return made

    async def enqueue_slow(
        self, content: str = "a film", *, owner: UserId = ALICE, urgency: Urgency = Urgency.PERSON
    ) -> Media:
        """A medium with a job that takes minutes."""
        media = a_media(a_blob(content), owner=owner)
        await self.database.latest.blobs.keep(a_blob(content))
        await self.database.latest.media.insert(media)
        await self.database.latest.jobs.enqueue_transcoding(media, urgency=urgency)
        return media

    @asynccontextmanager
    async def working(
        self, *, concurrency: int = 1, transcodes: int = 1, name: str = "worker"
    ) -> AsyncIterator[None]:
        settings = WorkerSettings(
            database_url=self.url,
            connection_name=name,
            concurrency=concurrency,
            transcodes=transcodes,
        )
        processing, processes = self.processing, self.database.processes
        async with work(settings, processing=processing, processes=processes):  # type: ignore[arg-type]
            yield

    async def states(self) -> dict[MediaId, JobState]:
        return {job.media_id: job.state for job in await self.queueing.find(ALL, limit=1000)}

    async def row(self, media: Media) -> Media:
        return (await self.database.latest.media.find([media.id]))[media.id]

    async def execute(self, query: str, *args: object) -> object:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query, *args)
        finally:
            await connection.close()


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_database(database_url, max_connections=5, name="bench") as database:
        cache = InMemoryCache()
        queueing = Queueing(
            database=database, queue=database.queue, cache=cache, clock=lambda: NOON
        )
        yield Bench(database_url, database, RecordingProcessing(), queueing)


# Who is next


async def _order(bench: Bench, count: int) -> list[MediaId]:
    async with bench.working():
        await eventually(lambda: len(bench.processing.ran) == count)
    return bench.processing.ran


async def test_jobs_of_one_owner_are_done_in_their_order(bench: Bench) -> None:
    media = await bench.enqueue(10)

    assert await _order(bench, 10) == [m.id for m in media]


async def test_who_floods_the_queue_does_not_keep_another_waiting(bench: Bench) -> None:
    flood = await bench.enqueue(200)
    lone = (await bench.enqueue(3, owner=BOB))[0]

    async with bench.working():
        await eventually(lambda: lone.id in bench.processing.ran)

    before = bench.processing.ran.index(lone.id)
    assert before <= 2
    assert bench.processing.ran[0] == flood[0].id


async def test_owners_take_turns(bench: Bench) -> None:
    owners: dict[MediaId, UserId] = {}
    for owner in (ALICE, BOB, UserId("carol")):
        owners |= {m.id: owner for m in await bench.enqueue(4, owner=owner)}

    order = [owners[media_id] for media_id in await _order(bench, 12)]

    rounds = [order[n : n + 3] for n in range(0, 12, 3)]
    assert all(set(each) == set(owners.values()) for each in rounds)


async def test_newcomers_never_pass_those_whose_round_it_is(bench: Bench) -> None:
    """So that who waits long is not overtaken for ever by ever new owners."""
    old = await bench.enqueue(3)
    bench.processing.gate.clear()
    async with bench.working():
        await eventually(lambda: len(bench.processing.ran) == 1)
        for n in range(10):
            await bench.enqueue(owner=UserId(f"new{n}"))
        bench.processing.gate.set()
        await eventually(lambda: len(bench.processing.ran) == 13)

    # The second of the old began a round; newcomers joined it behind.
    assert bench.processing.ran.index(old[1].id) == 1
    assert bench.processing.ran.index(old[2].id) == 12


async def test_a_person_goes_before_a_backfill(bench: Bench) -> None:
    backfill = await bench.enqueue(3, owner=BOB, urgency=Urgency.BACKFILL)
    waited_for = await bench.enqueue(2)

    assert await _order(bench, 5) == [m.id for m in (*waited_for, *backfill)]


async def test_an_empty_queue_begins_at_the_first_round(bench: Bench) -> None:
    await bench.enqueue(3)
    await _order(bench, 3)
    await eventually(lambda: _is_empty(bench))

    await bench.enqueue()

    assert await bench.execute("select priority from procrastinate_jobs") == 2_000_000_000


async def _is_empty(bench: Bench) -> bool:
    return not await bench.states()


# What takes minutes


async def test_pictures_do_not_wait_for_films(bench: Bench) -> None:
    films = [await bench.enqueue_slow(f"film {n}") for n in range(3)]
    bench.processing.slow_gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.transcoded == [films[0].id])

        pictures = {m.id for m in await bench.enqueue(5)}

        await eventually(lambda: pictures <= set(bench.processing.ran))
        assert bench.processing.transcoded == [films[0].id]
        bench.processing.slow_gate.set()
        await eventually(lambda: bench.processing.transcoded == [m.id for m in films])


async def test_owners_take_turns_at_what_takes_minutes(bench: Bench) -> None:
    flood = [await bench.enqueue_slow(f"film {n}") for n in range(5)]
    lone = await bench.enqueue_slow("another", owner=BOB)

    order = await _order(bench, 6)

    assert order[0] == flood[0].id
    assert order.index(lone.id) == 1


async def test_equal_films_are_transcoded_one_after_the_other(bench: Bench) -> None:
    first, second = await bench.enqueue_slow(), await bench.enqueue_slow(owner=BOB)
    other = await bench.enqueue_slow("another film")
    bench.processing.slow_gate.clear()
    async with bench.working(transcodes=3):
        await eventually(lambda: set(bench.processing.ran) == {first.id, other.id})
        await asyncio.sleep(0.2)
        assert len(bench.processing.ran) == 2

        bench.processing.slow_gate.set()
        await eventually(lambda: bench.processing.ran[2:] == [second.id])


async def test_a_parked_film_keeps_no_equal_one_waiting(bench: Bench) -> None:
    await bench.enqueue_slow()
    await _fails_for_the_last_time(bench, StorageUnavailable())
    bench.processing.error = None

    second = await bench.enqueue_slow(owner=BOB)

    async with bench.working():
        await eventually(lambda: second.id in bench.processing.ran)


async def test_jobs_know_how_urgent_they_are(bench: Bench) -> None:
    await bench.enqueue()
    await bench.enqueue(urgency=Urgency.BACKFILL)

    await _order(bench, 2)

    assert bench.processing.urgencies == [Urgency.PERSON, Urgency.BACKFILL]


async def test_a_shutdown_gives_a_transcode_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_jobs, "_DRAIN_SECONDS", 0.1)
    media = await bench.enqueue_slow()
    bench.processing.slow_gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])

    assert bench.processing.broken_off == [media.id]
    assert await bench.states() == {media.id: JobState.WAITING}


async def test_a_transcode_is_broken_off_when_its_medium_goes(bench: Bench) -> None:
    media = await bench.enqueue_slow()
    bench.processing.slow_gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])

        async with asyncio.timeout(4):  # heard of it or not
            await bench.database.latest.jobs.discard(media.id)
            await eventually(lambda: bench.processing.broken_off == [media.id])

        await eventually(lambda: _is_empty(bench))


async def test_transcodes_of_a_dead_worker_are_done_by_another(bench: Bench) -> None:
    media = await bench.enqueue_slow()
    await bench.execute(
        "with dead as (insert into procrastinate_workers (last_heartbeat) "
        "values (now() - interval '1 hour') returning id) "
        "update procrastinate_jobs set status = 'doing', worker_id = dead.id from dead"
    )

    assert await _order(bench, 1) == [media.id]


# Failures


async def _fails_for_the_last_time(
    bench: Bench, error: Exception, *, failures: int = TRIES
) -> None:
    """Let the one job that waits fail, after all its quick tries but one."""
    await bench.execute("update procrastinate_jobs set attempts = $1", failures - 1)
    bench.processing.error = error
    async with bench.working():
        await eventually(lambda: len(bench.processing.ran) == 1)
        await eventually(lambda: _is_running(bench, False))


async def _is_running(bench: Bench, running: bool) -> bool:
    return (JobState.RUNNING in (await bench.states()).values()) is running


async def test_what_passes_is_parked_and_its_medium_is_not_failed(bench: Bench) -> None:
    [media] = await bench.enqueue()

    await _fails_for_the_last_time(bench, StorageUnavailable())

    [job] = await bench.queueing.find(ALL, limit=9)
    assert (job.state, job.attempts) == (JobState.PARKED, TRIES)
    assert bench.processing.given_up == []
    assert bench.processing.postponed == [media.id]
    wait = await bench.execute("select scheduled_at - now() from procrastinate_jobs")
    assert isinstance(wait, timedelta)
    assert timedelta(minutes=40) < wait < timedelta(minutes=80)


async def test_what_fails_is_not_tried_again_at_once(bench: Bench) -> None:
    [media] = await bench.enqueue()
    bench.processing.error = StorageUnavailable()

    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])
        await eventually(lambda: _is_running(bench, False))

    [job] = await bench.queueing.find(ALL, limit=9)
    assert (job.state, job.attempts) == (JobState.WAITING, 1)
    wait = await bench.execute("select scheduled_at - now() from procrastinate_jobs")
    assert isinstance(wait, timedelta)
    assert timedelta(seconds=0.5) < wait < timedelta(seconds=3)


async def test_a_bug_is_given_up_and_kept(bench: Bench) -> None:
    [media] = await bench.enqueue()

    await _fails_for_the_last_time(bench, ZeroDivisionError("a bug"))

    assert await bench.states() == {media.id: JobState.FAILED}
    assert bench.processing.given_up == [(media.id, "internal_error")]


async def test_what_decoders_are_killed_at_again_and_again_is_given_up(bench: Bench) -> None:
    media = await bench.enqueue_slow()
    killed = DecoderUnavailable(was_killed=True)

    await _fails_for_the_last_time(bench, killed, failures=TRIES + KILLED_TRIES)

    assert await bench.states() == {media.id: JobState.FAILED}
    assert bench.processing.given_up == [(media.id, "too_complex")]


async def test_a_parked_job_is_begun_again_by_hand(bench: Bench) -> None:
    [media] = await bench.enqueue()
    await bench.execute(
        "update procrastinate_jobs set attempts = 9, scheduled_at = now() + interval '1 hour'"
    )

    assert await bench.queueing.retry_all_failed() == 1

    [job] = await bench.queueing.find(ALL, limit=9)
    assert (job.state, job.attempts, job.revision) == (JobState.WAITING, 0, 2)
    assert await _order(bench, 1) == [media.id]


async def test_a_failed_medium_is_begun_again_by_hand(bench: Bench) -> None:
    [media] = await bench.enqueue()
    failed = media.advanced(ProcessingStatus.FAILED, NOON, failure_code="internal_error")
    await bench.database.latest.media.update(failed, revision=1)
    await bench.execute("update procrastinate_jobs set status = 'failed', attempts = 5")
    [job] = await bench.queueing.find(JobFilter(state=JobState.FAILED), limit=9)
    assert job.failure_code == "internal_error"

    assert await bench.queueing.retry([job.id, 12345]) == [job.id]

    row = await bench.row(media)
    assert (row.status, row.failure_code, row.revision) == (ProcessingStatus.PENDING, "", 2)
    assert await bench.states() == {media.id: JobState.WAITING}


async def test_failed_jobs_are_forgotten_after_a_week(bench: Bench) -> None:
    await bench.enqueue(2)
    await bench.execute("update procrastinate_jobs set status = 'failed'")
    assert await bench.queueing.forget_failed() == 0
    await bench.execute("update procrastinate_events set at = now() - interval '8 days'")

    assert await bench.queueing.forget_failed() == 2


# Cancelling


async def test_a_waiting_job_is_cancelled_by_hand(bench: Bench) -> None:
    [media] = await bench.enqueue()
    [job] = await bench.queueing.find(ALL, limit=9)

    assert await bench.queueing.cancel([job.id]) == [job.id]

    row = await bench.row(media)
    assert (row.status, row.failure_code) == (ProcessingStatus.FAILED, "cancelled_by_operator")
    assert await bench.states() == {}


async def test_a_running_job_is_broken_off_when_its_medium_goes(bench: Bench) -> None:
    [media] = await bench.enqueue()
    bench.processing.gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])

        await bench.database.latest.jobs.discard(media.id)

        await eventually(lambda: bench.processing.broken_off == [media.id])
        await eventually(lambda: _is_empty(bench))


async def test_a_running_job_that_others_wait_for_is_not_broken_off(bench: Bench) -> None:
    running = await bench.enqueue_slow()
    waiting = await bench.enqueue_slow()
    bench.processing.slow_gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [running.id])

        for media in (waiting, running):
            await bench.database.latest.jobs.discard(media.id, running=False)

        assert await bench.states() == {running.id: JobState.RUNNING}
        bench.processing.slow_gate.set()
        await eventually(lambda: _is_empty(bench))
    assert bench.processing.broken_off == []


async def test_a_shutdown_gives_a_job_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_jobs, "_DRAIN_SECONDS", 0.1)
    [media] = await bench.enqueue()
    bench.processing.gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])

    assert await bench.states() == {media.id: JobState.WAITING}


async def test_shutdowns_are_not_failures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_jobs, "_DRAIN_SECONDS", 0.1)
    [media] = await bench.enqueue()
    bench.processing.gate.clear()
    for _ in range(2):
        bench.processing.ran.clear()
        async with bench.working():
            await eventually(lambda: bench.processing.ran == [media.id])

    [job] = await bench.queueing.find(ALL, limit=9)
    assert (job.state, job.attempts) == (JobState.WAITING, 0)


# Who may say what became of a job


async def test_who_is_late_does_not_finish_a_job_that_was_given_back(bench: Bench) -> None:
    [media] = await bench.enqueue()
    bench.processing.gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])
        # As when a shutdown gave it back and another worker has begun it.
        await bench.execute(
            "with other as (insert into procrastinate_workers default values returning id) "
            "update procrastinate_jobs set worker_id = other.id from other"
        )

        bench.processing.gate.set()
        await asyncio.sleep(0.3)

        assert await bench.states() == {media.id: JobState.RUNNING}


async def test_who_is_late_does_not_finish_a_job_that_another_has(bench: Bench) -> None:
    [media] = await bench.enqueue()
    bench.processing.gate.clear()
    async with bench.working():
        await eventually(lambda: bench.processing.ran == [media.id])
        # As when the rescue took it back and another worker has begun it.
        await bench.execute("update procrastinate_jobs set attempts = attempts + 1")

        bench.processing.gate.set()
        await asyncio.sleep(0.3)

        assert await bench.states() == {media.id: JobState.RUNNING}


async def test_jobs_of_a_dead_worker_are_done_by_another(bench: Bench) -> None:
    [media] = await bench.enqueue()
    await bench.execute(
        "with dead as (insert into procrastinate_workers (last_heartbeat) "
        "values (now() - interval '1 hour') returning id) "
        "update procrastinate_jobs set status = 'doing', worker_id = dead.id from dead"
    )

    assert await _order(bench, 1) == [media.id]


async def test_a_job_that_was_broken_off_when_its_worker_died_is_removed(bench: Bench) -> None:
    await bench.enqueue()
    await bench.execute("update procrastinate_jobs set status = 'doing', abort_requested = true")

    async with bench.working():
        await eventually(lambda: _is_empty(bench))

    assert bench.processing.ran == []


async def test_a_job_that_is_broken_off_as_its_worker_stops_is_removed(bench: Bench) -> None:
    await bench.enqueue()
    connector = procrastinate.PsycopgConnector(conninfo=bench.url)
    async with procrastinate.App(connector=connector).open_async():
        jobs = FencedJobs(connector)
        job = await jobs.fetch_job([Queue.DEVELOPING], await jobs.register_worker())
        assert job
        await bench.execute("update procrastinate_jobs set abort_requested = true")

        await jobs.retry_job(job)

    assert await _is_empty(bench)


@pytest.mark.parametrize("failures", [TRIES, TRIES + SLOW_TRIES])
async def test_a_job_whose_workers_die_of_it_is_given_up(bench: Bench, failures: int) -> None:
    [media] = await bench.enqueue()
    await bench.execute(
        "update procrastinate_jobs set status = 'doing', attempts = $1", failures - 1
    )

    async with bench.working():
        await eventually(lambda: bench.processing.given_up == [(media.id, "too_complex")])
        await eventually(lambda: _is_running(bench, False))

    assert bench.processing.ran == []
    assert await bench.states() == {media.id: JobState.FAILED}


# The sessions and turns of processes


async def test_sessions_of_a_stalled_process_end_with_their_locks(
    bench: Bench, database_url: str
) -> None:
    lock = LockNumber(7)
    async with AsyncExitStack() as stack:
        stalled = await stack.enter_async_context(
            open_database(database_url, max_connections=2, name="stalled")
        )
        await stalled.processes.beat()
        stack.enter_context(contextlib.suppress(MediaError))
        await stack.enter_async_context(stalled.transaction(lock))
        assert await bench.database.processes.end_stalled(silent_for=timedelta(seconds=5)) == 0
        await bench.execute("update processes set seen_at = now() - interval '6 seconds'")

        assert await bench.database.processes.end_stalled(silent_for=timedelta(seconds=5)) >= 1

        async with asyncio.timeout(20), bench.database.transaction(lock) as rows:
            await rows.blobs.keep(a_blob())


async def test_a_duty_is_done_by_one_process_at_a_time(bench: Bench, database_url: str) -> None:
    minute = timedelta(minutes=1)
    async with open_database(database_url, max_connections=2, name="other") as other:
        async with bench.database.processes.turn("sweep", every=timedelta()) as first:
            async with other.processes.turn("sweep", every=timedelta()) as at_once:
                pass
            async with other.processes.turn("walk", every=minute) as another_duty:
                pass
        async with other.processes.turn("sweep", every=minute) as second:
            pass
        async with bench.database.processes.turn("sweep", every=minute) as too_early:
            pass

    assert (first, at_once, another_duty, second, too_early) == (0, None, 0, 1, None)


async def test_two_processes_share_a_duty_and_its_count(bench: Bench, database_url: str) -> None:
    turns: list[int] = []

    async def do(turn: int) -> dict[str, int]:
        turns.append(turn)
        return {}

    duty = Duty("walk", timedelta(milliseconds=20), do)
    async with (
        open_database(database_url, max_connections=2, name="other") as other,
        do_duties([duty], processes=bench.database.processes),
        do_duties([duty], processes=other.processes),
    ):
        await eventually(lambda: len(turns) >= 10)

    assert turns == list(range(len(turns)))


async def test_what_concerns_a_machine_alone_is_done_by_each_process(
    bench: Bench,
) -> None:
    done: list[str] = []

    def duty(name: str) -> Duty:
        async def do(turn: int) -> dict[str, int]:
            done.append(name)
            return {}

        return Duty("tidy", timedelta(minutes=1), do, by_each=True)

    processes = bench.database.processes
    async with (
        do_duties([duty("one")], processes=processes),
        do_duties([duty("other")], processes=processes),
    ):
        await eventually(lambda: sorted(done) == ["one", "other"])


async def test_a_stalled_process_loses_its_turn(bench: Bench, database_url: str) -> None:
    async with open_database(database_url, max_connections=2, name="stalled") as stalled:
        await stalled.processes.beat()
        with contextlib.suppress(MediaError):
            async with stalled.processes.turn("sweep", every=timedelta()):
                await bench.execute("update processes set seen_at = now() - interval '1 minute'")
                await bench.database.processes.end_stalled(silent_for=timedelta(seconds=12))
                turn = None
                while turn is None:
                    async with bench.database.processes.turn("sweep", every=timedelta()) as turn:
                        await asyncio.sleep(0.01)

    assert turn == 1


# How full it is


async def test_the_queue_is_counted(bench: Bench) -> None:
    await bench.enqueue(3)
    await bench.enqueue(2, owner=BOB, urgency=Urgency.BACKFILL)
    await bench.enqueue(1, owner=BOB)
    await bench.execute("update procrastinate_events set at = now() - interval '1 minute'")

    counts = (await bench.queueing.counts())[Queue.DEVELOPING]

    assert (counts.waiting_for_a_person, counts.waiting_backfill) == (4, 2)
    assert 55 < counts.oldest_waiting_seconds < 120
    queue = bench.database.queue
    assert await queue.count_waiting(at_most=100) == 6
    assert await queue.count_waiting(at_most=4) == 4
    assert await queue.count_waiting_of(BOB, at_most=100) == 3
    assert await queue.count_waiting_of(BOB, at_most=2) == 2
