"""What is forgotten with time: ended sessions, allowances that are whole, deletions long done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from user_service.ports import DeletionRows, SessionRows, ThrottleRows

_KEPT = timedelta(days=1)


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
