"""A bucket, or a part of one under a prefix, with the calls that the rest of this folder makes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from media_service.core.blobs import StoredObject
from media_service.core.media import Sha256
from media_service.infra.blobs.s3_calls import Calls, to_its_end
from media_service.infra.blobs.s3_errors import Absent, Refused, Unanswered
from media_service.infra.blobs.s3_records import Record, in_base64, read_record

_DELETED_AT_ONCE = 1000
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a HEAD tells of an object. `age` is by the server's own clock."""

    size_bytes: int
    etag: str
    checksum: str
    record: Record | None
    age: timedelta

    def holds(self, size_bytes: int, sha256: Sha256) -> bool:
        """Whether the store says that these are the bytes it holds.

        A copy that the store made of several parts has the checksum of one.
        """
        record = self.record
        return (
            record is not None
            and (record.size_bytes, record.sha256) == (size_bytes, sha256)
            and self.checksum in ("", record.checksum, in_base64(bytes.fromhex(sha256)))
        )


class Bucket:
    """Objects by their names here; the prefix is put before them on the way out."""

    def __init__(self, calls: Calls, *, name: str, prefix: str) -> None:
        self.calls = calls
        self.name = name
        self._prefix = prefix

    def place(self, name: str) -> dict[str, Any]:
        """Where an object lies, as botocore wants it."""
        return {"Bucket": self.name, "Key": self._prefix + name}

    async def head(self, name: str) -> Found | None:
        """What is there under the name. Raises StorageUnavailable."""
        try:
            answer = await self.calls.make(
                "head",
                lambda: self.calls.client.head_object(**self.place(name), ChecksumMode="ENABLED"),
            )
        except (Absent, Refused):
            return None
        return Found(
            size_bytes=answer["ContentLength"],
            etag=answer["ETag"],
            checksum=answer.get("ChecksumSHA256", ""),
            record=read_record(answer["Metadata"], size_bytes=answer["ContentLength"]),
            age=_age(answer, answer["LastModified"]),
        )

    async def put(self, name: str, content: bytes) -> None:
        """Write a small object that proves nothing. Raises StorageFull, StorageUnavailable."""
        client = self.calls.client
        await self.calls.make(
            "put",
            lambda: client.put_object(**self.place(name), Body=content),
            size_bytes=len(content),
        )

    async def copy(self, source: str, target: str, *, only_new: bool = False) -> bool:
        """Copy an object within the store; whether there is one. Raises as `put`.

        With `only_new` whatever lies under the target already stays.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
        try:
            await self._copy(source, target, condition)
        except Absent:
            return False
        except Refused as refused:
            # Those who ask for `only_new` have looked before: where the server does not know
            # the condition, that must do.
            if only_new and refused.is_unknown:
                return await self.copy(source, target)
        return True

    async def _copy(self, source: str, target: str, condition: dict[str, Any]) -> None:
        client, places = self.calls.client, {**self.place(target), "CopySource": self.place(source)}
        await self.calls.make("copy", lambda: client.copy_object(**places, **condition))

    async def delete(
        self,
        names: Iterable[str],
        *,
        on_doubt: Callable[[], None] = lambda: None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Delete objects; those that are not there are no error. Raises StorageUnavailable.

        `before` is called before each attempt, which is not made if that raises.
        """
        names = list(names)
        for start in range(0, len(names), _DELETED_AT_ONCE):
            await self._delete(names[start : start + _DELETED_AT_ONCE], on_doubt, before)

    async def _delete(
        self, names: Sequence[str], on_doubt: Callable[[], None], before: Callable[[], None]
    ) -> None:
        objects = [{"Key": self._prefix + name} for name in names]

        async def send() -> None:
            before()
            answer = await self.calls.client.delete_objects(
                Bucket=self.name,
                Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
            )
            failed = [e for e in answer.get("Errors", []) if e.get("Code") not in _GONE]
            if failed:
                raise Unanswered(f"{len(failed)} of {len(names)} not deleted, first {failed[0]}")

        await self.calls.make("delete", send, on_doubt=on_doubt)

    async def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Everything whose name begins so, in order. Raises StorageUnavailable."""
        async for page in self._pages(prefix):
            for each in page.get("Contents", []):
                yield StoredObject(
                    key=each["Key"].removeprefix(self._prefix),
                    size_bytes=each["Size"],
                    written_at=each["LastModified"],
                )

    async def ages(self, prefix: str) -> list[timedelta]:
        """How long ago what has such a name was written, by the server's own clock."""
        return [
            _age(page, each["LastModified"])
            async for page in self._pages(prefix)
            for each in page.get("Contents", [])
        ]

    async def folders(self, prefix: str) -> list[str]:
        """The names of the folders under a folder, without it; a folder may prove to be empty."""
        cut = len(self._prefix + prefix)
        return [
            each["Prefix"][cut:].rstrip("/")
            async for page in self._pages(prefix, Delimiter="/")
            for each in page.get("CommonPrefixes", [])
        ]

    async def _pages(self, prefix: str, **options: str) -> AsyncIterator[Any]:
        given: dict[str, Any] = {"Bucket": self.name, "Prefix": self._prefix + prefix, **options}
        while True:
            page = await self.calls.make("list", lambda: self.calls.client.list_objects_v2(**given))
            yield page
            if not page.get("IsTruncated"):
                return
            given["ContinuationToken"] = page["NextContinuationToken"]

    async def abort_uploads(self, *, before: datetime) -> int:
        """End every unfinished upload that began before this moment; how many that were."""
        given: dict[str, Any] = {"Bucket": self.name, "Prefix": self._prefix}
        aborted = 0
        while True:
            page = await self.calls.make(
                "list_uploads", lambda: self.calls.client.list_multipart_uploads(**given)
            )
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    await self.abort(upload["Key"].removeprefix(self._prefix), upload["UploadId"])
                    aborted += 1
            if not page.get("IsTruncated"):
                return aborted
            given["KeyMarker"] = page["NextKeyMarker"]
            given["UploadIdMarker"] = page["NextUploadIdMarker"]

    async def abort(self, name: str, upload_id: str) -> None:
        """End an unfinished upload; one that is over is no error. Raises StorageUnavailable."""
        client = self.calls.client
        try:
            await self.calls.make(
                "abort_upload",
                lambda: client.abort_multipart_upload(**self.place(name), UploadId=upload_id),
            )
        except Absent:
            return


def _age(answer: Any, written: datetime) -> timedelta:
    """How long ago something was written, by the clock of the server that answered."""
    now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(now) - written if now else timedelta(0)


async def in_turns(jobs: Iterable[Callable[[], Any]], *, at_once: int) -> list[Any]:
    """What the jobs give, some at a time. If one raises, the others end before it is raised."""
    turns = asyncio.Semaphore(at_once)

    async def in_turn(job: Callable[[], Any]) -> Any:
        async with turns:
            return await job()

    tasks = [asyncio.ensure_future(in_turn(job)) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await to_its_end(asyncio.gather(*tasks, return_exceptions=True))
