"""What is written beside an object's bytes, so that they can be proved later, whole or in part.

It lies in the object's own metadata: it comes and goes, and is copied, with the bytes, and is
answered with every read. Metadata hold 2 KB, so there are at most 64 pieces, each with the first
half of its SHA-256; what is stated is bound together by a checksum.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from media_service.core.media import Sha256

_MB = 1024 * 1024
_SUM_BYTES = 16
_MOST_PIECES = 64
_MOST_PARTS = 10_000
_READ_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Where one way of doing things ends and another begins."""

    remembered_bytes: int = _MB
    """Up to this, what was read stays in memory for the next reader."""

    whole_bytes: int = 8 * _MB
    """Up to this, an object is put in one call, and read whole before any of it is given."""

    part_bytes: int = 8 * _MB
    piece_bytes: int = _MB

    def part_of(self, size_bytes: int) -> int:
        """How long the parts of an upload are."""
        return max(self.part_bytes, -(-size_bytes // _MOST_PARTS))

    def piece_of(self, size_bytes: int) -> int:
        """How long the pieces are that are proved by themselves."""
        piece = self.piece_bytes
        while piece * _MOST_PIECES < size_bytes:
            piece *= 2
        return piece


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an object says of its bytes. `checksum` is what S3 calls its SHA-256."""

    sha256: Sha256
    size_bytes: int
    checksum: str
    piece_bytes: int = 0
    pieces: bytes = b""

    def proves(self, start: int, piece: bytes | bytearray | memoryview) -> bool:
        """Whether these are the bytes of the piece that begins at `start`."""
        at = start // self.piece_bytes * _SUM_BYTES
        return self.pieces[at : at + _SUM_BYTES] == sum_of(piece)

    def metadata(self) -> dict[str, str]:
        """The record as an object's metadata."""
        said = {
            "mediad-sha256": self.sha256,
            "mediad-checksum": self.checksum,
            "mediad-piece-bytes": str(self.piece_bytes),
            "mediad-record": self._binding(),
        }
        # Some servers lose empty values.
        return said | ({"mediad-pieces": in_base64(self.pieces)} if self.pieces else {})

    def _binding(self) -> str:
        said = f"{self.sha256} {self.size_bytes} {self.checksum} {self.piece_bytes} "
        return hashlib.sha256(said.encode() + self.pieces).hexdigest()[:32]


def read_record(metadata: Mapping[str, str], *, size_bytes: int) -> Record | None:
    """The record in an object's metadata; None if there is none, or it is not as it was written."""
    try:
        record = Record(
            sha256=Sha256(metadata["mediad-sha256"]),
            size_bytes=size_bytes,
            checksum=metadata["mediad-checksum"],
            piece_bytes=int(metadata["mediad-piece-bytes"]),
            pieces=base64.b64decode(metadata.get("mediad-pieces", ""), validate=True),
        )
    except (KeyError, ValueError, binascii.Error):
        return None
    return record if record.metadata()["mediad-record"] == metadata.get("mediad-record") else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an upload."""

    number: int
    start: int
    length: int
    checksum: str


def sum_of(piece: bytes | bytearray | memoryview) -> bytes:
    """What is kept of a piece."""
    return hashlib.sha256(piece).digest()[:_SUM_BYTES]


def in_base64(digest: bytes) -> str:
    """Bytes as S3 writes them in headers."""
    return base64.b64encode(digest).decode()


def record_of_bytes(content: bytes) -> Record:
    """The record of an object that is put in one call."""
    digest = hashlib.sha256(content)
    return Record(
        sha256=Sha256(digest.hexdigest()),
        size_bytes=len(content),
        checksum=in_base64(digest.digest()),
    )


class Summing:
    """Adds up the sums of equal lengths of what goes by, and of all of it."""

    def __init__(self, *lengths: int) -> None:
        self._whole = hashlib.sha256()
        self._parts = [_Lengths(length) for length in lengths]

    def add(self, chunk: bytes | memoryview) -> None:
        """The next bytes."""
        self._whole.update(chunk)
        for parts in self._parts:
            parts.add(memoryview(chunk))

    def digests(self) -> Iterator[list[bytes]]:
        """The digests of each length's parts."""
        return (parts.digests() for parts in self._parts)

    @property
    def sha256(self) -> Sha256:
        """The hash of everything."""
        return Sha256(self._whole.hexdigest())


class _Lengths:
    def __init__(self, length: int) -> None:
        self._length = length
        self._room = length
        self._current = hashlib.sha256()
        self._done: list[bytes] = []

    def add(self, chunk: memoryview) -> None:
        while chunk:
            taken = chunk[: self._room]
            self._current.update(taken)
            self._room -= len(taken)
            chunk = chunk[len(taken) :]
            if not self._room:
                self._end()

    def digests(self) -> list[bytes]:
        if self._room < self._length:
            self._end()
        return self._done

    def _end(self) -> None:
        self._done.append(self._current.digest())
        self._current, self._room = hashlib.sha256(), self._length


def plan_upload(path: Path, size_bytes: int, sizes: Sizes) -> tuple[Record, list[Part]]:
    """The record and the parts of a file that is put part by part. Raises OSError."""
    part_bytes, piece_bytes = sizes.part_of(size_bytes), sizes.piece_of(size_bytes)
    summing = Summing(part_bytes, piece_bytes)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            summing.add(chunk)
    part_digests, piece_digests = summing.digests()
    parts = [
        Part(
            number=number,
            start=(number - 1) * part_bytes,
            length=min(part_bytes, size_bytes - (number - 1) * part_bytes),
            checksum=in_base64(digest),
        )
        for number, digest in enumerate(part_digests, 1)
    ]
    of_all = in_base64(hashlib.sha256(b"".join(part_digests)).digest())
    record = Record(
        sha256=summing.sha256,
        size_bytes=size_bytes,
        checksum=f"{of_all}-{len(parts)}",
        piece_bytes=piece_bytes,
        pieces=b"".join(digest[:_SUM_BYTES] for digest in piece_digests),
    )
    return record, parts


def read_slice(path: Path, start: int, length: int) -> bytes:
    """Bytes of a file. Raises OSError if there are fewer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(descriptor, length, start)
    finally:
        os.close(descriptor)
    if len(content) != length:
        raise OSError(f"{path} is shorter than it was")
    return content
