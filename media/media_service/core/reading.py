"""Reading: what is known of media, from the cache or else from their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from media_service.core.errors import MediaNotFound
from media_service.core.media import Media, MediaId, UserId
from media_service.core.ports import Cache, Clock, Database

MAX_BATCH = 100

Found = dict[MediaId, Media | None]


class Reading:
    """Finds media. However many ask for one at once, its row is read once."""

    def __init__(self, *, database: Database, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._loading: dict[MediaId, asyncio.Task[Found]] = {}

    async def get(self, media_id: MediaId) -> Media:
        """The medium. Raises MediaNotFound if there is none, or no longer."""
        found = await self._cache.get([media_id])
        if media_id not in found:
            found = await self._load([media_id])
        media = found[media_id]
        if media is None or media.is_gone(self._clock()):
            raise MediaNotFound
        return media

    async def get_uploaded(self, owner: UserId, *, idempotency_key: str) -> Media:
        """What the owner uploaded under this key. Raises MediaNotFound."""
        rows = self._database.latest.media
        media = await rows.find_by_idempotency_key(owner, idempotency_key)
        if media is None or media.is_gone(self._clock()):
            raise MediaNotFound
        return media

    async def find(self, ids: Sequence[MediaId]) -> dict[MediaId, Media]:
        """Those that are there."""
        found = await self._cache.get(ids)
        missing = [media_id for media_id in ids if media_id not in found]
        if missing:
            found = found | await self._load(missing)
        now = self._clock()
        asked = ((media_id, found[media_id]) for media_id in ids)
        return {i: media for i, media in asked if media and not media.is_gone(now)}

    async def _load(self, ids: Sequence[MediaId]) -> Found:
        new = [media_id for media_id in dict.fromkeys(ids) if media_id not in self._loading]
        if new:
            task = asyncio.create_task(self._read(new))
            self._loading |= dict.fromkeys(new, task)
            task.add_done_callback(lambda _: self._forget(new))
        found: Found = {}
        for task in {self._loading[media_id] for media_id in ids}:
            # Shielded: one caller that leaves must not take the answer from the others.
            found |= await asyncio.shield(task)
        return found

    async def _read(self, ids: Sequence[MediaId]) -> Found:
        begun = self._cache.begin()
        rows = await self._database.latest.media.find(ids)
        found: Found = {media_id: rows.get(media_id) for media_id in ids}
        await self._cache.fill(found, begun=begun)
        return found

    def _forget(self, ids: Sequence[MediaId]) -> None:
        for media_id in ids:
            del self._loading[media_id]
