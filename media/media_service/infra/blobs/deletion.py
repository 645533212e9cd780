"""Deleting in two steps: files are moved into a trash folder, and come back or go from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from media_service.core.blobs import parse_key
from media_service.infra.blobs.disk import Disk

TRASH = "trash"


def checked_key(key: str) -> str:
    """The key. Raises ValueError for what is none, so that nothing can lead elsewhere."""
    if parse_key(key) is None:
        raise ValueError(f"not a key of blobs: {key!r}")
    return key


class LocalDeletion:
    """What one deletion has set aside. A name in the trash never holds other bytes than its key."""

    def __init__(self, folder: Path, *, disk: Disk, forget: Callable[[str], None]) -> None:
        self._folder = folder
        self._disk = disk
        self._forget = forget
        self._keys: list[str] = []

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Take the keys' bytes away; those that are not there are no error."""
        for key in map(checked_key, keys):
            self._keys.append(key)
            self._forget(key)
            await self._disk.run(self._move_out, key)

    async def undo(self) -> None:
        """Put back what was set aside, where nothing has taken its place."""
        for key in self._keys:
            await self._disk.run(self._move_back, key)

    async def finish(self) -> None:
        """Let it go for good."""
        for key in self._keys:
            self._forget(key)
        await self._disk.run(self._destroy)

    def _trashed(self, key: str) -> Path:
        return self._folder / TRASH / key.rpartition("/")[2]

    def _move_out(self, key: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / key).replace(self._trashed(key))

    def _move_back(self, key: str) -> None:
        trashed, path = self._trashed(key), self._folder / key
        with suppress(FileNotFoundError, FileExistsError):
            path.hardlink_to(trashed)
        with suppress(FileNotFoundError):
            self._disk.sync_folder(path.parent)
        trashed.unlink(missing_ok=True)

    def _destroy(self) -> None:
        for key in self._keys:
            self._trashed(key).unlink(missing_ok=True)
        for folder in {(self._folder / key).parent for key in self._keys}:
            with suppress(FileNotFoundError):
                self._disk.sync_folder(folder)
