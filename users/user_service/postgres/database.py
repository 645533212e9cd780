"""A pool of connections to PostgreSQL, and the rows that are reached through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from user_service.postgres.errors import translated

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_ACQUIRE_SECONDS = 5
_COMMAND_SECONDS = 15


class PostgresDatabase:
    """A pool of connections. Open it with `open_database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection; each statement by itself. Raises DatabaseUnavailable, StorageFull."""
        with translated():
            connection = await self._pool.acquire(timeout=_ACQUIRE_SECONDS)
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
