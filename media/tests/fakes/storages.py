"""Every kind of blobs and staging, each with a way behind its back, for the contract tests."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from embedded_servers.seaweedfs import SeaweedFS
from fakes.in_memory_blobs import InMemoryBlobs, InMemoryStaging
from fakes.s3_server import sync_client
from media_service.core.blobs import original_key
from media_service.core.media import Sha256
from media_service.core.ports import Blobs, OpenBlob, StagedFile, Staging
from media_service.infra.blobs.fallback import FallbackBlobs
from media_service.infra.blobs.local import open_local_blobs
from media_service.infra.blobs.s3 import open_s3_blobs
from media_service.infra.blobs.s3_calls import Patience, open_calls
from media_service.infra.blobs.s3_records import Sizes
from media_service.infra.blobs.staging import open_local_staging

PIECE_BYTES = 256 * 1024
SMALL, LARGE = 60_000, 1024 * 1024 + 12_345
"""Sizes on either side of where local blobs no longer keep bytes in memory."""


@dataclasses.dataclass
class Storage:
    """What is under test, and a way behind its back: `lay` replaces or removes what lies there."""

    blobs: Blobs
    staging: Staging
    lay: Callable[[str, bytes | None], None]
    staged_files: Callable[[], int]
    prefix: str = ""


@contextlib.asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[Storage]:
    blobs, staging = InMemoryBlobs(), InMemoryStaging()

    def lay(key: str, content: bytes | None) -> None:
        blobs.contents.pop(key, None)
        if content is not None:
            blobs.contents[key] = content

    yield Storage(blobs, staging, lay, lambda: staging.open_files)


@contextlib.asynccontextmanager
async def on_local_disk(folder: Path) -> AsyncIterator[Storage]:
    def lay(key: str, content: bytes | None) -> None:
        path = folder / key
        if content is None:
            path.unlink()
            return
        path.write_bytes(content)
        later = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(later, later))

    def staged_files() -> int:
        return sum(path.is_file() and path.name != "lock" for path in folder.glob("staging/*/*"))

    async with open_local_blobs(folder) as blobs, open_local_staging(folder) as staging:
        yield Storage(blobs, staging, lay, staged_files)


@contextlib.asynccontextmanager
async def in_s3(
    folder: Path,
    server: SeaweedFS,
    bucket: str,
    *,
    sizes: Sizes | None = None,
    patience: Patience | None = None,
    prefix: str = "",
) -> AsyncIterator[Storage]:
    """Under a prefix of its own in the bucket; `server` may be what stands before it."""
    prefix = prefix or f"{secrets.token_hex(8)}/"
    behind = sync_client(server)

    def lay(key: str, content: bytes | None) -> None:
        if content is None:
            behind.delete_object(Bucket=bucket, Key=prefix + key)
        else:
            behind.put_object(Bucket=bucket, Key=prefix + key, Body=content)

    def staged_files() -> int:
        return sum(path.is_file() and path.name != "lock" for path in folder.glob("staging/*/*"))

    async with (
        open_local_staging(folder) as staging,
        open_calls(
            region=server.region,
            endpoint=server.endpoint,
            is_path_style=True,
            credentials=(server.access_key, server.secret_key),
            patience=patience,
        ) as calls,
        open_s3_blobs(calls, bucket=bucket, prefix=prefix, staging=staging, sizes=sizes) as blobs,
    ):
        yield Storage(blobs, staging, lay, staged_files, prefix)


class LeftBehind(FallbackBlobs):
    """What is put goes to the second store: as by an instance that has not heard of the first."""

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        await self._second.put_ahead(key, staged)

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        await self._second.put(key, staged, anew=anew)


@contextlib.asynccontextmanager
async def moving_on(folder: Path) -> AsyncIterator[Storage]:
    """A new store, with an old one that holds nothing of what is asked for."""
    async with on_local_disk(folder / "new") as new, open_local_blobs(folder / "old") as old:
        yield dataclasses.replace(new, blobs=FallbackBlobs(new.blobs, old))


@contextlib.asynccontextmanager
async def left_behind(folder: Path) -> AsyncIterator[Storage]:
    """A new store that is empty, with an old one that holds everything."""
    async with on_local_disk(folder / "old") as old, open_local_blobs(folder / "new") as new:
        yield dataclasses.replace(old, blobs=LeftBehind(new, old.blobs))


KINDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Storage]]] = {
    "memory": in_memory,
    "local": on_local_disk,
    "moving on": moving_on,
    "left behind": left_behind,
}


@dataclasses.dataclass(frozen=True)
class Stored:
    key: str
    content: bytes

    @property
    def sha256(self) -> Sha256:
        return sha256_of(self.content)


def sha256_of(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def put(storage: Storage, content: bytes, key: str | None = None) -> Stored:
    async with storage.staging.new() as staged:
        await staged.write(content)
        stored = Stored(key or original_key(staged.sha256), content)
        await storage.blobs.put(stored.key, staged)
    return stored


def opened(storage: Storage, stored: Stored) -> AbstractAsyncContextManager[OpenBlob]:
    return storage.blobs.open(stored.key, size_bytes=len(stored.content), sha256=stored.sha256)


def copied(storage: Storage, stored: Stored) -> AbstractAsyncContextManager[Path]:
    size_bytes = len(stored.content)
    return storage.blobs.local_copy(stored.key, size_bytes=size_bytes, sha256=stored.sha256)


async def read(
    storage: Storage, stored: Stored, start: int = 0, length: int | None = None
) -> bytes:
    async with opened(storage, stored) as blob:
        assert blob.size_bytes == len(stored.content)
        wanted = blob.size_bytes - start if length is None else length
        pieces = [piece async for piece in blob.read(start, wanted)]
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


async def delete(blobs: Blobs, keys: Iterable[str]) -> None:
    async with blobs.deleting() as deletion:
        await deletion.set_aside(keys)
