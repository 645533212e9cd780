"""Copying: every object that a row names goes to another store, checked on the way.

Services go on meanwhile. What they delete must not come back: so an object is put into the other
store under the locks that the sweeper takes, and only if its row is still there. What lies there
already is not copied again, so a copy that was ended anyhow goes on where it was.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from media_service.core.blobs import (
    Blob,
    StoredObject,
    content_lock,
    developing_lock,
    hash_range,
    original_key,
)
from media_service.core.copies import (
    CopyReport,
    Kind,
    NamedObject,
    Outcome,
    Progress,
)
from media_service.core.errors import DatabaseUnavailable, MediaDamaged, StorageUnavailable
from media_service.core.media import Sha256
from media_service.core.ports import Blobs, Database, Rows, StagedFile, Staging

T = TypeVar("T")

_BATCH = 200
_PAUSES_SECONDS = (0.2, 1.0, 5.0)
_MOST_IN_A_ROW = 10
_BEYOND_ALL_KEYS = "~"


Step = Callable[[NamedObject, bool], Awaitable[Outcome]]
"""What is done with an object; the second argument tells whether something lies there already."""


class Copying:
    """Copies from a source to a target, `at_once` objects at a time.

    `staging` must be the target's own.
    """

    def __init__(
        self, *, database: Database, source: Blobs, target: Blobs, staging: Staging, at_once: int
    ) -> None:
        self._database = database
        self._source = source
        self._target = target
        self._staging = staging
        self._at_once = at_once
        self._failures_in_a_row = 0

    async def copy(
        self, kinds: tuple[Kind, ...] = tuple(Kind), *, tell: Callable[[Progress], None]
    ) -> CopyReport:
        """Copy what the target does not hold. `tell` is called now and then.

        Raises StorageFull; StorageUnavailable, DatabaseUnavailable if they stay away.
        """
        return await self._each(kinds, self._copied, tell)

    async def verify(
        self, kinds: tuple[Kind, ...] = tuple(Kind), *, tell: Callable[[Progress], None]
    ) -> CopyReport:
        """Read every byte in the target, and copy nothing. Raises as `copy`."""
        return await self._each(kinds, self._verified, tell)

    async def _each(
        self, kinds: tuple[Kind, ...], step: Step, tell: Callable[[Progress], None]
    ) -> CopyReport:
        report = CopyReport()
        for kind in kinds:
            done = Progress(kind=kind, part=0.0, objects=0, size_bytes=0)
            async for named, outcome in self._outcomes(kind, step):
                report.add(named, outcome)
                done = Progress(
                    kind=kind,
                    part=max(done.part, int(named.source[:8], 16) / 2**32),
                    objects=done.objects + 1,
                    size_bytes=done.size_bytes + named.size_bytes,
                )
                tell(done)
            tell(dataclasses.replace(done, part=1.0))
        return report

    async def _outcomes(self, kind: Kind, step: Step) -> AsyncIterator[tuple[NamedObject, Outcome]]:
        """What became of each object, as soon as it is known; few are under way at any time."""
        listing = _Listing(self._target.objects(f"{kind}/"))
        under_way: dict[asyncio.Task[Outcome], NamedObject] = {}
        try:
            async for named in self._named(kind):
                is_there = await listing.has(named.key)
                under_way[asyncio.create_task(self._tried(named, step, is_there))] = named
                while len(under_way) >= self._at_once:
                    for done in await _ended(under_way):
                        yield done
            while under_way:
                for done in await _ended(under_way):
                    yield done
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _named(self, kind: Kind) -> AsyncIterator[NamedObject]:
        """Every object of this kind that a row names, in the order of their keys."""
        start, end = hash_range(0, 1)
        while blobs := await self._page(start, end):
            found = await self._originals_or_renditions(kind, blobs)
            for each in found:
                yield each
            start = f"{blobs[-1].sha256}00"

    async def _page(self, start: str, end: str) -> list[Blob]:
        rows = self._database.latest.blobs
        found = await _patiently(lambda: rows.within(start, end, limit=_BATCH))
        return [held.blob for held in found]

    async def _originals_or_renditions(
        self, kind: Kind, blobs: Sequence[Blob]
    ) -> list[NamedObject]:
        if kind is Kind.ORIGINALS:
            return [_original(blob) for blob in blobs]
        sources = [blob.sha256 for blob in blobs]
        return await _patiently(lambda: _renditions(self._database.latest, sources))

    async def _tried(self, named: NamedObject, step: Step, is_there: bool) -> Outcome:
        try:
            outcome = await _patiently(lambda: step(named, is_there))
        except (StorageUnavailable, DatabaseUnavailable):
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _MOST_IN_A_ROW:
                raise
            return Outcome.UNREADABLE
        self._failures_in_a_row = 0
        return outcome

    async def _copied(self, named: NamedObject, is_there: bool) -> Outcome:
        if is_there and await self._is_held(named):
            return Outcome.HELD
        async with self._staging.new() as staged:
            if not await self._fetch(named, staged):
                return await self._missed(named)
            if not is_there:
                await self._target.put_ahead(named.key, staged)
            locks = content_lock(named.source), developing_lock(named.source)
            async with self._database.transaction(*locks) as rows:
                if not await _is_named(rows, named):
                    return Outcome.GONE
                await self._target.put(named.key, staged, anew=is_there)
        return Outcome.COPIED

    async def _verified(self, named: NamedObject, _: bool) -> Outcome:
        if await self._is_held(named):
            return Outcome.HELD
        return await self._missed(named)

    async def _missed(self, named: NamedObject) -> Outcome:
        """What it means that an object is not where it should be."""
        is_named = await _is_named(self._database.latest, named)
        return Outcome.DAMAGED if is_named else Outcome.GONE

    async def _is_held(self, named: NamedObject) -> bool:
        try:
            await self._target.check(named.key, size_bytes=named.size_bytes, sha256=named.checksum)
        except MediaDamaged:
            return False
        return True

    async def _fetch(self, named: NamedObject, staged: StagedFile) -> bool:
        """Write the object's bytes to the staged file; whether they are what they should be."""
        size_bytes = named.size_bytes
        try:
            async with self._source.open(
                named.key, size_bytes=size_bytes, sha256=named.checksum
            ) as found:
                async for piece in found.read(0, size_bytes):
                    await staged.write(piece)
        except MediaDamaged:
            return False
        return staged.sha256 == named.checksum


