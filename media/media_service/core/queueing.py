"""Queueing: what operators see of jobs and do with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from media_service.core.errors import CancelledByOperator
from media_service.core.job_ports import JobQueue
from media_service.core.jobs import Job, JobCounts, JobFilter, JobState, Queue
from media_service.core.media import Media, ProcessingStatus
from media_service.core.ports import Cache, Clock, Database, Rows

KEPT = timedelta(days=7)
"""How long jobs that were given up are kept."""
_MOST = 1_000_000
_RESTARTABLE = frozenset({JobState.WAITING, JobState.PARKED, JobState.FAILED})


class Queueing:
    """Lists jobs, begins them again, cancels them."""

    def __init__(self, *, database: Database, queue: JobQueue, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._cache = cache
        self._clock = clock

    async def find(self, which: JobFilter, *, limit: int) -> list[Job]:
        """These jobs, in the order in which they came."""
        return await self._queue.find(which, limit=limit)

    async def counts(self) -> dict[Queue, JobCounts]:
        """How full each queue is."""
        return await self._queue.counts()

    async def forget_failed(self) -> int:
        """Remove what was given up long ago; how many jobs that were."""
        return await self._queue.forget_failed(older_than=KEPT)

    async def retry(self, ids: Sequence[int]) -> list[int]:
        """Begin these jobs again at once, in a new revision of their media; those that were."""
        jobs = await self._queue.find(JobFilter(ids=tuple(ids)), limit=len(ids))
        return [job.id for job in jobs if await self._restart(job)]

    async def retry_all_failed(self) -> int:
        """Begin every job again that was given up or parked; how many that were."""
        restarted = 0
        for state in (JobState.FAILED, JobState.PARKED):
            jobs = await self._queue.find(JobFilter(state=state), limit=_MOST)
            restarted += sum([await self._restart(job) for job in jobs])
        return restarted

    async def cancel(self, ids: Sequence[int]) -> list[int]:
        """Take these jobs away; those that were there. What they would have finished is FAILED."""
        jobs = await self._queue.find(JobFilter(ids=tuple(ids)), limit=len(ids))
        for job in jobs:
            await self._cancel(job)
        return [job.id for job in jobs]

    async def _restart(self, job: Job) -> bool:
        if job.state not in _RESTARTABLE:
            return False
        async with self._database.transaction() as rows:
            await rows.jobs.discard(job.media_id)
            media = await self._still_wanted(rows, job)
            if media is None:
                return False
            again = media.begun_anew(self._clock())
            if not await rows.media.update(again, revision=media.revision):
                return False
            await rows.jobs.enqueue_developing(again, urgency=job.urgency)
        await self._cache.drop([job.media_id])
        return True

    async def _cancel(self, job: Job) -> None:
        async with self._database.transaction() as rows:
            await rows.jobs.discard(job.media_id)
            media = await self._still_wanted(rows, job)
            if media and media.is_unfinished:
                code = CancelledByOperator().code
                failed = media.advanced(ProcessingStatus.FAILED, self._clock(), failure_code=code)
                await rows.media.update(failed, revision=media.revision)
        await self._cache.drop([job.media_id])

    async def _still_wanted(self, rows: Rows, job: Job) -> Media | None:
        """The job's medium, if what the job would do is still to be done."""
        media = (await rows.media.find([job.media_id])).get(job.media_id)
        if media is None or media.is_gone(self._clock()) or media.revision != job.revision:
            return None
        return None if media.status is ProcessingStatus.COMPLETED else media
