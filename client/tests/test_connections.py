"""The way to the service: channels, addresses, TLS, tokens, what goes along with calls."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from media_client import (
    TLS,
    BadAnswer,
    MediaClient,
    MediaError,
    Purpose,
    Retries,
    Status,
    Unavailable,
    _context,
    errors,
    request_id,
)
from media_client._channel import targets
from media_client._transport import Rpc
from media_client.errors import MessageTooLarge
from media_proto import media_service_pb2 as pb
from scripted.service import MEDIA_ID, NOON, ScriptedService, answer, refuse

ONCE = Retries(attempts=1)


def test_the_methods_are_those_of_the_contract() -> None:
    from media_client import _transport

    ours = {
        rpc.name: (rpc.request.DESCRIPTOR, rpc.answer.DESCRIPTOR)
        for rpc in vars(_transport).values()
        if isinstance(rpc, Rpc)
    }
    methods = pb.DESCRIPTOR.services_by_name["MediaService"].methods

    assert ours == {m.name: (m.input_type, m.output_type) for m in methods}


async def test_the_token_goes_along_with_every_call(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address, token="s3cret") as media:
        await media.get_media(MEDIA_ID)
        await media.upload_media_stream(b"x", filename="x", user_id="u", purpose=Purpose.AVATAR)

    assert [seen.metadata["authorization"] for seen in scripted.seen] == ["Bearer s3cret"] * 2


async def test_without_a_token_none_is_sent(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address) as media:
        await media.get_media(MEDIA_ID)

    assert "authorization" not in scripted.seen[0].metadata


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(MediaClient("localhost:1", token="s3cret"))
    assert "s3cret" not in repr(TLS(key=b"s3cret", chain=b"c"))


async def test_each_call_has_a_request_id_of_its_own(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address) as media:
        await media.get_media(MEDIA_ID)
        await media.get_media(MEDIA_ID)

    first, second = [seen.metadata["x-request-id"] for seen in scripted.seen]
    assert first
    assert first != second


async def test_the_request_id_of_a_block_is_that_of_its_task(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address) as media:

        async def ask(value: str) -> None:
            with request_id(value):
                await asyncio.sleep(0.01)
                await media.get_media(MEDIA_ID)

        await asyncio.gather(ask("one"), ask("two"))

    assert {seen.metadata["x-request-id"] for seen in scripted.seen} == {"one", "two"}


@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 129, "a\nb"])
def test_a_request_id_that_can_not_be_sent_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="request id"), request_id(wrong):
        pass


async def test_a_trace_is_passed_on_where_opentelemetry_is_installed(
    scripted: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = ModuleType("propagate")
    tracing.inject = lambda carrier: carrier.update(traceparent="00-1-2-01")  # type: ignore[attr-defined]
    monkeypatch.setattr(_context, "_propagate", tracing)

    async with MediaClient(scripted.address) as media:
        await media.get_media(MEDIA_ID)

    assert scripted.seen[0].metadata["traceparent"] == "00-1-2-01"


async def test_the_trace_of_a_real_opentelemetry_is_passed_on(scripted: ScriptedService) -> None:
    pytest.importorskip("opentelemetry", reason="opentelemetry-api is not installed")
    from opentelemetry import trace

    span = trace.NonRecordingSpan(
        trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    async with MediaClient(scripted.address) as media:
        with trace.use_span(span):
            await media.get_media(MEDIA_ID)

    assert f"{0xABC:032x}-{0xDEF:016x}" in scripted.seen[0].metadata["traceparent"]


@pytest.mark.parametrize("channels", [1, 3])
async def test_calls_take_turns_over_channels(scripted: ScriptedService, channels: int) -> None:
    async with MediaClient(scripted.address, channels=channels) as media:
        for _ in range(6):
            await media.get_media(MEDIA_ID)

    peers = [seen.peer for seen in scripted.seen]
    assert len(set(peers)) == channels
    assert all(peers.count(peer) == 6 // channels for peer in peers)


async def test_calls_take_turns_over_the_addresses_of_a_name(scripted: ScriptedService) -> None:
    async with ScriptedService().running() as other:
        addresses = f"ipv4:{scripted.address},{other.address}"
        async with MediaClient(addresses) as media, asyncio.timeout(10):
            while not (scripted.seen and other.seen):
                await media.get_media(MEDIA_ID)
            first, second = len(scripted.seen), len(other.seen)
            for _ in range(10):
                await media.get_media(MEDIA_ID)

    assert (len(scripted.seen) - first, len(other.seen) - second) == (5, 5)


async def test_an_address_that_dies_is_left_out(scripted: ScriptedService) -> None:
    async with (
        ScriptedService().running() as other,
        MediaClient(f"ipv4:{scripted.address},{other.address}") as media,
    ):
        await media.get_media(MEDIA_ID)
        await scripted.stop()

        for _ in range(10):
            await media.get_media(MEDIA_ID)

    assert len(other.seen) >= 10


async def test_several_addresses_take_turns(scripted: ScriptedService) -> None:
    async with (
        ScriptedService().running() as other,
        MediaClient(f"{scripted.address}, {other.address}", channels=2) as media,
    ):
        for _ in range(8):
            await media.get_media(MEDIA_ID)

    assert (len(scripted.seen), len(other.seen)) == (4, 4)
    assert len({seen.peer for seen in scripted.seen}) == 2


async def test_of_several_addresses_one_that_dies_is_left_out(scripted: ScriptedService) -> None:
    async with (
        ScriptedService().running() as other,
        MediaClient(f"{scripted.address},{other.address}", retries=Retries(attempts=2)) as media,
    ):
        await media.get_media(MEDIA_ID)
        await scripted.stop()

        for _ in range(10):
            await media.get_media(MEDIA_ID)

    assert len(other.seen) >= 9


async def test_what_failed_at_one_address_is_repeated_at_another(
    scripted: ScriptedService,
) -> None:
    scripted.then(*[refuse(grpc.StatusCode.UNAVAILABLE)] * 40)
    async with (
        ScriptedService().running() as other,
        MediaClient(
            f"{scripted.address},{other.address}", channels=2, retries=Retries(attempts=2)
        ) as media,
    ):
        await asyncio.gather(*(media.get_media(MEDIA_ID) for _ in range(40)))

    assert scripted.seen
    assert len(other.seen) == 40


async def test_addresses_that_restart_one_after_another_cost_no_call(
    scripted: ScriptedService,
) -> None:
    async with (
        ScriptedService().running() as other,
        MediaClient(
            f"{scripted.address},{other.address}", channels=2, retries=Retries(attempts=2)
        ) as media,
    ):
        for restarting, staying in ((scripted, other), (other, scripted)):
            await restarting.stop()
            begun = len(staying.seen)
            while len(staying.seen) < begun + 20:
                await media.get_media(MEDIA_ID)
            await restarting.start(address=restarting.address)
        await scripted.stop()
        await media.get_media(MEDIA_ID)


async def test_a_call_waits_but_once_for_addresses_that_stay_away(
    scripted: ScriptedService,
) -> None:
    await scripted.stop()
    begun = asyncio.get_running_loop().time()
    often = Retries(attempts=20, first_pause=0)

    addresses = f"{scripted.address},127.0.0.1:1"
    async with MediaClient(addresses, retries=often, timeout=60) as media:
        with pytest.raises(Unavailable):
            await media.get_media(MEDIA_ID)

    assert asyncio.get_running_loop().time() - begun < 15


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:50051", ["localhost:50051"]),
        ("a:1,b:2", ["a:1", "b:2"]),
        ("a:1, [::1]:2,", ["a:1", "[::1]:2"]),
        ("dns:///media:50051", ["dns:///media:50051"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", ["ipv4:10.0.0.1:1,10.0.0.2:1"]),
        ("unix:/run/media", ["unix:/run/media"]),
        ("dns:50051", ["dns:50051"]),
        ("", [""]),
    ],
)
def test_addresses_are_told_from_targets(address: str, expected: list[str]) -> None:
    assert targets(address) == expected


async def test_connections_that_are_asked_to_end_cost_no_call(scripted: ScriptedService) -> None:
    """An aged connection is closed once its calls are over, and nobody notices."""
    aged = ScriptedService(options=[("grpc.max_connection_age_ms", 200)])
    async with aged.running(), MediaClient(aged.address, channels=2, retries=ONCE) as media:
        async with asyncio.timeout(30):
            while len({seen.peer for seen in aged.seen}) < 6:
                await asyncio.gather(*(media.get_media(MEDIA_ID) for _ in range(20)))


async def test_an_upload_outlives_the_age_of_its_connection() -> None:
    aged = ScriptedService(options=[("grpc.max_connection_age_ms", 100)])

    async def slowly() -> AsyncIterator[bytes]:
        while len({seen.peer for seen in aged.seen}) < 4:
            await asyncio.sleep(0.05)  # others have been sent to new connections meanwhile
            yield bytes(1000)

    async with aged.running(), MediaClient(aged.address, retries=ONCE) as media:
        uploading = asyncio.create_task(
            media.upload_media_stream(slowly(), filename="x", user_id="u", purpose=Purpose.AVATAR)
        )
        while not uploading.done():
            await media.get_media(MEDIA_ID)
            await asyncio.sleep(0.02)

        assert (await uploading).media_id


async def test_a_client_is_used_open_only() -> None:
    media = MediaClient("localhost:1")

    with pytest.raises(RuntimeError, match="async with"):
        await media.get_media(MEDIA_ID)
    async with media:
        with pytest.raises(RuntimeError, match="open already"):
            await media.__aenter__()
    with pytest.raises(RuntimeError, match="async with"):
        await media.get_media(MEDIA_ID)


async def test_a_client_can_be_opened_again(scripted: ScriptedService) -> None:
    media = MediaClient(scripted.address)
    for _ in range(2):
        async with media:
            await media.get_media(MEDIA_ID)

    assert len(scripted.seen) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"channels": 0}, {"timeout": 0}, {"upload_timeout": -1}, {"max_message_bytes": 0}],
)
def test_numbers_that_can_not_be_right_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        MediaClient("localhost:1", **wrong)


async def test_a_message_above_our_limit_is_named(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address, max_message_bytes=1000) as media:
        with pytest.raises(MessageTooLarge):
            await media.upload_profile_picture(bytes(2000), "me.png", "alice")

    assert scripted.seen == []


async def test_an_answer_above_our_limit_is_named(scripted: ScriptedService) -> None:
    scripted.then(answer(pb.MediaResponse(media_id="x" * 2000)))

    async with MediaClient(scripted.address, max_message_bytes=1000) as media:
        with pytest.raises(MessageTooLarge):
            await media.get_media(MEDIA_ID)

    assert len(scripted.seen) == 1


async def test_a_message_above_the_services_limit_is_named(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address) as media:
        with pytest.raises(MessageTooLarge):
            await media.get_media("x" * (9 << 20))


GARBAGE: dict[str, Message | bytes] = {
    "no message": b"\xff\xff\xff",
    "nothing": b"",
    "no id": pb.MediaResponse(url="https://x", created_at=NOON, updated_at=NOON),
    "no time": pb.MediaResponse(media_id=MEDIA_ID, created_at=NOON),
    "a time before time": pb.MediaResponse(
        media_id=MEDIA_ID, created_at=NOON, updated_at=Timestamp(seconds=-(2**60))
    ),
    "a time after time": pb.MediaResponse(
        media_id=MEDIA_ID, created_at=NOON, updated_at=Timestamp(seconds=2**60)
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_an_answer_that_makes_no_sense_is_named(scripted: ScriptedService, name: str) -> None:
    scripted.then(answer(GARBAGE[name]))

    async with MediaClient(scripted.address) as media:
        with pytest.raises(BadAnswer) as caught:
            await media.get_media(MEDIA_ID)

    assert caught.value.request_id == scripted.seen[0].metadata["x-request-id"]


async def test_an_upload_answered_with_garbage_is_named(scripted: ScriptedService) -> None:
    scripted.then(answer(b"\xff\xff"), answer(b"\xff\xff"))

    async with MediaClient(scripted.address) as media:
        for size in (10, 2 << 20):
            with pytest.raises(BadAnswer):
                await media.upload_profile_picture(bytes(size), "me.png", "alice")


async def test_words_that_are_newer_than_the_client_are_unknown(scripted: ScriptedService) -> None:
    newer: Any = {"status": 99, "purpose": 99, "visibility": 99, "media_type": 99}
    scripted.then(
        answer(pb.MediaResponse(media_id=MEDIA_ID, created_at=NOON, updated_at=NOON, **newer))
    )

    async with MediaClient(scripted.address) as media:
        known = await media.get_media(MEDIA_ID)

    assert known.status is Status.UNKNOWN
    assert {known.purpose, known.visibility, known.media_type} == {"unknown"}


async def test_a_batch_without_reasons_still_names_what_failed(scripted: ScriptedService) -> None:
    scripted.then(answer(pb.BatchDeleteMediaResponse(failed_ids=["a"])))

    async with MediaClient(scripted.address) as media:
        assert (await media.batch_delete_media(["a"], user_id="u")).failed_ids == ("a",)


async def test_a_server_that_speaks_something_else_is_a_named_error() -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with MediaClient(f"127.0.0.1:{port}", retries=ONCE, timeout=3) as media:
            with pytest.raises(MediaError):
                await media.get_media(MEDIA_ID)


async def test_a_grpc_server_without_our_service_is_a_bad_answer() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with MediaClient(f"127.0.0.1:{port}") as media:
        with pytest.raises(BadAnswer):
            await media.get_media(MEDIA_ID)
    await server.stop(None)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of a server on 127.0.0.1, of a client, and of a stranger."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: TLS is not tested")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}", "-days", "2")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-addext", "subjectAltName=IP:127.0.0.1",
                "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
    return folder


def server_credentials(folder: Path, *, is_mutual: bool) -> grpc.ServerCredentials:
    pair = (folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes()
    ca = (folder / "ca.pem").read_bytes() if is_mutual else None
    return grpc.ssl_server_credentials([pair], ca, require_client_auth=is_mutual)


@pytest.mark.parametrize("is_mutual", [False, True])
async def test_tls(certificates: Path, is_mutual: bool) -> None:
    own = {"key": certificates / "client.key", "chain": certificates / "client.pem"}
    tls = TLS.from_files(ca=certificates / "ca.pem", **(own if is_mutual else {}))
    credentials = server_credentials(certificates, is_mutual=is_mutual)

    async with (
        ScriptedService().running(credentials=credentials) as service,
        MediaClient(service.address, tls=tls, token="s3cret") as media,
    ):
        await media.get_media(MEDIA_ID)
        await media.upload_profile_picture(bytes(2 << 20), "me.png", "alice")

    assert len(service.seen) == 2


@pytest.mark.parametrize("shown", ["nothing", "stranger"])
async def test_a_client_without_the_right_certificate_is_unavailable(
    certificates: Path, shown: str
) -> None:
    ca = (certificates / "ca.pem").read_bytes()
    key, chain = certificates / "stranger.key", certificates / "stranger.pem"
    tls = TLS(ca=ca)
    if shown == "stranger":
        tls = TLS(ca=ca, key=key.read_bytes(), chain=chain.read_bytes())
    credentials = server_credentials(certificates, is_mutual=True)

    async with (
        ScriptedService().running(credentials=credentials) as service,
        MediaClient(service.address, tls=tls, retries=ONCE, timeout=5) as media,
    ):
        with pytest.raises(Unavailable):
            await media.get_media(MEDIA_ID)


@pytest.mark.parametrize("tls", [None, TLS(ca=b"-----BEGIN CERTIFICATE-----")])
async def test_a_server_that_can_not_be_trusted_is_unavailable(
    certificates: Path, tls: TLS | None
) -> None:
    tls = tls and TLS(ca=(certificates / "stranger.pem").read_bytes())
    credentials = server_credentials(certificates, is_mutual=False)

    async with (
        ScriptedService().running(credentials=credentials) as service,
        MediaClient(service.address, tls=tls, retries=ONCE, timeout=5) as media,
    ):
        with pytest.raises(Unavailable):
            await media.get_media(MEDIA_ID)

    assert service.seen == []


def test_a_key_without_its_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="both"):
        TLS(key=b"k")


def test_importing_the_client_loads_no_server_and_no_double() -> None:
    code = "import sys, media_client; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert "media_client.testing" not in loaded
    assert not {"media_service", "PIL", "asyncpg", "starlette", "grpc_status"} & set(loaded)


def test_no_class_of_grpc_is_an_error_of_ours() -> None:
    assert not any(issubclass(cls, grpc.RpcError) for cls in errors.BY_CODE.values())
