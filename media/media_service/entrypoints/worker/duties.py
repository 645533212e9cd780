"""Duties: work that is done now and then, by one process of all or by each."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
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
    """What is done `every` so often. `do` is told its turn: how often it was done before.

    What concerns a machine alone is done `by_each` process, and at once when it starts.
    """

    name: str
    every: timedelta
    do: Callable[[int], Awaitable[Mapping[str, int]]]
    by_each: bool = False


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
    every = duty.every.total_seconds()
    for own_turn in itertools.count():
        try:
            async with _turn(duty, processes, own_turn) as turn:
                if turn is not None:
                    await _do(duty, turn)
        except MediaError as error:
            _DONE.labels(duty.name, "failed").inc()
            cause = repr(error.__cause__)
            log.warning("duty.failed", duty=duty.name, code=error.code, cause=cause)
        except Exception:
            _DONE.labels(duty.name, "bug").inc()
            log.exception("duty.bug", duty=duty.name)
        await asyncio.sleep(every if duty.by_each else min(ask_seconds, every))


def _turn(
    duty: Duty, processes: Processes, own_turn: int
) -> AbstractAsyncContextManager[int | None]:
    if duty.by_each:
        return nullcontext(own_turn)
    return processes.turn(duty.name, every=duty.every)


async def _do(duty: Duty, turn: int) -> None:
    for what, count in (await duty.do(turn)).items():
        _FOUND.labels(what).inc(count)
    _DONE.labels(duty.name, "done").inc()
