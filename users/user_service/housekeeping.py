"""What is forgotten with time: ended sessions, allowances that are whole, deletions long done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog

from user_service.errors import UserError
from user_service.ports import DeletionRows, SessionRows, ThrottleRows

_EVERY_SECONDS = 600.0
_KEPT = timedelta(days=1)

log = structlog.get_logger()


class Housekeeping:
    """Forgets what is over. Any number of instances may do so at once."""

    def __init__(
        self,
        *,
        sessions: SessionRows,
        throttles: ThrottleRows,
        deletions: DeletionRows,
        clock: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._throttles = throttles
        self._deletions = deletions
        self._clock = clock

    async def sweep(self) -> None:
        """Forget it now. Raises DatabaseUnavailable."""
        await self._sessions.purge(before=self._clock() - _KEPT)
        await self._throttles.purge()
        await self._deletions.purge()


@asynccontextmanager
async def sweep_now_and_then(housekeeping: Housekeeping) -> AsyncIterator[None]:
    """Sweep every ten minutes as long as this lasts."""
    task = asyncio.create_task(_now_and_then(housekeeping))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _now_and_then(housekeeping: Housekeeping) -> None:
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        try:
            await housekeeping.sweep()
        except UserError as error:
            log.warning("housekeeping.put_off", code=error.code)
        except Exception:  # the next round must come
            log.exception("housekeeping.bug")
