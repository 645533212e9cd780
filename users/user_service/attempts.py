"""Uploads that a process began and did not live to end: what they left is let go.

The media service may have stored a medium that no profile came to hold, and whose id nobody here
has heard. So the key is written down before the upload, and a medium is looked for by it later.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from user_service.errors import MediaNotFound
from user_service.ports import AttemptRows, MediaPort, ProfileRows
from user_service.records import UploadAttempt, UserId


class Attempts:
    """Notes uploads before they begin. `due_in` is longer than any of them may take."""

    def __init__(
        self, *, rows: AttemptRows, media: MediaPort, profiles: ProfileRows, due_in: timedelta
    ) -> None:
        self._rows = rows
        self._media = media
        self._profiles = profiles
        self._due_in = due_in

    async def begin(self, user_id: UserId, idempotency_key: str) -> UploadAttempt:
        """An upload during which this process may die, or which may fail: it is looked into later.

        It ends with the transaction in which the profile comes to hold its medium. Raises
        DatabaseUnavailable.
        """
        return await self._rows.begin(user_id, idempotency_key, due_in=self._due_in)

    async def tidy(self) -> int:
        """Let go what unfinished uploads left; how many there were. Raises UserError."""
        count = 0
        while attempt := await self._rows.claim():
            await self._let_go(attempt)
            count += 1
        return count

    async def _let_go(self, attempt: UploadAttempt) -> None:
        with suppress(MediaNotFound):
            media_id = await self._media.find_uploaded(
                attempt.user_id, idempotency_key=attempt.idempotency_key
            )
            await self._profiles.discard(attempt.user_id, media_id)
        await self._rows.end(attempt)
