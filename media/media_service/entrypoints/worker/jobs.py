"""The job engine's side of processing: procrastinate fetches a job, the core does it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress

import procrastinate
import structlog
from procrastinate import jobs as engine_jobs
from prometheus_client import Counter, Histogram

from media_service.core.errors import MediaError
from media_service.core.media import MediaId
from media_service.core.processing import Processing

MAX_ATTEMPTS = 5
QUEUE = "developing"
TASK = "develop"
_HEARTBEAT_SECONDS = 2
_STALLED_SECONDS = 12
"""A worker without a heartbeat for this long is dead, and its jobs are given to others."""
_RESCUE_SECONDS = 4
_RESTART_SECONDS = 1
_DRAIN_SECONDS = 8

_SECONDS = Histogram(
    "mediad_job_seconds", "How long jobs took, by the state they left", ["task", "outcome"]
)
_RESCUED = Counter("mediad_jobs_rescued_total", "Jobs taken from workers that died")
Running = Callable[[MediaId, Mapping[str, str]], AbstractContextManager[None]]
"""Goes around the run of a medium's job; it is given the trace that was stored with the job."""

log = structlog.get_logger()


def untraced(_media_id: MediaId, _trace: Mapping[str, str]) -> AbstractContextManager[None]:
    """Takes up no trace."""
    return nullcontext()


class _Backoff(procrastinate.BaseRetryStrategy):
    """2, 4, 8, 16 seconds, each up to a half longer so that retries spread."""

    def get_retry_decision(
        self,
        *,
        exception: BaseException,  # noqa: ARG002 - the library's signature
        job: engine_jobs.Job,
    ) -> procrastinate.RetryDecision | None:
        if job.attempts + 1 >= MAX_ATTEMPTS:
            return None
        seconds = 2 ** (job.attempts + 1) * random.uniform(1, 1.5)
        return procrastinate.RetryDecision(retry_in={"seconds": round(seconds)})


@asynccontextmanager
async def work(
    database_url: str,
    processing: Processing,
    *,
    concurrency: int,
    running: Running = untraced,
) -> AsyncIterator[None]:
    """Do jobs while the context lasts; on leaving, those in hand may finish for 8 seconds."""
    connector = procrastinate.PsycopgConnector(
        conninfo=database_url, min_size=1, max_size=concurrency + 2
    )
    app = procrastinate.App(connector=connector)
    _register(app, processing, running)
    async with app.open_async():
        workers = [
            asyncio.create_task(_for_ever(_run_worker, app, concurrency)),
            asyncio.create_task(_for_ever(_rescue, app, processing)),
        ]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            for worker in workers:
                with suppress(asyncio.CancelledError):
                    await worker


def _register(app: procrastinate.App, processing: Processing, running: Running) -> None:
    @app.task(name=TASK, queue=QUEUE, retry=_Backoff(), pass_context=True)
    async def develop(
        context: procrastinate.JobContext,
        *,
        media_id: str,
        revision: int,
        request_id: str,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with running(MediaId(media_id), trace or {}):
            await _develop(processing, context.job, MediaId(media_id), revision)


async def _develop(
    processing: Processing, job: engine_jobs.Job, media_id: MediaId, revision: int
) -> None:
    started, outcome = time.perf_counter(), "retry"
    try:
        outcome = await processing.run(media_id, revision=revision)
    except Exception as error:
        code = error.code if isinstance(error, MediaError) else "internal_error"
        if not isinstance(error, MediaError):
            log.exception("job.bug", media_id=media_id)
        if job.attempts + 1 >= MAX_ATTEMPTS:
            outcome = "given_up"
            await processing.give_up(media_id, revision=revision, code=code)
        raise
    finally:
        seconds = time.perf_counter() - started
        _SECONDS.labels(TASK, outcome).observe(seconds)
        log.info("job.done", media_id=media_id, outcome=outcome, ms=round(seconds * 1000, 1))


async def _run_worker(app: procrastinate.App, concurrency: int) -> None:
    await app.run_worker_async(
        queues=[QUEUE],
        concurrency=concurrency,
        wait=True,
        install_signal_handlers=False,
        delete_jobs="successful",
        shutdown_graceful_timeout=_DRAIN_SECONDS,
        update_heartbeat_interval=_HEARTBEAT_SECONDS,
        stalled_worker_timeout=_STALLED_SECONDS,
    )


async def _rescue(app: procrastinate.App, processing: Processing) -> None:
    """Give jobs of dead workers to others, or up if they were tried too often."""
    await asyncio.sleep(_RESCUE_SECONDS)
    stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_SECONDS)
    for job in stalled:
        _RESCUED.inc()
        log.warning("job.rescued", job_id=job.id, attempts=job.attempts)
        if job.attempts + 1 < MAX_ATTEMPTS:
            await app.job_manager.retry_job(job)
            continue
        kwargs = job.task_kwargs
        await processing.give_up(
            MediaId(str(kwargs["media_id"])),
            revision=int(str(kwargs["revision"])),
            code="too_complex",
        )
        await app.job_manager.finish_job(job, engine_jobs.Status.FAILED, delete_job=False)


async def _for_ever(doing: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Do it again whenever it ends; the database may go away and come back."""
    while True:
        try:
            await doing(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever ended it, jobs must go on
            log.warning("worker.restarts", cause=repr(error))
            await asyncio.sleep(_RESTART_SECONDS)
