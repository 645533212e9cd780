"""The schedule of the media service: its duties, a line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import Gauge

from media_service.core.housekeeping import Housekeeping
from media_service.core.notifying import Notifying
from media_service.core.queueing import Queueing
from media_service.core.service import MediaService
from media_service.entrypoints.worker.duties import Duty
from media_service.entrypoints.worker.scrubbing import scrub_duties

ORPHAN_PARTS = 64
"""The store is walked for orphans in this many parts, one a turn: about once an hour."""
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)


_DAMAGED = Gauge("mediad_known_damaged_objects", "Originals known to be damaged, as last counted")


def duties(service: MediaService, *, notifying: Notifying, scrub_days: int) -> tuple[Duty, ...]:
    """What is done now and then, by one process of all unless it says otherwise."""
    housekeeping, queueing = service.housekeeping, service.queueing
    return (
        Duty("sweep", _MINUTE, lambda _: _sweep(housekeeping)),
        Duty("discard_abandoned", _MINUTE, lambda _: _discard(housekeeping), by_each=True),
        Duty("collect_orphans", _MINUTE, lambda turn: _collect_orphans(housekeeping, turn)),
        Duty("forget_failed_jobs", _HOUR, lambda _: _forget_failed(queueing)),
        Duty("forget_webhooks", _HOUR, lambda _: _forget_webhooks(notifying)),
        *scrub_duties(service.scrubbing, days=scrub_days),
    )


async def _sweep(housekeeping: Housekeeping) -> Mapping[str, int]:
    report = dataclasses.asdict(await housekeeping.sweep())
    del report["orphaned_files"]
    _DAMAGED.set(await housekeeping.count_damaged())
    return report


async def _discard(housekeeping: Housekeeping) -> Mapping[str, int]:
    return {"abandoned_files": await housekeeping.discard_abandoned()}


async def _collect_orphans(housekeeping: Housekeeping, turn: int) -> Mapping[str, int]:
    return {"orphaned_files": await housekeeping.collect_orphans(part=turn, parts=ORPHAN_PARTS)}


async def _forget_failed(queueing: Queueing) -> Mapping[str, int]:
    return {"failed_jobs": await queueing.forget_failed()}


async def _forget_webhooks(notifying: Notifying) -> Mapping[str, int]:
    return {"webhooks": await notifying.forget()}
