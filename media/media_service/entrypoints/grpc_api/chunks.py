"""Upload streams: one chunk of metadata, then data, never more than a few chunks in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from media_proto import media_service_pb2 as pb

from media_service.core.errors import InvalidStream, UploadStalled
from media_service.core.uploads import MAX_CHUNK_BYTES

STALL_SECONDS = 30
_SLICE_BYTES = 1024 * 1024
_DRAIN_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 1
_WRITTEN_AT_ONCE_BYTES = 256 * 1024
_FREE_CHUNKS = 1000
_LEAST_MEAN_BYTES = 1024
"""A stream of many chunks smaller than this on average costs more to receive than it brings."""

RequestStream = AsyncIterator[pb.UploadChunk]


async def sliced(data: bytes) -> AsyncIterator[bytes | memoryview]:
    """The data in pieces that are written one by one, without copies."""
    view = memoryview(data)
    for start in range(0, len(view), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]


class ChunkReader:
    """Reads one upload stream in order. Everything raises InvalidStream, UploadStalled."""

    def __init__(self, chunks: RequestStream) -> None:
        self._chunks = aiter(chunks)

    async def metadata(self) -> pb.UploadMetadata:
        """What the first chunk says."""
        first = await self._next()
        if first is None or first.WhichOneof("chunk") != "metadata":
            raise InvalidStream
        return first.metadata

    async def data(self) -> AsyncIterator[bytes]:
        """The file's bytes; small chunks are joined."""
        joined = bytearray()
        count, received = 0, 0
        while (chunk := await self._next()) is not None:
            data = _data_of(chunk)
            count, received = count + 1, received + len(data)
            if count > _FREE_CHUNKS and received < count * _LEAST_MEAN_BYTES:
                raise InvalidStream
            joined += data
            if len(joined) >= _WRITTEN_AT_ONCE_BYTES:
                yield bytes(joined)
                joined = bytearray()
        if joined:
            yield bytes(joined)

    async def drain(self) -> None:
        """Read on and forget, for a moment: a caller in the middle of sending misses the refusal.

        grpc.aio's client reports a failed write as INTERNAL, even where it was answered.
        """
        forgotten = 0
        with suppress(InvalidStream, UploadStalled, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while forgotten < _DRAIN_BYTES and (chunk := await self._next()) is not None:
                    forgotten += len(chunk.data)

    async def _next(self) -> pb.UploadChunk | None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                chunk = await anext(self._chunks, None)
        except TimeoutError:
            raise UploadStalled from None
        if chunk is not None and not isinstance(chunk, pb.UploadChunk):
            raise InvalidStream  # bytes that are no message
        return chunk


def _data_of(chunk: pb.UploadChunk) -> bytes:
    if chunk.WhichOneof("chunk") != "data" or len(chunk.data) > MAX_CHUNK_BYTES:
        raise InvalidStream
    return chunk.data
