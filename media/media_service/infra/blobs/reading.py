"""Reading blobs from the disk: nothing is given before all of it was compared with its hash."""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import Counter

from media_service.core.blobs import may_have_gone
from media_service.core.errors import MediaDamaged
from media_service.core.media import Sha256
from media_service.infra.blobs.disk import Disk
from media_service.infra.blobs.verified import PIECE_BYTES, Stamp, Verdicts, Wanted, check_range

_HASHED_AT_ONCE_BYTES = 8 * 1024 * 1024
_NOT_OPEN = -1

_DAMAGED = Counter(
    "mediad_damaged_reads_total", "Reads that found bytes missing or wrong", ["kind"]
)
logger = logging.getLogger(__name__)


def read_small(path: Path, wanted: Wanted) -> bytes:
    """The whole blob. Raises MediaDamaged, OSError."""
    descriptor = _open(path, wanted)
    try:
        content = os.pread(descriptor, wanted.size_bytes, 0)
    finally:
        os.close(descriptor)
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise _damaged(wanted, "its hash is another")
    return content


class LargeFile:
    """A blob that is read in pieces from a file that was hashed before."""

    def __init__(self, disk: Disk, *, verdicts: Verdicts) -> None:
        self._disk = disk
        self._verdicts = verdicts
        self._descriptor = _NOT_OPEN
        self._wanted = Wanted("", 0, Sha256(""))
        self._pieces: array[int] = array("I")

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._wanted.size_bytes

    async def open(self, path: Path, wanted: Wanted, *, is_trusting: bool = True) -> None:
        """Open the file and hash it, unless it was not touched since it was hashed last.

        Raises MediaDamaged, StorageUnavailable. Whatever happens, `close` it.
        """
        stamp = await self._disk.run(self._open, path, wanted)
        known = self._verdicts.pieces(wanted, stamp) if is_trusting else None
        if known is not None:
            self._pieces = known
            return
        await self._verify(wanted)
        if stamp == Stamp.of(self._descriptor):
            self._verdicts.remember(wanted, stamp, self._pieces)

    async def check(self, path: Path, wanted: Wanted) -> None:
        """Hash what lies on the disk, and not what the kernel remembers of it.

        Raises MediaDamaged, StorageUnavailable. Whatever happens, `close` it.
        """
        await self._disk.run(self._open, path, wanted)
        await self._disk.run(_forget_pages, self._descriptor)
        await self._verify(wanted)

    async def _verify(self, wanted: Wanted) -> None:
        hasher = hashlib.sha256()
        # In steps, so that a few large files don't keep all threads from the small ones.
        for start in range(0, wanted.size_bytes, _HASHED_AT_ONCE_BYTES):
            end = min(start + _HASHED_AT_ONCE_BYTES, wanted.size_bytes)
            self._pieces += await self._disk.run(self._hash, hasher, start, end)
        if hasher.hexdigest() != wanted.sha256:
            raise _damaged(wanted, "its hash is another")

    def at_hand(self, start: int, length: int) -> bytes | None:  # noqa: ARG002 - the port's
        """Nothing is: it lies on the disk."""
        return None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of at most 256 KB.

        Raises MediaDamaged if the file changed meanwhile, StorageUnavailable.
        """
        end = check_range(start, length, size_bytes=self.size_bytes)
        while start < end:
            number, offset = divmod(start, PIECE_BYTES)
            piece = await self._disk.run(self._piece, number)
            if piece is None:
                self._verdicts.drop(self._wanted.key)
                raise _damaged(self._wanted, "it changed since it was hashed")
            piece = piece[offset : offset + end - start]
            yield piece
            start += len(piece)

    def close(self) -> None:
        """Close the file in the background: the last close of a deleted file frees its blocks."""
        descriptor, self._descriptor = self._descriptor, _NOT_OPEN
        if descriptor != _NOT_OPEN:
            self._disk.begin(lambda: os.close(descriptor))

    def _open(self, path: Path, wanted: Wanted) -> Stamp:
        self._descriptor = _open(path, wanted)
        self._wanted = wanted
        return Stamp.of(self._descriptor)

    def _hash(self, hasher: hashlib._Hash, start: int, end: int) -> array[int]:
        """Hash the bytes from `start` up to `end`; the checksums of their pieces."""
        checksums = array("I")
        for at in range(start, end, PIECE_BYTES):
            piece = os.pread(self._descriptor, min(PIECE_BYTES, end - at), at)
            hasher.update(piece)
            checksums.append(zlib.crc32(piece))
        return checksums

    def _piece(self, number: int) -> bytes | None:
        """One piece, if it is what it was when the whole was right."""
        start = number * PIECE_BYTES
        piece = os.pread(self._descriptor, min(PIECE_BYTES, self.size_bytes - start), start)
        return piece if zlib.crc32(piece) == self._pieces[number] else None


def _open(path: Path, wanted: Wanted) -> int:
    """A descriptor of the blob's file, which has the right size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        # Without the root of the tree the disk is not there at all, and the blob not damaged.
        if path.parents[2].is_dir():
            raise _missing(wanted) from error
        raise
    found = os.fstat(descriptor).st_size
    if found != wanted.size_bytes:
        os.close(descriptor)
        raise _damaged(wanted, f"it has {found} bytes, not {wanted.size_bytes}")
    return descriptor


def _forget_pages(descriptor: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _missing(wanted: Wanted) -> MediaDamaged:
    """The error to raise; what another process let go meanwhile is nothing to worry about."""
    return MediaDamaged() if may_have_gone(wanted.key) else _damaged(wanted, "it is missing")


def _damaged(wanted: Wanted, why: str) -> MediaDamaged:
    _DAMAGED.labels(wanted.key.partition("/")[0]).inc()
    logger.error("damaged blob %s: %s", wanted.key, why)
    return MediaDamaged()
