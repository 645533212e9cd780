"""Reading objects: nothing is given before it was compared with its hash.

Small objects are compared whole, in memory; larger ones whole, in a file on this machine; what is
larger still, piece by piece, with the sums that were put with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, TypeVar

from media_service.core.blobs import may_have_gone
from media_service.core.errors import MediaDamaged, StorageUnavailable
from media_service.core.media import Sha256
from media_service.core.ports import StagedFile
from media_service.infra.blobs.disk import Disk
from media_service.infra.blobs.s3_bucket import Bucket
from media_service.infra.blobs.s3_errors import Absent, Refused, Unanswered
from media_service.infra.blobs.s3_records import Record, Sizes, Summing, sum_of
from media_service.infra.blobs.verified import PIECE_BYTES, Wanted, check_range

T = TypeVar("T")

_MOST_RECORDS = 1000

logger = logging.getLogger(__name__)


async def read_whole(bucket: Bucket, wanted: Wanted) -> bytes:
    """All of a small object. Raises MediaDamaged, StorageUnavailable."""

    async def send() -> bytes:
        answer = await bucket.calls.client.get_object(**bucket.place(wanted.key))
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] != wanted.size_bytes:
                raise damaged(wanted, f"it has {answer['ContentLength']} bytes")
            return await _exactly(body, wanted.size_bytes)

    content = await _unless_missing(
        wanted, bucket.calls.make("get", send, size_bytes=wanted.size_bytes)
    )
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise damaged(wanted, "its hash is another")
    return content


async def download(bucket: Bucket, wanted: Wanted, staged: StagedFile) -> None:
    """All of an object, into a staged file.

    Raises MediaDamaged, StorageFull, StorageUnavailable.
    """
    async with aclosing(stream(bucket, wanted, 0, wanted.size_bytes)) as chunks:
        async for chunk in chunks:
            await staged.write(chunk)
    if staged.sha256 != wanted.sha256:
        raise damaged(wanted, "its hash is another")


async def hash_object(bucket: Bucket, name: str, size_bytes: int) -> str:
    """The hash of an object as it is read. Raises MediaDamaged, StorageUnavailable."""
    summing = Summing()
    wanted = Wanted(name, size_bytes, Sha256(""))
    async with aclosing(stream(bucket, wanted, 0, size_bytes)) as chunks:
        async for chunk in chunks:
            summing.add(chunk)
    return summing.sha256


async def stream(
    bucket: Bucket, wanted: Wanted, start: int, end: int, *, etag: str = ""
) -> AsyncGenerator[bytes, None]:
    """An object's bytes as they come, unproved; a connection that is lost is made again.

    Raises MediaDamaged if it is missing or of another size; StorageUnavailable, also if it is
    another object by now than the one with this `etag`.
    """
    failures, patience = 0, bucket.calls.patience
    source = _Source(bucket, wanted, end, etag)
    try:
        while start < end or not source.was_opened:
            try:
                chunk = await source.read(start, min(PIECE_BYTES, end - start))
            except Unanswered as error:
                source.close()
                if failures >= patience.retries:
                    raise StorageUnavailable from error
                await asyncio.sleep(patience.pause(failures))
                failures += 1
                continue
            start, failures = start + len(chunk), 0
            if chunk:
                yield chunk
    finally:
        source.close()


class _Source:
    """The rest of an object, being read."""

    def __init__(self, bucket: Bucket, wanted: Wanted, end: int, etag: str) -> None:
        self._bucket = bucket
        self._wanted = wanted
        self._end = end
        self._condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        self._body: Any = None
        self.was_opened = False

    async def read(self, start: int, length: int) -> bytes:
        """The next bytes. Raises Unanswered, MediaDamaged, StorageUnavailable."""
        calls = self._bucket.calls
        if self._body is None:
            self._body = await _unless_missing(
                self._wanted, calls.attempt("get", lambda: self._open(start))
            )
            self.was_opened = True
        body = self._body
        return await calls.attempt("read", lambda: _exactly(body, length), size_bytes=length)

    async def _open(self, start: int) -> Any:
        whole = self._wanted.size_bytes == 0
        part: dict[str, Any] = {} if whole else {"Range": f"bytes={start}-{self._end - 1}"}
        answer = await self._bucket.calls.client.get_object(
            **self._bucket.place(self._wanted.key), **part, **self._condition
        )
        size = answer["ContentLength"]
        if not whole:
            told = str(answer.get("ContentRange", "")).rpartition("/")[2]
            size = int(told) if told.isdigit() else -1
        if size != self._wanted.size_bytes:
            answer["Body"].close()
            raise damaged(self._wanted, f"it has {size} bytes")
        return answer["Body"]

    def close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


class SpooledFile:
    """An object that was compared whole, in a file of ours."""

    def __init__(self, disk: Disk, path: Path, *, size_bytes: int) -> None:
        self._disk = disk
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = size_bytes

    def at_hand(self, start: int, length: int) -> bytes | None:  # noqa: ARG002 - the port's
        """Nothing is: it lies on the disk."""
        return None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of at most 256 KB. Raises StorageUnavailable."""
        end = check_range(start, length, size_bytes=self.size_bytes)
        while start < end:
            size = min(PIECE_BYTES, end - start)
            chunk = await self._disk.run(os.pread, self._descriptor, size, start)
            if not chunk:
                raise StorageUnavailable
            yield chunk
            start += len(chunk)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class PiecedObject:
    """An object whose pieces are compared as they are read."""

    def __init__(self, bucket: Bucket, wanted: Wanted, record: Record, *, etag: str) -> None:
        self._bucket = bucket
        self._wanted = wanted
        self._record = record
        self._etag = etag
        self.size_bytes = wanted.size_bytes

    def at_hand(self, start: int, length: int) -> bytes | None:  # noqa: ARG002 - the port's
        """Nothing is: it lies elsewhere."""
        return None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of at most 256 KB.

        Raises MediaDamaged before anything of a damaged piece is given; StorageUnavailable.
        """
        end = check_range(start, length, size_bytes=self.size_bytes)
        if start == end:
            return
        async with aclosing(self._pieces(start, end)) as pieces:
            async for at, piece in pieces:
                view = memoryview(piece)[max(start - at, 0) : end - at]
                for cut in range(0, len(view), PIECE_BYTES):
                    yield bytes(view[cut : cut + PIECE_BYTES])

    async def _pieces(self, start: int, end: int) -> AsyncGenerator[tuple[int, bytearray], None]:
        """The proved pieces that hold the range, and where each begins."""
        length = self._record.piece_bytes
        at = start // length * length
        last = min(-(-end // length) * length, self.size_bytes)
        piece = bytearray()
        source = stream(self._bucket, self._wanted, at, last, etag=self._etag)
        async with aclosing(source) as chunks:
            async for chunk in _cut(chunks, length):
                piece += chunk
                if len(piece) == min(length, last - at):
                    if not self._record.proves(at, piece):
                        raise damaged(self._wanted, f"the piece at {at} is not what was put")
                    yield at, piece
                    at, piece = at + len(piece), bytearray()


async def _cut(chunks: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    """The same bytes, never across a multiple of `length`."""
    room = length
    async for chunk in chunks:
        while chunk:
            head, chunk = chunk[:room], chunk[room:]
            room = room - len(head) or length
            yield head


class Pieces:
    """Opens objects that are read piece by piece, and finds their sums where they are lost."""

    def __init__(self, bucket: Bucket, *, sizes: Sizes) -> None:
        self._bucket = bucket
        self._sizes = sizes
        self._made: OrderedDict[tuple[Wanted, str], Record] = OrderedDict()

    async def open(self, wanted: Wanted) -> PiecedObject:
        """The object, if what it says of itself is what is wanted.

        Raises MediaDamaged, StorageUnavailable.
        """
        found = await self._bucket.head(wanted.key)
        if found is None:
            await self._confirm_missing(wanted)
            raise missing(wanted)
        if found.size_bytes != wanted.size_bytes:
            raise damaged(wanted, f"it has {found.size_bytes} bytes")
        record = found.record
        if not found.holds(wanted.size_bytes, wanted.sha256) or not record or not record.pieces:
            record = await self._made_again(wanted, found.etag)
        return PiecedObject(self._bucket, wanted, record, etag=found.etag)

    async def _confirm_missing(self, wanted: Wanted) -> None:
        """Raise StorageUnavailable if it is the bucket that is missing, which HEAD can't tell."""
        async with aclosing(stream(self._bucket, wanted, 0, 1)) as chunks:
            async for _ in chunks:
                raise StorageUnavailable

    async def _made_again(self, wanted: Wanted, etag: str) -> Record:
        """Sums of an object without them, from reading all of it. Raises as `open`."""
        if known := self._made.get((wanted, etag)):
            return known
        logger.warning("%s does not say what its pieces are: reading all of it", wanted.key)
        piece_bytes = self._sizes.piece_of(wanted.size_bytes)
        summing = Summing(piece_bytes)
        source = stream(self._bucket, wanted, 0, wanted.size_bytes, etag=etag)
        async with aclosing(source) as chunks:
            async for chunk in chunks:
                summing.add(chunk)
        if summing.sha256 != wanted.sha256:
            raise damaged(wanted, "its hash is another")
        [digests] = summing.digests()
        record = Record(
            sha256=wanted.sha256,
            size_bytes=wanted.size_bytes,
            checksum="",
            piece_bytes=piece_bytes,
            pieces=b"".join(digest[: len(sum_of(b""))] for digest in digests),
        )
        self._made[wanted, etag] = record
        if len(self._made) > _MOST_RECORDS:
            self._made.popitem(last=False)
        return record


def missing(wanted: Wanted) -> MediaDamaged:
    """The error to raise; what another process let go meanwhile is nothing to worry about."""
    return MediaDamaged() if may_have_gone(wanted.key) else damaged(wanted, "it is missing")


def damaged(wanted: Wanted, why: str) -> MediaDamaged:
    """The error to raise, logged with its reason."""
    logger.error("damaged blob %s: %s", wanted.key, why)
    return MediaDamaged()


async def _unless_missing(wanted: Wanted, call: Awaitable[T]) -> T:
    """What a GET answers. Raises MediaDamaged if it is not what is wanted, StorageUnavailable."""
    try:
        return await call
    except Absent as error:
        raise missing(wanted) from error
    except Refused as error:
        if error.status == 416:
            raise damaged(wanted, "it is shorter") from error
        raise StorageUnavailable from error


async def _exactly(body: Any, length: int) -> bytes:
    """So many bytes. Raises Unanswered if there are fewer."""
    chunks: list[bytes] = []
    missing = length
    while missing:
        chunk = await body.read(missing)
        if not chunk:
            raise Unanswered(f"the answer ended {missing} bytes early")
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
