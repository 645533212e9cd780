"""Two instances on one database and one store hear of each other."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import httpx
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, Stub, stub, upload_request


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
