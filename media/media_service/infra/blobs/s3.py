"""Blobs in S3: AWS's, or a server that speaks its language.

How things lie in the bucket, all under the prefix of the storage URL:

    originals/ab/cd/<sha256>              an original
    renditions/ab/cd/<sha256>.<recipe>    a rendition
    trash/<label>/<key>                   what was taken away, and may come back
    leaving/<key>.<label>                 marks of deletions whose end is not known (`s3_trash`)
    probe/<random>                        what a check of the store writes, reads and deletes

An object's metadata hold its SHA-256, the checksum that S3 has to state for it, and, for one that
is too large to be read whole before any of it is given, the sums of its pieces (`s3_records`).

What is promised, and the order of things that keeps the promise:

- *A put counts when the store has stated the checksum of what it holds.* Every body is sent with
  its SHA-256 (`x-amz-checksum-sha256`), which the store compares, and the answer's is compared
  with ours. Several parts have their own each; completing them is not believed before a HEAD has
  shown the size, our metadata and the checksum of checksums. A server that keeps no checksums is
  made to give everything back once. Completing may fail and yet be done: so we look. Whatever
  fails or is cancelled is aborted first; what even that can't reach, `discard_abandoned_uploads`
  finds later.
- *The upload happens before the content's lock is held* (`put_ahead`), with `If-None-Match: *`,
  so that it never replaces anything. Under the lock, `put` asks with a HEAD whether these very
  bytes are there, and by listing its marks whether a deletion of them may still be under way.
  Only if they are not (the sweeper or the collector of orphans was here in between, or something
  else lies there) are they sent again, under the lock.
- *Nothing is deleted that was not copied before*; see `s3_trash` for what a lost answer means.
- *Nothing is given before it was compared with its hash*: up to 1 MB in memory, up to 8 MB in a
  file of this machine, above that piece by piece, as the reader comes to it.
- *A store that does not answer is asked at most four times*, with random pauses, and after eight
  failures in a row not at all for five seconds (`s3_calls`, `s3_breaker`).

S3 is consistent since 2020: what was acknowledged is seen by everybody. So none of this waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from botocore.exceptions import BotoCoreError

from media_service.core.blobs import DELETING, StoredObject, new_label, parse_key
from media_service.core.errors import MediaDamaged, StorageUnavailable
from media_service.core.media import Sha256
from media_service.core.ports import OpenBlob, StagedFile, Staging
from media_service.infra.blobs.disk import Disk, end_process, open_disk
from media_service.infra.blobs.s3_bucket import Bucket, in_turns
from media_service.infra.blobs.s3_calls import Calls
from media_service.infra.blobs.s3_reading import (
    Pieces,
    SpooledFile,
    damaged,
    download,
    hash_object,
    missing,
    read_whole,
)
from media_service.infra.blobs.s3_records import Sizes
from media_service.infra.blobs.s3_trash import S3Deletion, S3Trash
from media_service.infra.blobs.s3_uploading import Uploading
from media_service.infra.blobs.trash import checked_key
from media_service.infra.blobs.verified import RecentBytes, VerifiedBytes, Wanted

MEMORY_BYTES = 32 * 1024 * 1024
_CHECKED_SECONDS = 10.0
_SEEN_SECONDS = 60.0
_MOST_SEEN = 20_000
_FOLDER = re.compile(r"(?:originals|renditions)/(?:[0-9a-f]{2}/){0,2}")

logger = logging.getLogger(__name__)


class S3Blobs:
    """Blobs in a bucket. Small ones are remembered once they are verified."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        staging: Staging,
        disk: Disk,
        sizes: Sizes,
        memory_bytes: int = MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = bucket
        self._staging = staging
        self._disk = disk
        self._sizes = sizes
        self._clock = clock
        self._checked_until = 0.0
        self._recent = RecentBytes(max_bytes=memory_bytes, clock=clock)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._uploading = Uploading(bucket, disk=disk, sizes=sizes)
        self._pieces = Pieces(bucket, sizes=sizes)
        self._seen: dict[str, float] = {}
        self._trash = S3Trash(bucket, forget=self._forget)

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        """Upload the staged bytes unless something lies under the key already.

        Raises StorageFull, StorageUnavailable.
        """
        if await self._bucket.head(checked_key(key)) is None:
            await self._uploading.upload(key, staged, only_new=True)

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        """Return once the store has said that it holds the staged bytes.

        Raises StorageFull, StorageUnavailable; the latter also while a deletion of the key may
        still be under way.
        """
        head, is_leaving = partial(self._bucket.head, checked_key(key)), self._trash.is_leaving
        found, is_leaving_now = await in_turns([head, partial(is_leaving, key)], at_once=2)
        if is_leaving_now:
            logger.warning("not putting %s: a deletion of it was never answered", key)
            raise StorageUnavailable
        if not anew and found and found.holds(staged.size_bytes, staged.sha256):
            return
        try:
            await self._uploading.upload(key, staged, only_new=False)
        finally:
            self._forget(key)

    def open(
        self, key: str, *, size_bytes: int, sha256: Sha256
    ) -> AbstractAsyncContextManager[OpenBlob]:
        """The bytes, checked against size and hash; small ones may come from memory.

        Raises MediaDamaged if they are missing or others, StorageUnavailable. What is given of
        more than 8 MB is checked as it is read, which raises these too.
        """
        wanted = Wanted(key, size_bytes, sha256)
        return self._recent.get(wanted) or self._opening(wanted)

    @asynccontextmanager
    async def local_copy(self, key: str, *, size_bytes: int, sha256: Sha256) -> AsyncIterator[Path]:
        """A copy on this machine, checked as by `open` but never from memory; to read only."""
        wanted = Wanted(checked_key(key), size_bytes, sha256)
        async with self._staging.new() as staged:
            await download(self._bucket, wanted, staged)
            yield staged.path

    async def check(self, key: str, *, size_bytes: int, sha256: Sha256) -> None:
        """Read every byte from the store. Raises MediaDamaged, StorageUnavailable."""
        wanted = Wanted(checked_key(key), size_bytes, sha256)
        try:
            if await hash_object(self._bucket, key, size_bytes) != sha256:
                raise damaged(wanted, "its hash is another")
        except MediaDamaged:
            self._forget(key)
            raise

    async def presigned_url(
        self, key: str, *, content_type: str, disposition: str, expires_in: timedelta
    ) -> str | None:
        """Where anybody can read the bytes for a while, without us.

        Raises MediaDamaged if they were missing when somebody looked, a minute ago at most;
        StorageUnavailable.
        """
        await self._look(checked_key(key))
        seconds = max(1, int(expires_in.total_seconds()))
        answered = {
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
            "ResponseCacheControl": f"private, max-age={seconds}",
        }
        try:
            url: str = await self._bucket.calls.client.generate_presigned_url(
                "get_object",
                Params={**self._bucket.place(key), **answered},
                ExpiresIn=seconds,
            )
        except BotoCoreError as error:
            raise StorageUnavailable from error
        return url

    async def _look(self, key: str) -> None:
        """Raise MediaDamaged if there is nothing under the key."""
        if self._seen.get(key, 0.0) > self._clock():
            return
        if await self._bucket.head(key) is None:
            raise missing(Wanted(key, 0, Sha256("")))
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[key] = self._clock() + _SEEN_SECONDS

    def _forget(self, key: str) -> None:
        self._recent.drop(key)
        self._seen.pop(key, None)

    @asynccontextmanager
    async def deleting(self) -> AsyncIterator[S3Deletion]:
        """A deletion that happens when its context ends, or not at all if that raises."""
        deletion = S3Deletion(self._trash, label=new_label(DELETING, datetime.now(UTC)))
        try:
            yield deletion
        except BaseException:
            await deletion.undo()
            raise
        await deletion.finish()

    async def trash(self, keys: Iterable[str], *, label: str) -> None:
        """Take the keys' bytes away, into the trash."""
        await self._trash.move_out(keys, label=label)

    async def labels(self) -> list[str]:
        """Every label that something in the trash has."""
        return await self._trash.labels()

    async def restore(self, label: str) -> list[str]:
        """Put back what has this label, where nothing has taken its place; its keys."""
        return await self._trash.move_back(label)

    async def empty_trash(self, *, before: datetime) -> int:
        """Let go for good what was put there before this moment, but for deletions."""
        return await self._trash.empty(before=before)

    async def discard_trashed(self, source: Sha256) -> int:
        """Let go for good the original of this hash and its renditions, whatever their label."""
        return await self._trash.discard(source)

    async def discard_abandoned_uploads(self, *, before: datetime) -> int:
        """Abort uploads in parts that began before this moment and never ended."""
        return await self._bucket.abort_uploads(before=before)

    async def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Everything in the folder, in the order of the keys, listed as the caller comes to it."""
        if not _FOLDER.fullmatch(prefix):
            raise ValueError(f"not a folder of blobs: {prefix!r}")
        async for found in self._bucket.objects(prefix):
            if parse_key(found.key):
                yield found

    async def check_store(self) -> None:
        """Write, read and delete a small object, unless that went well a moment ago.

        Raises StorageFull, StorageUnavailable.
        """
        if self._clock() < self._checked_until:
            return
        await self._probe()
        self._checked_until = self._clock() + _CHECKED_SECONDS

    async def _probe(self) -> None:
        name, content = f"probe/{secrets.token_hex(8)}", secrets.token_bytes(16)
        await self._bucket.put(name, content)
        try:
            sha256 = Sha256(hashlib.sha256(content).hexdigest())
            await read_whole(self._bucket, Wanted(name, len(content), sha256))
        except MediaDamaged as error:
            raise StorageUnavailable from error
        finally:
            await self._bucket.delete([name])

    @asynccontextmanager
    async def _opening(self, wanted: Wanted) -> AsyncIterator[OpenBlob]:
        checked_key(wanted.key)
        if wanted.size_bytes <= self._sizes.remembered_bytes:
            yield await self._small(wanted)
        elif wanted.size_bytes <= self._sizes.whole_bytes:
            async with self._spooled(wanted) as file:
                yield file
        else:
            yield await self._pieces.open(wanted)

    async def _small(self, wanted: Wanted) -> VerifiedBytes:
        async with self._turns.setdefault(wanted.key, asyncio.Lock()):
            if held := self._recent.get(wanted):
                return held
            drops = self._recent.drops
            content = await read_whole(self._bucket, wanted)
            return self._recent.remember(wanted, content, drops=drops)

    @asynccontextmanager
    async def _spooled(self, wanted: Wanted) -> AsyncIterator[SpooledFile]:
        """From a file that is in nobody's way: it has no name any more when it is read."""
        async with self._staging.new() as staged:
            await download(self._bucket, wanted, staged)
            file = SpooledFile(self._disk, staged.path, size_bytes=wanted.size_bytes)
        try:
            yield file
        finally:
            file.close()


@asynccontextmanager
async def open_s3_blobs(
    calls: Calls,
    *,
    bucket: str,
    prefix: str,
    staging: Staging,
    sizes: Sizes | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> AsyncIterator[S3Blobs]:
    """Blobs in the bucket, their names beginning with the prefix.

    `staging` is where copies on this machine lie; `memory_bytes` what small blobs may take in
    memory.
    """
    with open_disk(on_lost_write=end_process) as disk:
        yield S3Blobs(
            Bucket(calls, name=bucket, prefix=prefix),
            staging=staging,
            disk=disk,
            sizes=sizes or Sizes(),
            memory_bytes=memory_bytes,
        )
