"""Putting objects: in one call, or part by part; nothing counts before its checksum came back."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Any

from media_service.core.errors import StorageUnavailable
from media_service.core.ports import StagedFile
from media_service.infra.blobs.disk import Disk
from media_service.infra.blobs.s3_bucket import Bucket, in_turns
from media_service.infra.blobs.s3_calls import to_its_end
from media_service.infra.blobs.s3_errors import Absent, Refused, Unanswered
from media_service.infra.blobs.s3_reading import hash_object
from media_service.infra.blobs.s3_records import (
    Part,
    Record,
    Sizes,
    plan_upload,
    read_slice,
    record_of_bytes,
)

PARTS_AT_ONCE = 4
_BODIES_AT_ONCE = 8

logger = logging.getLogger(__name__)


class Uploading:
    """Puts staged files. At most eight bodies of 8 MB are in memory, whatever is put at once."""

    def __init__(self, bucket: Bucket, *, disk: Disk, sizes: Sizes) -> None:
        self._bucket = bucket
        self._client = bucket.calls.client
        self._disk = disk
        self._sizes = sizes
        self._room = asyncio.Semaphore(_BODIES_AT_ONCE)
        self._knows_conditions = True

    async def upload(self, name: str, staged: StagedFile, *, only_new: bool) -> None:
        """Return once the store has said that it holds the staged bytes.

        With `only_new`, whatever lies there already stays, and nothing is promised.
        Raises StorageFull, StorageUnavailable.
        """
        put = self._put_whole if staged.size_bytes <= self._sizes.whole_bytes else self._put_parts
        condition = {"IfNoneMatch": "*"} if only_new and self._knows_conditions else {}
        try:
            await put(name, staged, condition)
        except Refused as refused:
            if refused.is_unknown:
                self._knows_conditions = False
                await self.upload(name, staged, only_new=only_new)
            elif not only_new:
                raise StorageUnavailable from refused
        except Absent as error:
            raise StorageUnavailable from error

    async def _put_whole(self, name: str, staged: StagedFile, condition: dict[str, Any]) -> None:
        async with self._room:
            body = await self._disk.run(read_slice, staged.path, 0, staged.size_bytes)
            record = record_of_bytes(body)
            _check_unchanged(record, staged)

            async def send() -> bool:
                answer = await self._client.put_object(
                    **self._bucket.place(name),
                    Body=body,
                    ChecksumSHA256=record.checksum,
                    Metadata=record.metadata(),
                    **condition,
                )
                return _agrees(answer.get("ChecksumSHA256"), record.checksum)

            is_proved = await self._bucket.calls.make("put", send, size_bytes=len(body))
        if not is_proved:
            await self._prove(name, record)

    async def _put_parts(self, name: str, staged: StagedFile, condition: dict[str, Any]) -> None:
        size_bytes = staged.size_bytes
        record, parts = await self._disk.run(plan_upload, staged.path, size_bytes, self._sizes)
        _check_unchanged(record, staged)
        created = await self._bucket.calls.make(
            "create_upload",
            lambda: self._client.create_multipart_upload(
                **self._bucket.place(name),
                ChecksumAlgorithm="SHA256",
                Metadata=record.metadata(),
            ),
        )
        upload = {**self._bucket.place(name), "UploadId": created["UploadId"]}
        try:
            jobs = [partial(self._put_part, upload, staged, part) for part in parts]
            sent = await in_turns(jobs, at_once=PARTS_AT_ONCE)
            complete = {**upload, **condition, "MultipartUpload": {"Parts": sent}}
            await self._complete(name, complete, record)
        except BaseException:
            await to_its_end(self._abort(name, created["UploadId"]))
            raise

    async def _put_part(
        self, upload: dict[str, Any], staged: StagedFile, part: Part
    ) -> dict[str, Any]:
        async with self._room:
            body = await self._disk.run(read_slice, staged.path, part.start, part.length)

            async def send() -> str:
                answer = await self._client.upload_part(
                    **upload,
                    PartNumber=part.number,
                    Body=body,
                    ChecksumSHA256=part.checksum,
                )
                _agrees(answer.get("ChecksumSHA256"), part.checksum)
                return answer["ETag"]

            etag = await self._bucket.calls.make("put_part", send, size_bytes=len(body))
        return {"PartNumber": part.number, "ETag": etag, "ChecksumSHA256": part.checksum}

    async def _complete(self, name: str, upload: dict[str, Any], record: Record) -> None:
        """Make one object of the parts. Its failure may hide that it was done, so we look."""
        try:
            await self._bucket.calls.make(
                "complete_upload",
                lambda: self._client.complete_multipart_upload(**upload),
            )
        except (Absent, StorageUnavailable) as error:
            logger.warning("completing %s failed, looking whether it was done: %s", name, error)
            found = await self._bucket.head(name)
            if not found or not found.holds(record.size_bytes, record.sha256):
                raise
            return
        await self._prove(name, record)

    async def _prove(self, name: str, record: Record) -> None:
        """Return if the store can say what it holds, or if reading it all back shows it."""
        patience = self._bucket.calls.patience
        for attempt in range(patience.retries + 1):
            found = await self._bucket.head(name)
            if found:
                break
            await asyncio.sleep(patience.pause(attempt))
        if not found or not found.holds(record.size_bytes, record.sha256):
            logger.error("S3 answered that it has %s, and has not", name)
            raise StorageUnavailable
        if not found.checksum and not await self._reads_as(name, record):
            logger.error("S3 has other bytes under %s than it was given", name)
            raise StorageUnavailable

    async def _reads_as(self, name: str, record: Record) -> bool:
        """For a server that keeps no checksums: whether what it gives is what it was given."""
        return await hash_object(self._bucket, name, record.size_bytes) == record.sha256

    async def _abort(self, name: str, upload_id: str) -> None:
        with suppress(StorageUnavailable, Refused):
            await self._bucket.abort(name, upload_id)


def _check_unchanged(record: Record, staged: StagedFile) -> None:
    """Raise StorageUnavailable if the staging disk gives other bytes than it was given."""
    if (record.size_bytes, record.sha256) != (staged.size_bytes, staged.sha256):
        logger.error("the staged file %s is not what was written to it", staged.path)
        raise StorageUnavailable


def _agrees(answered: str | None, checksum: str) -> bool:
    """Whether the store told the checksum of what it took. Raises Unanswered if it told another."""
    if answered not in (None, checksum):
        raise Unanswered(f"it took bytes with the checksum {answered}, not {checksum}")
    return answered is not None
