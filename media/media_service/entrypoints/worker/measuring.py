"""How full the queues are, for whoever looks at the metrics of any worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import Gauge

from media_service.core.errors import MediaError
from media_service.core.jobs import JobCounts, Queue
from media_service.core.queueing import Queueing

INTERVAL_SECONDS = 15

_WAITING = Gauge(
    "mediad_jobs_waiting",
    "Jobs that wait, by who waits for them; every worker counts them all",
    ["queue", "urgency"],
    multiprocess_mode="max",
)
_OLDEST = Gauge(
    "mediad_jobs_oldest_waiting_seconds",
    "How long the oldest job waits that was not tried yet",
    ["queue"],
    multiprocess_mode="max",
)
_RUNNING = Gauge(
    "mediad_jobs_running", "Jobs that are being done", ["queue"], multiprocess_mode="max"
)
_PARKED = Gauge(
    "mediad_jobs_parked",
    "Jobs that are tried hourly, because something they need is away",
    ["queue"],
    multiprocess_mode="max",
)
_FAILED = Gauge("mediad_jobs_failed", "Jobs that were given up", ["queue"], multiprocess_mode="max")
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
            for queue, counts in (await queueing.counts()).items():
                _show(queue, counts)
        except MediaError as error:
            log.warning("queue.not_measured", code=error.code, cause=repr(error.__cause__))
        await asyncio.sleep(INTERVAL_SECONDS)


def _show(queue: Queue, counts: JobCounts) -> None:
    _WAITING.labels(queue, "person").set(counts.waiting_for_a_person)
    _WAITING.labels(queue, "backfill").set(counts.waiting_backfill)
    _OLDEST.labels(queue).set(counts.oldest_waiting_seconds)
    _RUNNING.labels(queue).set(counts.running)
    _PARKED.labels(queue).set(counts.parked)
    _FAILED.labels(queue).set(counts.failed)
