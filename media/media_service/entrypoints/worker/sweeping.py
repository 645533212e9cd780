"""Sweeps now and then, beside the jobs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import Counter

from media_service.core.errors import MediaError
from media_service.core.housekeeping import Housekeeping

INTERVAL_SECONDS = 60
ORPHAN_PARTS = 64
"""The store is walked for orphans in this many parts, one a sweep: about once an hour."""

_SWEPT = Counter("mediad_swept_total", "What sweeps removed", ["what"])
log = structlog.get_logger()


@asynccontextmanager
async def sweep_now_and_then(housekeeping: Housekeeping) -> AsyncIterator[None]:
    """Sweep at once and every minute while the context lasts."""
    task = asyncio.create_task(_sweep_for_ever(housekeeping))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sweep_for_ever(housekeeping: Housekeeping) -> None:
    part = 0
    while True:
        try:
            report = await housekeeping.sweep()
            report.orphaned_files = await housekeeping.collect_orphans(
                part=part, parts=ORPHAN_PARTS
            )
            part += 1
            for what, count in dataclasses.asdict(report).items():
                _SWEPT.labels(what).inc(count)
        except MediaError as error:
            log.warning("sweep.failed", code=error.code, cause=repr(error.__cause__))
        except Exception:
            log.exception("sweep.bug")
        await asyncio.sleep(INTERVAL_SECONDS)
