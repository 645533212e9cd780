"""Scrubbing: everything that is stored is read again, slowly, so that rot is found in time."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from media_service.core.blobs import Blob, StoredRendition, hash_range
from media_service.core.developing import Developing
from media_service.core.errors import MediaDamaged, MediaError
from media_service.core.jobs import Urgency
from media_service.core.media import Media
from media_service.core.ports import Blobs, Database
from media_service.core.removing import Removing
from media_service.core.repairing import Repairing

_BATCH = 100
_HOLDERS = 100
"""So many media are asked at most for the recipe of a damaged rendition."""


@dataclasses.dataclass(slots=True)
class ScrubReport:
    """What a scrub read and found."""

    objects: int = 0
    size_bytes: int = 0
    damaged_originals: int = 0
    healed_originals: int = 0
    damaged_renditions: int = 0
    failures: int = 0


class Pace:
    """Holds up whoever reads faster than so many bytes a second."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    async def spend(self, size_bytes: int) -> None:
        """Return when so many more bytes are within the budget."""
        now = self._clock()
        self._free_at = max(self._free_at, now) + size_bytes / self._bytes_per_second
        if self._free_at > now:
            await self._sleep(self._free_at - now)


class Scrubbing:
    """Compares what lies in the store with its rows."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: Blobs,
        developing: Developing,
        repairing: Repairing,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._developing = developing
        self._repairing = repairing
        self._removing = Removing(database=database, blobs=blobs)

    async def scrub(self, *, part: int = 0, parts: int = 1, pace: Pace) -> ScrubReport:
        """Read one of `parts` equal parts of the store, no faster than the pace.

        Damaged originals are noted, damaged renditions made anew. Raises DatabaseUnavailable;
        what can't be read now is counted.
        """
        report = ScrubReport()
        async for blob in self._live(part % parts, parts):
            await self._scrub(blob, report, pace)
        return report

    async def _live(self, part: int, parts: int) -> AsyncIterator[Blob]:
        start, end = hash_range(part, parts)
        while found := await self._database.latest.blobs.within(start, end, limit=_BATCH):
            for held in found:
                if held.is_held:
                    yield held.blob
            start = f"{found[-1].blob.sha256}00"

    async def _scrub(self, blob: Blob, report: ScrubReport, pace: Pace) -> None:
        await self._attempt(self._scrub_original(blob, report), report)
        report.objects += 1
        report.size_bytes += blob.size_bytes
        await pace.spend(blob.size_bytes)
        for rendition in await self._database.latest.renditions.made_of([blob.sha256]):
            await self._attempt(self._scrub_rendition(rendition, report), report)
            report.objects += 1
            report.size_bytes += rendition.size_bytes
            await pace.spend(rendition.size_bytes)

    async def _attempt(self, doing: Awaitable[None], report: ScrubReport) -> None:
        try:
            await doing
        except MediaError:
            report.failures += 1

    async def _scrub_original(self, blob: Blob, report: ScrubReport) -> None:
        try:
            await self._blobs.check(blob.key, size_bytes=blob.size_bytes, sha256=blob.sha256)
        except MediaDamaged:
            if await self._is_still_held(blob):
                report.damaged_originals += await self._repairing.note_damage(blob.sha256)
        else:
            report.healed_originals += await self._repairing.note_sound(blob)

    async def _is_still_held(self, blob: Blob) -> bool:
        """Whether it was not swept while it was read."""
        found = await self._database.latest.blobs.find([blob.sha256])
        return blob.sha256 in found

    async def _scrub_rendition(self, stored: StoredRendition, report: ScrubReport) -> None:
        try:
            await self._blobs.check(
                stored.key, size_bytes=stored.size_bytes, sha256=stored.checksum
            )
        except MediaDamaged:
            [*current] = (
                await self._database.latest.renditions.find(
                    stored.source, recipe_keys=[stored.recipe_key]
                )
            ).values()
            if current == [stored]:
                report.damaged_renditions += 1
                await self._make_again(stored)

    async def _make_again(self, damaged: StoredRendition) -> None:
        """Make it anew, if a medium still has its recipe; else nobody needs it."""
        holders = await self._database.latest.media.holding(damaged.source, limit=_HOLDERS)
        for media in holders:
            if any(r.recipe.key == damaged.recipe_key for r in media.renditions):
                await self._heal(media, damaged)
                return
        await self._database.latest.renditions.forget([damaged])
        await self._removing.remove_unheld(damaged.key)

    async def _heal(self, media: Media, damaged: StoredRendition) -> None:
        """Make it anew, here or, if that takes minutes, by a job."""
        if any(r.recipe.key == damaged.recipe_key and r.stage.is_slow for r in media.renditions):
            await self._repairing.remake(
                damaged.source, damaged.recipe_key, damaged=damaged, urgency=Urgency.BACKFILL
            )
        else:
            await self._developing.ensure(media, damaged=damaged)
