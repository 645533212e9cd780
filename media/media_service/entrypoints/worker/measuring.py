"""How full the queue is, for whoever looks at the metrics of any worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import Gauge

from media_service.core.errors import MediaError
from media_service.core.jobs import JobCounts
from media_service.core.queueing import Queueing

INTERVAL_SECONDS = 15

_WAITING = Gauge(
    "mediad_jobs_waiting",
    "Jobs that wait, by who waits for them; every worker counts them all",
    ["urgency"],
    multiprocess_mode="max",
)
_OLDEST = Gauge(
    "mediad_jobs_oldest_waiting_seconds",
    "How long the oldest job waits that was not tried yet",
    multiprocess_mode="max",
)
_RUNNING = Gauge("mediad_jobs_running", "Jobs that are being done", multiprocess_mode="max")
_PARKED = Gauge(
    "mediad_jobs_parked",
    "Jobs that are tried hourly, because something they need is away",
    multiprocess_mode="max",
)
_FAILED = Gauge("mediad_jobs_failed", "Jobs that were given up", multiprocess_mode="max")
log = structlog.get_logger()


@asynccontextmanager
async def measure_queue(queueing: Queueing) -> AsyncIterator[None]:
    """Keep the gauges right, to a quarter of a minute, while the context lasts."""
    measuring = asyncio.create_task(_measure_for_ever(queueing))
    try:
        yield
    finally:
        measuring.cancel()
        with suppress(asyncio.CancelledError):
            await measuring


async def _measure_for_ever(queueing: Queueing) -> None:
    while True:
        try:
            _show(await queueing.counts())
        except MediaError as error:
            log.warning("queue.not_measured", code=error.code, cause=repr(error.__cause__))
        await asyncio.sleep(INTERVAL_SECONDS)


def _show(counts: JobCounts) -> None:
    _WAITING.labels("person").set(counts.waiting_for_a_person)
    _WAITING.labels("backfill").set(counts.waiting_backfill)
    _OLDEST.set(counts.oldest_waiting_seconds)
    _RUNNING.set(counts.running)
    _PARKED.set(counts.parked)
    _FAILED.set(counts.failed)
