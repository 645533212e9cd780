"""A pool of connections to PostgreSQL, and the rows that are reached through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import Gauge

from user_service.postgres.errors import translated

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_ACQUIRE_SECONDS = 5
_COMMAND_SECONDS = 15
_CONNECTIONS = Gauge(
    "userd_database_connections", "Connections to the database, by what they do", ["state"]
)
_IN_USE, _IDLE = _CONNECTIONS.labels("in_use"), _CONNECTIONS.labels("idle")
_WAITING = Gauge("userd_database_waiting", "Calls that wait for a connection to the database")


class PostgresDatabase:
    """A pool of connections. Open it with `open_database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting = 0
        _IN_USE.set_function(lambda: pool.get_size() - pool.get_idle_size())
        _IDLE.set_function(pool.get_idle_size)
        _WAITING.set_function(lambda: self._waiting)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection; each statement by itself. Raises DatabaseUnavailable, StorageFull."""
        self._waiting += 1
        try:
            with translated():
                connection = await self._pool.acquire(timeout=_ACQUIRE_SECONDS)
        finally:
            self._waiting -= 1
        try:
            with translated():
                yield connection
        finally:
            # What can't be reset is replaced by the pool; what was committed stays committed.
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One connection, all or nothing. Raises DatabaseUnavailable, StorageFull."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Return if the database answers. Raises DatabaseUnavailable."""
        async with self.connection() as connection:
            await connection.fetchval("select 1", timeout=_ACQUIRE_SECONDS)


@asynccontextmanager
async def open_database(url: str, *, max_connections: int) -> AsyncIterator[PostgresDatabase]:
    """A database whose schema is up to date. Raises DatabaseUnavailable."""
    with translated():
        pool: Pool = await asyncpg.create_pool(
            url,
            min_size=min(2, max_connections),
            max_size=max_connections,
            command_timeout=_COMMAND_SECONDS,
            server_settings={"application_name": "userd", "timezone": "UTC"},
        )
    try:
        yield PostgresDatabase(pool)
    finally:
        pool.terminate()
