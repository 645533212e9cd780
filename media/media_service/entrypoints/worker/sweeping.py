"""The duties of the media service: a line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import Counter, Gauge

from media_service.core.housekeeping import Housekeeping
from media_service.core.queueing import Queueing
from media_service.core.scrubbing import Pace, Scrubbing
from media_service.core.service import MediaService
from media_service.entrypoints.worker.duties import Duty

ORPHAN_PARTS = 64
"""The store is walked for orphans in this many parts, one a turn: about once an hour."""
SCRUBBED_BYTES_PER_SECOND = 32 * 1024 * 1024
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

_DAMAGED = Gauge("mediad_known_damaged_objects", "Originals known to be damaged, as last counted")
_BYTES = Counter("mediad_scrubbed_bytes_total", "Bytes that were read again and compared")
_OBJECTS = Counter("mediad_scrubbed_objects_total", "Objects that were read again and compared")
_FINDINGS = Counter("mediad_scrub_findings_total", "What scrubbing found", ["what"])


def duties(service: MediaService, *, scrub_days: int) -> tuple[Duty, ...]:
    """What is done now and then, by one process of all unless it says otherwise.

    All that is stored is read again within so many days; 0: never.
    """
    housekeeping, queueing = service.housekeeping, service.queueing
    scrub = Duty("scrub", _MINUTE, _Scrub(service.scrubbing, days=scrub_days))
    return (
        Duty("sweep", _MINUTE, lambda _: _sweep(housekeeping)),
        Duty("discard_abandoned", _MINUTE, lambda _: _discard(housekeeping), by_each=True),
        Duty("collect_orphans", _MINUTE, lambda turn: _collect_orphans(housekeeping, turn)),
        Duty("forget_failed_jobs", _HOUR, lambda _: _forget_failed(queueing)),
        *([scrub] if scrub_days else []),
    )


async def _sweep(housekeeping: Housekeeping) -> Mapping[str, int]:
    report = dataclasses.asdict(await housekeeping.sweep())
    _DAMAGED.set(await housekeeping.count_damaged())
    del report["orphaned_files"]
    return report


async def _discard(housekeeping: Housekeeping) -> Mapping[str, int]:
    return {"abandoned_files": await housekeeping.discard_abandoned()}


async def _collect_orphans(housekeeping: Housekeeping, turn: int) -> Mapping[str, int]:
    return {"orphaned_files": await housekeeping.collect_orphans(part=turn, parts=ORPHAN_PARTS)}


async def _forget_failed(queueing: Queueing) -> Mapping[str, int]:
    return {"failed_jobs": await queueing.forget_failed()}


class _Scrub:
    """Scrubs a part each turn, so many that a cycle of them takes so many days."""

    def __init__(self, scrubbing: Scrubbing, *, days: int) -> None:
        self._scrubbing = scrubbing
        self._parts = days * (_DAY // _MINUTE)
        self._pace = Pace(SCRUBBED_BYTES_PER_SECOND)

    async def __call__(self, turn: int) -> Mapping[str, int]:
        report = await self._scrubbing.scrub(part=turn, parts=self._parts, pace=self._pace)
        _BYTES.inc(report.size_bytes)
        _OBJECTS.inc(report.objects)
        for what in ("damaged_originals", "healed_originals", "damaged_renditions", "failures"):
            _FINDINGS.labels(what).inc(getattr(report, what))
        return {}
