"""Bounds the bytes of unary uploads that are in memory at once.

gRPC holds a unary message whole before a handler sees it, and tells its size to nobody. So an
UploadMedia call reserves room for the largest message before its bytes are read, and gives back
what it did not need once they are there. Calls that find no room wait their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from media_service.core.errors import TooManyUploads

_MOST_WAITING = 1000
_PATIENCE_SECONDS = 40


class Reservation:
    """Room for one message."""

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget = budget
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Keep room for this many bytes only; 0 gives back everything. Never grows."""
        kept = min(size_bytes, self._size_bytes)
        self._budget.give_back(self._size_bytes - kept)
        self._size_bytes = kept


class ByteBudget:
    """`total_bytes` for all messages in flight together, handed out first come, first served."""

    def __init__(self, total_bytes: int, *, largest_message_bytes: int) -> None:
        self._free_bytes = max(total_bytes, largest_message_bytes)
        self._largest = largest_message_bytes
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[Reservation]:
        """Room for the largest message, as soon as there is. Raises TooManyUploads."""
        if self._queue or self._free_bytes < self._largest:
            await self._wait()
        else:
            self._free_bytes -= self._largest
        reservation = Reservation(self, self._largest)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    async def _wait(self) -> None:
        if len(self._queue) >= _MOST_WAITING:
            raise TooManyUploads
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.shield(turn)
        except (asyncio.CancelledError, TimeoutError) as left:
            if turn.done():
                self.give_back(self._largest)  # it was our turn when we left
            else:
                self._queue.remove(turn)
            if isinstance(left, TimeoutError):
                raise TooManyUploads from None
            raise

    def give_back(self, size_bytes: int) -> None:
        """Free this many bytes and wake those whose turn it is."""
        self._free_bytes += size_bytes
        while self._queue and self._free_bytes >= self._largest:
            turn = self._queue.popleft()
            if not turn.done():
                self._free_bytes -= self._largest
                turn.set_result(None)
