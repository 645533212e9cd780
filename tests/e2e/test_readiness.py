"""Who waits for a medium is told, by a stream or by a webhook, by a real `mediad serve`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from fakes.receiver import Receiver, open_receiver
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, stub, upload_request

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as receiver:
        yield receiver


async def test_the_life_of_a_picture_is_told(
    tmp_path: Path, receiver: Receiver, photo: bytes
) -> None:
    receiver.script.append(410)
    mediad = Mediad(
        tmp_path,
        MEDIAD_WEBHOOK_URLS=receiver.url,
        MEDIAD_WEBHOOK_SECRETS="now:a-secret-of-the-tests",
    )
    with mediad.running():
        async with mediad.channel() as channel:
            media = stub(channel)
            media_id = (await media.UploadMedia(upload_request(photo))).media_id
            told = [k async for k in media.WatchMedia(pb.WatchMediaRequest(media_id=media_id))]
            assert told[-1].status == pb.COMPLETED
            assert told[-1].progress_percent == 100

            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="alice"))
            await receiver.until(3)
            with pytest.raises(grpc.aio.AioRpcError, match="No such media"):
                await media.WatchMedia(pb.WatchMediaRequest(media_id=media_id)).read()

        shown = mediad.command("webhooks", "list", "--failed", "--json")
        failed = json.loads(shown.stdout)
        assert (failed["id"], failed["failure"]) == (receiver.received[0].id, "HTTP 410")
        assert "token" not in shown.stdout
        assert mediad.command("webhooks", "retry", failed["id"]).returncode == 0
        await receiver.until(4)

    assert receiver.types == [
        "media.processing", "media.completed", "media.deleted", "media.processing",
    ]  # fmt: skip
    assert receiver.received[1].event["data"]["renditions"] == ["full", "small", "medium", "large"]
