"""The media service on S3: nothing of a medium is anywhere else, and nothing is left of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded_servers.seaweedfs import SeaweedFS
from fakes.s3_server import make_bucket, running_seaweedfs, sync_client
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, stub, upload_request
from tests.e2e.samples import noisy_picture

pytestmark = pytest.mark.needs_s3


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with running_seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


def mediad(folder: Path, server: SeaweedFS, bucket: str, **settings: str) -> Mediad:
    return Mediad(
        folder,
        MEDIAD_STORAGE_URL=f"s3://{bucket}/media?endpoint={server.endpoint}",
        MEDIAD_DELETE_GRACE_SECONDS="0",
        AWS_ACCESS_KEY_ID=server.access_key,
        AWS_SECRET_ACCESS_KEY=server.secret_key,
        **settings,
    )


def names(server: SeaweedFS, bucket: str) -> list[str]:
    client: Any = sync_client(server)
    answer = client.list_objects_v2(Bucket=bucket)
    return [each["Key"] for each in answer.get("Contents", [])]


async def test_a_picture_comes_goes_and_leaves_nothing(
    seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    bucket = make_bucket(seaweedfs, "comes-and-goes")
    own = mediad(tmp_path / "own", seaweedfs, bucket)
    doctor = own.command("doctor")
    assert "is written, read and deleted" in doctor.stdout, doctor.stdout + doctor.stderr
    with own.running():
        async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
            media = stub(channel)
            uploaded = await media.UploadMedia(
                upload_request(noisy_picture(1, size=(1200, 900))), timeout=30
            )
            whole = await http.get(uploaded.url)
            part = await http.get(uploaded.url, headers={"range": "bytes=100-199"})
            thumbnails = [await http.get(each.url) for each in uploaded.thumbnails]

            assert whole.status_code == 200
            assert whole.headers["x-content-type-options"] == "nosniff"
            assert (part.status_code, part.content) == (206, whole.content[100:200])
            assert {each.status_code for each in thumbnails} == {200}
            assert any(name.startswith("media/originals/") for name in names(seaweedfs, bucket))
            assert not list((tmp_path / "own").rglob("originals/*/*"))

            request = pb.DeleteMediaRequest(media_id=uploaded.media_id, user_id="alice")
            await media.DeleteMedia(request, timeout=10)
            assert (await http.get(uploaded.url)).status_code == 404
        swept = own.command("sweep", "--grace", "0")
        assert json.loads(swept.stdout)["condemned_blobs"] == 1, swept.stdout + swept.stderr

    assert names(seaweedfs, bucket) == []


async def test_readers_are_sent_to_the_bucket(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    bucket = make_bucket(seaweedfs, "sent-there")
    own = mediad(tmp_path / "own", seaweedfs, bucket, MEDIAD_DELIVERY="redirect")
    with own.running():
        async with own.channel() as channel, httpx.AsyncClient(timeout=30) as http:
            request = upload_request(noisy_picture(1, size=(1200, 900)), visibility=pb.PRIVATE)
            uploaded = await stub(channel).UploadMedia(request, timeout=30)
            sent = await http.get(uploaded.url)
            head = await http.head(uploaded.url, follow_redirects=True)
            whole = await http.get(uploaded.url, follow_redirects=True)
            part = await http.get(
                uploaded.url, headers={"range": "bytes=-10"}, follow_redirects=True
            )

    assert sent.status_code == 302
    assert sent.headers["location"].startswith(f"{seaweedfs.endpoint}/{bucket}/media/renditions/")
    assert sent.headers["cache-control"] == "private, max-age=450"
    assert (head.status_code, whole.status_code, part.status_code) == (200, 200, 206)
    assert head.headers["content-length"] == str(len(whole.content))
    assert whole.headers["content-type"] == "image/jpeg"
    assert part.content == whole.content[-10:]
