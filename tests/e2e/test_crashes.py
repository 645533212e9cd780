"""Processes die at the worst moment; what was acknowledged is there, what was not is gone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import shutil
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, Stub, stub, upload_request
from tests.e2e.refusals import staged_files, stored_files


def pictures(count: int, *, size: tuple[int, int] = (900, 700)) -> list[bytes]:
    """Different pictures, noisy enough to take a moment."""
    made = []
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "JPEG", quality=80)
        made.append(buffer.getvalue())
    return made


@pytest.fixture
def own(tmp_path: Path) -> Mediad:
    """A service of this test's own, not started."""
    return Mediad(tmp_path / "own", MEDIAD_DELETE_GRACE_SECONDS="0")


async def acknowledged_until_killed(own: Mediad, data: list[bytes], after: float) -> list[str]:
    """Upload all at once, kill -9 after some seconds; the ids that were answered."""
    async with own.channel() as channel:
        media, answered = stub(channel), []

        async def upload(each: bytes) -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answered.append(
                    (await media.UploadMedia(upload_request(each), timeout=20)).media_id
                )

        uploads = asyncio.gather(*(upload(each) for each in data))
        await asyncio.sleep(after)
        own.kill()
        await uploads
    return answered


async def read_all(own: Mediad, ids: list[str]) -> None:
    """Every medium is there, and so is each of its renditions."""
    async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
        for media_id in ids:
            known = await stub(channel).GetMedia(pb.GetMediaRequest(media_id=media_id))
            for url in [known.url, *(t.url for t in known.thumbnails)]:
                response = await http.get(url)
                assert response.status_code == 200
                Image.open(io.BytesIO(response.content)).load()


async def test_killed_while_uploading_nothing_acknowledged_is_lost(own: Mediad) -> None:
    chance, answered, data = random.Random(1), [], pictures(24)
    for round_ in range(4):
        own.start()
        some = data[round_ * 6 : round_ * 6 + 6]
        answered += await acknowledged_until_killed(own, some, chance.uniform(0.02, 0.25))

    own.start()
    try:
        await read_all(own, answered)
        swept = own.command("sweep", "--grace", "0")
        assert swept.returncode == 0, swept.stderr
        assert staged_files(own.folder) == []
        held = {f.name.partition(".")[0] for f in stored_files(own.folder)}
        async with own.channel() as channel:
            known = [
                (await stub(channel).GetMedia(pb.GetMediaRequest(media_id=i))).sha256
                for i in answered
            ]
        # An upload may have been committed whose answer was lost; its row holds its bytes.
        assert set(known) <= held
        assert len(held) <= len(data)
    finally:
        own.stop()


async def test_a_job_whose_worker_is_killed_is_done_by_the_next(own: Mediad) -> None:
    own.start()
    answered = await acknowledged_until_killed(own, pictures(6, size=(3000, 2500)), 0.9)
    own.start()
    try:
        async with own.channel() as channel:
            for media_id in answered:
                await completed(stub(channel), media_id)
        await read_all(own, answered)
        assert staged_files(own.folder) == []
    finally:
        own.stop()


async def completed(media: Stub, media_id: str) -> None:
    for _ in range(400):
        known = await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
        if known.status == pb.COMPLETED:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{media_id} is still {pb.ProcessingStatus.Name(known.status)}")


async def test_killed_parents_leave_no_children(own: Mediad) -> None:
    own.start()
    children = psutil.Process(own.pid).children(recursive=True)

    own.kill()

    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


async def test_sigterm_finishes_what_is_in_flight(own: Mediad) -> None:
    own.start()
    async with own.channel() as channel:
        uploads = [stub(channel).UploadMedia(upload_request(each)) for each in pictures(4)]
        await asyncio.sleep(0.1)

        stopping = asyncio.create_task(asyncio.to_thread(own.stop, timeout=25))
        answers = await asyncio.gather(*uploads)

    assert await stopping == 0
    own.start()
    try:
        await read_all(own, [answer.media_id for answer in answers])
    finally:
        own.stop()


async def test_a_damaged_rendition_is_made_anew_and_a_damaged_original_heals_by_upload(
    own: Mediad, photo: bytes
) -> None:
    with own.running():
        async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
            media = stub(channel)
            made = await media.UploadMedia(upload_request(photo))
            good = (await http.get(made.url)).content
            await completed(media, made.media_id)
            originals = [f for f in stored_files(own.folder) if "originals" in f.parts]
            renditions = [f for f in stored_files(own.folder) if "renditions" in f.parts]

    for rendition in renditions:
        flip_a_byte(rendition)
    with own.running():
        async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
            assert (await http.get(made.url)).content == good

    flip_a_byte(originals[0])
    shutil.rmtree(own.folder / "data" / "blobs" / "renditions")
    with own.running():
        async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
            broken = await http.get(made.url)
            assert (broken.status_code, broken.json()["error"]["code"]) == (503, "media_damaged")
            await stub(channel).UploadMedia(upload_request(photo, user_id="other"))
            assert (await http.get(made.url)).content == good


