"""Programs of others on strangers' bytes: each run in a confinement and a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from media_service.infra.codecs.cells.cell import environment
from media_service.infra.codecs.cells.confinement import NOBODY
from media_service.infra.codecs.programs.launching import Order

_LAUNCHING: Final = "media_service.infra.codecs.programs.launching"
_FILE_MODE: Final = 0o600
_READ_BYTES: Final = 65_536
_KEPT_LINE: Final = 4096
_KEPT_COMPLAINT: Final = 4000
_AS_GOOD_AS_ALL: Final = 0.8
"""This share of its processor time, by the parent's clock, was all of it by the kernel's ticks."""

OnLine = Callable[[str], None]
"""Told each line a program prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a program may use; processor time and time by the clock in seconds."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    file_bytes: int


class ProgramFailed(Exception):
    """A program ended with another status than 0; negative is the signal that killed it."""

    def __init__(self, status: int, complaint: str) -> None:
        super().__init__(f"status {status}: {complaint}")
        self.status = status
        self.complaint = complaint


class ProgramLate(Exception):
    """A program was killed for it took too long."""


class ProgramKilled(Exception):
    """A program was killed by others: by who looks after the machine, or its memory."""


@contextlib.asynccontextmanager
async def private_folder(beside: Path) -> AsyncIterator[Path]:
    """A folder that one program may write to; it goes with all that is left in it."""
    folder = beside.with_name(f"job-{secrets.token_hex(8)}")
    try:
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def take_result(made: Path, target: Path) -> None:
    """Put what a program made in the place of the target, as a file of ours.

    Raises FileNotFoundError if it isn't there, ValueError if it is no plain file.
    """
    opened = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ValueError("no plain file")
        if os.geteuid() == 0:
            os.fchown(opened, 0, os.getegid())
        os.fchmod(opened, _FILE_MODE)
    finally:
        os.close(opened)
    made.replace(target)


async def run_program(
    program: Path,
    arguments: Sequence[str],
    *,
    source: Path | None,
    folder: Path,
    allowance: Allowance,
    on_line: OnLine,
) -> None:
    """Run it in the folder, the source as descriptor `launching.SOURCE`, until it ends.

    What is cancelled has ended before it raises. Raises ProgramFailed, ProgramLate, ProgramKilled;
    OSError if the source can't be opened or no process started.
    """
    with contextlib.ExitStack() as stack:
        descriptor = -1
        if source is not None:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
        process = _start(
            Order(
                parent=os.getpid(),
                program=str(program),
                arguments=list(arguments),
                folder=str(folder),
                source=descriptor,
                cpu_seconds=allowance.cpu_seconds,
                memory_bytes=allowance.memory_bytes,
                file_bytes=allowance.file_bytes,
            )
        )
    complaint = bytearray()
    try:
        async with asyncio.timeout(allowance.wall_seconds):
            status, cpu_seconds = await _until_end(process, on_line, complaint)
    except TimeoutError as cause:
        raise ProgramLate from cause
    finally:
        await _end(process)
    if status == -signal.SIGKILL and cpu_seconds < _AS_GOOD_AS_ALL * allowance.cpu_seconds:
        raise ProgramKilled
    if status:
        raise ProgramFailed(status, complaint.decode(errors="replace"))


def _start(order: Order) -> subprocess.Popen[bytes]:
    """The child; it dies with the thread that calls this."""
    return subprocess.Popen(
        [sys.executable, "-P", "-S", "-m", _LAUNCHING, order.text()],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=() if order.source < 0 else (order.source,),
        process_group=0,
        cwd="/",
    )


async def _until_end(
    process: subprocess.Popen[bytes], on_line: OnLine, complaint: bytearray
) -> tuple[int, float]:
    """Its status, and how much processor time it used."""
    assert process.stdout
    assert process.stderr
    async with asyncio.TaskGroup() as reading:
        reading.create_task(_tell_lines(process.stdout, on_line))
        reading.create_task(_keep_end(process.stderr, complaint))
    return await asyncio.to_thread(_waited_for, process)


def _waited_for(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


async def _tell_lines(pipe: IO[bytes], on_line: OnLine) -> None:
    rest = b""
    async for chunk in _chunks(pipe):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-_KEPT_LINE:]
        for line in lines:
            on_line(line.decode(errors="replace"))


async def _keep_end(pipe: IO[bytes], kept: bytearray) -> None:
    async for chunk in _chunks(pipe):
        kept += chunk
        del kept[:-_KEPT_COMPLAINT]


async def _chunks(pipe: IO[bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while chunk := await reader.read(_READ_BYTES):
            yield chunk
    finally:
        transport.close()


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs of it, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(asyncio.to_thread(process.wait))
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
