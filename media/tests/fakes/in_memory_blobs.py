"""Blobs and staging without a disk, for tests: quick, and easy to damage."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from media_service.core.blobs import (
    DELETING,
    StoredObject,
    is_of_deletion,
    labelled_at,
    new_label,
    parse_key,
    source_of,
)
from media_service.core.errors import MediaDamaged, MediaError
from media_service.core.media import Sha256
from media_service.core.ports import OpenBlob, StagedFile

_PIECE_BYTES = 256 * 1024
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class InMemoryFile:
    """A file in memory that other processes can open by its path, for as long as it is open."""

    def __init__(self, content: bytes = b"") -> None:
        self._descriptor = os.memfd_create("staged")
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")
        self.append(content)

    def append(self, content: bytes | memoryview) -> None:
        os.lseek(self._descriptor, 0, os.SEEK_END)
        os.write(self._descriptor, content)

    def content(self) -> bytes:
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def close(self) -> None:
        os.close(self._descriptor)


class InMemoryStagedFile:
    """A staged file; `flushes` counts how often it was made to last."""

    def __init__(self, staging: InMemoryStaging) -> None:
        self._staging = staging
        self._file = InMemoryFile()
        self._known = b""
        self.flushes = 0

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def size_bytes(self) -> int:
        return len(self._known)

    @property
    def sha256(self) -> Sha256:
        return Sha256(hashlib.sha256(self._known).hexdigest())

    async def write(self, chunk: bytes | memoryview) -> None:
        self._staging.fail_if_told()
        self._file.append(chunk)
        self._known += bytes(chunk)

    async def absorb(self) -> None:
        self._staging.fail_if_told()
        self._known = self._file.content()

    async def flush(self) -> None:
        self._staging.fail_if_told()
        self.flushes += 1

    def close(self) -> None:
        self._file.close()


class InMemoryStaging:
    """Staging; while `failure` is set, everything raises it. `open_files` counts what is there."""

    def __init__(self) -> None:
        self.failure: MediaError | None = None
        self.open_files = 0
        self.abandoned = 0

    @asynccontextmanager
    async def new(self) -> AsyncIterator[StagedFile]:
        self.fail_if_told()
        staged = InMemoryStagedFile(self)
        self.open_files += 1
        try:
            yield staged
        finally:
            self.open_files -= 1
            staged.close()

    async def discard_abandoned(self) -> int:
        self.abandoned, count = 0, self.abandoned
        return count

    async def count_abandoned(self) -> int:
        return self.abandoned

    def fail_if_told(self) -> None:
        if self.failure:
            raise self.failure


class InMemoryDeletion:
    """What one deletion has set aside."""

    def __init__(self, blobs: InMemoryBlobs, label: str) -> None:
        self._blobs = blobs
        self._label = label

    async def set_aside(self, keys: Iterable[str]) -> None:
        await self._blobs.trash(keys, label=self._label)


class _OpenBytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def at_hand(self, start: int, length: int) -> bytes | None:
        return self._content[start : start + length] if len(self._content) < 1000 else None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        if not 0 <= start <= start + length <= len(self._content):
            raise ValueError(f"{length} bytes from {start} are not within {len(self._content)}")
        for at in range(start, start + length, _PIECE_BYTES):
            yield self._content[at : min(at + _PIECE_BYTES, start + length)]


class InMemoryBlobs:
    """Blobs; `contents` is theirs to damage. While `failure` is set, everything raises it.

    While `keeps_what_it_has`, what is put over equal bytes is not looked at, as by a store that
    believes the checksum it has noted; unless it is put anew.
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.public_url = ""
        self.trashed: dict[str, dict[str, bytes]] = {}
        self.failure: MediaError | None = None
        self.keeps_what_it_has = False
        self.written_at: dict[str, datetime] = {}

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        self._check(key)
        await staged.flush()

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        self._check(key)
        await staged.flush()
        if self.keeps_what_it_has and not anew and key in self.contents:
            return
        self.contents[key] = staged.path.read_bytes()

    @asynccontextmanager
    async def open(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[OpenBlob]:
        yield _OpenBytes(self._verified(key, size_bytes, sha256))

    @asynccontextmanager
    async def local_copy(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[Path]:
        file = InMemoryFile(self._verified(key, size_bytes, sha256))
        try:
            yield file.path
        finally:
            file.close()

    async def check(self, key: str, *, size_bytes: int, sha256: Sha256) -> None:
        self._verified(key, size_bytes, sha256)

    async def check_store(self) -> None:
        self._fail_if_told()

    async def presigned_url(
        self, key: str, *, content_type: str, disposition: str, expires_in: timedelta
    ) -> str | None:
        self._check(key)
        if not self.public_url:
            return None
        if key not in self.contents:
            raise MediaDamaged
        said = {"type": content_type, "as": disposition, "for": int(expires_in.total_seconds())}
        return f"{self.public_url}/{key}?{urlencode(said)}"

    @asynccontextmanager
    async def deleting(self) -> AsyncIterator[InMemoryDeletion]:
        label = new_label(DELETING, datetime.now(UTC))
        try:
            yield InMemoryDeletion(self, label)
        except BaseException:
            self._restore(label)
            raise
        self.trashed.pop(label, None)

    async def trash(self, keys: Iterable[str], *, label: str) -> None:
        labelled_at(label)
        for key in keys:
            self._check(key)
            if key in self.contents:
                self.trashed.setdefault(label, {})[key] = self.contents.pop(key)

    async def labels(self) -> list[str]:
        self._fail_if_told()
        return sorted(self.trashed)

    async def restore(self, label: str) -> list[str]:
        self._fail_if_told()
        labelled_at(label)
        return self._restore(label)

    async def empty_trash(self, *, before: datetime) -> int:
        self._fail_if_told()
        old = [
            label
            for label in self.trashed
            if not is_of_deletion(label) and labelled_at(label) < before
        ]
        return sum(len(self.trashed.pop(label)) for label in old)

    async def discard_trashed(self, source: Sha256) -> int:
        self._fail_if_told()
        found = [
            (label, key)
            for label, aside in self.trashed.items()
            for key in aside
            if source_of(key) == source
        ]
        for label, key in found:
            del self.trashed[label][key]
            if not self.trashed[label]:
                del self.trashed[label]
        return len(found)

    async def discard_abandoned_uploads(self, *, before: datetime) -> int:
        self._fail_if_told()
        return 0

    async def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        self._fail_if_told()
        if not re.fullmatch(r"(originals|renditions)/([0-9a-f]{2}/){0,2}", prefix):
            raise ValueError(f"not a folder of blobs: {prefix!r}")
        for key in sorted(key for key in self.contents if key.startswith(prefix)):
            if parse_key(key) and key in self.contents:
                yield StoredObject(
                    key=key,
                    size_bytes=len(self.contents[key]),
                    written_at=self.written_at.get(key, LONG_AGO),
                )

    def _restore(self, label: str) -> list[str]:
        aside = self.trashed.pop(label, {})
        self.contents = aside | self.contents
        return sorted(aside)

    def _verified(self, key: str, size_bytes: int, sha256: Sha256) -> bytes:
        self._check(key)
        content = self.contents.get(key)
        if content is None or len(content) != size_bytes:
            raise MediaDamaged
        if hashlib.sha256(content).hexdigest() != sha256:
            raise MediaDamaged
        return content

    def _fail_if_told(self) -> None:
        if self.failure:
            raise self.failure

    def _check(self, key: str) -> None:
        self._fail_if_told()
        if parse_key(key) is None:
            raise ValueError(f"not a key of blobs: {key!r}")
