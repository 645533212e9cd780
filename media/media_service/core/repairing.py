"""Repairing: damage is noted once, and what failed because of it is done when it is healed."""

from __future__ import annotations

import dataclasses

from media_service.core.blobs import Blob, StoredRendition, content_lock
from media_service.core.errors import MediaDamaged
from media_service.core.jobs import Urgency
from media_service.core.media import Media, MediaId, ProcessingStatus, Sha256
from media_service.core.ports import Cache, Clock, Database, Rows

DAMAGE_CODE = MediaDamaged().code
"""The failure code of media whose renditions could not be made because of damage."""

_BATCH = 500


class Repairing:
    """Keeps the notes on originals whose bytes are missing or wrong."""

    def __init__(self, *, database: Database, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock

    async def note_damage(self, sha256: Sha256) -> bool:
        """Note that an original was found damaged; whether that is news.

        Raises DatabaseUnavailable.
        """
        return await self._database.latest.blobs.note_damage(sha256, now=self._clock())

    async def note_sound(self, blob: Blob) -> bool:
        """Note that an original was found whole, if it was not before; whether that is news.

        Raises DatabaseUnavailable.
        """
        if blob.damaged_at is None:
            return False
        async with self._database.transaction(content_lock(blob.sha256)) as rows:
            news = await rows.blobs.note_sound(blob.sha256)
            reopened = await self.reopen(rows, blob.sha256)
        await self.announce(reopened)
        return news

    async def reopen(self, rows: Rows, sha256: Sha256) -> list[MediaId]:
        """Have the renditions of this content's media made that failed because of damage.

        To be called under the content's lock; which media that were is for `announce`.
        """
        reopened: list[MediaId] = []
        while found := await rows.media.failed(sha256, code=DAMAGE_CODE, limit=_BATCH):
            reopened += [media.id for media in found]
            await self._cache.drop(reopened)
            for media in found:
                await self._reopen(rows, media)
        return reopened

    async def announce(self, reopened: list[MediaId]) -> None:
        """To be called when that is committed: what is remembered of them is old."""
        if reopened:
            await self._cache.drop(reopened)

    async def remake(
        self,
        source: Sha256,
        recipe_key: str,
        *,
        damaged: StoredRendition | None = None,
        urgency: Urgency = Urgency.PERSON,
    ) -> None:
        """Have a rendition made again that only jobs make; `damaged` is forgotten.

        Media that are being worked on get it anyway. Raises DatabaseUnavailable.
        """
        reopened: list[MediaId] = []
        async with self._database.transaction(content_lock(source)) as rows:
            if damaged:
                await rows.renditions.forget([damaged])
            if not await rows.renditions.find(source, recipe_keys=[recipe_key]):
                held = await rows.media.holding(source, limit=_BATCH)
                wanted = [media for media in held if _was_made(media, recipe_key)]
                reopened = [media.id for media in wanted]
                await self._cache.drop(reopened)
                for media in wanted:
                    await self._reopen(rows, _without(media, recipe_key), urgency=urgency)
        await self.announce(reopened)

    async def _reopen(
        self, rows: Rows, media: Media, *, urgency: Urgency = Urgency.BACKFILL
    ) -> None:
        again = media.begun_anew(self._clock())
        await rows.media.update(again, revision=media.revision)
        await rows.jobs.enqueue_developing(again, urgency=urgency)


def _was_made(media: Media, recipe_key: str) -> bool:
    has_it = any(rendition.recipe.key == recipe_key for rendition in media.renditions)
    return has_it and media.status is ProcessingStatus.COMPLETED


def _without(media: Media, recipe_key: str) -> Media:
    """The medium as it was before this was made."""
    renditions = tuple(
        dataclasses.replace(r, size_bytes=0) if r.recipe.key == recipe_key else r
        for r in media.renditions
    )
    return dataclasses.replace(media, renditions=renditions)
