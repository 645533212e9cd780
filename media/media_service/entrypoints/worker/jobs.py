"""The job engine's side of processing: procrastinate fetches a job, the core does it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta

import procrastinate
import structlog
from procrastinate import exceptions, job_context
from procrastinate import jobs as engine_jobs
from prometheus_client import Histogram

from media_service.core.errors import MediaError
from media_service.core.job_ports import Processes
from media_service.core.jobs import (
    TRIES,
    Queue,
    Urgency,
    final_code,
    next_try,
    slow_tries_after,
)
from media_service.core.media import MediaId, ProcessingStatus
from media_service.core.processing import Processing
from media_service.entrypoints.worker.fencing import FencedJobs
from media_service.entrypoints.worker.rescuing import STALLED_SECONDS, rescue

_DEVELOP, _TRANSCODE = "develop", "transcode"
_HEARTBEAT_SECONDS = 2
_POLL_SECONDS = 2
"""Only new jobs wake a worker; those to be tried again are found by asking."""
_ABORT_SECONDS = 1
"""How often it is asked which running jobs to break off; mostly it was heard before."""
_RESTART_SECONDS = 1
_DRAIN_SECONDS = 8

_SECONDS = Histogram(
    "mediad_job_seconds", "How long jobs took, by the state they left", ["task", "outcome"]
)
_ATTEMPTS = Histogram(
    "mediad_job_attempts",
    "How often jobs were tried until they were over",
    buckets=(1, 2, 3, 4, 5, 10, 25, 80),
)
_Do = Callable[[engine_jobs.Job, MediaId, int], Awaitable[ProcessingStatus]]
Running = Callable[[MediaId, Mapping[str, str]], AbstractContextManager[None]]
"""Goes around the run of a medium's job; it is given the trace that was stored with the job."""

log = structlog.get_logger()


