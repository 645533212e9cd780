"""Admitting: what is taken in, and no more of it than the queue of jobs holds.

Reading and deleting go on whatever is refused here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from media_service.core.errors import QueueFull
from media_service.core.job_ports import JobQueue
from media_service.core.jobs import QueueLimits
from media_service.core.media import UserId

_FRESH_SECONDS = 1.0


class Admitting:
    """Counts the queue once a second at most, and an owner's part of it only if that matters."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        limits: QueueLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._limits = limits
        self._monotonic = monotonic
        self._counting = asyncio.Lock()
        self._waiting = 0
        self._fresh_until = float("-inf")

    async def admit(self, owner: UserId) -> None:
        """Return if there is room for a job of this owner. Raises QueueFull."""
        waiting = await self._count()
        if waiting >= self._limits.waiting:
            raise QueueFull
        most = self._limits.of_one_owner
        if waiting >= most and await self._queue.count_waiting_of(owner, at_most=most) >= most:
            raise QueueFull

    async def _count(self) -> int:
        if self._monotonic() >= self._fresh_until:
            async with self._counting:
                if self._monotonic() >= self._fresh_until:
                    self._waiting = await self._queue.count_waiting(at_most=self._limits.waiting)
                    self._fresh_until = self._monotonic() + _FRESH_SECONDS
        return self._waiting
