"""Hostile bytes on a real connection: never two answers to a request, a fault, or a hang."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
import uvloop
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.readiness import Readiness
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.server import serve_http

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the")
SMUGGLED = b"GET /healthz?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
SILENCE_SECONDS = 0.5
POST = b"POST /healthz HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED
BODY = b"Content-Length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED)
HOSTILE = {
    "CL.TE": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKED,
    "TE twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" + CHUNKED,
    "TE obfuscated": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "TE not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "TE with a space": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKED,
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKED,
    "TE with NUL": POST + b"Transfer-Encoding: chunked\x00\r\n\r\n" + CHUNKED,
    "CL twice": POST + b"Content-Length: 0\r\n" + BODY,
    "CL in a list": POST + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED,
    "CL negative": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "CL signed": POST + b"Content-Length: +43\r\n\r\n" + SMUGGLED,
    "CL hexadecimal": POST + b"Content-Length: 0x2b\r\n\r\n" + SMUGGLED,
    "CL huge": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + SMUGGLED,
    "CL of a GET": GET + BODY,
    "chunk overflow": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + SMUGGLED,
    "chunk of no size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SMUGGLED,
    "chunk longer": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n" + CHUNKED,
    "bare CR": GET + b"X: a\rX: b\r\n\r\n",
    "bare CR for a line": GET + b"X: a\r\r\n\r\n" + SMUGGLED,
    "NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "NUL in a name": GET + b"X\x00: a\r\n\r\n",
    "NUL in the path": b"GET /healthz\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "obs-fold": GET + b"X: a\r\n b\r\n\r\n",
    "a space in a name": GET + b"X Y: a\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "no colon": GET + b"abc\r\n\r\n",
    "no method": b" /healthz HTTP/1.1\r\n\r\n",
    "a method of its own": b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/9.9": b"GET /healthz HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n" + SMUGGLED,
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": b"GET /healthz#x HTTP/1.1\r\nHost: x\r\n\r\n",
    "not ASCII": b"GET /h\xc3\xa4lthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + BODY,
    "a long URL": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": GET + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "a long name": GET + b"x" * 100_000 + b": x\r\n\r\n",
    "many headers": GET + b"X: y\r\n" * 10_000 + b"\r\n",
    "a long body": POST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 3_000_000,
    "trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 300_000,
    "noise": bytes(range(256)) * 10,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}


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
    app = http_app(fake.service, readiness=Readiness(needed={}), capabilities=dict)
    async with serve_http(app, drain_seconds=2) as port:
        yield port


async def _received(port: int, data: bytes, *, size: int = 1_000_000) -> bytes:
    """What comes back for data sent in pieces, until the server closes or falls silent."""
    received = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # A RuntimeError is how uvloop says that the connection is closed.
    with contextlib.suppress(ConnectionError, TimeoutError, RuntimeError):
        async with asyncio.timeout(10):
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await writer.drain()
                await asyncio.sleep(0.001)
            while piece := await asyncio.wait_for(reader.read(65536), SILENCE_SECONDS):
                received += piece
    writer.close()
    return received


def _statuses(received: bytes) -> list[int]:
    return [int(status) for status in STATUS_LINE.findall(received)]


@pytest.mark.parametrize("size", [1_000_000, 1000, 7])
async def test_no_request_has_two_answers_and_none_is_a_fault(port: int, size: int) -> None:
    sent = {name: data for name, data in HOSTILE.items() if len(data) < size * 1000}
    received = await asyncio.gather(*(_received(port, data, size=size) for data in sent.values()))

    for name, answer in zip(sent, received, strict=True):
        statuses = _statuses(answer)
        assert len(statuses) <= 1, name
        assert not set(statuses) - {200, 400, 404, 405, 414, 431}, name
        assert b"smuggled" not in answer
    assert _statuses(await _received(port, GET + b"\r\n")) == [200]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("CL.TE", 400),
        ("TE.CL", 400),
        ("CL twice", 400),
        ("obs-fold", 400),
        ("NUL in a value", 400),
        ("a fragment", 400),
        ("a long URL", 414),
        ("a long header", 431),
        ("many headers", 431),
    ],
)
async def test_what_can_not_be_understood_is_refused_in_our_words(
    port: int, name: str, status: int
) -> None:
    received = await _received(port, HOSTILE[name])

    assert _statuses(received) == [status]
    assert b"connection: close\r\n" in received
    assert b"x-content-type-options: nosniff\r\n" in received
    assert b"access-control-allow-origin: *\r\n" in received, "a page learns why"
    assert b'{"success":false,"error":{"code":' in received


async def test_what_follows_a_good_request_does_not_spoil_its_answer(port: int) -> None:
    received = await _received(port, GET + b"\r\n" + b"\x00nonsense\r\n\r\n")

    assert _statuses(received) == [200]
    assert received.endswith(b"}")
    assert b"connection: close" in received


async def test_a_body_that_goes_wrong_after_its_answer_gets_no_second_one(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    answer = await reader.readuntil(b"}}")
    writer.write(b"not a chunk\r\n")

    assert _statuses(answer) == [405]
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_nobody_is_told_to_go_on_with_what_is_not_taken(port: int) -> None:
    head = POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"

    assert _statuses(await _received(port, head)) == [405]


async def test_requests_without_end_on_one_connection_are_not_all_remembered(port: int) -> None:
    statuses = _statuses(await _received(port, (GET + b"\r\n") * 5000))

    assert set(statuses) == {200}
    assert len(statuses) < 100


async def test_a_thousand_parts_are_one_whole(fake: FakeService, port: int) -> None:
    media = await fake.upload_done(picture())
    full = media.rendition("full")
    assert full
    ranges = ",".join(f"{n}-{n}" for n in range(1000))
    head = f"GET /media/{media.id}/full HTTP/1.1\r\nHost: x\r\nRange: bytes={ranges}\r\n\r\n"

    received = await _received(port, head.encode())

    assert _statuses(received) == [200]
    assert received.endswith(developed_bytes(picture(), full.recipe))