def untraced(_media_id: MediaId, _trace: Mapping[str, str]) -> AbstractContextManager[None]:
    """Takes up no trace."""
    return nullcontext()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Where jobs come from, the name this process's connections carry, how many jobs at once.

    `transcodes`: how many of the queue of what takes minutes; the others never wait for them.
    """

    database_url: str
    connection_name: str
    concurrency: int
    transcodes: int = 1
    running: Running = untraced


_LISTENING_CONNECTIONS = 4
"""Of the workers of both queues: to be woken, and to say that they are alive."""


class _Backoff(procrastinate.BaseRetryStrategy):
    """As `next_try` says; what a shutdown broke off goes on at once, and has not failed."""

    def get_retry_decision(
        self, *, exception: BaseException, job: engine_jobs.Job
    ) -> procrastinate.RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError):
            return procrastinate.RetryDecision()
        pause = _pause(exception, failures=job.attempts + 1)
        if pause is None:
            return None
        # A job that waits keeps others of its lock waiting: not for an hour.
        lock = f"parked-{job.id}" if job.lock and job.attempts + 1 >= TRIES else None
        return procrastinate.RetryDecision(retry_at=datetime.now(UTC) + pause, lock=lock)


def _pause(error: BaseException, *, failures: int) -> timedelta | None:
    return next_try(failures, slow_tries=slow_tries_after(error), luck=random.random())


@asynccontextmanager
async def work(
    settings: WorkerSettings, *, processing: Processing, processes: Processes
) -> AsyncIterator[None]:
    """Do jobs while the context lasts; on leaving, those in hand may finish for 8 seconds."""
    connector = procrastinate.PsycopgConnector(
        conninfo=settings.database_url,
        min_size=1,
        max_size=settings.concurrency + settings.transcodes + _LISTENING_CONNECTIONS,
        kwargs={"application_name": settings.connection_name},
    )
    app = procrastinate.App(connector=connector)
    app.job_manager = FencedJobs(connector)
    _register(app, processing, settings.running)
    async with app.open_async():
        workers = [
            asyncio.create_task(
                _for_ever(_run_worker, app, Queue.DEVELOPING, settings.concurrency)
            ),
            asyncio.create_task(
                _for_ever(_run_worker, app, Queue.TRANSCODING, settings.transcodes)
            ),
            asyncio.create_task(_for_ever(rescue, app, processing, processes)),
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
    async def develop(job: engine_jobs.Job, media_id: MediaId, revision: int) -> ProcessingStatus:
        urgency = Urgency.PERSON if job.priority >= 0 else Urgency.BACKFILL
        return await processing.run(media_id, revision=revision, urgency=urgency)

    async def transcode(_: engine_jobs.Job, media_id: MediaId, revision: int) -> ProcessingStatus:
        return await processing.transcode(media_id, revision=revision)

    _register_task(app, _DEVELOP, develop, processing, running)
    _register_task(app, _TRANSCODE, transcode, processing, running)


def _register_task(
    app: procrastinate.App, name: str, do: _Do, processing: Processing, running: Running
) -> None:
    @app.task(name=name, retry=_Backoff(), pass_context=True)
    async def task(
        context: procrastinate.JobContext,
        *,
        media_id: str,
        revision: int,
        request_id: str,
        trace: Mapping[str, str] | None = None,
        owner: str = "",  # noqa: ARG001 - whose turn it is; only the queue asks
    ) -> None:
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            with running(MediaId(media_id), trace or {}):
                await _measured(do, processing, context.job, MediaId(media_id), revision)
        except asyncio.CancelledError:
            if context.abort_reason() is job_context.AbortReason.USER_REQUEST:
                raise exceptions.JobAborted from None
            raise


async def _measured(
    do: _Do, processing: Processing, job: engine_jobs.Job, media_id: MediaId, revision: int
) -> None:
    started, outcome = time.perf_counter(), "broken_off"
    try:
        outcome = await do(job, media_id, revision)
        _ATTEMPTS.observe(job.attempts + 1)
    except Exception as error:
        if not isinstance(error, MediaError):
            log.exception("job.bug", media_id=media_id)
        outcome = await _failed(processing, job, media_id, revision, error)
        raise
    finally:
        seconds, task = time.perf_counter() - started, job.task_name
        _SECONDS.labels(task, outcome).observe(seconds)
        ms = round(seconds * 1000, 1)
        log.info("job.done", task=task, media_id=media_id, outcome=outcome, ms=ms)


async def _failed(
    processing: Processing,
    job: engine_jobs.Job,
    media_id: MediaId,
    revision: int,
    error: Exception,
) -> str:
    """Show on the medium what will become of it; how the job ended."""
    failures = job.attempts + 1
    if _pause(error, failures=failures) is None:
        _ATTEMPTS.observe(failures)
        await processing.give_up(media_id, revision=revision, code=final_code(error))
        return "given_up"
    if failures >= TRIES:
        with suppress(MediaError):  # it is the very thing that may be away
            await processing.postpone(media_id, revision=revision)
        return "parked"
    return "retry"


async def _run_worker(app: procrastinate.App, queue: Queue, concurrency: int) -> None:
    await app.run_worker_async(
        queues=[queue],
        concurrency=concurrency,
        wait=True,
        install_signal_handlers=False,
        delete_jobs="successful",
        fetch_job_polling_interval=_POLL_SECONDS,
        abort_job_polling_interval=_ABORT_SECONDS,
        shutdown_graceful_timeout=_DRAIN_SECONDS,
        update_heartbeat_interval=_HEARTBEAT_SECONDS,
        stalled_worker_timeout=STALLED_SECONDS,
    )


async def _for_ever(doing: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Do it again whenever it ends; the database may go away and come back."""
    while True:
        try:
            await doing(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever ended it, jobs must go on
            log.warning("worker.restarts", cause=repr(error))
            await asyncio.sleep(_RESTART_SECONDS)