def flip_a_byte(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte[0] ^ 0x10]))


async def test_two_processes_develop_a_rendition_once_and_hear_of_each_others_changes(
    tmp_path: Path, photo: bytes
) -> None:
    async with open_postgres(tmp_path / "postgres") as url:
        shared = {
            "MEDIAD_DATABASE_URL": url,
            "MEDIAD_STORAGE_URL": f"file://{tmp_path}/blobs",
            "MEDIAD_SIGNING_KEYS": "k1:0123456789abcdef0123456789abcdef",
            "MEDIAD_ROLES": "grpc,http",
        }
        one, other = Mediad(tmp_path / "one", **shared), Mediad(tmp_path / "other", **shared)
        with one.running(), other.running():
            async with one.channel() as channel, other.channel() as second:
                made = await stub(channel).UploadMedia(upload_request(photo))
                targets = [made.url, made.url.replace(one.base_url, other.base_url)] * 10
                async with httpx.AsyncClient(timeout=30) as http:
                    bodies = await asyncio.gather(*(http.get(target) for target in targets))
                    assert {b.status_code for b in bodies} == {200}
                    assert len({b.content for b in bodies}) == 1
                    developed = [await developments(http, each.base_url) for each in (one, other)]
                request = pb.GetMediaRequest(media_id=made.media_id)
                await stub(second).GetMedia(request)
                await stub(channel).DeleteMedia(
                    pb.DeleteMediaRequest(media_id=made.media_id, user_id="alice")
                )
                await gone(stub(second), request)
    assert sorted(developed) == [0, 1]


async def developments(http: httpx.AsyncClient, base_url: str) -> int:
    """How often a cell of this process developed anything."""
    for line in (await http.get(f"{base_url}/metrics")).text.splitlines():
        if line.startswith('mediad_cell_job_seconds_count{kind="develop"}'):
            return int(float(line.split()[-1]))
    return 0


async def gone(media: Stub, request: pb.GetMediaRequest) -> None:
    for _ in range(50):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await media.GetMedia(request)
            await asyncio.sleep(0.05)
            continue
        return
    raise AssertionError("the other process still answers with it")


async def test_doctor_finds_everything_in_order(own: Mediad) -> None:
    examined = own.command("doctor")

    assert examined.returncode == 0, examined.stdout
    marks = {line.partition(": ")[0] for line in examined.stdout.splitlines()}
    assert marks == {
        *("✓ settings", "✓ data folder", "✓ storage", "✓ database", "✓ connections"),
        *("✓ signing keys", "✓ cache", "✓ decoders", "✓ tracing"),
    }


async def test_doctor_doubts_that_so_many_connections_are_meant(tmp_path: Path) -> None:
    own = Mediad(tmp_path / "own", MEDIAD_WORKERS="4", MEDIAD_MAX_CONNECTIONS="50")

    examined = own.command("doctor")

    assert examined.returncode == 0, examined.stdout
    assert "! connections: this instance may want" in examined.stdout


async def test_listening_beyond_this_machine_needs_tokens(tmp_path: Path) -> None:
    refused = Mediad(tmp_path / "open", MEDIAD_HOST="0.0.0.0").command("serve")

    assert refused.returncode == 1
    assert "MEDIAD_SERVICE_TOKENS" in refused.stderr


async def test_with_tokens_set_callers_must_show_one(tmp_path: Path, photo: bytes) -> None:
    token = "0123456789abcdef"
    guarded = Mediad(tmp_path / "guarded", MEDIAD_SERVICE_TOKENS=f"users:{token}")
    with guarded.running():
        async with guarded.channel() as channel:
            media = stub(channel)
            for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", token),)):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await media.UploadMedia(upload_request(photo), metadata=metadata)
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            let_in = (("authorization", f"Bearer {token}"),)
            assert (await media.UploadMedia(upload_request(photo), metadata=let_in)).media_id


async def test_sweep_removes_what_was_deleted(own: Mediad, photo: bytes) -> None:
    with own.running():
        async with own.channel() as channel:
            media = stub(channel)
            made = await media.UploadMedia(upload_request(photo))
            await completed(media, made.media_id)
            assert stored_files(own.folder)
            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=made.media_id, user_id="alice"))
            swept = json.loads(own.command("sweep", "--grace", "0").stdout)

        assert swept["condemned_blobs"] == 1
        assert stored_files(own.folder) == []
