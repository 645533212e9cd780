"""Housekeeping: what nobody holds any more goes, and nothing else does.

Every removal looks again under the lock that uploads and developers of the same content take; so
the sweep may run at any time, in any number of processes (see `core.removing`). What is old enough
is told by the database's clock alone: this machine's may be wrong. What can't be removed is
counted, logged, and left for the next sweep; the rest goes all the same.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from media_service.core.blobs import StoredObject
from media_service.core.deleting import Deleting
from media_service.core.errors import MediaError
from media_service.core.media import Media
from media_service.core.ports import Blobs, Database, Staging
from media_service.core.removing import Removing

_BATCH = 500
_PATIENCE = 20
"""So many failures, one after the other, are no longer the keys' fault."""
_DELETION = timedelta(minutes=15)
"""A deletion that is not over by then was killed; one that was not does no harm, and gets none."""
_UNFINISHED_UPLOADS = timedelta(days=1)
_FOLDERS = tuple(f"{kind}/{n:02x}/" for kind in ("originals", "renditions") for n in range(256))

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long things are kept that nobody needs any more.

    `grace`: a content nobody holds. `trash`: what was moved to the trash. `tombstones`: rows of
    deleted media.
    """

    grace: timedelta
    trash: timedelta = timedelta(days=7)
    tombstones: timedelta = timedelta(days=30)


@dataclasses.dataclass(slots=True)
class SweepReport:
    """What a sweep removed: numbers of media, contents, files; and how often it could not."""

    expired_media: int = 0
    condemned_blobs: int = 0
    resolved_objects: int = 0
    abandoned_files: int = 0
    abandoned_uploads: int = 0
    orphaned_files: int = 0
    trashed_objects: int = 0
    tombstones: int = 0
    failures: int = 0


class Housekeeping:
    """Sweeps."""

    def __init__(
        self,
        *,
        database: Database,
        staging: Staging,
        blobs: Blobs,
        deleting: Deleting,
        keeping: Keeping,
    ) -> None:
        self._database = database
        self._staging = staging
        self._blobs = blobs
        self._deleting = deleting
        self._removing = Removing(database=database, blobs=blobs)
        self._keeping = keeping

    async def sweep(self, *, grace: timedelta | None = None) -> SweepReport:
        """Remove what is over: expired media, condemned contents past their grace, left-overs.

        `failures` counts what can't be removed now. Raises DatabaseUnavailable.
        """
        now, report = await self._database.latest.now(), SweepReport()
        grace = self._keeping.grace if grace is None else grace
        blobs, attempt = self._blobs, _Attempts(report).attempt
        report.expired_media = await attempt(partial(self._expire, report, now))
        report.resolved_objects = await attempt(
            partial(self._removing.resolve_deletions, before=now - min(grace, _DELETION))
        )
        report.condemned_blobs = await attempt(partial(self._remove_condemned, report, now - grace))
        report.abandoned_files = await attempt(self.discard_abandoned)
        report.abandoned_uploads = await attempt(
            partial(blobs.discard_abandoned_uploads, before=now - _UNFINISHED_UPLOADS)
        )
        report.trashed_objects = await attempt(
            partial(blobs.empty_trash, before=now - self._keeping.trash)
        )
        report.tombstones = await attempt(
            partial(self._remove_tombstones, now - self._keeping.tombstones)
        )
        return report

    async def discard_abandoned(self) -> int:
        """Remove what dead processes of this machine left in staging; how many files that were."""
        return await self._staging.discard_abandoned()

    async def collect_orphans(self, *, part: int = 0, parts: int = 1) -> int:
        """Remove bytes without a row, which only a crash leaves; how many files that were.

        Looks at one of `parts` equal parts of the store, so that a large one is walked slowly.
        Raises StorageUnavailable, DatabaseUnavailable.
        """
        removed, attempts = 0, _Attempts(SweepReport())
        for folder in _FOLDERS[part % parts :: parts]:
            async for found in _batches(self._blobs.objects(folder)):
                for key in await self._removing.unheld([each.key for each in found]):
                    removed += await attempts.attempt(partial(self._removing.remove_unheld, key))
        return removed

    async def count_damaged(self) -> int:
        """How many originals are known to be damaged. Raises DatabaseUnavailable."""
        return await self._database.latest.blobs.count_damaged()

    async def _expire(self, report: SweepReport, now: datetime) -> int:
        removed, last, attempts = 0, None, _Attempts(report)
        while expired := await self._database.latest.media.expired(now, limit=_BATCH, after=last):
            for last in expired:
                removed += await attempts.attempt(partial(self._delete, last))
        return removed

    async def _delete(self, media: Media) -> int:
        await self._deleting.remove(media)
        return 1

    async def _remove_condemned(self, report: SweepReport, before: datetime) -> int:
        removed, last, attempts = 0, None, _Attempts(report)
        while found := await self._database.latest.blobs.condemned(
            before, limit=_BATCH, after=last
        ):
            for last in found:
                remove = partial(self._removing.remove_content, last.sha256)
                removed += await attempts.attempt(partial(remove, condemned_before=before))
        return removed

    async def _remove_tombstones(self, before: datetime) -> int:
        removed, rows = 0, self._database.latest.media
        while count := await rows.remove_deleted(before, limit=_BATCH):
            removed += count
        return removed


class _Attempts:
    """Does one thing after the other, whether or not some of them can be done."""

    def __init__(self, report: SweepReport) -> None:
        self._report = report
        self._in_a_row = 0

    async def attempt(self, doing: Callable[[], Awaitable[int]]) -> int:
        """What the doing answers, or 0 if it can't be done now.

        Raises what it raises when it has been so too often in a row.
        """
        try:
            count = await doing()
        except MediaError as error:
            self._report.failures += 1
            self._in_a_row += 1
            logger.warning("a sweep left something over: %s (%r)", error.code, error.__cause__)
            if self._in_a_row >= _PATIENCE:
                raise
            return 0
        self._in_a_row = 0
        return int(count)


async def _batches(objects: AsyncIterator[StoredObject]) -> AsyncIterator[list[StoredObject]]:
    batch: list[StoredObject] = []
    async for each in objects:
        batch.append(each)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
