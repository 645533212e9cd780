"""Two stores as one, while bytes move from the one to the other.

What is put goes to the first; what is missing or damaged there is read from the second; what is
deleted goes from both. A store that does not answer is never taken for one that holds nothing: only
what both know to be missing or damaged is damaged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from prometheus_client import Counter

from media_service.core.blobs import StoredObject
from media_service.core.errors import MediaDamaged, StorageUnavailable
from media_service.core.media import Sha256
from media_service.core.ports import Blobs, Deletion, OpenBlob, StagedFile

T = TypeVar("T")

_READS = Counter(
    "mediad_storage_fallback_reads_total", "Reads that only MEDIAD_STORAGE_FALLBACK_URL answered"
)


class DeletionInBoth:
    """A deletion in each of the stores, as one."""

    def __init__(self, deletions: Sequence[Deletion]) -> None:
        self._deletions = deletions

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Take the keys' bytes away from both; those that are not there are no error."""
        keys = list(keys)
        for deletion in self._deletions:
            await deletion.set_aside(keys)


class FallbackBlobs:
    """Keeps `core.ports.Blobs` on a first store and, for what is not there, a second."""

    def __init__(self, first: Blobs, second: Blobs) -> None:
        self._first = first
        self._second = second
        self._both = (first, second)

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        """Do what can be done of `put` ahead. Raises as `put`."""
        await self._first.put_ahead(key, staged)

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        """Return once the staged bytes lie in the first store and survive a power cut.

        Raises StorageFull, StorageUnavailable.
        """
        await self._first.put(key, staged, anew=anew)

    @asynccontextmanager
    async def open(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[OpenBlob]:
        """The bytes from the first store that has them whole.

        Raises MediaDamaged if neither has, StorageUnavailable.
        """
        async with AsyncExitStack() as stack:
            yield await self._enter_either(
                stack, lambda blobs: blobs.open(key, size_bytes=size_bytes, sha256=sha256)
            )

    @asynccontextmanager
    async def local_copy(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[Path]:
        """A file with the bytes from the first store that has them whole. Raises as `open`."""
        async with AsyncExitStack() as stack:
            yield await self._enter_either(
                stack, lambda blobs: blobs.local_copy(key, size_bytes=size_bytes, sha256=sha256)
            )

    async def check(self, key: str, *, size_bytes: int, sha256: Sha256) -> None:
        """Read every byte as it lies in the first store that has it whole. Raises as `open`."""

        @asynccontextmanager
        async def checking(blobs: Blobs) -> AsyncIterator[None]:
            await blobs.check(key, size_bytes=size_bytes, sha256=sha256)
            yield

        async with AsyncExitStack() as stack:
            await self._enter_either(stack, checking)

    async def check_store(self) -> None:
        """Whether the first store takes bytes. Raises StorageFull, StorageUnavailable."""
        await self._first.check_store()

    async def presigned_url(
        self, key: str, *, content_type: str, disposition: str, expires_in: timedelta
    ) -> str | None:
        """There is none: which store has the bytes is known only when they are read."""
        del key, content_type, disposition, expires_in
        return None

    @asynccontextmanager
    async def deleting(self) -> AsyncIterator[DeletionInBoth]:
        """A deletion in both that happens when its context ends, or not at all if that raises."""
        async with self._first.deleting() as first, self._second.deleting() as second:
            yield DeletionInBoth((first, second))

    async def trash(self, keys: Iterable[str], *, label: str) -> None:
        """Take the keys' bytes away from both, into the trash of each."""
        keys = list(keys)
        for blobs in self._both:
            await blobs.trash(keys, label=label)

    async def labels(self) -> list[str]:
        """Every label that something in either trash has."""
        return sorted({label for blobs in self._both for label in await blobs.labels()})

    async def restore(self, label: str) -> list[str]:
        """Put back what has this label, each where it came from; the keys."""
        return sorted({key for blobs in self._both for key in await blobs.restore(label)})

    async def empty_trash(self, *, before: datetime) -> int:
        """Let go for good what was put into either trash before this moment, but for deletions."""
        return sum([await blobs.empty_trash(before=before) for blobs in self._both])

    async def discard_trashed(self, source: Sha256) -> int:
        """Let go for good the original of this hash and its renditions, in either trash."""
        return sum([await blobs.discard_trashed(source) for blobs in self._both])

    async def discard_abandoned_uploads(self, *, before: datetime) -> int:
        """Let go of uploads to either store that never ended."""
        return sum([await blobs.discard_abandoned_uploads(before=before) for blobs in self._both])

    async def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Everything that either store has, once, in the order of the keys."""
        first, second = (aiter(blobs.objects(prefix)) for blobs in self._both)
        one, other = await anext(first, None), await anext(second, None)
        while one or other:
            if one and (other is None or one.key <= other.key):
                yield one
                if other and other.key == one.key:
                    other = await anext(second, None)
                one = await anext(first, None)
            elif other:
                yield other
                other = await anext(second, None)

    async def _enter_either(
        self, stack: AsyncExitStack, opening: Callable[[Blobs], AbstractAsyncContextManager[T]]
    ) -> T:
        try:
            return await stack.enter_async_context(opening(self._first))
        except MediaDamaged:
            found = await stack.enter_async_context(opening(self._second))
        except StorageUnavailable as away:
            try:
                found = await stack.enter_async_context(opening(self._second))
            except MediaDamaged:
                raise away from None
        _READS.inc()
        return found
