"""Auditing: rows and stored objects are compared, content by content, and set right if asked.

Rows and objects both come in the order of their hashes, so that they are compared as they come:
memory does not grow with the store. What is set right is looked at again first, under the locks
that uploads and developers of the same content take.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from media_service.core.audits import Content, Difference, Finding, differences
from media_service.core.blobs import (
    Blob,
    HeldBlob,
    StoredObject,
    content_lock,
    developing_lock,
    hash_range,
    is_of_deletion,
    labelled_at,
    new_label,
    source_of,
)
from media_service.core.errors import MediaDamaged
from media_service.core.media import MediaId, Sha256
from media_service.core.ports import Blobs, Clock, Database, Rows, Staging
from media_service.core.removing import Removing
from media_service.core.repairing import DAMAGE_CODE, Repairing

PARTS = 256
"""The store is compared in so many steps, which progress is told by."""
_BATCH = 500
_EXAMPLES = 20
_LABEL_KIND = "fsck"
_LOSSES = frozenset(
    {
        Difference.ORPHANED_OBJECT,
        Difference.MISSING_ORIGINAL,
        Difference.WRONG_ORIGINAL,
        Difference.MISSING_RENDITION,
        Difference.WRONG_RENDITION,
    }
)
"""Differences that, in numbers, tell of a wrong database or a wrong store."""


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """How many losses are repaired without a word: so many, or such a part of what is stored."""

    count: int = 100
    part: float = 0.01

    def covers(self, losses: int, *, total: int) -> bool:
        """Whether so many of so many may be."""
        return losses <= self.count or losses <= round(self.part * total, 6)


class TooManyLosses(Exception):
    """More differs than is repaired without being told so."""


@dataclasses.dataclass(slots=True)
class AuditReport:
    """What was compared, what differs, and what was done about it."""

    contents: int = 0
    objects: int = 0
    size_bytes: int = 0
    found: collections.Counter[Difference] = dataclasses.field(default_factory=collections.Counter)
    examples: dict[Difference, list[str]] = dataclasses.field(default_factory=dict)
    repaired: collections.Counter[Difference] = dataclasses.field(
        default_factory=collections.Counter
    )
    label: str = ""
    """What the trash has been given under."""

    def note(self, finding: Finding) -> None:
        """Count a difference, and remember some of its kind."""
        self.found[finding.difference] += 1
        examples = self.examples.setdefault(finding.difference, [])
        if len(examples) < _EXAMPLES:
            examples.append(finding.name)

    @property
    def losses(self) -> int:
        """How many differences would be repaired by giving something up."""
        return sum(self.found[difference] for difference in _LOSSES)

    @property
    def total(self) -> int:
        """How many objects there are, or should be."""
        missing = Difference.MISSING_ORIGINAL, Difference.MISSING_RENDITION
        return self.objects + sum(self.found[difference] for difference in missing)


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """How one is taken. What was begun before `settled_before` is over, by everybody's clock."""

    deep: bool
    settled_before: datetime


