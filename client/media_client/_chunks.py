"""What is uploaded, as what it may come: bytes, a path, an open file, an async iterator."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, TypeVar

from media_proto import media_service_pb2 as pb

CHUNK_BYTES = 512 * 1024

T = TypeVar("T")
Pieces: TypeAlias = AsyncGenerator[bytes | memoryview, None]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told after each chunk how many bytes were sent, and how many there are if that is known."""


class BinaryFile(Protocol):
    """A file that is open for reading bytes.

    >>> import io
    >>> stored = await media.upload_media_stream(
    ...     io.BytesIO(picture), filename="me.png", user_id="alice", purpose=Purpose.AVATAR
    ... )
    >>> stored.size_bytes == len(picture)
    True
    """

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""


Source: TypeAlias = bytes | bytearray | memoryview | Path | str | BinaryFile | AsyncIterable[bytes]
"""What can be uploaded; a `str` is the path of a file."""


class Content(Protocol):
    """A source, opened."""

    @property
    def is_replayable(self) -> bool:
        """Whether it can be read more than once."""

    async def size_bytes(self) -> int | None:
        """How much there is, if that is known before it is read."""

    def pieces(self) -> Pieces:
        """All of it, from the beginning, in pieces of any size."""


def content_of(source: Source) -> Content:
    """The source as a content. Raises TypeError for what is none."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _Bytes(memoryview(source).cast("B"))
    if isinstance(source, str | Path):
        return _OnDisk(Path(source))
    if isinstance(source, AsyncIterable):
        return _Passing(source)
    if hasattr(source, "read"):
        seekable = getattr(source, "seekable", None)
        return _Seekable(source) if seekable and seekable() else _Pipe(source)
    raise TypeError(
        f"can't upload a {type(source).__name__}: "
        "give bytes, a path, a file open for reading bytes, or an async iterator of bytes"
    )


class _Bytes:
    is_replayable = True

    def __init__(self, data: memoryview) -> None:
        self._data = data

    async def size_bytes(self) -> int | None:
        return len(self._data)

    async def pieces(self) -> Pieces:
        yield self._data


class _OnDisk:
    is_replayable = True

    def __init__(self, path: Path) -> None:
        self._path = path

    async def size_bytes(self) -> int | None:
        status = await _in_thread(self._path.stat)
        return status.st_size

    async def pieces(self) -> Pieces:
        file: IO[bytes] = await _in_thread(self._path.open, "rb")
        try:
            while data := await _in_thread(file.read, CHUNK_BYTES):
                yield data
        finally:
            await _in_thread(file.close)


class _Seekable:
    """An open file, read from where it stood."""

    is_replayable = True

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start: int = file.tell()

    async def size_bytes(self) -> int | None:
        end: int = await _in_thread(self._file.seek, 0, 2)
        return end - self._start

    async def pieces(self) -> Pieces:
        await _in_thread(self._file.seek, self._start)
        while data := await _in_thread(self._file.read, CHUNK_BYTES):
            yield data


class _Pipe:
    """An open file that can't be sought: a read may wait for its other end as long as it likes."""

    is_replayable = False

    def __init__(self, file: BinaryFile) -> None:
        self._file = file

    async def size_bytes(self) -> int | None:
        return None

    async def pieces(self) -> Pieces:
        while data := await asyncio.to_thread(self._file.read, CHUNK_BYTES):
            yield data


class _Passing:
    is_replayable = False

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source

    async def size_bytes(self) -> int | None:
        return None

    async def pieces(self) -> Pieces:
        try:
            async for piece in self._source:
                yield piece
        finally:
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """What work that is short, but may block, returns. It is over when this is, even cancelled."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise


async def chunked(pieces: Pieces) -> AsyncGenerator[bytes, None]:
    """The same bytes in chunks of `CHUNK_BYTES`, but for the last."""
    chunk = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            rest = memoryview(piece)
            while rest:
                room = CHUNK_BYTES - len(chunk)
                chunk += rest[:room]
                rest = rest[room:]
                if len(chunk) == CHUNK_BYTES:
                    yield bytes(chunk)
                    chunk.clear()
    if chunk:
        yield bytes(chunk)


async def messages(
    about: pb.UploadMetadata, content: Content, *, total: int | None, on_progress: Progress | None
) -> AsyncGenerator[pb.UploadChunk, None]:
    """An upload as the contract wants it; progress is told when a chunk was taken."""
    yield pb.UploadChunk(metadata=about)
    sent = 0
    async with aclosing(chunked(content.pieces())) as chunks:
        async for chunk in chunks:
            yield pb.UploadChunk(data=chunk)
            sent += len(chunk)
            if on_progress:
                on_progress(sent, total)


async def sha256_of(content: Content) -> str:
    """SHA-256 of the whole content, hexadecimal."""
    digest = hashlib.sha256()
    async with aclosing(chunked(content.pieces())) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()
