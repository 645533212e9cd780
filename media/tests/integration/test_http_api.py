"""The HTTP server on a loopback port: plain service, slow and leaving clients, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
import structlog
import uvloop
from fakes.patience import eventually
from fakes.readers import path_of
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.media import Visibility
from media_service.core.readiness import Readiness
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.connections import ConnectionLimits
from media_service.entrypoints.http_api.server import serve_http
from starlette.types import Receive, Scope, Send

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
QUICK = ConnectionLimits(
    head_seconds=0.3, stall_seconds=0.6, keep_alive_seconds=1, look_seconds=0.1, max_connections=20
)
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the")
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


def _served(
    fake: FakeService, limits: ConnectionLimits = QUICK, *, drain_seconds: float = 2
) -> AbstractAsyncContextManager[int]:
    app = http_app(fake.service, readiness=Readiness(needed={}), capabilities=dict)
    return serve_http(app, host="127.0.0.1", limits=limits, drain_seconds=drain_seconds)


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the service runs on."""
    policy: asyncio.AbstractEventLoopPolicy = uvloop.EventLoopPolicy()
    return policy


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


@pytest.fixture
async def port(fake: FakeService) -> AsyncIterator[int]:
    async with _served(fake) as port:
        yield port


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _answers(port: int, data: bytes) -> tuple[list[int], bytes]:
    """Every status that comes back, and all bytes, until the server closes or falls silent."""
    received = b""
    async with _connected(port) as (reader, writer):
        writer.write(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(5):
                while piece := await asyncio.wait_for(reader.read(65536), 0.4):
                    received += piece
    return [int(status) for status in STATUS_LINE.findall(received)], received


async def _is_well(port: int) -> bool:
    statuses, _ = await _answers(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    return statuses == [200]


# Plain service


async def test_a_rendition_is_served_over_a_socket(fake: FakeService, port: int) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    full = media.rendition("full")
    assert full

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        whole = await http.get(path_of(fake, media))
        again = await http.get(
            path_of(fake, media), headers={"if-none-match": whole.headers["etag"]}
        )
        head = await http.head(path_of(fake, media))
        part = await http.get(path_of(fake, media), headers={"range": "bytes=0-3"})
        metrics = await http.get("/metrics")

    content = developed_bytes(picture(), full.recipe)
    assert whole.content == content
    assert whole.headers["date"]
    assert "server" not in whole.headers
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    assert (part.status_code, part.content) == (206, content[:4])
    assert metrics.status_code == 200


async def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\n\r\n"
    statuses, received = await _answers(port, b"".join(first % n for n in range(50)))

    assert statuses == [200] * 50
    ids = [int(n) for n in re.findall(rb"x-request-id: (\d+)", received)]
    assert ids == list(range(50))


async def test_old_clients_are_answered_and_left(port: int) -> None:
    for head in (b"GET /healthz HTTP/1.0\r\n\r\n", GET + b"Connection: close\r\n\r\n"):
        async with _connected(port) as (reader, writer), asyncio.timeout(0.9):
            writer.write(head + GET + b"\r\n")
            answer = await reader.read()

        assert STATUS_LINE.findall(answer) == [b"200"]
        assert b"connection: close\r\n" in answer


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"1000")]])
async def test_a_fault_on_the_way_never_looks_like_the_end(
    headers: list[tuple[bytes, bytes]],
) -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        raise RuntimeError

    with structlog.testing.capture_logs() as logs:
        async with serve_http(faulty) as port, httpx.AsyncClient() as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(f"http://127.0.0.1:{port}/")

    assert [entry["event"] for entry in logs] == ["http.bug"]


@pytest.mark.parametrize(
    "headers", [[(b"x", b"a\r\nset-cookie: b=1")], [(b"x", b"a\nb")], [(b"x\r", b"a")]]
)
async def test_a_header_never_breaks_out_of_its_line(headers: list[tuple[bytes, bytes]]) -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    with structlog.testing.capture_logs():
        async with serve_http(faulty) as port:
            assert await _answers(port, GET + b"\r\n") == ([], b"")


# Slow and leaving clients