def _original(blob: Blob) -> NamedObject:
    return NamedObject(
        key=blob.key, size_bytes=blob.size_bytes, checksum=blob.sha256, source=blob.sha256
    )


async def _renditions(rows: Rows, sources: list[Sha256]) -> list[NamedObject]:
    return [
        NamedObject(
            key=made.key, size_bytes=made.size_bytes, checksum=made.checksum, source=made.source
        )
        for made in sorted(await rows.renditions.made_of(sources), key=lambda made: made.key)
    ]


async def _is_named(rows: Rows, named: NamedObject) -> bool:
    """Whether a row still names the object, with these very bytes."""
    if named.key == original_key(named.source):
        return named.source in await rows.blobs.find([named.source])
    return named in await _renditions(rows, [named.source])


async def _patiently(doing: Callable[[], Awaitable[T]]) -> T:
    """What comes of it, tried again a few times if something is away."""
    for pause in _PAUSES_SECONDS:
        try:
            return await doing()
        except (StorageUnavailable, DatabaseUnavailable):
            await asyncio.sleep(pause)
    return await doing()


async def _ended(
    under_way: dict[asyncio.Task[Outcome], NamedObject],
) -> list[tuple[NamedObject, Outcome]]:
    """Wait for some of what is under way. Raises what the first of them raises."""
    ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    return [(under_way.pop(task), task.result()) for task in ended]


class _Listing:
    """What a store holds, asked for in the order of the keys."""

    def __init__(self, objects: AsyncIterator[StoredObject]) -> None:
        self._objects = objects
        self._at = ""

    async def has(self, key: str) -> bool:
        """Whether something lies under the key; each must come after the one before."""
        while self._at < key:
            found = await anext(self._objects, None)
            self._at = found.key if found else _BEYOND_ALL_KEYS
        return self._at == key
