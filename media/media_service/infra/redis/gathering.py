"""Gathering: what many want at the same time becomes one call.

A call to Redis costs far more than one more key in it. While some calls are under way, what is
wanted waits and goes with the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from media_service.core.media import Media, MediaId

V = TypeVar("V")
Found = dict[MediaId, Media | None]

_CALLS_AT_ONCE = 2
_MAX_IDS = 100


class _Call(Generic[V]):
    """A call that is yet to be made."""

    def __init__(self) -> None:
        self.items: dict[MediaId, V] = {}
        self.answer: asyncio.Task[Found]


class Gathering(Generic[V]):
    """Makes one call of many. A call begins after everything that goes with it was wanted."""

    def __init__(self, call: Callable[[dict[MediaId, V]], Awaitable[Found]]) -> None:
        self._call = call
        self._next: _Call[V] | None = None
        self._slots = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._under_way: set[asyncio.Task[Found]] = set()

    async def join(self, items: Mapping[MediaId, V]) -> Found:
        """What the call found, once it is over; it goes on if the caller is cancelled."""
        call = self._next
        if call is None or len(call.items) + len(items) > _MAX_IDS:
            call = self._next = self._begun()
        call.items.update(items)
        return await asyncio.shield(call.answer)

    async def finish(self) -> None:
        """Return when no call is under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begun(self) -> _Call[V]:
        call: _Call[V] = _Call()
        call.answer = asyncio.create_task(self._make(call))
        self._under_way.add(call.answer)
        call.answer.add_done_callback(self._under_way.discard)
        return call

    async def _make(self, call: _Call[V]) -> Found:
        async with self._slots:
            if self._next is call:
                self._next = None
            return await self._call(call.items)
