"""`mediad jobs`: the queue, and what an operator does to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from media_service.commands.logs import configure_logs
from media_service.composition import open_media_service
from media_service.config import Settings
from media_service.core.jobs import Job, JobFilter


async def show(settings: Settings, which: JobFilter, *, limit: int, as_json: bool) -> None:
    """Print these jobs."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        jobs = await opened.service.queueing.find(which, limit=limit)
    for job in jobs:
        click.echo(json.dumps(dataclasses.asdict(job), default=str) if as_json else _line(job))
    if not as_json:
        click.echo(f"{len(jobs)} jobs", err=True)


async def retry(settings: Settings, ids: Sequence[int]) -> bool:
    """Begin these jobs again, or without ids all that are parked or failed; whether all were."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        if not ids:
            click.echo(f"{await opened.service.queueing.retry_all_failed()} jobs begun again")
            return True
        done = await opened.service.queueing.retry(ids)
    return _tell(ids, done, what="begun again")


async def cancel(settings: Settings, ids: Sequence[int]) -> bool:
    """Take these jobs away; whether all were there."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        done = await opened.service.queueing.cancel(ids)
    return _tell(ids, done, what="cancelled")


def _tell(ids: Sequence[int], done: Sequence[int], *, what: str) -> bool:
    for job_id in ids:
        click.echo(f"{job_id}: {what if job_id in done else 'no such job, or it is over'}")
    return set(ids) == set(done)


def _line(job: Job) -> str:
    due = f"due {job.due_at:%Y-%m-%d %H:%M:%S}Z" if job.due_at else ""
    told = (
        f"{job.id:>10}  {job.queue:<11}  {job.state:<8}  {job.urgency:<8}  tried {job.attempts:>2}"
    )
    return f"{told}  {job.media_id}  {job.owner}  {job.failure_code or due}".rstrip()
