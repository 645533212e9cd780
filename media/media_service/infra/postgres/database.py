"""The rows in PostgreSQL, through asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from media_service.core.blobs import LockNumber
from media_service.infra.postgres.blobs import PostgresBlobs
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.jobs import PostgresJobs
from media_service.infra.postgres.media import PostgresMedia
from media_service.infra.postgres.renditions import PostgresRenditions
from media_service.infra.postgres.types import Connection, Pool

_ACQUIRE_SECONDS = 5
_COMMAND_SECONDS = 30


class PostgresRows:
    """All rows through one executor: a pool (each statement by itself) or a transaction."""

    def __init__(self, executor: Pool | Connection) -> None:
        self.media = PostgresMedia(executor)
        self.blobs = PostgresBlobs(executor)
        self.renditions = PostgresRenditions(executor)
        self.jobs = PostgresJobs(executor)


class PostgresDatabase:
    """A pool of connections. Open it with `open_database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.latest = PostgresRows(pool)

    @asynccontextmanager
    async def transaction(self, *locks: LockNumber) -> AsyncIterator[PostgresRows]:
        """All or nothing, holding the locks until it is over."""
        async with self._connection() as connection, _transaction(connection):
            with translated():
                for number in locks:
                    await connection.execute("select pg_advisory_xact_lock($1)", number)
            yield PostgresRows(connection)

    async def check(self) -> None:
        """Return if the database answers. Raises DatabaseUnavailable."""
        async with self._connection() as connection:
            with translated():
                await connection.fetchval("select 1", timeout=_ACQUIRE_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with translated():
            connection = await self._pool.acquire(timeout=_ACQUIRE_SECONDS)
        try:
            yield connection
        finally:
            # What can't be reset is replaced by the pool; what was committed stays committed.
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._pool.release(connection)


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """Commits, or rolls back; what the body raises passes as it is."""
    transaction = connection.transaction()
    with translated():
        await transaction.start()
    try:
        yield
    except BaseException:
        # Without a connection there is nothing left to roll back.
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await transaction.rollback()
        raise
    with translated():
        await transaction.commit()


@asynccontextmanager
async def open_database(url: str, *, max_connections: int) -> AsyncIterator[PostgresDatabase]:
    """A database whose schema is up to date. Raises DatabaseUnavailable."""
    with translated():
        pool: Pool = await asyncpg.create_pool(
            url,
            min_size=min(2, max_connections),
            max_size=max_connections,
            command_timeout=_COMMAND_SECONDS,
            server_settings={"application_name": "mediad", "timezone": "UTC"},
        )
    try:
        yield PostgresDatabase(pool)
    finally:
        pool.terminate()
