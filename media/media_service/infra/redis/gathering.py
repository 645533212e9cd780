"""Gathering: what many ask for at the same time becomes one call.

A call to Redis costs far more than one more key in it. While some calls are under way, what is
asked for waits and goes with the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from media_service.core.media import Media, MediaId

Found = dict[MediaId, Media | None]

_CALLS_AT_ONCE = 4
_MAX_IDS = 200


class _Call:
    """A call that is yet to be made."""

    def __init__(self) -> None:
        self.ids: dict[MediaId, None] = {}
        self.answer: asyncio.Task[Found]


class Gathering:
    """Loads ids together. `load` is only ever called with ids that are all different."""

    def __init__(self, load: Callable[[Sequence[MediaId]], Awaitable[Found]]) -> None:
        self._load = load
        self._next: _Call | None = None
        self._slots = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._under_way: set[asyncio.Task[Found]] = set()

    async def get(self, ids: Sequence[MediaId]) -> Found:
        """Those of the ids that were found."""
        call = self._next
        if call is None or len(call.ids) + len(ids) > _MAX_IDS:
            call = self._next = self._begun()
        call.ids.update(dict.fromkeys(ids))
        # Shielded: one caller that leaves must not take the answer from the others.
        found = await asyncio.shield(call.answer)
        return {media_id: found[media_id] for media_id in ids if media_id in found}

    async def finish(self) -> None:
        """Return when no call is under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begun(self) -> _Call:
        call = _Call()
        call.answer = asyncio.create_task(self._make(call))
        self._under_way.add(call.answer)
        call.answer.add_done_callback(self._under_way.discard)
        return call

    async def _make(self, call: _Call) -> Found:
        async with self._slots:
            if self._next is call:
                self._next = None
            return await self._load(list(call.ids))
