"""Deleting: the row first, everywhere at once; the bytes when nobody holds them."""

from __future__ import annotations

from collections.abc import Sequence

from media_service.core.blobs import content_lock
from media_service.core.errors import DatabaseUnavailable, MediaError
from media_service.core.media import (
    MOST_EQUAL,
    Media,
    MediaId,
    ProcessingStatus,
    UserId,
    parse_media_id,
    require_owner,
)
from media_service.core.ports import Cache, Clock, Database


class Deleting:
    """Deletes media for their owners."""

    def __init__(self, *, database: Database, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock

    async def delete(self, media_id: MediaId, *, user: UserId) -> None:
        """Delete a medium; one deleted before is no error to its owner.

        Raises MediaNotFound, NotTheOwner (see `require_owner`), DatabaseUnavailable.
        """
        found = await self._database.latest.media.find([media_id])
        media = require_owner(found.get(media_id), user, now=self._clock())
        if media.deleted_at is None:
            await self.remove(media)

    async def remove(self, media: Media) -> None:
        """Delete a medium whoever owns it."""
        await self._cache.drop([media.id])
        async with self._database.transaction(content_lock(media.sha256)) as rows:
            current = (await rows.media.find([media.id])).get(media.id)
            if current is None or current.deleted_at is not None:
                return
            now = await rows.now()
            await rows.media.update(current.deleted(now), revision=current.revision)
            if current.is_unfinished or current.status is ProcessingStatus.FAILED:
                # What is being made for others too finds out by itself whether they want it.
                equal = await rows.media.holding(current.sha256, limit=MOST_EQUAL)
                is_shared = any(each.is_unfinished for each in equal)
                await rows.jobs.discard(current.id, running=not is_shared)
            await rows.blobs.condemn_unheld(current.sha256, now=now)
        await self._cache.drop([media.id])

    async def delete_many(
        self, ids: Sequence[str], *, user: UserId
    ) -> dict[str, MediaError | None]:
        """Delete each; what stood in its way for those that stay, None for those that are gone.

        Raises only what stands in the way of all: DatabaseUnavailable.
        """
        return {text: await self._try(text, user) for text in dict.fromkeys(ids)}

    async def _try(self, text: str, user: UserId) -> MediaError | None:
        try:
            await self.delete(parse_media_id(text), user=user)
        except DatabaseUnavailable:
            raise
        except MediaError as error:
            return error
        return None
