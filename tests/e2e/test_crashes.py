"""Processes die at the worst moment; what was acknowledged is there, what was not is gone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, completed, stub, upload_request
from tests.e2e.refusals import staged_files, stored_files
from tests.e2e.samples import noisy_pictures


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
    chance, answered, data = random.Random(1), [], noisy_pictures(12)
    for round_ in range(2):
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
    answered = await acknowledged_until_killed(own, noisy_pictures(4, size=(2500, 3000)), 0.9)
    own.start()
    try:
        async with own.channel() as channel:
            for media_id in answered:
                await completed(stub(channel), media_id)
        await read_all(own, answered)
        assert staged_files(own.folder) == []
    finally:
        own.stop()


async def test_killed_parents_leave_no_children(own: Mediad) -> None:
    own.start()
    children = psutil.Process(own.pid).children(recursive=True)

    own.kill()

    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


async def test_sigterm_finishes_what_is_in_flight(own: Mediad) -> None:
    own.start()
    async with own.channel() as channel:
        uploads = [stub(channel).UploadMedia(upload_request(each)) for each in noisy_pictures(4)]
        await asyncio.sleep(0.1)

        stopping = asyncio.create_task(asyncio.to_thread(own.stop, timeout=25))
        answers = await asyncio.gather(*uploads)

    assert await stopping == 0
    own.start()
    try:
        await read_all(own, [answer.media_id for answer in answers])
    finally:
        own.stop()
