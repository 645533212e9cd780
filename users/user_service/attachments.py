"""Attachments: pictures, films and sounds that will be part of posts.

No profile holds them, and until there are posts nothing else does: one that stands is its owner's
until its owner deletes it. Only what a process uploaded and did not live to answer is let go.
"""

from __future__ import annotations

from user_service.attempts import Attempts
from user_service.errors import AttachmentDiscarded
from user_service.ports import AttemptRows, MediaDetails, MediaPort
from user_service.records import UserId
from user_service.spools import SpooledFile


class Attachments:
    """Takes files in that are no part of a profile."""

    def __init__(self, *, media: MediaPort, attempts: Attempts, rows: AttemptRows) -> None:
        self._media = media
        self._attempts = attempts
        self._rows = rows

    async def add(
        self, file: SpooledFile, *, user_id: UserId, idempotency_key: str
    ) -> MediaDetails:
        """Store a file. The same key and bytes again answer the same medium.

        Raises what MediaPort.attach raises, AttachmentDiscarded, DatabaseUnavailable.
        """
        attempt = await self._attempts.begin(user_id, idempotency_key)
        stored = await self._media.attach(file, user_id=user_id, idempotency_key=idempotency_key)
        if not await self._rows.settle(attempt, stored.picture.media_id):
            raise AttachmentDiscarded
        return stored
