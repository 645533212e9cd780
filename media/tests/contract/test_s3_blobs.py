"""What S3 adds: objects that prove themselves, unfinished uploads, ways past us, kills."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded_servers.seaweedfs import SeaweedFS, open_seaweedfs
from fakes.s3_faults import FaultyS3, open_faulty_s3
from fakes.s3_server import make_bucket, sync_client
from fakes.storages import SMALL, Storage, Stored, in_s3, put, read, some_bytes
from media_service.core.errors import MediaDamaged
from media_service.infra.blobs.s3 import S3Blobs
from media_service.infra.blobs.s3_records import Sizes

pytestmark = pytest.mark.needs_s3

MB = 1024 * 1024
SIZES = Sizes(whole_bytes=5 * MB, part_bytes=5 * MB, piece_bytes=MB)
LARGE = 6 * MB + 12_345


@pytest.fixture
async def faulty(seaweedfs: SeaweedFS) -> AsyncIterator[FaultyS3]:
    async with open_faulty_s3(seaweedfs) as opened:
        yield opened


@pytest.fixture
async def storage(faulty: FaultyS3, s3_bucket: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with in_s3(tmp_path, faulty.server, s3_bucket, sizes=SIZES) as opened:
        yield opened


@pytest.fixture
def client(seaweedfs: SeaweedFS) -> Any:
    return sync_client(seaweedfs)


def lay_with_metadata(client: Any, storage: Storage, stored: Stored, content: bytes) -> None:
    """Replace the bytes, and leave what the object says of them as it was."""
    where = {"Bucket": "shared", "Key": storage.prefix + stored.key}
    said = client.head_object(**where)["Metadata"]
    client.put_object(**where, Body=content, Metadata=said)


async def test_a_range_is_proved_by_the_pieces_it_touches(storage: Storage, client: Any) -> None:
    stored = await put(storage, some_bytes(LARGE))
    flipped = bytearray(stored.content)
    flipped[3 * MB + 5] ^= 1

    lay_with_metadata(client, storage, stored, bytes(flipped))

    assert await read(storage, stored, 0, 3 * MB) == stored.content[: 3 * MB]
    assert await read(storage, stored, 4 * MB, MB + 7) == stored.content[4 * MB : 5 * MB + 7]
    with pytest.raises(MediaDamaged):
        await read(storage, stored, 2 * MB + 9, MB)
    with pytest.raises(MediaDamaged):
        await storage.blobs.check(stored.key, size_bytes=LARGE, sha256=stored.sha256)


async def test_a_range_reads_no_more_than_its_pieces(storage: Storage, faulty: FaultyS3) -> None:
    stored = await put(storage, some_bytes(LARGE))
    begun = faulty.given_bytes

    await read(storage, stored, 2 * MB, 10)

    assert faulty.given_bytes - begun < MB + 10_000


@pytest.mark.parametrize("damage", ["lost", "broken"])
async def test_sums_that_are_lost_are_made_again_of_the_whole(
    storage: Storage, client: Any, faulty: FaultyS3, damage: str
) -> None:
    stored = await put(storage, some_bytes(LARGE))
    where = {"Bucket": "shared", "Key": storage.prefix + stored.key}
    said = client.head_object(**where)["Metadata"]
    said["mediad-pieces"] = said["mediad-pieces"][::-1]
    client.put_object(**where, Body=stored.content, Metadata=said if damage == "broken" else {})

    assert await read(storage, stored, MB, 10) == stored.content[MB : MB + 10]

    begun = faulty.given_bytes
    await read(storage, stored, 0, 10)
    assert faulty.given_bytes - begun < MB + 10_000, "once is enough"


async def test_what_a_killed_upload_left_is_aborted(storage: Storage, client: Any) -> None:
    key = f"{storage.prefix}originals/left"
    upload = client.create_multipart_upload(Bucket="shared", Key=key)["UploadId"]
    client.upload_part(Bucket="shared", Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    now = datetime.now(UTC)

    early = await storage.blobs.discard_abandoned_uploads(before=now - timedelta(hours=1))
    late = await storage.blobs.discard_abandoned_uploads(before=now + timedelta(hours=1))

    assert (early, late) == (0, 1)
    left = client.list_multipart_uploads(Bucket="shared", Prefix=storage.prefix)
    assert not left.get("Uploads")


async def test_a_presigned_url_gives_the_bytes_as_what_it_was_told(storage: Storage) -> None:
    stored = await put(storage, some_bytes(SMALL))
    url = await storage.blobs.presigned_url(
        stored.key,
        content_type="image/webp",
        disposition='inline; filename="a b.webp"',
        expires_in=timedelta(seconds=60),
    )
    assert url

    async with httpx.AsyncClient() as http:
        whole = await http.get(url)
        part = await http.get(url, headers={"range": "bytes=10-19"})
        changed = await http.get(url.replace("image%2Fwebp", "text%2Fhtml"))

    assert (whole.status_code, whole.content) == (200, stored.content)
    assert whole.headers["content-type"] == "image/webp"
    assert whole.headers["content-disposition"] == 'inline; filename="a b.webp"'
    assert whole.headers["cache-control"] == "private, max-age=60"
    assert (part.status_code, part.content) == (206, stored.content[10:20])
    assert changed.status_code == 403


async def test_nobody_is_sent_to_what_is_missing(storage: Storage, client: Any) -> None:
    stored = await put(storage, some_bytes(SMALL))
    client.delete_object(Bucket="shared", Key=storage.prefix + stored.key)

    with pytest.raises(MediaDamaged):
        await storage.blobs.presigned_url(
            stored.key, content_type="image/webp", disposition="", expires_in=timedelta(60)
        )


async def test_a_check_of_the_store_leaves_nothing(storage: Storage, client: Any) -> None:
    assert isinstance(storage.blobs, S3Blobs)

    await storage.blobs.check_store()

    assert client.list_objects_v2(Bucket="shared", Prefix=storage.prefix)["KeyCount"] == 0


async def test_a_whole_deletion_leaves_nothing(storage: Storage, client: Any) -> None:
    stored = await put(storage, some_bytes(LARGE))

    async with storage.blobs.deleting() as deletion:
        await deletion.set_aside([stored.key])

    assert client.list_objects_v2(Bucket="shared", Prefix=storage.prefix)["KeyCount"] == 0


async def test_what_was_acknowledged_outlives_a_kill_of_the_server(tmp_path: Path) -> None:
    acknowledged: list[Stored] = []

    async def put_all(storage: Storage) -> None:
        for seed in range(10_000):
            stored = await put(storage, some_bytes(SMALL, seed=seed))
            acknowledged.append(stored)

    async with open_seaweedfs(tmp_path / "s3") as server:
        make_bucket(server, "kept")
        async with in_s3(tmp_path, server, "kept") as storage:
            prefix = storage.prefix
            putting = asyncio.create_task(put_all(storage))
            while len(acknowledged) < 40:
                await asyncio.sleep(0.01)
            os.kill(server.pid, signal.SIGKILL)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)

    async with (
        open_seaweedfs(tmp_path / "s3") as server,
        in_s3(tmp_path, server, "kept", prefix=prefix) as storage,
    ):
        for stored in acknowledged:
            assert await read(storage, stored) == stored.content
