"""Pictures of profiles: put one in its slot, take it out.

The new picture stands before the old one goes: upload, then one transaction that puts it into the
profile and notes the old one for deletion, then the deletion, repeated until it is done. Whatever
fails or dies in between, the profile has a picture that is there, and no medium is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from user_service.attempts import Attempts
from user_service.deletions import Deletions
from user_service.errors import Unavailable, UserError
from user_service.ports import MediaPort, ProfileRows
from user_service.records import MediaId, Picture, Slot, UserId
from user_service.spools import SpooledFile

_RETRY_SECONDS = 2.0
_RETRIES = 150

log = structlog.get_logger()


class Pictures:
    """What can be done with the pictures of a profile."""

    def __init__(
        self,
        *,
        media: MediaPort,
        profiles: ProfileRows,
        attempts: Attempts,
        deletions: Deletions,
    ) -> None:
        self._media = media
        self._attempts = attempts
        self._profiles = profiles
        self._deletions = deletions
        self._discarding: set[asyncio.Task[None]] = set()

    async def put(
        self, file: SpooledFile, *, slot: Slot, user_id: UserId, idempotency_key: str
    ) -> Picture:
        """Make this file the picture of the slot; what it replaces goes.

        If it fails the profile is as it was. Raises what MediaPort.upload raises,
        PictureSuperseded, DatabaseUnavailable.
        """
        attempt = await self._attempts.begin(user_id, idempotency_key)
        picture = await self._media.upload(
            file, slot=slot, user_id=user_id, idempotency_key=idempotency_key
        )
        try:
            replaced = await self._profiles.put(user_id, slot, picture, ending=attempt)
        except Unavailable:
            self._discard_later(user_id, picture.media_id)
            raise
        if replaced is not None:
            await self._deletions.hurry(replaced)
        return picture

    async def delete(self, media_id: MediaId, *, user_id: UserId) -> bool:
        """Delete a medium of this user; the profile forgets it. Whether it is gone already.

        If it was in the profile it goes in any case, now or when the media service is back.
        Raises MediaNotFound, NotTheOwner, MediaUnavailable.
        """
        if await self._profiles.forget(user_id, media_id):
            return await self._deletions.hurry(media_id)
        await self._media.delete(media_id, user_id=user_id)
        return True

    def _discard_later(self, user_id: UserId, media_id: MediaId) -> None:
        """The database went away with the answer, so nobody knows what became of the medium.

        When it is back the profile has it, or it is noted for deletion.
        """
        task = asyncio.create_task(_until_it_works(self._profiles, user_id, media_id))
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)


async def _until_it_works(profiles: ProfileRows, user_id: UserId, media_id: MediaId) -> None:
    for _ in range(_RETRIES):
        await asyncio.sleep(_RETRY_SECONDS)
        if await _works(profiles.discard(user_id, media_id)):
            return
    log.error("pictures.left_behind", media_id=media_id)


async def _works(doing: Coroutine[Any, Any, None]) -> bool:
    try:
        await doing
    except UserError:
        return False
    return True
