"""Enqueues jobs by the job engine's own SQL, inside the transaction that needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import orjson
import structlog

from media_service.core.jobs import Queue, Urgency
from media_service.core.media import Media, MediaId
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.media import MEDIA_COLUMNS, media_from_row
from media_service.infra.postgres.types import Executor

TASKS = {Queue.DEVELOPING: "develop", Queue.TRANSCODING: "transcode"}
PRIORITIES = {
    (Queue.DEVELOPING, Urgency.PERSON): (1_000_000_001, 2_000_000_000),
    (Queue.TRANSCODING, Urgency.PERSON): (1, 1_000_000_000),
    (Queue.DEVELOPING, Urgency.BACKFILL): (-1_000_000_000, -1),
    (Queue.TRANSCODING, Urgency.BACKFILL): (-2_000_000_000, -1_000_000_001),
}
"""The lowest and the highest priority of each urgency in each queue.

The engine takes the highest of a queue first, and looks through them in this order: so who looks
for what takes seconds never walks past what takes minutes.
"""


Enqueuing = Callable[[], AbstractContextManager[Mapping[str, str]]]
"""Goes around the enqueuing of a job; what it yields is stored with the job as its trace."""


def untraced() -> AbstractContextManager[Mapping[str, str]]:
    """Stores no trace."""
    return nullcontext({})


class PostgresJobs:
    """Keeps `core.ports.Jobs`. The engine wakes its workers by NOTIFY at commit."""

    def __init__(self, executor: Executor, *, enqueuing: Enqueuing = untraced) -> None:
        self._executor = executor
        self._enqueuing = enqueuing

    async def enqueue_developing(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have the renditions of this revision of the medium made, from the first stage on."""
        await self._enqueue(media, Queue.DEVELOPING, urgency, lock=None)

    async def enqueue_transcoding(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have what takes minutes made; the engine does jobs of one lock one after the other."""
        await self._enqueue(media, Queue.TRANSCODING, urgency, lock=media.sha256)

    async def _enqueue(
        self, media: Media, queue: Queue, urgency: Urgency, *, lock: str | None
    ) -> None:
        """Enqueue a job in its owner's turn.

        Owners take turns: a job goes one round after the last of its owner, and no round before
        the one that is being done. So who has a thousand waiting is passed by who has none, and
        nobody waits for ever. An empty queue begins at the first round again. The owner's last
        is looked up by `-priority`, which only the index by owner has: a plan by priority would
        walk the whole queue for an owner who has nothing in it.
        """
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        args = {
            "media_id": media.id,
            "revision": media.revision,
            "owner": media.owner,
            "request_id": request_id,
        }
        with translated(), self._enqueuing() as trace:
            await self._executor.execute(
                """
                with place as (
                    select greatest($4::integer, least(
                        $5::integer,
                        (select max(priority) from procrastinate_jobs
                         where status = 'todo' and scheduled_at is null
                             and priority between $4 and $5),
                        (select -max(-priority) - 1 from procrastinate_jobs
                         where status = 'todo' and scheduled_at is null
                             and args ->> 'owner' = $6 and -priority between -$5 and -$4)
                    )) as priority
                )
                select procrastinate_defer_jobs_v1(array[row(
                    $1, $2, place.priority, $7, null, $3::jsonb, null
                )::procrastinate_job_to_defer_v1]) from place
                """,
                queue,
                TASKS[queue],
                orjson.dumps(args | ({"trace": trace} if trace else {})).decode(),
                *PRIORITIES[queue, urgency],
                media.owner,
                lock,
            )

    async def discard(self, media_id: MediaId, *, running: bool = True) -> None:
        """Remove every job for this medium; one that is `running`, too, by breaking it off."""
        with translated():
            await self._executor.execute(
                "select procrastinate_cancel_job_v1(id, true, true) from procrastinate_jobs "
                "where args ->> 'media_id' = $1 and (status = 'todo' or status = 'doing' and $2)",
                media_id,
                running,
            )
            await self._executor.execute(
                "delete from procrastinate_jobs "
                "where args ->> 'media_id' = $1 and status = 'failed'",
                media_id,
            )

    async def forgotten(
        self, before: datetime, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """Media that wait for a job that does not exist, in the order of their ids."""
        with translated():
            rows = await self._executor.fetch(
                f"""
                select {MEDIA_COLUMNS} from media
                where deleted_at is null and ($2::uuid is null or id > $2)
                    and (status in ('pending', 'processing') and updated_at < $1
                        and not exists (select from procrastinate_jobs
                            where status in ('todo', 'doing')
                                and args ->> 'media_id' = media.id::text)
                        or failure_code = 'media_damaged' and not exists (select from blobs
                            where blobs.sha256 = media.sha256 and damaged_at is not null))
                order by id limit $3
                """,
                before,
                after,
                limit,
            )
        return [media_from_row(row) for row in rows]
