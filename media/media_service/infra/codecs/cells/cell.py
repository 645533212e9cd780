"""One cell, seen from its parent: a warm child process that does one job at a time.

The child is a new interpreter, never a fork of this process, whose threads (gRPC's, say) would
leave their locks held for ever. It gets a socket, an environment of a few words and, with each job,
the open files that job is about.
"""

from __future__ import annotations

import asyncio
import enum
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from media_service.infra.codecs.cells import wire

_START_SECONDS: Final = 30
_INHERITED: Final = ("LD_LIBRARY_PATH",)
_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # 166 MB after 500 jobs, 257 without
    "OPENBLAS_NUM_THREADS": "1",
    "VIPS_CONCURRENCY": "1",  # as many cells as cores do better than threads
    "VIPS_DISC_THRESHOLD": "8g",  # large pictures must not go to a temporary file: there is none
}


class Death(enum.StrEnum):
    """Why a cell died."""

    TIMEOUT = "timeout"
    """It took too long and was killed by its parent."""
    ABANDONED = "abandoned"
    """Its caller had gone, and it took too long."""
    IDLE = "idle"
    """It had no job: the system or an operator killed it."""
    CPU = "cpu"
    """It used up its processor time."""
    MEMORY = "memory"
    """A library gave up for want of memory, or the system killed it."""
    CRASH = "crash"
    """A library broke."""
    EXIT = "exit"
    """It left, or said something that makes no sense."""


_DEATHS: Final = {
    signal.SIGXCPU: Death.CPU,
    # Libraries abort or trap when malloc fails; SIGKILL that isn't ours is the system's.
    signal.SIGABRT: Death.MEMORY,
    signal.SIGTRAP: Death.MEMORY,
    signal.SIGKILL: Death.MEMORY,
    signal.SIGSEGV: Death.CRASH,
    signal.SIGBUS: Death.CRASH,
    signal.SIGILL: Death.CRASH,
    signal.SIGFPE: Death.CRASH,
    signal.SIGSYS: Death.CRASH,
}


class CellDied(Exception):
    """The cell is gone; `reason` says why."""

    def __init__(self, reason: Death) -> None:
        super().__init__(f"cell died: {reason}")
        self.reason = reason


class Cell:
    """Talks to one child process."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        self._process = process
        self._link = link
        self.introduction: wire.Message = {}
        self.jobs = 0

    @classmethod
    async def start(cls, module: str) -> Self:
        """A cell that has introduced itself. Raises CellDied."""
        cell = cls(*_spawn(module))
        try:
            async with asyncio.timeout(_START_SECONDS):
                cell.introduction = await cell._receive()
        except TimeoutError as cause:
            await cell.end()
            raise CellDied(Death.TIMEOUT) from cause
        except BaseException:
            await cell.end()
            raise
        return cell

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    async def ask(self, request: wire.Message, *, files: Sequence[int]) -> wire.Message:
        """Its answer. Raises CellDied, after which it is of no more use."""
        self.jobs += 1
        message = wire.pack(request)
        try:
            # The cell is idle, so the socket is empty and has room for all of it.
            sent = socket.send_fds(self._link, [message], list(files))
        except OSError as cause:
            raise await self._obituary() from cause
        if sent < len(message):
            raise await self._obituary()
        return await self._receive()

    async def _receive(self) -> wire.Message:
        try:
            length = wire.length_of(await self._exactly(wire.LENGTH_BYTES))
            return wire.unpack(await self._exactly(length))
        except (OSError, EOFError, ValueError) as cause:
            raise await self._obituary() from cause

    async def _exactly(self, length: int) -> bytes:
        loop = asyncio.get_running_loop()
        received = b""
        while len(received) < length:
            more = await loop.sock_recv(self._link, length - len(received))
            if not more:
                raise EOFError
            received += more
        return received

    async def _obituary(self) -> CellDied:
        """Why it closed its socket; it is ended if it hasn't yet."""
        try:
            status = await asyncio.to_thread(self._process.wait, 1)
        except subprocess.TimeoutExpired:
            status = 0
        await self.end()
        number = -status
        known = number in signal.valid_signals() and signal.Signals(number) in _DEATHS
        return CellDied(_DEATHS[signal.Signals(number)] if known else Death.EXIT)

    def resident_bytes(self) -> int:
        """How much memory it holds; 0 if that can't be told."""
        try:
            statm = Path(f"/proc/{self.pid}/statm").read_text()
        except OSError:
            return 0
        return int(statm.split()[1]) * os.sysconf("SC_PAGESIZE")

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._link.close()
        await asyncio.to_thread(self._process.wait)


def _spawn(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A child and our end of its socket. The child dies with the thread that calls this."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            process_group=0,
            cwd="/",
        )
    return process, ours


def environment() -> dict[str, str]:
    """As little as an interpreter needs to find the same modules."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return {**_ENVIRONMENT, **kept, "PYTHONPATH": paths}
