"""Developing: renditions are made from originals, each once however many ask.

The worker's jobs and the readers that are faster than them both come through here. Tasks of one
process queue for a source on a lock in memory; processes queue on the database's lock.

What takes minutes holds neither a lock nor a connection while it is made: the queue of jobs keeps
two from making it at once, and who comes late finds it made (decision 0020).
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
from media_service.core.codec_ports import Codecs, OnProgress, no_progress
from media_service.core.errors import (
    DecoderUnavailable,
    MediaDamaged,
    MediaNotFound,
    RenditionNotReady,
)
from media_service.core.media import Media, MediaId, Sha256
from media_service.core.ports import Blobs, Database, Rows, StagedFile, Staging
from media_service.core.recipes import PictureRecipe, Recipe, StreamRecipe, VerbatimRecipe
from media_service.core.renditions import Rendition, Stage
from media_service.core.repairing import Repairing
from media_service.core.transformations import MOST_OF_ONE_ORIGINAL

_REMEMBERED = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class DevelopingLimits:
    """How much is developed at once in this process, and how many may wait for it.

    `transcodes`: how many of those that take minutes. They take no place of the others.
    """

    at_once: int
    waiting: int = 256
    transcodes: int = 1


class _Source:
    """What the tasks that are at one source, or wait for it, share.

    `renewed`: what was damaged and has been made anew meanwhile. It may be equal to what it
    replaced, byte for byte, so only this tells those who saw the damage that it is healed.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.renewed: set[StoredRendition] = set()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is to be there of a source: the recipes of one stage, by their keys."""

    source: Sha256
    recipes: Mapping[str, Recipe]
    stage: Stage = Stage.PREVIEW
    damaged: StoredRendition | None = None
    on_progress: OnProgress = no_progress


_New = Sequence[tuple[StoredRendition, StagedFile]]


async def made_of(rows: Rows, media: Media) -> dict[str, StoredRendition]:
    """What equal recipes made of equal bytes, and what needs no making, by recipe key."""
    keys = [rendition.recipe.key for rendition in media.renditions]
    return await rows.renditions.find(media.sha256, recipe_keys=keys) | verbatim_of(media)


class Developing:
    """Makes what is missing of a medium's renditions, all of a stage from one decode."""

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
        self._transcodes = asyncio.Semaphore(limits.transcodes)
        self._waiting = 0
        self._sources: weakref.WeakValueDictionary[tuple[Sha256, Stage], _Source] = (
            weakref.WeakValueDictionary()
        )
        self._known: OrderedDict[tuple[MediaId, str], StoredRendition] = OrderedDict()

    def known(self, media: Media, recipe: Recipe) -> StoredRendition | None:
        """A rendition this process remembers to have been made for this medium.

        By medium, not by content: a content may be swept, uploaded anew and developed elsewhere,
        but never while a medium holds it.
        """
        if isinstance(recipe, VerbatimRecipe):
            return verbatim_of(media).get(recipe.key)
        return self._known.get((media.id, recipe.key))

    def forget(self, media: Media, stored: StoredRendition) -> None:
        """No longer remember this, which was found damaged."""
        if self._known.get((media.id, stored.recipe_key)) == stored:
            del self._known[media.id, stored.recipe_key]

    async def made(self, media: Media) -> Mapping[str, StoredRendition]:
        """What has been made of the medium's renditions, of every stage, by recipe key.

        Raises DatabaseUnavailable.
        """
        recipes = _recipes(media.renditions)
        made = await self._made(self._database.latest, media.sha256, recipes, None)
        self._remember(media.id, made)
        return made | verbatim_of(media)

    async def ensure(
        self,
        media: Media,
        *,
        stage: Stage = Stage.PREVIEW,
        damaged: StoredRendition | None = None,
        on_progress: OnProgress = no_progress,
    ) -> Mapping[str, StoredRendition]:
        """Every rendition of this stage of the medium, by recipe key; `damaged` is made anew.

        One that is the original itself can't be: that was healed meanwhile, or MediaDamaged is
        raised. Raises what `Codecs.develop` raises; MediaNotFound if the original was swept;
        MediaDamaged, DecoderUnavailable, StorageFull, StorageUnavailable, DatabaseUnavailable;
        RenditionNotReady if something of it was forgotten meanwhile.
        """
        if damaged and damaged.is_original:
            await self._check_original(damaged)
        recipes = _recipes([r for r in media.renditions if r.stage is stage])
        made = await self._made(self._database.latest, media.sha256, recipes, damaged)
        if len(made) < len(recipes):
            order = _Order(
                source=media.sha256,
                stage=stage,
                recipes=recipes,
                damaged=damaged,
                on_progress=on_progress,
            )
            made = await (self._transcoded(order) if stage.is_slow else self._queue(order))
        self._remember(media.id, made)
        return made | verbatim_of(media)

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
        order = _Order(source=media.sha256, recipes={recipe.key: recipe}, damaged=damaged)
        made = await self._made(self._database.latest, order.source, order.recipes, damaged)
        if not made:
            made = await self._queue(order)
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

    async def _queue(self, order: _Order) -> dict[str, StoredRendition]:
        if self._waiting >= self._limits.waiting:
            raise DecoderUnavailable
        self._waiting += 1
        try:
            async with self._turn(order) as shared:
                if order.damaged in shared.renewed:
                    order = dataclasses.replace(order, damaged=None)
                made = await self._made(
                    self._database.latest, order.source, order.recipes, order.damaged
                )
                if len(made) < len(order.recipes):
                    async with self._slots, self._noting_damage(order.source):
                        made = await self._develop_missing(order)
                if order.damaged:
                    shared.renewed.add(order.damaged)
                return made
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def _turn(self, order: _Order) -> AsyncIterator[_Source]:
        shared = self._sources.setdefault((order.source, order.stage), _Source())
        async with shared.turn:
            yield shared

    @asynccontextmanager
    async def _noting_damage(self, source: Sha256) -> AsyncIterator[None]:
        """Only originals are read in here: it is them who are damaged."""
        try:
            yield
        except MediaDamaged:
            await self._repairing.note_damage(source)
            raise

    async def _develop_missing(self, order: _Order) -> dict[str, StoredRendition]:
        """Make it under the lock, so that others who want it find it made."""
        source, lock = order.source, developing_lock(order.source)
        async with self._blobs.deleting() as deletion, self._database.transaction(lock) as rows:
            made = await self._made(rows, source, order.recipes, order.damaged)
            missing = _missing(order.recipes, made)
            if missing:
                blob = await _blob(rows, source)
                async with self._developed(blob, missing, no_progress) as new:
                    made |= await self._put(rows, new)
                # Others may remember what was replaced: only its absence tells them to look.
                await deletion.set_aside(_replaced([order.damaged], by=new))
        return made

    async def _transcoded(self, order: _Order) -> dict[str, StoredRendition]:
        """Make it with nothing held, and only put it where it belongs under the lock."""
        latest = self._database.latest
        async with self._turn(order), self._transcodes, self._noting_damage(order.source):
            made = await self._made(latest, order.source, order.recipes, None)
            missing = _missing(order.recipes, made)
            if not missing:
                return made
            blob = await _blob(latest, order.source)
            async with self._developed(blob, missing, order.on_progress) as new:
                for rendition, file in new:
                    await self._blobs.put_ahead(rendition.key, file)
                return await self._stored(order, new)

    async def _stored(self, order: _Order, new: _New) -> dict[str, StoredRendition]:
        """What there is once this has been made; if others made it meanwhile, it is theirs."""
        source, lock = order.source, developing_lock(order.source)
        async with self._blobs.deleting() as deletion, self._database.transaction(lock) as rows:
            made = await self._made(rows, source, order.recipes, None)
            if len(made) == len(order.recipes):
                return made
            await _blob(rows, source)
            replaced = [made.get(rendition.recipe_key) for rendition, _ in new]
            made |= await self._put(rows, new)
            await deletion.set_aside(_replaced(replaced, by=new))
        if len(made) < len(order.recipes):
            raise RenditionNotReady
        return made

    @asynccontextmanager
    async def _developed(
        self, blob: Blob, recipes: Sequence[Recipe], on_progress: OnProgress
    ) -> AsyncIterator[_New]:
        """New renditions, each in a staged file that is gone when this ends."""
        async with AsyncExitStack() as stack:
            original = await stack.enter_async_context(
                self._blobs.local_copy(
                    original_key(blob.sha256), size_bytes=blob.size_bytes, sha256=blob.sha256
                )
            )
            files = [await stack.enter_async_context(self._staging.new()) for _ in recipes]
            targets = [(r, file.path) for r, file in zip(recipes, files, strict=True)]
            sizes = await self._codecs.develop(
                original, format=blob.format, targets=targets, on_progress=on_progress
            )
            yield [
                (await _absorbed(blob.sha256, recipe, file, size), file)
                for recipe, file, size in zip(recipes, files, sizes, strict=True)
            ]

    async def _put(self, rows: Rows, new: _New) -> dict[str, StoredRendition]:
        """Put the bytes, then the rows that name them."""
        for rendition, file in new:
            await self._blobs.put(rendition.key, file)
        await rows.renditions.put([rendition for rendition, _ in new])
        return {rendition.recipe_key: rendition for rendition, _ in new}

    def _remember(self, media_id: MediaId, made: Mapping[str, StoredRendition]) -> None:
        for recipe_key, rendition in made.items():
            self._known[media_id, recipe_key] = rendition
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _recipes(renditions: Sequence[Rendition]) -> dict[str, Recipe]:
    """The recipes of what has to be made, by their keys."""
    recipes = [r.recipe for r in renditions if not isinstance(r.recipe, VerbatimRecipe)]
    return {recipe.key: recipe for recipe in recipes}


def _missing(recipes: Mapping[str, Recipe], made: Mapping[str, StoredRendition]) -> list[Recipe]:
    """What is to be made. The parts of a stream are: all of them, or none.

    A playlist names byte ranges of a file, so both have to be of one run.
    """
    missing = {key for key in recipes if key not in made}
    if any(isinstance(recipes[key], StreamRecipe) for key in missing):
        missing |= {key for key, recipe in recipes.items() if isinstance(recipe, StreamRecipe)}
    return [recipe for key, recipe in recipes.items() if key in missing]


async def _blob(rows: Rows, source: Sha256) -> Blob:
    blob = (await rows.blobs.find([source])).get(source)
    if blob is None:
        raise MediaNotFound
    return blob


async def _absorbed(
    source: Sha256, recipe: Recipe, file: StagedFile, size: tuple[int, int]
) -> StoredRendition:
    await file.absorb()
    return stored(source, recipe, size_bytes=file.size_bytes, checksum=file.sha256, size=size)


def _replaced(damaged: Sequence[StoredRendition | None], *, by: _New) -> list[str]:
    """The keys of these whose place was taken by other bytes."""
    keys = {rendition.key for rendition, _ in by}
    return [each.key for each in damaged if each and each.key not in keys]
