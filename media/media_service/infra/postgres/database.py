"""The rows in PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import asyncpg

from media_service.core.blobs import LockNumber
from media_service.infra.postgres.blobs import PostgresBlobs
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.jobs import Enqueuing, PostgresJobs, untraced
from media_service.infra.postgres.media import PostgresMedia
from media_service.infra.postgres.pool_metrics import watch_pool
from media_service.infra.postgres.processes import PostgresProcesses
from media_service.infra.postgres.queue import PostgresQueue
from media_service.infra.postgres.renditions import PostgresRenditions
from media_service.infra.postgres.types import Connection, Executor, Pool
from media_service.infra.postgres.webhooks import URLS_SETTING, PostgresOutbox

_PATIENCE_SECONDS = 5.0
_COMMAND_SECONDS = 30
_GONE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_SERVER_SETTINGS = {
    "timezone": "UTC",
    # A transaction idles while a cell decodes, under locks that must hold until it is done; one
    # that idles for longer belongs to a process that hangs, and others wait for its locks.
    "idle_in_transaction_session_timeout": "2min",
}

_MOST_CONNECTIONS = """
select current_setting('max_connections')::int
     - current_setting('superuser_reserved_connections')::int
"""


class PostgresRows:
    """All rows through one executor: a transaction, or each statement by itself."""

    def __init__(self, executor: Executor, *, enqueuing: Enqueuing) -> None:
        self.media = PostgresMedia(executor)
        self.blobs = PostgresBlobs(executor)
        self.renditions = PostgresRenditions(executor)
        self.jobs = PostgresJobs(executor, enqueuing=enqueuing)
        self._executor = executor

    async def now(self) -> datetime:
        """The time by the database's clock, not of the transaction's beginning."""
        with translated():
            moment: datetime = await self._executor.fetchval("select clock_timestamp()")
        return moment


class PostgresDatabase:
    """A pool of connections. Open it with `open_database`."""

    def __init__(
        self, pool: Pool, *, name: str, patience_seconds: float, enqueuing: Enqueuing = untraced
    ) -> None:
        self._pool = pool
        self._enqueuing = enqueuing
        self._patience_seconds = patience_seconds
        self._waiting = 0
        watch_pool(pool, waiting=lambda: self._waiting)
        self._turns: WeakValueDictionary[LockNumber, asyncio.Lock] = WeakValueDictionary()
        single = _SingleStatements(self._connection)
        self.latest = self._rows(single)
        self.queue = PostgresQueue(single)
        self.outbox = PostgresOutbox(single)
        self.processes = PostgresProcesses(name, executor=single, connection=self._connection)

    @asynccontextmanager
    async def transaction(self, *locks: LockNumber) -> AsyncIterator[PostgresRows]:
        """All or nothing, holding the locks until it is over."""
        async with AsyncExitStack() as stack:
            for number in dict.fromkeys(locks):
                await stack.enter_async_context(self._turn(number))
            connection = await stack.enter_async_context(self._connection())
            await stack.enter_async_context(_transaction(connection))
            with translated():
                for number in locks:
                    await connection.execute("select pg_advisory_xact_lock($1)", number)
            yield self._rows(connection)

    def _rows(self, executor: Executor) -> PostgresRows:
        return PostgresRows(executor, enqueuing=self._enqueuing)

    def _turn(self, number: LockNumber) -> asyncio.Lock:
        """Tasks of this process queue here, so that those who wait hold no connection."""
        return self._turns.setdefault(number, asyncio.Lock())

    async def check(self) -> None:
        """Return if the database answers. Raises DatabaseUnavailable."""
        async with self._connection() as connection:
            with translated():
                await connection.fetchval("select 1", timeout=self._patience_seconds)

    async def oldest_condemned_seconds(self) -> float:
        """For how long the oldest blob that nobody holds has been waiting; 0 if there is none."""
        async with self._connection() as connection:
            with translated():
                waiting = await connection.fetchval(
                    "select extract(epoch from now() - condemned_at)::float8 from blobs "
                    "where state = 'condemned' order by condemned_at limit 1"
                )
        return max(float(waiting or 0), 0.0)

    async def most_connections(self) -> int:
        """How many connections the server lets everybody have, all together."""
        async with self._connection() as connection:
            with translated():
                return int(await connection.fetchval(_MOST_CONNECTIONS))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        self._waiting += 1
        try:
            with translated():
                connection = await self._pool.acquire(timeout=self._patience_seconds)
        finally:
            self._waiting -= 1
        try:
            yield connection
        finally:
            # What can't be reset is replaced by the pool; what was committed stays committed.
            with suppress(*_GONE):
                await self._pool.release(connection)


class _SingleStatements:
    """Runs each statement on whichever connection is free first; if none is soon, says so."""

    def __init__(self, connection: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: Any) -> str:
        async with self._connection() as connection:
            return await connection.execute(query, *args)

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        async with self._connection() as connection:
            await connection.executemany(command, args)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        async with self._connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        async with self._connection() as connection:
            return await connection.fetchval(query, *args)


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
        with suppress(*_GONE):
            await transaction.rollback()
        raise
    with translated():
        await transaction.commit()


@asynccontextmanager
async def open_database(
    url: str,
    *,
    max_connections: int,
    name: str = "mediad",
    patience_seconds: float = _PATIENCE_SECONDS,
    enqueuing: Enqueuing = untraced,
    webhook_urls: Sequence[str] = (),
) -> AsyncIterator[PostgresDatabase]:
    """A database whose schema is up to date. Raises DatabaseUnavailable.

    Its connections carry the name, by which others end them if this process is stopped.
    What changes in it is put into the outbox for each of the `webhook_urls`.
    Who waits for a connection for longer than `patience_seconds` gets DatabaseUnavailable too.
    """
    told = {URLS_SETTING: ",".join(webhook_urls)} if webhook_urls else {}
    with translated():
        pool: Pool = await asyncpg.create_pool(
            url,
            min_size=min(2, max_connections),
            max_size=max_connections,
            command_timeout=_COMMAND_SECONDS,
            server_settings=_SERVER_SETTINGS | {"application_name": name} | told,
        )
    try:
        yield PostgresDatabase(
            pool, name=name, patience_seconds=patience_seconds, enqueuing=enqueuing
        )
    finally:
        pool.terminate()
