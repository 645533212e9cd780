"""The trash of a local disk: files move there under a label, and come back or go from there.

One folder, `trash/`, holds `<label>.<name>` for each key's last part: moving a file there makes
no folder, so that it works on a full disk, and no two labels can meet in one file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from media_service.core.blobs import is_of_deletion, key_named, labelled_at, parse_key, source_of
from media_service.core.media import Sha256
from media_service.infra.blobs.disk import Disk

TRASH = "trash"


def checked_key(key: str) -> str:
    """The key. Raises ValueError for what is none, so that nothing can lead elsewhere."""
    if parse_key(key) is None:
        raise ValueError(f"not a key of blobs: {key!r}")
    return key


class _Trashed(NamedTuple):
    """A file in the trash."""

    label: str
    key: str

    @property
    def file_name(self) -> str:
        return f"{self.label}.{self.key.rpartition('/')[2]}"


class LocalTrash:
    """What was moved out of `folder`, into `folder/trash`."""

    def __init__(self, folder: Path, *, disk: Disk, forget: Callable[[str], None]) -> None:
        self._folder = folder
        self._disk = disk
        self._forget = forget

    async def move_out(self, key: str, *, label: str) -> None:
        """Take a key's bytes away, if there are any."""
        self._forget(key)
        await self._disk.run(self._move_out, _Trashed(label, checked_key(key)))

    async def labels(self) -> list[str]:
        """Every label that something here has."""
        return sorted({trashed.label for trashed in await self._disk.run(self._list)})

    async def move_back(self, label: str) -> list[str]:
        """Put back what has this label, where nothing has taken its place; its keys."""
        labelled_at(label)
        found = await self._disk.run(self._list, f"{label}.")
        for trashed in found:
            await self._disk.run(self._move_back, trashed)
        return [trashed.key for trashed in found]

    async def put_back(self, keys: Iterable[str], *, label: str) -> None:
        """Put these back, as `move_back` does."""
        for key in keys:
            await self._disk.run(self._move_back, _Trashed(label, key))

    async def empty(self, *, before: datetime) -> int:
        """Remove what was moved here before this moment, but for what deletions set aside."""
        found = await self._disk.run(self._list)
        return await self._remove(
            each
            for each in found
            if not is_of_deletion(each.label) and labelled_at(each.label) < before
        )

    async def discard(self, source: Sha256) -> int:
        """Remove the original of this hash, and its renditions."""
        found = await self._disk.run(self._list, f".{source}")
        return await self._remove(each for each in found if source_of(each.key) == source)

    async def finish(self, keys: Iterable[str], *, label: str) -> None:
        """Remove these, and make sure that they don't come back where they were."""
        keys = list(keys)
        for key in keys:
            self._forget(key)
        await self._remove(_Trashed(label, key) for key in keys)
        await self._disk.run(self._sync_folders, keys)

    async def _remove(self, found: Iterable[_Trashed]) -> int:
        return sum([await self._disk.run(self._unlink, each) for each in found])

    def _list(self, part: str = "") -> list[_Trashed]:
        """What has this in its name; the rest is passed by without being looked at."""
        names = os.listdir(self._folder / TRASH)  # noqa: PTH208 - names are all we need
        found = [_trashed(name) for name in names if part in name]
        return sorted(each for each in found if each)

    def _path(self, trashed: _Trashed) -> Path:
        return self._folder / TRASH / trashed.file_name

    def _unlink(self, trashed: _Trashed) -> bool:
        # A folder is nothing of ours, and must not keep the rest from going.
        with suppress(FileNotFoundError, IsADirectoryError):
            self._path(trashed).unlink()
            return True
        return False

    def _move_out(self, trashed: _Trashed) -> None:
        with suppress(FileNotFoundError):
            (self._folder / trashed.key).replace(self._path(trashed))

    def _move_back(self, trashed: _Trashed) -> None:
        path = self._folder / trashed.key
        if not path.parent.is_dir():
            self._disk.make_folder(path.parent)
        with suppress(FileNotFoundError, FileExistsError):
            path.hardlink_to(self._path(trashed))
        self._disk.sync_folder(path.parent)
        self._unlink(trashed)

    def _sync_folders(self, keys: list[str]) -> None:
        for folder in {(self._folder / key).parent for key in keys}:
            with suppress(FileNotFoundError):
                self._disk.sync_folder(folder)


class LocalDeletion:
    """What one deletion has set aside."""

    def __init__(self, trash: LocalTrash, *, label: str) -> None:
        self._trash = trash
        self._label = label
        self._keys: list[str] = []

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Take the keys' bytes away; those that are not there are no error."""
        for key in map(checked_key, keys):
            self._keys.append(key)
            await self._trash.move_out(key, label=self._label)

    async def undo(self) -> None:
        """Put back what was set aside, where nothing has taken its place."""
        await self._trash.put_back(self._keys, label=self._label)

    async def finish(self) -> None:
        """Let it go for good."""
        await self._trash.finish(self._keys, label=self._label)


def _trashed(file_name: str) -> _Trashed | None:
    """What a file of this name is; None if it is none of ours."""
    label, _, name = file_name.partition(".")
    key = key_named(name)
    with suppress(ValueError):
        labelled_at(label)
        return _Trashed(label, key) if key else None
    return None
