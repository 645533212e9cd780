"""Duties: work that one process of all does now and then."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog
from prometheus_client import Counter

from media_service.core.errors import MediaError
from media_service.core.job_ports import Processes

_ASK_SECONDS = 15.0
"""How often a process asks whether a duty is due that another may have let go of."""

_DONE = Counter("mediad_duties_total", "Periodic work, by how it ended", ["duty", "outcome"])
_FOUND = Counter("mediad_swept_total", "What periodic work removed or did", ["what"])
log = structlog.get_logger()


@dataclasses.dataclass(frozen=True, slots=True)
class Duty:
    """What is done `every` so often. `do` is told its turn: how often it was done before."""

    name: str
    every: timedelta
    do: Callable[[int], Awaitable[Mapping[str, int]]]


@asynccontextmanager
async def do_duties(
    duties: Sequence[Duty], *, processes: Processes, ask_seconds: float = _ASK_SECONDS
) -> AsyncIterator[None]:
    """Do what is due, where no other process is at it, while the context lasts."""
    tasks = [asyncio.create_task(_do_for_ever(d, processes, ask_seconds)) for d in duties]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _do_for_ever(duty: Duty, processes: Processes, ask_seconds: float) -> None:
    while True:
        try:
            async with processes.turn(duty.name, every=duty.every) as turn:
                if turn is not None:
                    await _do(duty, turn)
        except MediaError as error:
            _DONE.labels(duty.name, "failed").inc()
            cause = repr(error.__cause__)
            log.warning("duty.failed", duty=duty.name, code=error.code, cause=cause)
        except Exception:
            _DONE.labels(duty.name, "bug").inc()
            log.exception("duty.bug", duty=duty.name)
        await asyncio.sleep(min(ask_seconds, duty.every.total_seconds()))


async def _do(duty: Duty, turn: int) -> None:
    for what, count in (await duty.do(turn)).items():
        _FOUND.labels(what).inc(count)
    _DONE.labels(duty.name, "done").inc()
