"""The rescue of jobs whose worker died or was stopped, and of the locks it held."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

import procrastinate
import structlog
from procrastinate import jobs as engine_jobs
from prometheus_client import Counter

from media_service.core.job_ports import Processes
from media_service.core.jobs import SLOW_TRIES, TRIES, next_try
from media_service.core.media import MediaId
from media_service.core.processing import Processing

STALLED_SECONDS = 12
"""A worker without a heartbeat for this long is dead, and its jobs are given to others."""
_LOOK_SECONDS = 2

_RESCUED = Counter("mediad_jobs_rescued_total", "Jobs taken from workers that died")
_ENDED = Counter("mediad_sessions_ended_total", "Database sessions of stalled processes ended")
log = structlog.get_logger()


async def rescue(app: procrastinate.App, processing: Processing, processes: Processes) -> None:
    """Look every two seconds, as long as the database answers."""
    looked_at = time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        # Who was kept from looking can't tell whether others were kept from being seen.
        if time.monotonic() - looked_at < 3 * _LOOK_SECONDS:
            await _end_stalled(processes)
        looked_at = time.monotonic()
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
            await _take_back(app, processing, job)


async def _end_stalled(processes: Processes) -> None:
    ended = await processes.end_stalled(silent_for=timedelta(seconds=STALLED_SECONDS))
    if ended:
        _ENDED.inc(ended)
        log.warning("process.stalled", sessions_ended=ended)


async def _take_back(app: procrastinate.App, processing: Processing, job: engine_jobs.Job) -> None:
    """Give a job to others, or up if its workers died of it too often."""
    failures = job.attempts + 1
    _RESCUED.inc()
    log.warning("job.rescued", job_id=job.id, attempts=failures)
    pause = next_try(failures, slow_tries=SLOW_TRIES, luck=random.random())
    if failures == TRIES or pause is None:
        media_id, revision = MediaId(str(job.task_kwargs["media_id"])), job.task_kwargs["revision"]
        await processing.give_up(media_id, revision=int(str(revision)), code="too_complex")
        await app.job_manager.finish_job(job, engine_jobs.Status.FAILED, delete_job=False)
        return
    wait = pause if failures > TRIES else timedelta()
    await app.job_manager.retry_job(job, retry_at=datetime.now(UTC) + wait)
