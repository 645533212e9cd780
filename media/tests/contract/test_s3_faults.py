"""An S3 server that fails: what is then promised, and how often it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from embedded_servers.seaweedfs import SeaweedFS
from fakes.s3_faults import Fault, FaultyS3, open_faulty_s3
from fakes.s3_server import sync_client
from fakes.storages import SMALL, Storage, Stored, delete, in_s3, put, read, some_bytes
from media_service.core.blobs import original_key
from media_service.core.errors import (
    DatabaseUnavailable,
    MediaDamaged,
    StorageFull,
    StorageUnavailable,
)
from media_service.infra.blobs.s3 import S3Blobs
from media_service.infra.blobs.s3_breaker import OPEN
from media_service.infra.blobs.s3_calls import Patience
from media_service.infra.blobs.s3_records import Sizes
from media_service.infra.blobs.s3_trash import MARKED_SECONDS

pytestmark = pytest.mark.needs_s3

MB = 1024 * 1024
IN_PARTS = 5 * MB + 1000
SIZES = Sizes(whole_bytes=5 * MB, part_bytes=5 * MB, piece_bytes=MB)
PATIENCE = Patience(first_pause_seconds=0.001, failures_in_a_row=1000)
# Only for what stays silent: a busy machine is silent for longer than that, now and then.
IMPATIENCE = dataclasses.replace(
    PATIENCE, silence_seconds=1.0, connect_seconds=0.5, bytes_per_second=100 * MB, retries=1
)


@pytest.fixture
async def faulty(seaweedfs: SeaweedFS) -> AsyncIterator[FaultyS3]:
    async with open_faulty_s3(seaweedfs) as opened:
        yield opened


Open = Callable[[Patience], Awaitable[Storage]]


@pytest.fixture
async def open_storage(faulty: FaultyS3, s3_bucket: str, tmp_path: Path) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def opener(patience: Patience) -> Storage:
            opening = in_s3(tmp_path, faulty.server, s3_bucket, sizes=SIZES, patience=patience)
            return await stack.enter_async_context(opening)

        yield opener


@pytest.fixture
async def storage(open_storage: Open) -> Storage:
    return await open_storage(PATIENCE)


def unfinished(seaweedfs: SeaweedFS, storage: Storage) -> list[object]:
    client = sync_client(seaweedfs)
    answer = client.list_multipart_uploads(Bucket="shared", Prefix=storage.prefix)
    return list(answer.get("Uploads", []))


def doing(operation: str, storage: Storage) -> Callable[[Stored], Awaitable[object]]:
    """What makes calls of this kind, of an object that lies there already."""

    async def remove(stored: Stored) -> None:
        await delete(storage.blobs, [stored.key])

    async def add(_: Stored) -> None:
        await put(storage, some_bytes(SMALL, seed=99))

    async def add_in_parts(_: Stored) -> None:
        await put(storage, some_bytes(IN_PARTS, seed=99))

    async def get(stored: Stored) -> None:
        await read(storage, stored)

    if operation in ("copy", "delete"):
        return remove
    if operation in ("put_part", "complete_upload", "create_upload"):
        return add_in_parts
    return get if operation == "get" else add


def s3_of(storage: Storage) -> S3Blobs:
    assert isinstance(storage.blobs, S3Blobs)
    return storage.blobs


OPERATIONS = [
    "put",
    "head",
    "get",
    "copy",
    "delete",
    "create_upload",
    "put_part",
    "complete_upload",
]


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.LATE])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_stays_broken_is_asked_four_times_and_told_as_ours(
    storage: Storage, faulty: FaultyS3, seaweedfs: SeaweedFS, operation: str, fault: Fault
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    before = faulty.seen[operation]
    faulty.fail(operation, fault)

    with pytest.raises(StorageUnavailable):
        await doing(operation, storage)(stored)

    calls = faulty.seen[operation] - before
    # Two parts, or two questions, are under way at once, and the slower one is given up. And
    # what changes nothing by being repeated, aiohttp repeats once if the connection was closed.
    most = 8 if operation in ("put_part", "head") else 4
    is_repeated = fault is Fault.LATE and operation in ("put", "put_part", "head", "get", "copy")
    assert 4 <= calls <= (2 * most if is_repeated else most)
    assert unfinished(seaweedfs, storage) == []
    assert storage.staged_files() == 0


@pytest.mark.parametrize(
    "fault", [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.LOST_ANSWER, Fault.CUT]
)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_goes_wrong_once_is_not_noticed(
    storage: Storage, faulty: FaultyS3, seaweedfs: SeaweedFS, operation: str, fault: Fault
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail(operation, fault, times=1)

    await doing(operation, storage)(stored)

    assert faulty.faults[operation][1] == 0
    # An upload whose beginning nobody heard of can only be found later.
    begun = operation == "create_upload" and fault in (Fault.LOST_ANSWER, Fault.CUT)
    assert len(unfinished(seaweedfs, storage)) == begun


@pytest.mark.parametrize("operation", ["get", "put", "head", "put_part", "delete"])
async def test_silence_ends_a_call(open_storage: Open, faulty: FaultyS3, operation: str) -> None:
    storage = await open_storage(IMPATIENCE)
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail(operation, Fault.SILENCE)

    with pytest.raises(StorageUnavailable):
        await doing(operation, storage)(stored)


async def test_one_byte_a_second_is_too_slow(open_storage: Open, faulty: FaultyS3) -> None:
    storage = await open_storage(IMPATIENCE)
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail("get", Fault.TRICKLE)

    with pytest.raises(StorageUnavailable):
        await read(storage, stored)


async def test_where_nobody_listens_is_unavailable(s3_bucket: str, tmp_path: Path) -> None:
    nowhere = SeaweedFS("http://127.0.0.1:1", "key", "secret", 0)
    async with in_s3(tmp_path, nowhere, s3_bucket, patience=PATIENCE) as storage:
        with pytest.raises(StorageUnavailable):
            await put(storage, b"x")


@pytest.mark.parametrize("size", [SMALL, IN_PARTS])
async def test_nothing_is_acknowledged_with_another_checksum(
    storage: Storage, faulty: FaultyS3, seaweedfs: SeaweedFS, size: int
) -> None:
    operation = "put" if size == SMALL else "put_part"
    faulty.fail(operation, Fault.WRONG_CHECKSUM)

    with pytest.raises(StorageUnavailable):
        await put(storage, some_bytes(size))

    assert 4 <= faulty.seen[operation] <= 8
    assert unfinished(seaweedfs, storage) == []


async def test_what_a_head_tells_with_another_checksum_is_put_again(
    storage: Storage, faulty: FaultyS3
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail("head", Fault.WRONG_CHECKSUM)

    await put(storage, stored.content)

    assert faulty.seen["put"] == 2


@pytest.mark.parametrize("size", [SMALL, IN_PARTS])
async def test_a_server_without_checksums_has_to_give_everything_back(
    storage: Storage, faulty: FaultyS3, size: int
) -> None:
    for operation in ("put", "put_part", "complete_upload", "head"):
        faulty.fail(operation, Fault.NO_CHECKSUM)

    stored = await put(storage, some_bytes(size))

    assert faulty.seen["get"] >= 1
    faulty.fail("get", Fault.FLIPPED)
    with pytest.raises(StorageUnavailable):
        await put(storage, some_bytes(size, seed=2))
    faulty.faults.clear()
    assert await read(storage, stored) == stored.content


async def test_an_upload_that_was_completed_with_an_error_counts(
    storage: Storage, faulty: FaultyS3
) -> None:
    faulty.fail("complete_upload", Fault.DONE_BUT_ERROR_IN_200)

    stored = await put(storage, some_bytes(IN_PARTS))

    assert await read(storage, stored) == stored.content


async def test_an_upload_that_was_not_completed_with_an_error_does_not_count(
    storage: Storage, faulty: FaultyS3, seaweedfs: SeaweedFS
) -> None:
    faulty.fail("complete_upload", Fault.ERROR_IN_200)

    with pytest.raises(StorageUnavailable):
        await put(storage, some_bytes(IN_PARTS))

    assert unfinished(seaweedfs, storage) == []


@pytest.mark.parametrize("size", [SMALL, IN_PARTS])
async def test_an_object_that_shows_late_is_waited_for(
    storage: Storage, faulty: FaultyS3, size: int
) -> None:
    faulty.fail("head", Fault.ABSENT, times=4)

    stored = await put(storage, some_bytes(size))

    assert await read(storage, stored) == stored.content


@pytest.mark.parametrize("size", [SMALL, 3 * MB, IN_PARTS])
async def test_a_flipped_bit_is_never_given(storage: Storage, faulty: FaultyS3, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    faulty.fail("get", Fault.FLIPPED)

    with pytest.raises(MediaDamaged):
        await read(storage, stored)


@pytest.mark.parametrize("size", [3 * MB, IN_PARTS])
async def test_a_body_that_is_cut_is_continued_where_it_ended(
    storage: Storage, faulty: FaultyS3, size: int
) -> None:
    stored = await put(storage, some_bytes(size))
    faulty.fail("get", Fault.CUT, times=3)

    assert await read(storage, stored) == stored.content


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault.DENIED, "allow it in their policy"),
        (Fault.SKEWED, "set the clock"),
        (Fault.NO_BUCKET, "there is no such bucket"),
    ],
)
async def test_what_only_an_operator_can_mend_is_said_and_not_repeated(
    storage: Storage,
    faulty: FaultyS3,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    sentence: str,
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    for operation in ("put", "get"):
        faulty.fail(operation, fault)

    with pytest.raises(StorageUnavailable):
        await put(storage, some_bytes(SMALL, seed=2))
    with pytest.raises(StorageUnavailable):
        await read(storage, stored)

    assert faulty.seen["put"] == 2
    assert faulty.seen["get"] == 1
    assert sentence in caplog.text


async def test_a_bucket_without_room_is_full(storage: Storage, faulty: FaultyS3) -> None:
    faulty.fail("put", Fault.QUOTA)

    with pytest.raises(StorageFull):
        await put(storage, some_bytes(SMALL))


async def test_a_bucket_that_vanished_does_not_make_its_contents_damaged(
    storage: Storage, faulty: FaultyS3
) -> None:
    stored = await put(storage, some_bytes(IN_PARTS))
    faulty.fail("head", Fault.ABSENT)
    faulty.fail("get", Fault.NO_BUCKET)

    with pytest.raises(StorageUnavailable):
        await read(storage, stored)


async def test_a_store_that_is_away_is_left_alone_until_it_is_back(
    open_storage: Open, faulty: FaultyS3
) -> None:
    now_and_then = dataclasses.replace(PATIENCE, failures_in_a_row=4, rest_seconds=0.2)
    storage = await open_storage(now_and_then)
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail("get", Fault.SLOW_DOWN)
    with pytest.raises(StorageUnavailable):
        await read(storage, stored)
    asked = faulty.seen["get"]

    with pytest.raises(StorageUnavailable):
        await read(storage, stored)

    assert faulty.seen["get"] == asked == 4
    assert OPEN._value.get() == 1
    faulty.faults.clear()
    async with asyncio.timeout(10):
        while OPEN._value.get():
            with contextlib.suppress(StorageUnavailable):
                await read(storage, stored)
            await asyncio.sleep(0.02)
    assert await read(storage, stored) == stored.content


async def test_a_deletion_that_was_never_answered_can_not_take_what_is_put_after_it(
    storage: Storage, faulty: FaultyS3
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail("delete", Fault.LATE)
    with pytest.raises(StorageUnavailable):
        await delete(storage.blobs, [stored.key])
    faulty.faults.clear()

    with pytest.raises(StorageUnavailable):  # rather than promise what may vanish
        await put(storage, stored.content)
    await faulty.catch_up()

    [label] = await storage.blobs.labels()
    assert await storage.blobs.restore(label) == [stored.key]
    assert await read(storage, stored) == stored.content


async def test_a_deletion_that_another_process_ends_meanwhile_can_still_be_undone(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, stored = s3_of(storage), await put(storage, some_bytes(SMALL))
    copy = blobs._bucket.copy

    async def copy_and_be_overtaken(source: str, target: str, **options: bool) -> bool:
        was_there = await copy(source, target, **options)
        if target.startswith("trash/"):
            for label in await blobs.labels():
                await blobs.restore(label)
        return was_there

    monkeypatch.setattr(blobs._bucket, "copy", copy_and_be_overtaken)
    with contextlib.suppress(DatabaseUnavailable):
        async with blobs.deleting() as deletion:
            await deletion.set_aside([stored.key])
            raise DatabaseUnavailable

    assert await read(storage, stored) == stored.content


async def test_who_stood_still_after_marking_deletes_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, stored = s3_of(storage), await put(storage, some_bytes(SMALL))
    delete_from, now = blobs._bucket.delete, [0.0]

    async def stand_still_and_delete(names: Iterable[str], **options: Any) -> None:
        now[0] += MARKED_SECONDS + 1
        await delete_from(names, **options)

    monkeypatch.setattr(blobs._trash, "_clock", lambda: now[0])
    monkeypatch.setattr(blobs._bucket, "delete", stand_still_and_delete)
    with pytest.raises(StorageUnavailable):
        await delete(blobs, [stored.key])

    assert await read(storage, stored) == stored.content


async def test_who_copied_for_long_marks_again_and_deletes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, stored = s3_of(storage), await put(storage, some_bytes(SMALL))
    copy, now = blobs._bucket.copy, [0.0]

    async def copy_slowly(source: str, target: str, **options: bool) -> bool:
        now[0] += MARKED_SECONDS + 1
        return await copy(source, target, **options)

    monkeypatch.setattr(blobs._trash, "_clock", lambda: now[0])
    monkeypatch.setattr(blobs._bucket, "copy", copy_slowly)
    await delete(blobs, [stored.key])

    with pytest.raises(MediaDamaged):
        await read(storage, stored)
    await put(storage, stored.content)
    assert await read(storage, stored) == stored.content


async def test_a_copy_into_the_trash_that_fails_does_not_keep_the_content_from_being_put(
    storage: Storage, faulty: FaultyS3
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    faulty.fail("copy", Fault.INTERNAL_ERROR, times=4)
    with pytest.raises(StorageUnavailable):
        await delete(storage.blobs, [stored.key])

    await put(storage, stored.content)

    assert await read(storage, stored) == stored.content


async def test_a_put_that_is_cancelled_has_ended_and_leaves_no_parts(
    storage: Storage, faulty: FaultyS3, seaweedfs: SeaweedFS
) -> None:
    faulty.fail("put_part", Fault.SILENCE)
    putting = asyncio.create_task(put(storage, some_bytes(IN_PARTS)))
    while faulty.seen["put_part"] < 2:
        await asyncio.sleep(0.005)

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert unfinished(seaweedfs, storage) == []
    assert storage.staged_files() == 0


async def test_what_was_swept_between_ahead_and_put_is_put(
    storage: Storage, faulty: FaultyS3
) -> None:
    async with storage.staging.new() as staged:
        await staged.write(some_bytes(SMALL))
        stored = Stored(original_key(staged.sha256), some_bytes(SMALL))
        await storage.blobs.put_ahead(stored.key, staged)
        await delete(storage.blobs, [stored.key])
        await storage.blobs.put(stored.key, staged)

    assert await read(storage, stored) == stored.content
    assert faulty.seen["put"] == 3  # ahead, the mark of the deletion, again


async def test_what_lies_there_is_not_sent_again(storage: Storage, faulty: FaultyS3) -> None:
    async with storage.staging.new() as staged:
        await staged.write(some_bytes(SMALL))
        key = original_key(staged.sha256)
        await storage.blobs.put_ahead(key, staged)
        for _ in range(2):
            await storage.blobs.put_ahead(key, staged)
            await storage.blobs.put(key, staged)

    assert faulty.seen["put"] == 1