@pytest.mark.parametrize("data", [b"", b"\r\n", b"GET /healthz HT", GET, GET + b"X: y\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(port: int, data: bytes) -> None:
    async with _connected(port) as (reader, writer), asyncio.timeout(5):
        writer.write(data)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_an_idle_connection_is_kept_for_a_while(port: int) -> None:
    async with _connected(port) as (reader, writer), asyncio.timeout(5):
        for _ in range(3):
            writer.write(GET + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"}}")
            await asyncio.sleep(0.5)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


class Endless:
    """An app that sends more than anybody will read."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(4000):
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                self.sent_bytes += 65536
        finally:
            self.is_over = True


async def test_a_reader_that_stalls_is_cut_and_holds_little_meanwhile() -> None:
    app = Endless()
    async with serve_http(app, limits=QUICK) as port, _connected(port) as (_, writer):
        writer.write(GET + b"\r\n")
        await eventually(lambda: app.sent_bytes > 0)
        await asyncio.sleep(0.2)
        before = app.sent_bytes
        await eventually(lambda: app.is_over)

    assert before < 20_000_000


async def test_a_reader_that_is_slow_is_not_cut() -> None:
    app = Endless()
    async with serve_http(app, limits=QUICK, drain_seconds=1) as port:
        # With large buffers of its own a reader would seem to take much at once, and then nothing.
        narrow = socket.create_connection(("127.0.0.1", port))
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        reader, writer = await asyncio.open_connection(sock=narrow, limit=4096)
        writer.write(GET + b"\r\n")
        for _ in range(30):
            await reader.readexactly(20_000)
            await asyncio.sleep(0.06)
        assert not app.is_over
        writer.close()
        await eventually(lambda: app.is_over)


async def test_above_the_limit_connections_are_refused_at_once(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            _, writer = await stack.enter_async_context(_connected(port))
            writer.write(GET[:5])
        statuses, received = await _answers(port, b"")

        assert statuses == [503]
        assert b"retry-after: 2\r\n" in received
    await asyncio.sleep(0.2)
    assert await _is_well(port)


# The end


async def test_a_request_under_way_is_finished_before_the_end(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.codecs.gate.clear()
    async with (
        asyncio.timeout(5),
        _stoppable(fake) as (port, stop, stopped),
        _connected(port) as (reader, writer),
        _connected(port) as (idle, _),
    ):
        writer.write(f"GET {path_of(fake, media)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: bool(fake.codecs.developed))
        stop.set()
        assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not stopped.is_set()
        fake.codecs.gate.set()
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close\r\n" in answer


async def test_a_request_that_does_not_end_is_cut_in_the_end(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.codecs.gate.clear()
    async with asyncio.timeout(5), _stoppable(fake, drain_seconds=0.3) as (port, stop, stopped):
        async with _connected(port) as (reader, writer):
            writer.write(f"GET {path_of(fake, media)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await eventually(lambda: bool(fake.codecs.developed))
            stop.set()
            with contextlib.suppress(ConnectionResetError):
                assert b"200 OK" not in await reader.read()
        await stopped.wait()


@asynccontextmanager
async def _stoppable(
    fake: FakeService, *, drain_seconds: float = 2
) -> AsyncIterator[tuple[int, asyncio.Event, asyncio.Event]]:
    """A server's port, an event that stops it, and one that tells that it has."""
    stop, stopped = asyncio.Event(), asyncio.Event()
    ports: asyncio.Queue[int] = asyncio.Queue()

    async def serve() -> None:
        async with _served(fake, drain_seconds=drain_seconds) as port:
            ports.put_nowait(port)
            await stop.wait()
        stopped.set()

    serving = asyncio.create_task(serve())
    yield await ports.get(), stop, stopped
    stop.set()
    await serving


async def test_a_port_that_is_taken_is_an_error(fake: FakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = http_app(fake.service, readiness=Readiness(needed={}), capabilities=dict)
        with pytest.raises(OSError, match="in use"):
            async with serve_http(app, port=taken.getsockname()[1]):
                pass


async def test_nothing_is_left_behind(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    tasks = asyncio.all_tasks()

    for _ in range(3):
        async with _served(fake) as port, _connected(port) as (reader, writer):
            writer.write(f"GET {path_of(fake, media)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == tasks
