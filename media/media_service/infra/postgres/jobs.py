"""Enqueues jobs by the job engine's own SQL, inside the transaction that needs them."""

from __future__ import annotations

import orjson
import structlog

from media_service.core.media import Media
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

DEVELOPING_QUEUE = "developing"
DEVELOP_TASK = "develop"


class PostgresJobs:
    """Keeps `core.ports.Jobs`. The engine wakes its workers by NOTIFY at commit."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def enqueue_developing(self, media: Media) -> None:
        """Have the renditions of this revision of the medium made."""
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        args = {"media_id": media.id, "revision": media.revision, "request_id": request_id}
        with translated():
            await self._executor.execute(
                """
                select procrastinate_defer_jobs_v1(array[
                    row($1, $2, 0, null, null, $3::jsonb, null)::procrastinate_job_to_defer_v1])
                """,
                DEVELOPING_QUEUE,
                DEVELOP_TASK,
                orjson.dumps(args).decode(),
            )
