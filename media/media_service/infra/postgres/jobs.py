"""Enqueues jobs by the job engine's own SQL, inside the transaction that needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import orjson
import structlog

from media_service.core.media import Media
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

DEVELOPING_QUEUE = "developing"
DEVELOP_TASK = "develop"


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

    async def enqueue_developing(self, media: Media) -> None:
        """Have the renditions of this revision of the medium made."""
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        args = {"media_id": media.id, "revision": media.revision, "request_id": request_id}
        with translated(), self._enqueuing() as trace:
            await self._executor.execute(
                """
                select procrastinate_defer_jobs_v1(array[
                    row($1, $2, 0, null, null, $3::jsonb, null)::procrastinate_job_to_defer_v1])
                """,
                DEVELOPING_QUEUE,
                DEVELOP_TASK,
                orjson.dumps(args | ({"trace": trace} if trace else {})).decode(),
            )
