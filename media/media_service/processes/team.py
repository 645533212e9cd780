"""Serving processes: started, watched, started again when they die, stopped together."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import REGISTRY, Counter, Gauge

from media_service.processes.failures import ProcessFailed
from media_service.processes.line import Line, LineBroken, open_line
from media_service.processes.totals import Families, add, heard, shown, sum_of, told

STOP_SECONDS = 25.0
"""What a process has for its end, after which it is killed."""
DISK_FAILED = 74
"""How a process ends when the disk refused an fsync: to start it again would hide that."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_PROVEN_SECONDS = 60.0
"""Who lived so long is started again at once when it dies."""
_TELL_SECONDS = 1.0

_RESTARTS = Counter("mediad_worker_restarts_total", "Serving processes that died by themselves")
_ALIVE = Gauge("mediad_processes", "Serving processes that are ready")

log = structlog.get_logger()


class _Seat:
    """The place of one process, whichever fills it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.line: Line | None = None
        self.is_ready = False
        self.was_ready = False
        self.told: Families = {}
        self.is_fresh = False

    async def tell(self) -> None:
        """Learn what its process counts now; what it told before stays true if it won't say."""
        self.is_fresh = False
        if self.line is not None and self.is_ready:
            with suppress(LineBroken):
                answer = await self.line.ask(b"", within_seconds=_TELL_SECONDS)
                self.told, self.is_fresh = heard(answer), True


class Team:
    """`size` processes of one command, which is given its end of a line and our process id."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], size: int
    ) -> None:
        self._command = command
        self._environment = environment
        self._seats = [_Seat(number) for number in range(1, size + 1)]
        self._gone: Families = {}
        self._failed: int | None = None
        self.ready = asyncio.Event()
        _ALIVE.set_function(lambda: sum(seat.is_ready for seat in self._seats))

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all of them until `stop`, then have them end. Raises ProcessFailed."""
        async with asyncio.TaskGroup() as keeping:
            for seat in self._seats:
                keeping.create_task(self._keep(seat, stop))
        if self._failed is not None:
            raise ProcessFailed(self._failed)

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """What all of them count together, and ourselves; and its content type."""
        await asyncio.gather(*(seat.tell() for seat in self._seats))
        living: list[Families] = [heard(told(REGISTRY))]
        for seat in self._seats:
            families: Families = {}
            add(families, seat.told, is_gone=not seat.is_fresh)
            living.append(families)
        return shown(sum_of(living, gone=self._gone), accept)

    async def _keep(self, seat: _Seat, stop: asyncio.Event) -> None:
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            born = loop.time()
            status = await self._live(seat, stop)
            if stop.is_set():
                return
            if status == DISK_FAILED or not seat.was_ready:
                self._failed = status
                stop.set()
                return
            if loop.time() - born > _PROVEN_SECONDS:
                pause = _FIRST_PAUSE
            _RESTARTS.inc()
            log.warning("process.died", number=seat.number, status=status, again_in=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live(self, seat: _Seat, stop: asyncio.Event) -> int:
        """One process in its seat, from its start to its end; its status."""

        async def answer(question: bytes) -> bytes:
            content, content_type = await self.metrics(question.decode())
            return content_type.encode() + b"\n" + content

        def on_ready() -> None:
            seat.is_ready = seat.was_ready = True
            if all(each.is_ready for each in self._seats):
                self.ready.set()

        async with self._started() as (process, end):
            async with open_line(end, answer=answer, on_news=on_ready) as seat.line:
                await _ended_or(stop, process)
                status = await _end(process)
            seat.line, seat.is_ready = None, False
        add(self._gone, seat.told, is_gone=True)
        seat.told = {}
        return status

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[Process, socket.socket]]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                str(os.getpid()),
                stdin=DEVNULL,
                env=self._environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a terminal's Ctrl-C is passed on by us, once
            )
        try:
            yield process, ours
        finally:
            if process.returncode is None:
                process.kill()


async def _ended_or(stop: asyncio.Event, process: Process) -> None:
    """Return when the process has ended, or is asked to."""
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _end(process: Process) -> int:
    """Ask it to end, make it end if it does not; its status."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        log.warning("process.killed", pid=process.pid)
        process.kill()
        return await process.wait()
