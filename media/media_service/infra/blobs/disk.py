"""The disk, used from a few threads of its own so that a slow one holds up nothing else."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from media_service.core.errors import StorageFull, StorageUnavailable

P = ParamSpec("P")
T = TypeVar("T")
OnLostWrite = Callable[[OSError], NoReturn]

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_THREADS = 4
_HASH_BYTES = 256 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

logger = logging.getLogger(__name__)


def end_process(error: OSError) -> NoReturn:
    """Log the error and end the process at once."""
    try:
        logger.critical(
            "fsync failed: ending the process, which can't know what it lost: %s", error
        )
    finally:
        os._exit(os.EX_IOERR)


def translated(error: OSError) -> StorageFull | StorageUnavailable:
    """What a failed system call means to whoever wants to store or read."""
    return StorageFull() if error.errno in _FULL else StorageUnavailable()


class Disk:
    """Runs jobs in threads and makes writes last."""

    def __init__(self, threads: ThreadPoolExecutor, *, on_lost_write: OnLostWrite) -> None:
        self._threads = threads
        self._on_lost_write = on_lost_write

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the job returns. Its OSErrors are raised as StorageFull or StorageUnavailable.

        A caller that is cancelled still waits for a job that has begun, so that nothing is taken
        from under it; one that has not begun never will.
        """
        future = self._threads.submit(job, *args, **kwargs)
        try:
            return await asyncio.wrap_future(future)
        except OSError as error:
            raise translated(error) from error
        except asyncio.CancelledError:
            if not future.cancel():
                await _ended(future)
            raise

    async def finish(self, job: Callable[[], None]) -> None:
        """Run a job that tidies up to its end, whether or not the caller is cancelled."""
        future = self._threads.submit(job)
        try:
            await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            await _ended(future)
            raise

    def begin(self, job: Callable[[], None]) -> None:
        """Have the job done without waiting for it."""
        self._threads.submit(job)

    def sync(self, descriptor: int) -> None:
        """Return once what was written survives a power cut.

        The kernel marks pages clean that it failed to write, so a second fsync would succeed and
        lie: a process that has seen one fail must not go on.
        """
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._on_lost_write(error)

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's entries survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, folder: Path) -> None:
        """Make the folder, and those above it that are missing, so that they survive as well."""
        if not folder.parent.is_dir():
            self.make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        self.sync_folder(folder.parent)


@contextmanager
def open_disk(*, on_lost_write: OnLostWrite) -> Iterator[Disk]:
    """A disk with threads of its own, which end with the context."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="disk") as threads:
        yield Disk(threads, on_lost_write=on_lost_write)


def hash_bytes(descriptor: int, hasher: hashlib._Hash, *, start: int, end: int) -> int:
    """Hash an open file's bytes from `start` up to `end`; how many there were."""
    buffer, at = memoryview(bytearray(min(_HASH_BYTES, max(end - start, 1)))), start
    while at < end and (count := os.preadv(descriptor, [buffer[: end - at]], at)):
        hasher.update(buffer[:count])
        at += count
    return at - start


async def _ended(future: Future[T]) -> None:
    """Return when the job is over, however often the caller is cancelled meanwhile."""
    over = asyncio.wrap_future(future)
    while not over.done():
        try:
            await asyncio.wait([over])
        except asyncio.CancelledError:
            continue
    if not over.cancelled():
        over.exception()
