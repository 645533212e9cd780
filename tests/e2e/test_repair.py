"""What an operator does about damage, left-overs and erasure, beside a service that runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, completed, stub, upload_request
from tests.e2e.refusals import stored_files
from tests.e2e.samples import flip_a_byte


@pytest.fixture
def own(tmp_path: Path) -> Mediad:
    """A service of this test's own, not started."""
    return Mediad(tmp_path / "own")


def said(own: Mediad, *arguments: str, status: int = 0) -> Any:
    """What a command printed as JSON, the last line of it if there are several."""
    done = own.command(*arguments)
    assert done.returncode == status, done.stdout + done.stderr
    text = done.stdout
    return json.loads(text if text.startswith("{\n") else text.splitlines()[-1])


async def test_fsck_and_erase_user_beside_a_running_service(
    own: Mediad, photo: bytes, http: httpx.AsyncClient
) -> None:
    with own.running():
        async with own.channel() as channel:
            media = await stub(channel).UploadMedia(upload_request(photo))
            assert (await http.get(media.url)).status_code == 200
            await completed(stub(channel), media.media_id)
        [rendition, *_] = [f for f in stored_files(own.folder) if "renditions" in f.parts]
        rendition.unlink()

        looked = said(own, "fsck", "--json", status=1)
        assert looked["differences"]["missing_rendition"]["found"] == 1
        repaired = said(own, "fsck", "--repair", "--json")
        assert repaired["differences"]["missing_rendition"]["repaired"] == 1
        for url in [media.url, *(thumbnail.url for thumbnail in media.thumbnails)]:
            assert (await http.get(url)).status_code == 200
        assert said(own, "fsck", "--deep", "--json")["differences"] == {}

        erased = said(own, "erase-user", "alice", "--yes", "--json", "--check-url", own.base_url)
        assert erased["totals"] == {"erased": 1, "shared": 0, "incomplete": 0}
        assert (await http.get(media.url)).status_code == 404
        assert stored_files(own.folder) == []


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


async def test_sweep_removes_what_was_deleted(own: Mediad, photo: bytes) -> None:
    with own.running():
        async with own.channel() as channel:
            media = stub(channel)
            made = await media.UploadMedia(upload_request(photo))
            await completed(media, made.media_id)
            assert stored_files(own.folder)
            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=made.media_id, user_id="alice"))
            swept = said(own, "sweep", "--grace", "0")

        assert swept["condemned_blobs"] == 1
        assert stored_files(own.folder) == []
