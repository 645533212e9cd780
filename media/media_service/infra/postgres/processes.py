"""What processes know of each other: who was heard of, and whose turn a duty is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta

import structlog

from media_service.core.errors import DatabaseUnavailable
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Connection, Executor

_BEAT_SECONDS = 2
log = structlog.get_logger()


class PostgresProcesses:
    """Keeps `core.job_ports.Processes`, for the process whose connections carry this name."""

    def __init__(
        self,
        name: str,
        *,
        executor: Executor,
        connection: Callable[[], AbstractAsyncContextManager[Connection]],
    ) -> None:
        self.name = name
        self._executor = executor
        self._connection = connection

    @asynccontextmanager
    async def seen(self) -> AsyncIterator[None]:
        """Let others know, while the context lasts, that this process is alive."""
        beating = asyncio.create_task(self._beat_for_ever())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            with suppress(DatabaseUnavailable), translated():
                await self._executor.execute("delete from processes where name = $1", self.name)

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                await self.beat()
            except DatabaseUnavailable as error:
                log.warning("process.not_heard", cause=repr(error.__cause__))
            await asyncio.sleep(_BEAT_SECONDS)

    async def beat(self) -> None:
        """Say that this process is alive."""
        with translated():
            await self._executor.execute(
                "insert into processes (name) values ($1) "
                "on conflict (name) do update set seen_at = now()",
                self.name,
            )

    async def end_stalled(self, *, silent_for: timedelta) -> int:
        """End the sessions of processes that were not heard of for so long, with their locks."""
        with translated():
            ended = await self._executor.fetchval(
                """
                with forgotten as (
                    delete from processes where seen_at < now() - interval '1 day'
                )
                select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and application_name in (
                    select name from processes where seen_at < now() - $1::interval and name <> $2
                )
                """,
                silent_for,
                self.name,
            )
        return int(ended)

    @asynccontextmanager
    async def turn(self, duty: str, *, every: timedelta) -> AsyncIterator[int | None]:
        """How often the duty was done before, if it is due; else None.

        The session's lock goes when the connection is given back, or is lost.
        """
        async with self._connection() as connection:
            with translated():
                turns = await _begin(connection, duty, every)
            yield turns


async def _begin(connection: Connection, duty: str, every: timedelta) -> int | None:
    if not await connection.fetchval("select pg_try_advisory_lock($1)", _lock_of(duty)):
        return None
    turns: int | None = await connection.fetchval(
        """
        insert into duties as duty (name, turns, due_at) values ($1, 1, now() + $2::interval)
        on conflict (name) do update set turns = duty.turns + 1, due_at = now() + $2::interval
            where duty.due_at <= now()
        returning turns - 1
        """,
        duty,
        every,
    )
    return turns


def _lock_of(duty: str) -> int:
    digest = hashlib.sha256(f"duty {duty}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
