"""What an operator sees of the queue and does to it, and what callers see when it is full."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, Stub, stub, upload_request
from tests.e2e.refusals import code_of


async def test_jobs_are_listed_cancelled_and_begun_again(tmp_path: Path, photo: bytes) -> None:
    own = Mediad(tmp_path / "own", MEDIAD_ROLES="grpc,http")
    with own.running():
        async with own.channel() as channel:
            media = stub(channel)
            made = await media.UploadMedia(upload_request(photo))
            known = await media.GetMedia(pb.GetMediaRequest(media_id=made.media_id))
            assert (known.status, known.progress_percent) == (pb.PENDING, 0)
            [job] = [json.loads(line) for line in jobs(own, "list", "--json").splitlines()]
            told = (job["media_id"], job["owner"], job["state"], job["urgency"])
            assert told == (made.media_id, "alice", "waiting", "person")
            assert "waiting" in jobs(own, "list", "--owner", "alice")
            assert jobs(own, "list", "--state", "failed") == ""

            jobs(own, "cancel", str(job["id"]))

            for _ in range(100):  # this process hears of the change in a moment
                known = await media.GetMedia(pb.GetMediaRequest(media_id=made.media_id))
                if known.status == pb.FAILED:
                    break
                await asyncio.sleep(0.05)
            assert (known.status, known.failure_code) == (pb.FAILED, "cancelled_by_operator")
        assert own.command("jobs", "retry", str(job["id"])).returncode == 1
        assert own.command("jobs", "retry").returncode == 2
        assert "0 jobs begun again" in jobs(own, "retry", "--all-failed")


def jobs(own: Mediad, *arguments: str) -> str:
    ran = own.command("jobs", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_a_full_queue_is_told_to_callers_and_reads_go_on(
    tmp_path: Path, photo: bytes
) -> None:
    own = Mediad(tmp_path / "own", MEDIAD_ROLES="grpc,http", MEDIAD_QUEUE_LIMIT="100")
    with own.running():
        async with own.channel() as channel:
            media = stub(channel)
            made = await media.UploadMedia(upload_request(photo))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await upload_for_ever(media, photo)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert code_of(refused.value) == "queue_full"
            await media.UploadMedia(upload_request(photo, user_id="bob"))
            await media.GetMedia(pb.GetMediaRequest(media_id=made.media_id))
            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=made.media_id, user_id="alice"))


async def upload_for_ever(media: Stub, photo: bytes) -> None:
    """Slowly, because the queue is counted once a second."""
    while True:
        await media.UploadMedia(upload_request(photo))
        await asyncio.sleep(0.1)
