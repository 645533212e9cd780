"""Developing: renditions are made from originals, each once however many ask.

The worker's jobs and the readers that are faster than them both come through here. Tasks of one
process queue for a source on a lock in memory; processes queue on the database's lock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from media_service.core.blobs import (
    Blob,
    StoredRendition,
    developing_lock,
    original_key,
    stored,
    verbatim_of,
)
from media_service.core.codec_ports import Codecs
from media_service.core.errors import DecoderUnavailable, MediaDamaged, MediaNotFound
from media_service.core.media import Media, MediaId, Sha256
from media_service.core.ports import Blobs, Database, Rows, StagedFile, Staging
from media_service.core.recipes import PictureRecipe, Recipe, VerbatimRecipe
from media_service.core.repairing import Repairing
from media_service.core.transformations import MOST_OF_ONE_ORIGINAL

_REMEMBERED = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class DevelopingLimits:
    """How much is developed at once in this process, and how many may wait for it."""

    at_once: int
    waiting: int = 256


class _Source:
    """What the tasks that are at one source, or wait for it, share.

    `renewed`: what was damaged and has been made anew meanwhile. It may be equal to what it
    replaced, byte for byte, so only this tells those who saw the damage that it is healed.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.renewed: set[StoredRendition] = set()


class Developing:
    """Makes what is missing of a medium's renditions, all from one decode."""

    def __init__(
        self,
        *,
        database: Database,
        staging: Staging,
        blobs: Blobs,
        codecs: Codecs,
        repairing: Repairing,
        limits: DevelopingLimits,
    ) -> None:
        self._database = database
        self._repairing = repairing
        self._staging = staging
        self._blobs = blobs
        self._codecs = codecs
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.at_once)
        self._waiting = 0
        self._sources: weakref.WeakValueDictionary[Sha256, _Source] = weakref.WeakValueDictionary()
        self._known: OrderedDict[tuple[MediaId, str], StoredRendition] = OrderedDict()

    def known(self, media: Media, recipe: Recipe) -> StoredRendition | None:
        """A rendition this process remembers to have been made for this medium.

        By medium, not by content: a content may be swept, uploaded anew and developed elsewhere,
        but never while a medium holds it.
        """
        if isinstance(recipe, VerbatimRecipe):
            return verbatim_of(media).get(recipe.key)
        return self._known.get((media.id, recipe.key))

    async def ensure(
        self, media: Media, *, damaged: StoredRendition | None = None
    ) -> Mapping[str, StoredRendition]:
        """Every rendition of the medium, by recipe key; `damaged` is made anew.

        One that is the original itself can't be: that was healed meanwhile, or MediaDamaged is
        raised. Raises what `Codecs.develop` raises; MediaNotFound if the original was swept;
        MediaDamaged, DecoderUnavailable, StorageFull, StorageUnavailable, DatabaseUnavailable.
        """
        if damaged and damaged.is_original:
            await self._check_original(damaged)
        verbatim = verbatim_of(media)
        recipes = {key: r.recipe for r in media.renditions if (key := r.recipe.key) not in verbatim}
        made = await self._made(self._database.latest, media.sha256, recipes, damaged)
        if len(made) < len(recipes):
            made = await self._queue(media.sha256, recipes, damaged)
        self._remember(media.id, made)
        return made | verbatim

    async def _check_original(self, stored: StoredRendition) -> None:
        """Raises MediaDamaged if it is still damaged, which is noted; StorageUnavailable."""
        async with self._noting_damage(stored.source):
            await self._blobs.check(
                stored.key, size_bytes=stored.size_bytes, sha256=stored.checksum
            )

    async def ensure_picture(
        self, media: Media, recipe: PictureRecipe, *, damaged: StoredRendition | None = None
    ) -> StoredRendition:
        """A picture that is not of the medium's plan, made if need be. Raises as `ensure`.

        So many are kept of an original; then the oldest goes for the newest.
        """
        recipes = {recipe.key: recipe}
        made = await self._made(self._database.latest, media.sha256, recipes, damaged)
        if not made:
            made = await self._queue(media.sha256, recipes, damaged)
            await self._make_room(media.sha256)
        self._remember(media.id, made)
        return made[recipe.key]

    async def _make_room(self, source: Sha256) -> None:
        latest = self._database.latest.renditions
        if not await latest.transformed(source, but=MOST_OF_ONE_ORIGINAL):
            return
        lock = developing_lock(source)
        async with self._blobs.deleting() as deletion, self._database.transaction(lock) as rows:
            surplus = await rows.renditions.transformed(source, but=MOST_OF_ONE_ORIGINAL)
            await rows.renditions.forget(surplus)
            await deletion.set_aside([rendition.key for rendition in surplus])

    async def _made(
        self,
        rows: Rows,
        source: Sha256,
        recipes: Mapping[str, Recipe],
        damaged: StoredRendition | None,
    ) -> dict[str, StoredRendition]:
        """What is there already. A damaged one that was replaced meanwhile counts as there."""
        made = await rows.renditions.find(source, recipe_keys=recipes)
        return {key: found for key, found in made.items() if found != damaged}

    async def _queue(
        self, source: Sha256, recipes: Mapping[str, Recipe], damaged: StoredRendition | None
    ) -> dict[str, StoredRendition]:
        if self._waiting >= self._limits.waiting:
            raise DecoderUnavailable
        self._waiting += 1
        try:
            shared = self._sources.setdefault(source, _Source())
            async with shared.turn:
                damaged = None if damaged in shared.renewed else damaged
                made = await self._made(self._database.latest, source, recipes, damaged)
                if len(made) < len(recipes):
                    async with self._slots, self._noting_damage(source):
                        made = await self._develop_missing(source, recipes, damaged)
                if damaged:
                    shared.renewed.add(damaged)
                return made
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def _noting_damage(self, source: Sha256) -> AsyncIterator[None]:
        """Only originals are read in here: it is them who are damaged."""
        try:
            yield
        except MediaDamaged:
            await self._repairing.note_damage(source)
            raise

    async def _develop_missing(
        self, source: Sha256, recipes: Mapping[str, Recipe], damaged: StoredRendition | None
    ) -> dict[str, StoredRendition]:
        lock = developing_lock(source)
        async with self._blobs.deleting() as deletion, self._database.transaction(lock) as rows:
            made = await self._made(rows, source, recipes, damaged)
            missing = [recipe for key, recipe in recipes.items() if key not in made]
            if missing:
                blob = (await rows.blobs.find([source])).get(source)
                if blob is None:
                    raise MediaNotFound
                new = await self._develop(blob, missing)
                await rows.renditions.put(new)
                made |= {rendition.recipe_key: rendition for rendition in new}
                # Others may remember what was replaced: only its absence tells them to look.
                await deletion.set_aside(_replaced(damaged, by=new))
        return made

    async def _develop(self, blob: Blob, recipes: Sequence[Recipe]) -> list[StoredRendition]:
        async with AsyncExitStack() as stack:
            original = await stack.enter_async_context(
                self._blobs.local_copy(
                    original_key(blob.sha256), size_bytes=blob.size_bytes, sha256=blob.sha256
                )
            )
            files = [await stack.enter_async_context(self._staging.new()) for _ in recipes]
            targets = [(r, file.path) for r, file in zip(recipes, files, strict=True)]
            sizes = await self._codecs.develop(original, format=blob.format, targets=targets)
            return [
                await self._keep(blob.sha256, recipe, file, size)
                for recipe, file, size in zip(recipes, files, sizes, strict=True)
            ]

    async def _keep(
        self, source: Sha256, recipe: Recipe, file: StagedFile, size: tuple[int, int]
    ) -> StoredRendition:
        await file.absorb()
        made = stored(source, recipe, size_bytes=file.size_bytes, checksum=file.sha256, size=size)
        await self._blobs.put(made.key, file)
        return made

    def _remember(self, media_id: MediaId, made: Mapping[str, StoredRendition]) -> None:
        for recipe_key, rendition in made.items():
            self._known[media_id, recipe_key] = rendition
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _replaced(damaged: StoredRendition | None, *, by: Sequence[StoredRendition]) -> list[str]:
    """The key of what was damaged, if its place was taken by other bytes."""
    return [damaged.key] if damaged and damaged.key not in {made.key for made in by} else []
