"""Erasing: everything of one owner goes for good, now, and is looked for again afterwards.

The rows go last. Who is interrupted leaves rows of deleted media behind, and a second run ends
what the first began.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from media_service.core.access import media_path
from media_service.core.blobs import source_of
from media_service.core.deleting import Deleting
from media_service.core.delivering import Delivering
from media_service.core.errors import MediaError, NotFound
from media_service.core.media import Media, MediaId, Sha256, UserId, Visibility
from media_service.core.ports import Blobs, Cache, Database
from media_service.core.removing import Removing

_BATCH: Final = 100
Answers = Callable[[str], Awaitable[bool]]
"""Whether a path, with its query, still gives a rendition to whoever asks over HTTP."""


class Left(enum.StrEnum):
    """What is still there of a medium that should be gone."""

    ROW = "row"
    CACHE = "cache"
    ORIGINAL = "original"
    RENDITION = "rendition"
    DELIVERY = "delivery"
    URL = "url"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """One medium after its erasure.

    `shared`: its content stays, because other owners hold equal bytes. `left`: what should be
    gone and is not. `paths`: what anybody may have in a cache, and must be purged there.
    """

    media_id: MediaId
    shared: bool
    left: tuple[Left, ...]
    paths: tuple[str, ...]


class Erasing:
    """Erases owners."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: Blobs,
        cache: Cache,
        deleting: Deleting,
        delivering: Delivering,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._cache = cache
        self._deleting = deleting
        self._delivering = delivering
        self._removing = Removing(database=database, blobs=blobs)

    async def count(self, owner: UserId) -> tuple[int, int]:
        """How many media the owner has, and how many rows of deleted ones there are."""
        live = deleted = 0
        async for media in self._owned(owner):
            live += media.deleted_at is None
            deleted += media.deleted_at is not None
        return live, deleted

    async def erase(
        self, owner: UserId, *, answers: Answers | None = None
    ) -> AsyncIterator[Erased]:
        """Erase everything of the owner; each medium as it is afterwards.

        Rows of media of which anything is left stay, so that another run comes back to them.
        Raises StorageUnavailable, DatabaseUnavailable.
        """
        async for media in self._owned(owner):
            if media.deleted_at is None:
                await self._deleting.remove(media)
        async for media in self._owned(owner):
            erased = await self._erase(media, answers)
            if not erased.left:
                await self._database.latest.media.remove([media.id])
                await self._cache.drop([media.id])
            yield erased

    async def _owned(self, owner: UserId) -> AsyncIterator[Media]:
        last = None
        while found := await self._database.latest.media.owned_by(owner, after=last, limit=_BATCH):
            for media in found:
                yield media
            last = found[-1].id

    async def _erase(self, media: Media, answers: Answers | None) -> Erased:
        await self._cache.drop([media.id])
        await self._database.latest.jobs.discard(media.id)
        shared = False
        if media.sha256:
            shared = await self._is_held(media.sha256)
            if not shared:
                await self._remove(media.sha256)
                shared = await self._is_held(media.sha256)  # somebody uploads the same meanwhile
        paths = tuple(
            f"{media_path(media.id, r.name)}?v={r.recipe.version}" for r in media.renditions
        )
        return Erased(
            media_id=media.id,
            shared=shared,
            left=tuple([each async for each in self._left(media, paths, shared, answers)]),
            paths=paths if media.visibility is Visibility.PUBLIC else (),
        )

    async def _remove(self, sha256: Sha256) -> None:
        now = await self._database.latest.now()
        await self._removing.remove_content(sha256, condemned_before=now)
        await self._blobs.discard_trashed(sha256)
        for key in await self._keys(sha256):
            await self._removing.remove_unheld(key)

    async def _is_held(self, sha256: Sha256) -> bool:
        found = await self._database.latest.blobs.within(sha256, f"{sha256}00", limit=1)
        return any(held.is_held for held in found)

    async def _keys(self, sha256: Sha256) -> list[str]:
        """What is stored of this content."""
        folder = f"{sha256[:2]}/{sha256[2:4]}/"
        return [
            stored.key
            for kind in ("originals", "renditions")
            async for stored in self._blobs.objects(f"{kind}/{folder}")
            if source_of(stored.key) == sha256
        ]

    async def _left(
        self, media: Media, paths: tuple[str, ...], shared: bool, answers: Answers | None
    ) -> AsyncIterator[Left]:
        row = (await self._database.latest.media.find([media.id])).get(media.id)
        if row and row.deleted_at is None:
            yield Left.ROW
        if any((await self._cache.get([media.id])).values()):
            yield Left.CACHE
        if media.sha256 and not shared:
            for key in await self._keys(media.sha256):
                yield Left.ORIGINAL if key.startswith("originals/") else Left.RENDITION
        for rendition in media.renditions:
            if await self._is_delivered(media.id, rendition.name, rendition.recipe.version):
                yield Left.DELIVERY
        for path in paths:
            if answers and await answers(path):
                yield Left.URL

    async def _is_delivered(self, media_id: MediaId, name: str, version: str) -> bool:
        try:
            await self._delivering.find(media_id, name, version=version, signature=None)
        except NotFound:
            return False
        except MediaError:
            return True
        return True
