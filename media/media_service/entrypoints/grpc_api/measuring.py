"""How uploads went, by purpose: for Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TypeAlias

from prometheus_client import Counter, Histogram

from media_service.core.errors import Kind, MediaError
from media_service.core.media import Media
from media_service.core.uploading import Uploading
from media_service.core.uploads import Declared

_SECONDS = Histogram(
    "mediad_upload_seconds",
    "How long uploads took, from their metadata to their answer",
    ["purpose", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
_BYTES = Counter("mediad_upload_bytes", "Bytes of files that were received", ["purpose", "outcome"])
_OURS = frozenset({Kind.UNAVAILABLE, Kind.FULL, Kind.LIMITED})
Chunks: TypeAlias = AsyncIterator[bytes | memoryview]


async def measured_upload(uploading: Uploading, declared: Declared, chunks: Chunks) -> Media:
    """Upload, and count it: stored, deduplicated, refused, failed or cancelled."""
    received = _Received(chunks)
    begun, outcome = time.perf_counter(), "failed"
    try:
        media = await uploading.upload(declared, received.chunks())
        outcome = "deduplicated" if media.deduplicated else "stored"
    except MediaError as error:
        outcome = "failed" if error.kind in _OURS else "refused"
        raise
    except Exception:
        raise
    except BaseException:  # the caller left, or its deadline passed
        outcome = "cancelled"
        raise
    finally:
        labels = (declared.purpose.name, outcome)
        _SECONDS.labels(*labels).observe(time.perf_counter() - begun)
        _BYTES.labels(*labels).inc(received.size_bytes)
    return media


class _Received:
    """Counts bytes as they pass."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self.size_bytes = 0

    async def chunks(self) -> Chunks:
        async for chunk in self._chunks:
            self.size_bytes += len(chunk)
            yield chunk
