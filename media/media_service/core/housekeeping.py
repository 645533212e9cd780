"""Housekeeping: what nobody holds any more goes, and nothing else does.

Every removal takes the lock that uploads and developers of the same content take, and looks
again under it; so the sweep may run at any time, in any number of processes. A lock ends with its
connection, without a word to its holder: so bytes are set aside first, and go for good only when
the same connection has committed after that. If it can't, they come back. What is old enough is
told by the database's clock alone: this machine's may be wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from media_service.core.blobs import StoredObject, content_lock, developing_lock, parse_key
from media_service.core.deleting import Deleting
from media_service.core.media import Sha256
from media_service.core.ports import Blobs, Database, Rows, Staging

_BATCH = 500
_FOLDERS = tuple(f"{kind}/{n:02x}/" for kind in ("originals", "renditions") for n in range(256))


@dataclasses.dataclass(slots=True)
class SweepReport:
    """What a sweep removed: numbers of media, contents, files."""

    expired_media: int = 0
    condemned_blobs: int = 0
    abandoned_files: int = 0
    orphaned_files: int = 0


class Housekeeping:
    """Sweeps. `grace` is how long a content nobody holds is kept."""

    def __init__(
        self,
        *,
        database: Database,
        staging: Staging,
        blobs: Blobs,
        deleting: Deleting,
        grace: timedelta,
    ) -> None:
        self._database = database
        self._staging = staging
        self._blobs = blobs
        self._deleting = deleting
        self._grace = grace

    async def sweep(self, *, grace: timedelta | None = None) -> SweepReport:
        """Remove expired media, condemned contents past their grace, and abandoned uploads."""
        report = SweepReport()
        now = await self._database.latest.now()
        before = now - (self._grace if grace is None else grace)
        report.expired_media = await self._expire(now)
        report.condemned_blobs = await self._remove_condemned(before)
        report.abandoned_files = await self.discard_abandoned()
        return report

    async def discard_abandoned(self) -> int:
        """Remove what dead processes of this machine left in staging; how many files that were."""
        return await self._staging.discard_abandoned()

    async def collect_orphans(self, *, part: int = 0, parts: int = 1) -> int:
        """Remove bytes without a row, which only a crash leaves; how many files that were.

        Looks at one of `parts` equal parts of the store, so that a large one is walked slowly.
        """
        removed = 0
        for folder in _FOLDERS[part % parts :: parts]:
            async for found in _batches(self._blobs.objects(folder)):
                removed += await self._remove_orphans([each.key for each in found])
        return removed

    async def _expire(self, now: datetime) -> int:
        removed = 0
        while expired := await self._database.latest.media.expired(now, limit=_BATCH):
            for media in expired:
                await self._deleting.remove(media)
            removed += len(expired)
        return removed

    async def _remove_condemned(self, before: datetime) -> int:
        removed = 0
        while found := await self._database.latest.blobs.condemned(before, limit=_BATCH):
            for sha256 in found:
                removed += await self._remove_content(sha256, before)
        return removed

    async def _remove_content(self, sha256: Sha256, before: datetime) -> bool:
        locks = content_lock(sha256), developing_lock(sha256)
        async with self._blobs.deleting() as deletion, self._database.transaction(*locks) as rows:
            blob = (await rows.blobs.find([sha256])).get(sha256)
            if blob is None or blob.condemned_at is None or blob.condemned_at > before:
                return False  # revived, and perhaps condemned again, since it was listed
            renditions = await rows.renditions.made_of([sha256])
            await deletion.set_aside([blob.key, *(r.key for r in renditions)])
            await rows.blobs.remove(sha256)
        return True

    async def _remove_orphans(self, keys: Sequence[str]) -> int:
        unheld = await self._unheld(self._database.latest, keys)
        return sum([await self._remove_if_unheld(key) for key in unheld])

    async def _unheld(self, rows: Rows, keys: Sequence[str]) -> list[str]:
        """Those of the keys that no row names. Keys of other shapes are not ours to judge."""
        sources = list({parsed[0] for key in keys if (parsed := parse_key(key))})
        held = {blob.key for blob in (await rows.blobs.find(sources)).values()}
        held |= {rendition.key for rendition in await rows.renditions.made_of(sources)}
        return [key for key in keys if parse_key(key) and key not in held]

    async def _remove_if_unheld(self, key: str) -> bool:
        sha256, _ = parse_key(key) or (Sha256(""), "")
        locks = content_lock(sha256), developing_lock(sha256)
        async with self._blobs.deleting() as deletion, self._database.transaction(*locks) as rows:
            unheld = await self._unheld(rows, [key])
            await deletion.set_aside(unheld)
            await self._unheld(rows, [key])  # an answer proves that the lock was held meanwhile
        return bool(unheld)


async def _batches(objects: AsyncIterator[StoredObject]) -> AsyncIterator[list[StoredObject]]:
    batch: list[StoredObject] = []
    async for each in objects:
        batch.append(each)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
