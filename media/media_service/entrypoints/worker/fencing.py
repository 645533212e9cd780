"""Who is late says nothing: a job that was given to another is not finished by the first.

The engine finishes and retries jobs by their ids alone. Here a job's worker and the number of its
attempts are the fencing token: attempts grow whenever a job is taken from its worker or fails, and
one that a shutdown gave back has another worker next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import LiteralString

import structlog
from procrastinate import exceptions, jobs, manager

_TELL_ATTEMPTS = 10
_PAUSE_SECONDS = 1
_MINE = """
    with mine as materialized (
        select id, abort_requested from procrastinate_jobs
        where id = %(job_id)s and attempts = %(attempts)s and status = 'doing'
            and (worker_id is null or worker_id = %(worker_id)s)
        for update
    )
"""
log = structlog.get_logger()


class FencedJobs(manager.JobManager):
    """The engine's manager of jobs, for workers that may wake up late."""

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> jobs.Job | None:
        """The next job. None if another of its lock was taken at the same moment."""
        try:
            return await super().fetch_job(queues, worker_id)
        except exceptions.UniqueViolation:
            return None

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:
        """End the job, if it is still this worker's. What was broken off on purpose is removed."""
        await self._tell(
            _MINE
            + "select procrastinate_finish_job_v1("
            + "id, %(status)s::procrastinate_job_status, %(delete_job)s or abort_requested) "
            + "from mine",
            job,
            status=status.value,
            delete_job=delete_job or status is jobs.Status.ABORTED,
        )

    async def retry_job(
        self,
        job: jobs.Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Have the job done again, if it is still this worker's and not broken off.

        Without a time: at once, and what was done of it is no attempt.
        """
        if retry_at is None:
            await self._give_back(job)
            return
        await self._tell(
            _MINE
            + "select case when abort_requested "
            + "then procrastinate_finish_job_v1(id, 'aborted', true) "
            + "else procrastinate_retry_job_v2("
            + "id, %(retry_at)s, %(priority)s, %(queue)s, %(lock)s) end from mine",
            job,
            retry_at=retry_at,
            priority=priority,
            queue=queue,
            lock=lock,
        )

    async def _give_back(self, job: jobs.Job) -> None:
        await self._tell(
            _MINE
            + ", broken_off as (delete from procrastinate_jobs "
            + "where id = (select id from mine where abort_requested)) "
            + "update procrastinate_jobs set status = 'todo', scheduled_at = now() "
            + "where id = (select id from mine where not abort_requested)",
            job,
        )

    async def _tell(self, query: LiteralString, job: jobs.Job, **arguments: object) -> None:
        """Tell the database what became of a job; it may be away for a moment."""
        for _ in range(_TELL_ATTEMPTS):
            try:
                await self.connector.execute_query_async(
                    query,
                    job_id=job.id,
                    attempts=job.attempts,
                    worker_id=job.worker_id,
                    **arguments,
                )
                return
            except exceptions.ConnectorException as error:
                log.warning("job.not_told", job_id=job.id, cause=repr(error.__cause__))
                await asyncio.sleep(_PAUSE_SECONDS)
