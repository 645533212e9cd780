"""What was found right: small blobs in memory, and for large ones the verdict on their file."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Self

from media_service.core.media import Sha256

PIECE_BYTES = 256 * 1024
"""The most that `OpenBlob.read` gives at once."""

_TRUSTED_SECONDS = 3600.0


class Wanted(NamedTuple):
    """What should lie under a key."""

    key: str
    size_bytes: int
    sha256: Sha256


@dataclasses.dataclass(slots=True)
class VerifiedBytes:
    """A small blob, whole and right, in memory. Its own context, so that a hit makes no other."""

    content: bytes
    sha256: Sha256
    until: float

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return len(self.content)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def at_hand(self, start: int, length: int) -> bytes | None:
        """`length` bytes from `start`."""
        end = check_range(start, length, size_bytes=len(self.content))
        return self.content[start:end]

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of at most 256 KB."""
        end = check_range(start, length, size_bytes=len(self.content))
        while start < end:
            stop = min(start + PIECE_BYTES, end)
            yield self.content[start:stop]
            start = stop


def check_range(start: int, length: int, *, size_bytes: int) -> int:
    """Where the range ends. Raises ValueError if it is not within the blob."""
    if not 0 <= start <= start + length <= size_bytes:
        raise ValueError(f"{length} bytes from {start} are not within {size_bytes}")
    return start + length


class RecentBytes:
    """The verified bytes of the small blobs read last, for at most an hour."""

    def __init__(self, *, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._held: OrderedDict[str, VerifiedBytes] = OrderedDict()
        self._held_bytes = 0
        self._drops = 0

    @property
    def drops(self) -> int:
        """How often anything was dropped; what was read before a drop must not be remembered."""
        return self._drops

    def get(self, wanted: Wanted) -> VerifiedBytes | None:
        """The bytes, if they are remembered and are those that are wanted."""
        held = self._held.get(wanted.key)
        if held is None or held.sha256 != wanted.sha256 or held.until < self._clock():
            return None
        self._held.move_to_end(wanted.key)
        return held if len(held.content) == wanted.size_bytes else None

    def remember(self, wanted: Wanted, content: bytes, *, drops: int) -> VerifiedBytes:
        """Keep bytes that were verified, unless any were dropped since `drops` was read."""
        until = self._clock() + _TRUSTED_SECONDS
        verified = VerifiedBytes(content, wanted.sha256, until)
        if drops == self._drops and len(content) <= self._max_bytes:
            self._forget(wanted.key)
            self._held[wanted.key] = verified
            self._held_bytes += len(content)
            while self._held_bytes > self._max_bytes:
                self._forget(next(iter(self._held)))
        return verified

    def drop(self, key: str) -> None:
        """Forget the key, also if it is being read right now."""
        self._drops += 1
        self._forget(key)

    def _forget(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._held_bytes -= len(held.content)


class Stamp(NamedTuple):
    """What tells a file apart from what it was before somebody wrote to it."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """The stamp of an open file."""
        found = os.fstat(descriptor)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Verdicts:
    """Files whose bytes were hashed and found right, for at most an hour; their pieces' checksums.

    A disk that rots changes no stamp, so each piece is compared with its own when it is read.
    """

    def __init__(self, *, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._right: OrderedDict[tuple[str, Stamp], tuple[Sha256, float, array[int]]] = (
            OrderedDict()
        )

    def pieces(self, wanted: Wanted, stamp: Stamp) -> array[int] | None:
        """The checksums of this very file's pieces, if it was found to hold what is wanted."""
        sha256, until, pieces = self._right.get((wanted.key, stamp), ("", 0.0, None))
        return pieces if sha256 == wanted.sha256 and self._clock() <= until else None

    def remember(self, wanted: Wanted, stamp: Stamp, pieces: array[int]) -> None:
        """Note that the file holds what is wanted, in pieces with these checksums."""
        entry = (wanted.key, stamp)
        self._right[entry] = (wanted.sha256, self._clock() + _TRUSTED_SECONDS, pieces)
        self._right.move_to_end(entry)
        if len(self._right) > self._max_entries:
            self._right.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget what was found of any file under this key."""
        for entry in [entry for entry in self._right if entry[0] == key]:
            del self._right[entry]