class Auditing:
    """Compares and sets right. `young`: objects and deletions are not judged before this age."""

    def __init__(
        self,
        *,
        database: Database,
        staging: Staging,
        blobs: Blobs,
        repairing: Repairing,
        clock: Clock,
        young: timedelta = timedelta(hours=1),
    ) -> None:
        self._database = database
        self._staging = staging
        self._blobs = blobs
        self._repairing = repairing
        self._removing = Removing(database=database, blobs=blobs)
        self._clock = clock
        self._young = young

    async def compare(
        self, *, deep: bool = False, on_progress: Callable[[int], None] = lambda _: None
    ) -> AuditReport:
        """Compare everything and change nothing; `deep`: with the hashes of all bytes too.

        Raises StorageUnavailable, DatabaseUnavailable.
        """
        report, look = AuditReport(), await self._look(deep)
        async for content in self._contents(on_progress):
            report.contents += content.held is not None
            report.objects += len(content.objects)
            report.size_bytes += content.size_bytes
            for finding in await self._surely(content, look):
                report.note(finding)
        async for finding in self._beside(look):
            report.note(finding)
        return report

    async def repair(
        self,
        report: AuditReport,
        *,
        allowance: Allowance,
        deep: bool = False,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Set right what differs; `report` is what `compare` answered, and is added to.

        Raises TooManyLosses before anything is done; StorageUnavailable, DatabaseUnavailable.
        """
        if not allowance.covers(report.losses, total=report.total):
            raise TooManyLosses
        look = await self._look(deep)
        report.label = new_label(_LABEL_KIND, look.settled_before + self._young)
        async for content in self._contents(on_progress):
            if await self._findings(content, look):
                await self._repair(content.source, report, look)
        async for finding in self._beside(look):
            await self._repair_beside(finding, report, look)

    async def undo(self, label: str) -> list[str]:
        """Put back what a repair moved to the trash; its keys.

        Raises ValueError for what is no label, StorageUnavailable.
        """
        return await self._blobs.restore(label)

    async def _look(self, deep: bool) -> _Look:
        return _Look(deep, await self._database.latest.now() - self._young)

    async def _contents(self, on_progress: Callable[[int], None]) -> AsyncIterator[Content]:
        for part in range(PARTS):
            folder = f"{part:02x}/"
            rows = _Ahead(self._rows(part))
            originals = _Ahead(self._blobs.objects(f"originals/{folder}"))
            renditions = _Ahead(self._blobs.objects(f"renditions/{folder}"))
            async for content in _merged(rows, originals, renditions):
                yield content
            on_progress(1)

    async def _rows(self, part: int) -> AsyncIterator[Content]:
        start, end = hash_range(part, PARTS)
        while page := await self._database.latest.blobs.within(start, end, limit=_BATCH):
            sources = [held.blob.sha256 for held in page]
            made = collections.defaultdict(list)
            for rendition in await self._database.latest.renditions.made_of(sources):
                made[rendition.source].append(rendition)
            for held in page:
                source = held.blob.sha256
                yield Content(source=source, held=held, made=tuple(made[source]))
            start = f"{sources[-1]}00"

    async def _findings(self, content: Content, look: _Look) -> list[Finding]:
        found = differences(content, settled_before=look.settled_before)
        rotten = await self._rotten(content, found) if look.deep else []
        seen = {finding.name for finding in rotten}
        return [*(finding for finding in found if finding.name not in seen), *rotten]

    async def _surely(self, content: Content, look: _Look) -> list[Finding]:
        """What is found twice: rows and objects may have changed between their listings."""
        found = await self._findings(content, look)
        if all(finding.difference is Difference.ORPHANED_OBJECT for finding in found):
            return found
        content = await self._at_present(self._database.latest, content.source)
        return await self._findings(content, look)

    async def _at_present(self, rows: Rows, source: Sha256) -> Content:
        """All that is known of one content now."""
        held: list[HeldBlob] = await rows.blobs.within(source, f"{source}00", limit=1)
        made = await rows.renditions.made_of([source])
        folder = f"{source[:2]}/{source[2:4]}/"
        objects = [
            stored
            for kind in ("originals", "renditions")
            async for stored in self._blobs.objects(f"{kind}/{folder}")
            if source_of(stored.key) == source
        ]
        return Content(
            source=source,
            held=held[0] if held else None,
            made=tuple(made),
            objects=tuple(objects),
        )

    async def _rotten(self, content: Content, found: list[Finding]) -> list[Finding]:
        """What has the right size and the wrong bytes."""
        known = {finding.name for finding in found} - {
            finding.name for finding in found if finding.difference is Difference.NOTED_DAMAGE
        }
        rotten = []
        if content.held and content.held.is_held and content.held.blob.key not in known:
            blob = content.held.blob
            if not await self._is_right(blob.key, blob.size_bytes, blob.sha256):
                rotten.append(Finding(Difference.WRONG_ORIGINAL, blob.key))
        for made in content.made_of_live:
            if made.key in known or await self._is_right(made.key, made.size_bytes, made.checksum):
                continue
            rotten.append(Finding(Difference.WRONG_RENDITION, made.key))
        return rotten

    async def _is_right(self, key: str, size_bytes: int, sha256: Sha256) -> bool:
        try:
            await self._blobs.check(key, size_bytes=size_bytes, sha256=sha256)
        except MediaDamaged:
            return False
        return True

    async def _beside(self, look: _Look) -> AsyncIterator[Finding]:
        """What differs and is of no content."""
        before, last = look.settled_before, None
        while found := await self._database.latest.jobs.forgotten(before, after=last, limit=_BATCH):
            for media in found:
                yield Finding(Difference.FORGOTTEN_MEDIA, media.id)
            last = found[-1].id
        for label in await self._blobs.labels():
            if is_of_deletion(label) and labelled_at(label) <= before:
                yield Finding(Difference.UNFINISHED_DELETION, label)
        for number in range(await self._staging.count_abandoned()):
            yield Finding(Difference.ABANDONED_FILE, str(number + 1))

    async def _repair(self, source: Sha256, report: AuditReport, look: _Look) -> None:
        locks = content_lock(source), developing_lock(source)
        try:
            async with self._database.transaction(*locks) as rows:
                content = await self._at_present(rows, source)
                found = await self._findings(content, look)
                mending = _Mending(content, rows, await rows.now())
                await mending.mend_rows(found)
                reopened = await self._look_again_at_noted(found, content, rows)
                await self._trash(found, report.label)
                await rows.blobs.find([source])  # an answer proves that the locks were held
        except BaseException:
            await self._blobs.restore(report.label)
            raise
        await self._repairing.announce(reopened)
        report.repaired.update(finding.difference for finding in found)

    async def _look_again_at_noted(
        self, found: list[Finding], content: Content, rows: Rows
    ) -> list[MediaId]:
        """Take the note off an original whose bytes are right."""
        noted = {finding.difference for finding in found} & {
            Difference.NOTED_DAMAGE,
            Difference.WRONG_ORIGINAL,
        }
        if noted != {Difference.NOTED_DAMAGE} or content.held is None:
            return []
        blob = content.held.blob
        if not await self._is_right(blob.key, blob.size_bytes, blob.sha256):
            return []
        await rows.blobs.note_sound(blob.sha256)
        return await self._repairing.reopen(rows, blob.sha256)

    async def _trash(self, found: list[Finding], label: str) -> None:
        """Take away what no row names, and renditions whose rows are forgotten."""
        taken = {Difference.ORPHANED_OBJECT, Difference.WRONG_RENDITION}
        keys = [finding.name for finding in found if finding.difference in taken]
        await self._blobs.trash(keys, label=label)

    async def _repair_beside(self, finding: Finding, report: AuditReport, look: _Look) -> None:
        if finding.difference is Difference.FORGOTTEN_MEDIA:
            await self._queue_again(MediaId(finding.name))
        elif finding.difference is Difference.UNFINISHED_DELETION:
            await self._removing.resolve_deletions(before=look.settled_before)
        else:
            await self._staging.discard_abandoned()
        report.repaired[finding.difference] += 1

    async def _queue_again(self, media_id: MediaId) -> None:
        """A job too many does no harm: it finds its work done."""
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media is None or media.deleted_at is not None:
            return
        reopened: list[MediaId] = []
        async with self._database.transaction(content_lock(media.sha256)) as rows:
            if media.failure_code == DAMAGE_CODE:
                reopened = await self._repairing.reopen(rows, media.sha256)
            else:
                await rows.jobs.enqueue_developing(media)
        await self._repairing.announce(reopened)


class _Mending:
    """Sets the rows of one content right, within a transaction."""

    def __init__(self, content: Content, rows: Rows, now: datetime) -> None:
        self._content = content
        self._rows = rows
        self._now = now

    async def mend_rows(self, found: list[Finding]) -> None:
        """Whatever of these differences is mended by changing rows."""
        differences = {finding.difference for finding in found}
        if self._content.held:
            await self._mend_blob(self._content.held.blob, differences)
        names = {finding.name for finding in found}
        await self._rows.renditions.forget(
            [rendition for rendition in self._content.made if rendition.key in names]
        )

    async def _mend_blob(self, blob: Blob, differences: set[Difference]) -> None:
        damaged_at = blob.damaged_at
        if differences & {Difference.MISSING_ORIGINAL, Difference.WRONG_ORIGINAL}:
            damaged_at = damaged_at or self._now
        if Difference.CONDEMNED_BUT_HELD in differences:
            await self._rows.blobs.keep(blob)
        if Difference.LIVE_BUT_UNHELD in differences:
            await self._rows.blobs.condemn_unheld(blob.sha256, now=self._now)
        if damaged_at:
            await self._rows.blobs.note_damage(blob.sha256, now=damaged_at)


T = TypeVar("T")


class _Ahead(Generic[T]):
    """A stream whose next item can be seen before it is taken."""

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._stream = stream
        self._seen: list[T] = []

    async def peek(self) -> T | None:
        """The next item; None at the end."""
        if not self._seen:
            async for item in self._stream:
                self._seen.append(item)
                break
        return self._seen[0] if self._seen else None

    def take(self) -> T:
        """The item that was seen."""
        return self._seen.pop()


async def _merged(rows: _Ahead[Content], *stores: _Ahead[StoredObject]) -> AsyncIterator[Content]:
    """Each content once, in the order of the hashes, with what all streams tell of it."""
    while True:
        row = await rows.peek()
        heads = [head for store in stores if (head := await store.peek())]
        sources = [source_of(head.key) for head in heads]
        if not row and not sources:
            return
        source = min([*sources, row.source] if row else sources)
        content = rows.take() if row and row.source == source else Content(source=source)
        objects: list[StoredObject] = []
        for store in stores:
            while (head := await store.peek()) and source_of(head.key) == source:
                objects.append(store.take())
        yield dataclasses.replace(content, objects=tuple(objects))
