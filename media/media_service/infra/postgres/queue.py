"""The queue of jobs as operators and limits see it."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import orjson

from media_service.core.jobs import TRIES, Job, JobCounts, JobFilter, JobState, Queue, Urgency
from media_service.core.media import MediaId, UserId
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

_STATE = f"""case
    when status = 'doing' then '{JobState.RUNNING}'
    when status = 'failed' then '{JobState.FAILED}'
    when attempts >= {TRIES} then '{JobState.PARKED}'
    else '{JobState.WAITING}'
end"""


class PostgresQueue:
    """Keeps `core.job_ports.JobQueue`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def count_waiting(self, *, at_most: int) -> int:
        """How many jobs wait; none are counted beyond `at_most`."""
        return await self._count(
            """
            select count(*) from (
                select from procrastinate_jobs where status = 'todo' limit $1
            ) w
            """,
            at_most,
        )

    async def count_waiting_of(self, owner: UserId, *, at_most: int) -> int:
        """How many jobs of this owner wait to be tried for the first time."""
        return await self._count(
            """
            select count(*) from (
                select from procrastinate_jobs
                where status = 'todo' and scheduled_at is null and args ->> 'owner' = $1 limit $2
            ) w
            """,
            owner,
            at_most,
        )

    async def find(self, which: JobFilter, *, limit: int) -> list[Job]:
        """These jobs, in the order in which they came."""
        with translated():
            rows = await self._executor.fetch(
                f"""
                select jobs.*, coalesce(media.failure_code, '') as failure_code from (
                    select id, queue_name, args, priority, attempts, scheduled_at, {_STATE} as state
                    from procrastinate_jobs where status in ('todo', 'doing', 'failed')
                ) jobs left join media on media.id = (jobs.args ->> 'media_id')::uuid
                where ($1::bigint[] is null or jobs.id = any($1))
                    and ($2::text is null or state = $2)
                    and ($3::text is null or args ->> 'owner' = $3)
                order by jobs.id limit $4
                """,
                which.ids,
                which.state,
                which.owner,
                limit,
            )
        return [_from_row(row) for row in rows]

    async def counts(self) -> dict[Queue, JobCounts]:
        """How full each queue is."""
        with translated():
            rows = await self._executor.fetch(
                f"""
                select
                    queue_name,
                    count(*) filter (where state = 'waiting' and priority >= 0)
                        as waiting_for_a_person,
                    count(*) filter (where state = 'waiting' and priority < 0) as waiting_backfill,
                    count(*) filter (where state = 'running') as running,
                    count(*) filter (where state = 'parked') as parked,
                    count(*) filter (where state = 'failed') as failed,
                    coalesce((
                        select extract(epoch from now() - min(at)) from procrastinate_events
                        where job_id = min(jobs.id) filter (where is_new)
                    ), 0)::float8 as oldest_waiting_seconds
                from (
                    select id, queue_name, priority, {_STATE} as state,
                        status = 'todo' and scheduled_at is null as is_new
                    from procrastinate_jobs where status in ('todo', 'doing', 'failed')
                ) jobs
                group by queue_name
                """
            )
        counted = {Queue(row["queue_name"]): _counts(row) for row in rows}
        return {queue: counted.get(queue, JobCounts()) for queue in Queue}

    async def forget_failed(self, *, older_than: timedelta) -> int:
        """Remove jobs that were given up before; how many that were."""
        return await self._count(
            """
            with gone as (
                delete from procrastinate_jobs job
                where status in ('failed', 'aborted', 'cancelled') and not exists (
                    select from procrastinate_events
                    where job_id = job.id and at > now() - $1::interval
                )
                returning id
            )
            select count(*) from gone
            """,
            older_than,
        )

    async def _count(self, query: str, *args: object) -> int:
        with translated():
            return int(await self._executor.fetchval(query, *args))


def _counts(row: asyncpg.Record) -> JobCounts:
    return JobCounts(**{name: value for name, value in row.items() if name != "queue_name"})


def _from_row(row: asyncpg.Record) -> Job:
    args = orjson.loads(row["args"])
    return Job(
        id=row["id"],
        queue=Queue(row["queue_name"]),
        media_id=MediaId(args["media_id"]),
        revision=args["revision"],
        owner=UserId(args.get("owner", "")),
        state=JobState(row["state"]),
        urgency=Urgency.PERSON if row["priority"] >= 0 else Urgency.BACKFILL,
        attempts=row["attempts"],
        due_at=row["scheduled_at"],
        failure_code=row["failure_code"],
    )
