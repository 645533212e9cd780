"""Blobs on a local disk: a file per key, in folders that spread them.

The order that makes a put survive a power cut: the file's bytes are fsynced before it gets its
name; then the rename; then the folder. A folder that this process has not seen yet is made (if it
must) and its parent fsynced, whoever made it: that one may have died before its own fsync.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from weakref import WeakValueDictionary

from media_service.core.blobs import DELETING, StoredObject, labelled_at, new_label, parse_key
from media_service.core.errors import MediaDamaged
from media_service.core.media import Sha256
from media_service.core.ports import OpenBlob, StagedFile
from media_service.infra.blobs.disk import (
    FOLDER_MODE,
    Disk,
    OnLostWrite,
    end_process,
    open_disk,
)
from media_service.infra.blobs.reading import LargeFile, read_small
from media_service.infra.blobs.trash import TRASH, LocalDeletion, LocalTrash, checked_key
from media_service.infra.blobs.verified import RecentBytes, Verdicts, VerifiedBytes, Wanted

_KINDS = ("originals", "renditions")
_FOLDER = re.compile(r"(?:originals|renditions)/(?:[0-9a-f]{2}/){0,2}")
_SMALL_BYTES = 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024
_MAX_VERDICTS = 10_000
_MAX_LASTING_FOLDERS = 20_000


class LocalBlobs:
    """Blobs in a folder on a local disk. Small ones are remembered once they are verified."""

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        memory_bytes: int = MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._recent = RecentBytes(max_bytes=memory_bytes, clock=clock)
        self._verdicts = Verdicts(max_entries=_MAX_VERDICTS, clock=clock)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._lasting: set[str] = set()
        self._trash = LocalTrash(folder, disk=disk, forget=self._recent.drop)

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        """Make the staged bytes last, so that `put` only has to move them.

        Raises StorageFull, StorageUnavailable.
        """
        self._path(key)
        await staged.flush()

    async def put(
        self,
        key: str,
        staged: StagedFile,
        *,
        anew: bool = False,  # noqa: ARG002 - it always is
    ) -> None:
        """Return once the staged bytes lie under the key and survive a power cut.

        The staged file must be on the same file system; it is moved away.
        Raises StorageFull, StorageUnavailable.
        """
        path = self._path(key)
        await staged.flush()
        try:
            await self._disk.run(self._place, staged.path, path)
        finally:
            self._recent.drop(key)

    def open(
        self, key: str, *, size_bytes: int, sha256: Sha256
    ) -> AbstractAsyncContextManager[OpenBlob]:
        """The bytes, checked against size and hash; small ones may come from memory.

        Raises MediaDamaged if they are missing or others, StorageUnavailable.
        """
        wanted = Wanted(key, size_bytes, sha256)
        return self._recent.get(wanted) or self._opening(wanted)

    @asynccontextmanager
    async def local_copy(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[Path]:
        """The very file, all of it hashed now: others read it, unchecked; to read only."""
        async with self._large(Wanted(key, size_bytes, sha256), is_trusting=False):
            yield self._path(key)

    async def check(self, key: str, *, size_bytes: int, sha256: Sha256) -> None:
        """Read every byte from the disk. Raises MediaDamaged, StorageUnavailable."""
        file = LargeFile(self._disk, verdicts=self._verdicts)
        try:
            await file.check(self._path(key), Wanted(key, size_bytes, sha256))
        except MediaDamaged:
            self._recent.drop(key)
            self._verdicts.drop(key)
            raise
        finally:
            file.close()

    async def check_store(self) -> None:
        """Nothing to ask: staging, on the same file system, is asked instead."""

    async def presigned_url(
        self, key: str, *, content_type: str, disposition: str, expires_in: timedelta
    ) -> str | None:
        """None: there is no way to a file but through us."""
        del key, content_type, disposition, expires_in
        return None

    @asynccontextmanager
    async def deleting(self) -> AsyncIterator[LocalDeletion]:
        """A deletion that happens when its context ends, or not at all if that raises."""
        label = new_label(DELETING, datetime.now(UTC))
        deletion = LocalDeletion(self._trash, label=label)
        try:
            yield deletion
        except BaseException:
            await deletion.undo()
            raise
        await deletion.finish()

    async def trash(self, keys: Iterable[str], *, label: str) -> None:
        """Take the keys' bytes away, into the trash."""
        labelled_at(label)
        for key in keys:
            await self._trash.move_out(key, label=label)

    async def labels(self) -> list[str]:
        """Every label that something in the trash has."""
        return await self._trash.labels()

    async def restore(self, label: str) -> list[str]:
        """Put back what has this label, where nothing has taken its place; its keys."""
        return await self._trash.move_back(label)

    async def empty_trash(self, *, before: datetime) -> int:
        """Let go for good what was put there before this moment, but for deletions."""
        return await self._trash.empty(before=before)

    async def discard_trashed(self, source: Sha256) -> int:
        """Let go for good the original of this hash and its renditions, whatever their label."""
        return await self._trash.discard(source)

    async def discard_abandoned_uploads(self, *, before: datetime) -> int:
        """Nothing: what is not whole lies in staging."""
        del before
        return 0

    async def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Everything in the folder, in the order of the keys, listed as the caller comes to it."""
        if not _FOLDER.fullmatch(prefix):
            raise ValueError(f"not a folder of blobs: {prefix!r}")
        folders = [prefix]
        while folders:
            folder = folders.pop()
            names = await self._disk.run(_list, self._folder / folder)
            if keys := [key for name in names if parse_key(key := folder + name)]:
                for found in await self._disk.run(_describe, self._folder, keys):
                    yield found
            inner = (f"{folder}{name}/" for name in reversed(names))
            folders += [path for path in inner if _FOLDER.fullmatch(path)]

    @asynccontextmanager
    async def _opening(self, wanted: Wanted) -> AsyncIterator[OpenBlob]:
        if wanted.size_bytes <= _SMALL_BYTES:
            yield await self._small(wanted)
        else:
            async with self._large(wanted) as file:
                yield file

    async def _small(self, wanted: Wanted) -> VerifiedBytes:
        path = self._path(wanted.key)
        async with self._turn(wanted.key):
            if held := self._recent.get(wanted):
                return held
            drops = self._recent.drops
            content = await self._disk.run(read_small, path, wanted)
            return self._recent.remember(wanted, content, drops=drops)

    @asynccontextmanager
    async def _large(self, wanted: Wanted, *, is_trusting: bool = True) -> AsyncIterator[LargeFile]:
        file = LargeFile(self._disk, verdicts=self._verdicts)
        try:
            async with self._turn(wanted.key):
                await file.open(self._path(wanted.key), wanted, is_trusting=is_trusting)
            yield file
        finally:
            file.close()

    def _turn(self, key: str) -> asyncio.Lock:
        """Held while a key is verified: those who come meanwhile wait for the verdict."""
        return self._turns.setdefault(key, asyncio.Lock())

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)

    def _place(self, staged: Path, path: Path) -> None:
        self._make_lasting(path.parent.parent)
        self._make_lasting(path.parent)
        try:
            os.replace(staged, path)  # noqa: PTH105 - raises the same, at a third of the time
        except FileNotFoundError:
            # Somebody may have removed an empty folder: the next attempt will make it.
            self._lasting.clear()
            raise
        self._disk.sync_folder(path.parent)

    def _make_lasting(self, folder: Path) -> None:
        """Make sure that the folder is there and stays there, once in this process."""
        if str(folder) in self._lasting:
            return
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        self._disk.sync_folder(folder.parent)
        if len(self._lasting) >= _MAX_LASTING_FOLDERS:
            self._lasting.clear()
        self._lasting.add(str(folder))


@asynccontextmanager
async def open_local_blobs(
    folder: Path,
    *,
    memory_bytes: int = MEMORY_BYTES,
    on_lost_write: OnLostWrite = end_process,
) -> AsyncIterator[LocalBlobs]:
    """Blobs in `folder/originals` and `folder/renditions`, made if need be.

    `memory_bytes` is what small blobs may take in memory; `on_lost_write` is called, in a thread,
    when fsync fails, and must not return. Raises StorageFull, StorageUnavailable.
    """
    with open_disk(on_lost_write=on_lost_write) as disk:
        for kind in (*_KINDS, TRASH):
            await disk.run(disk.make_folder, folder / kind)
        yield LocalBlobs(folder, disk=disk, memory_bytes=memory_bytes)


def _list(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are all we need
    except (FileNotFoundError, NotADirectoryError):
        return []


def _describe(folder: Path, keys: list[str]) -> list[StoredObject]:
    """The objects of these keys that are still there; what is no file is none."""
    found = []
    for key in keys:
        with suppress(FileNotFoundError):
            told = (folder / key).stat()
            if stat.S_ISREG(told.st_mode):
                written_at = datetime.fromtimestamp(told.st_mtime, UTC)
                found.append(StoredObject(key=key, size_bytes=told.st_size, written_at=written_at))
    return found
