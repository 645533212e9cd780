"""Disks of a proof's own: small, mounted, and gone afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from proofs.outcomes import CannotRun, require, require_root

_BUSY_SECONDS = 30
_SYSTEM_PATH = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


class LoopDisk:
    """A file system in a file. Its power can be cut: what it was not made to flush is lost."""

    def __init__(self, image: Path, at: Path, *, kind: str) -> None:
        self.kind = kind
        self.at = at
        self._image = image
        self._is_mounted = False

    def mount(self) -> None:
        """Mount it; its log is replayed."""
        run("mount", "-o", "loop", self._image, self.at)
        self._is_mounted = True

    def cut_power(self) -> None:
        """From now on nothing reaches the disk any more, and everything fails."""
        run("xfs_io", "-x", "-c", "shutdown", self.at)

    def flush(self) -> None:
        """Have everything on the disk, whatever those who wrote it did."""
        run("sync", "--file-system", self.at)

    def unmount(self) -> None:
        """Unmount it as soon as those who died have let it go."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while self._is_mounted:
            try:
                run("umount", self.at)
                self._is_mounted = False
            except CannotRun:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def loop_disk(folder: Path, *, kind: str, megabytes: int = 1024) -> Iterator[LoopDisk]:
    """A new file system in a file in this folder, mounted. Raises CannotRun."""
    require_root()
    require(f"mkfs.{kind}", "xfs_io", "mount")
    folder.mkdir(parents=True, exist_ok=True)
    image, at = folder / "image", folder / "disk"
    at.mkdir()
    with image.open("wb") as opened:
        opened.truncate(megabytes * 1024**2)
    run(f"mkfs.{kind}", "-q", image)
    disk = LoopDisk(image, at, kind=kind)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()
        image.unlink()


@contextmanager
def memory_disk(at: Path, *options: str) -> Iterator[Path]:
    """A disk in memory with limits such as `size=64m`. Raises CannotRun."""
    require_root()
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", at)
    try:
        yield at
    finally:
        run("umount", "--lazy", at)


def fill(disk: Path) -> list[Path]:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    piece = 1024**2
    with filler.open("wb", buffering=0) as opened:
        while piece:
            try:
                opened.write(bytes(piece))
            except OSError:
                piece //= 2
    return [filler]


def fill_with_names(disk: Path) -> list[Path]:
    """Files that take all the names that are left."""
    fillers = []
    with contextlib.suppress(OSError):
        for number in itertools.count():
            filler = disk / f"filler{number}"
            filler.touch()
            fillers.append(filler)
    return fillers


def run(*command: str | Path) -> None:
    """Run a program of the system. Raises CannotRun with what it said."""
    words: Sequence[str] = [str(word) for word in command]
    done = subprocess.run(
        words, env=os.environ | _SYSTEM_PATH, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotRun(f"{' '.join(words[:2])}: {done.stderr.strip()}")
