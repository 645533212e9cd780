"""What is known of a medium, now and as it changes, for whoever may know it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from user_service.errors import MediaNotFound
from user_service.ports import MediaDetails, MediaPort
from user_service.records import MediaId, UserId


class Viewing:
    """Tells of media; private ones are there for their owner only."""

    def __init__(self, media: MediaPort) -> None:
        self._media = media

    async def details(self, media_id: MediaId, *, user_id: UserId) -> MediaDetails:
        """What is known of a medium that this user may see. Raises MediaNotFound."""
        return _shown(await self._media.get(media_id), user_id)

    async def changes(self, media_id: MediaId, *, user_id: UserId) -> AsyncIterator[MediaDetails]:
        """What is known of it now, and again when that has changed, until its processing is over.

        Raises MediaNotFound, when it is deleted too.
        """
        async for details in self._media.watch(media_id):
            yield _shown(details, user_id)


def _shown(details: MediaDetails, user_id: UserId) -> MediaDetails:
    if details.is_private and details.user_id != user_id:
        raise MediaNotFound
    return details
