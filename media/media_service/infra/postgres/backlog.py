"""How far the sweeper is behind, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import Gauge

from media_service.core.errors import MediaError
from media_service.infra.postgres.database import PostgresDatabase

LOOK_SECONDS = 15.0
_OLDEST = Gauge(
    "mediad_condemned_oldest_seconds",
    "For how long the oldest content that nobody holds has been waiting for the sweeper",
)


@asynccontextmanager
async def watch_backlog(database: PostgresDatabase) -> AsyncIterator[None]:
    """Look now and then while the context lasts."""
    looking = asyncio.create_task(_look_for_ever(database))
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def _look_for_ever(database: PostgresDatabase) -> None:
    while True:
        with suppress(MediaError):  # it is away: that is told elsewhere
            _OLDEST.set(await database.oldest_condemned_seconds())
        await asyncio.sleep(LOOK_SECONDS)
