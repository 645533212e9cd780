"""Traces of both services, as a collector sees them; and a collector that is of no use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import grpc
import httpx
import pytest
from media_proto import media_service_pb2 as pb

from tests.e2e.collector import Collector
from tests.e2e.processes import Mediad, stub, upload_request
from tests.e2e.userd_process import Userd

STRANGERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUICK = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BSP_MAX_QUEUE_SIZE": "64",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32",
}

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@pytest.fixture(scope="module")
def media(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, **QUICK}
    process = Mediad(tmp_path_factory.mktemp("mediad"), MEDIAD_LOG_FORMAT="json", **settings)
    with process.running():
        yield process


@pytest.fixture(scope="module")
def users(
    collector: Collector, media: Mediad, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Userd]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, **QUICK}
    process = Userd(tmp_path_factory.mktemp("userd"), media, **settings)
    with process.running():
        yield process


async def test_one_upload_is_one_trace_from_the_user_service_to_the_job(
    collector: Collector, media: Mediad, users: Userd, photo: bytes
) -> None:
    async with httpx.AsyncClient(base_url=users.base_url, timeout=90) as http:
        account = {"username": "traced", "password": "a quiet green harbour"}
        signed_up = await http.post("/api/v1/auth/register", json=account)
        token = signed_up.json()["data"]["access_token"]
        answer = await http.post(
            "/api/v1/media/profile-picture",
            files={"file": ("a-private-name.jpg", photo, "image/jpeg")},
            headers={"authorization": f"Bearer {token}", "x-request-id": "req-traced"},
        )
    media_id = answer.json()["data"]["media_id"]
    entry = "POST /api/v1/media/profile-picture"

    spans = collector.trace_with(entry, "job develop", media_id=media_id)

    by_name = {span.name: span for span in spans}
    names = {span.span_id: span.name for span in spans}
    steps = {(names.get(span.parent_id, ""), span.name) for span in spans}
    call = "media.MediaService/UploadMedia"
    assert steps >= {
        ("", entry),
        (entry, call),
        (call, "upload"),
        ("upload", "cell inspect"),
        ("upload", "database transaction"),
        ("upload", "blob put ahead"),
        ("database transaction", "blob put"),
        ("database transaction", "job enqueue"),
        ("job enqueue", "job develop"),
        ("job develop", "database transaction"),
        ("database transaction", "cell develop"),
    }
    assert by_name[entry].service == "userd"
    assert by_name[call].service == by_name["job develop"].service == "mediad"
    assert by_name["job develop"].attributes["media.id"] == media_id
    assert by_name["upload"].attributes["media.purpose"] == "PROFILE_PICTURE"
    logged = [json.loads(line) for line in media.log.splitlines() if line.startswith("{")]
    ours = [line for line in logged if line.get("trace_id") == by_name[call].trace_id]
    assert {line["event"] for line in ours} >= {"grpc.call", "job.done"}
    assert {line["request_id"] for line in ours} == {"req-traced"}
    assert b"a-private-name" not in collector.raw
    assert token.encode() not in collector.raw


async def test_a_delivery_is_a_trace_of_its_own_and_tells_no_signature(
    collector: Collector, media: Mediad, photo: bytes
) -> None:
    async with media.channel() as channel:
        uploaded = await stub(channel).UploadMedia(
            upload_request(photo, visibility=pb.PRIVATE, user_id="bob")
        )
    async with httpx.AsyncClient() as http:
        answer = await http.get(uploaded.url, headers={"traceparent": STRANGERS})
    assert answer.status_code == 200

    spans = collector.trace_with("delivery", media_id=uploaded.media_id)

    span = next(span for span in spans if span.name == "delivery")
    assert span.attributes["media.id"] == uploaded.media_id
    assert span.attributes["http.response.status_code"] == "200"
    assert span.trace_id not in STRANGERS
    assert span.links == (STRANGERS.split("-")[1],)
    assert b"sig=" not in collector.raw


async def test_a_refused_call_tells_its_code(collector: Collector, media: Mediad) -> None:
    async with media.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub(channel).UploadMedia(upload_request(b"no picture at all, not at all"))

    def refused() -> list[str]:
        calls = [s for s in collector.spans if s.name == "media.MediaService/UploadMedia"]
        return [s.attributes["error.type"] for s in calls if "error.type" in s.attributes]

    deadline = time.monotonic() + 60
    while not refused():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert refused() == ["unsupported_type"]


@pytest.mark.parametrize("trouble", ["is full", "does not answer"])
async def test_a_collector_in_trouble_fails_no_call(
    collector: Collector, media: Mediad, trouble: str
) -> None:
    refused = collector.refused
    if trouble == "is full":
        collector.status = 503
    else:
        collector.is_stalled.set()
    async with media.channel() as channel:
        for _ in range(300):  # more than the queue of spans holds
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub(channel).GetMedia(pb.GetMediaRequest(media_id="1" * 36))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    deadline = time.monotonic() + 60
    while collector.refused == refused:
        assert time.monotonic() < deadline, "nothing was sent to the collector"
        await asyncio.sleep(0.05)


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    collector: Collector, users: Userd, media: Mediad
) -> None:
    collector.is_stalled.set()
    begun = time.monotonic()

    assert users.stop() == 0
    assert media.stop() == 0

    assert time.monotonic() - begun < 20  # each of them has 30 by itself
