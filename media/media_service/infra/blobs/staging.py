"""Staging on a local disk: files that nobody else sees until they are put where they belong.

Each process stages in a folder of its own, `staging/<random>/`, and holds its `lock` file with
flock for as long as it lives. The kernel frees the lock whatever ends the process, so a folder
whose lock is free is abandoned. Whoever locks makes sure that the lock file is still linked: a
sweep may take a folder for abandoned in the instant between its making and its locking, and then
the starting process makes another.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import logging
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from media_service.core.errors import StorageUnavailable
from media_service.core.media import Sha256
from media_service.infra.blobs.disk import (
    FILE_MODE,
    FOLDER_MODE,
    Disk,
    OnLostWrite,
    end_process,
    hash_bytes,
    open_disk,
)
from media_service.infra.blobs.disk_metrics import watch_disk

_LOCK = "lock"
_OWN_FOLDER = re.compile(r"[0-9a-f]{16}")
_WRITE_BYTES = 1024 * 1024
_PROBE_BYTES = 4096
_NOT_OPEN = -1

logger = logging.getLogger(__name__)


class LocalStagedFile:
    """A staged file on a local disk.

    Its jobs take a lock in their threads, so that closing waits for a write or flush that is
    still running when its task has been given up.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._busy = threading.Lock()
        self._descriptor = _NOT_OPEN
        self._hasher = hashlib.sha256()
        self._size_bytes = 0
        self._is_flushed = False

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """How many bytes were written so far."""
        return self._size_bytes

    @property
    def sha256(self) -> Sha256:
        """The hash of what was written so far."""
        return Sha256(self._hasher.hexdigest())

    async def write(self, chunk: bytes | memoryview) -> None:
        """Append. Raises StorageFull, StorageUnavailable."""
        await self._disk.run(self._append, chunk)

    async def absorb(self) -> None:
        """Hash what another process wrote to `path`, or put there in its place.

        Raises StorageUnavailable if there is no file any more.
        """
        await self._disk.run(self._adopt)

    async def flush(self) -> None:
        """Return once a power cut can't lose what was written."""
        if not self._is_flushed:
            await self._disk.run(self._sync)

    def create(self) -> None:
        """Make the empty file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, FILE_MODE)

    def discard(self) -> None:
        """Close the file and remove it, unless it was moved away."""
        with self._busy:
            descriptor, self._descriptor = self._descriptor, _NOT_OPEN
            if descriptor == _NOT_OPEN:
                return
            try:
                self._path.unlink(missing_ok=True)
                os.close(descriptor)
            except OSError as error:
                logger.warning("a staged file may be left behind: %s", error)

    def _append(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk).cast("B")
        with self._busy:
            self._is_flushed = False
            while view:
                # Hashed only when written, so that size and hash stay true if the disk is full.
                count = os.write(self._open(), view[:_WRITE_BYTES])
                self._hasher.update(view[:count])
                self._size_bytes += count
                view = view[count:]

    def _adopt(self) -> None:
        with self._busy:
            self._open()
            found = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.close(self._descriptor)
            self._descriptor, self._is_flushed = found, False
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise StorageUnavailable
            os.fchmod(found, FILE_MODE)
            self._hasher = hashlib.sha256()
            self._size_bytes = os.lseek(found, 0, os.SEEK_END)
            hash_bytes(found, self._hasher, start=0, end=self._size_bytes)

    def _sync(self) -> None:
        with self._busy:
            if not self._is_flushed:
                self._disk.sync(self._open())
                self._is_flushed = True

    def _open(self) -> int:
        if self._descriptor == _NOT_OPEN:
            raise ValueError("the staged file is closed")
        return self._descriptor


class LocalStaging:
    """Staging in a folder of this process's own."""

    def __init__(self, disk: Disk, own_folder: Path) -> None:
        self._disk = disk
        self._own_folder = own_folder
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def new(self) -> AsyncIterator[LocalStagedFile]:
        """A new empty file. Raises StorageFull, StorageUnavailable."""
        staged = LocalStagedFile(self._disk, self._own_folder / str(next(self._numbers)))
        try:
            await self._disk.run(staged.create)
            yield staged
        finally:
            await self._disk.finish(staged.discard)

    async def discard_abandoned(self) -> int:
        """Remove what processes that are no more left behind; how many files that were."""
        return await self._disk.run(_discard_abandoned, self._own_folder.parent, remove=_remove)

    async def count_abandoned(self) -> int:
        """How many files `discard_abandoned` would remove."""
        return await self._disk.run(_discard_abandoned, self._own_folder.parent, remove=_count)

    async def check(self) -> None:
        """Raise StorageFull or StorageUnavailable if nothing can be staged right now."""
        async with self.new() as staged:
            await staged.write(bytes(_PROBE_BYTES))


@asynccontextmanager
async def open_local_staging(
    folder: Path, *, on_lost_write: OnLostWrite = end_process
) -> AsyncIterator[LocalStaging]:
    """Staging in `folder/staging`, made if need be.

    `on_lost_write` is called, in a thread, when fsync fails; it must not return.
    Raises StorageFull, StorageUnavailable.
    """
    staging = folder / "staging"
    with open_disk(on_lost_write=on_lost_write) as disk:
        await disk.run(disk.make_folder, staging)
        claim = _Claim(staging)
        try:
            await disk.run(claim.take)
            watch_disk(staging)
            yield LocalStaging(disk, claim.folder)
        finally:
            await disk.finish(claim.give_up)


class _Claim:
    """A process's own folder in staging, and its lock."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._lock: int | None = None
        self.folder = staging

    def take(self) -> None:
        """Make the folder and lock it."""
        while self._lock is None:
            self.folder = self._staging / secrets.token_hex(8)
            self.folder.mkdir(mode=FOLDER_MODE)
            with suppress(FileNotFoundError):
                self._lock = _try_lock(self.folder)

    def give_up(self) -> None:
        """Remove the folder with all that is in it."""
        if self._lock is not None:
            try:
                _remove(self.folder)
            finally:
                os.close(self._lock)


def _try_lock(folder: Path) -> int | None:
    """The folder's lock, held until it is closed; None if it is held, or the folder removed."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _discard_abandoned(staging: Path, *, remove: Callable[[Path], int]) -> int:
    folders = [path for path in staging.iterdir() if _OWN_FOLDER.fullmatch(path.name)]
    return sum(_discard_if_abandoned(folder, remove) for folder in folders)


def _discard_if_abandoned(folder: Path, remove: Callable[[Path], int]) -> int:
    try:
        lock = _try_lock(folder)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    if lock is None:
        return 0
    try:
        return remove(folder)
    finally:
        os.close(lock)


def _count(folder: Path) -> int:
    return sum(path.name != _LOCK for path in folder.iterdir())


def _remove(folder: Path) -> int:
    """Remove a folder whose lock is held; how many files were in it."""
    left = [path for path in folder.iterdir() if path.name != _LOCK]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # The lock file goes last: as long as it is there, the folder counts as being looked after.
    (folder / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # a process that is just starting may have locked it anew
        folder.rmdir()
    return len(left)
