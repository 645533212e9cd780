"""Tells this process which media changed: its own cache and those who watch hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import structlog

from media_service.core.errors import DatabaseUnavailable
from media_service.core.media import MediaId
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.media import CHANGED_CHANNEL

_RETRY_SECONDS = 0.5
_ASK_SECONDS = 10
_ANSWER_SECONDS = 5
log = structlog.get_logger()


class PostgresChanges:
    """Keeps `core.ports.Changes`: one connection listens, however many follow."""

    def __init__(self) -> None:
        self._followers: list[tuple[Callable[[MediaId], None], Callable[[bool], None]]] = []
        self._is_gap = True

    @contextmanager
    def follow(
        self, *, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
    ) -> Iterator[None]:
        """Call these while the context lasts; see `follow_changes`."""
        follower = (on_change, on_gap)
        self._followers.append(follower)
        if self._is_gap:
            on_gap(True)
        try:
            yield
        finally:
            self._followers.remove(follower)

    def tell(self, media_id: MediaId) -> None:
        """Tell all who follow of a change."""
        for on_change, _ in tuple(self._followers):
            on_change(media_id)

    def tell_gap(self, is_gap: bool) -> None:
        """Tell all who follow that a gap begins or ends."""
        self._is_gap = is_gap
        for _, on_gap in tuple(self._followers):
            on_gap(is_gap)


@asynccontextmanager
async def open_changes(url: str) -> AsyncIterator[PostgresChanges]:
    """Listen while the context lasts."""
    changes = PostgresChanges()
    async with follow_changes(url, on_change=changes.tell, on_gap=changes.tell_gap):
        yield changes


@asynccontextmanager
async def follow_changes(
    url: str, *, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
) -> AsyncIterator[None]:
    """Call `on_change` for each changed medium while the context lasts.

    `on_gap(True)` is called when changes may be missed from now on, `on_gap(False)` when none
    are missed any more.
    """
    follower = asyncio.create_task(_follow_for_ever(url, on_change, on_gap))
    try:
        yield
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower


async def _follow_for_ever(
    url: str, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
) -> None:
    on_gap(True)
    while True:
        try:
            await _follow(url, on_change, on_gap)
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            log.warning("changes.not_followed", cause=repr(error.__cause__ or error))
        on_gap(True)
        await asyncio.sleep(_RETRY_SECONDS)


async def _follow(
    url: str, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
) -> None:
    def heard(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        on_change(MediaId(str(payload)))

    ended = asyncio.Event()
    with translated():
        connection = await asyncpg.connect(url, timeout=5)
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANGED_CHANNEL, heard)
            on_gap(False)
            while not await _happens(ended, within_seconds=_ASK_SECONDS):
                # A network that was cut says nothing: only asking finds out.
                await connection.fetchval("select 1", timeout=_ANSWER_SECONDS)
        finally:
            connection.terminate()


async def _happens(event: asyncio.Event, *, within_seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_seconds)
    return event.is_set()
