"""Key sets read from a URL: when, how often, how much."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from user_service.errors import KeysUnavailable
from user_service.key_fetching import (
    FRESH_SECONDS,
    PAUSE_SECONDS,
    USABLE_SECONDS,
    FetchedKeys,
    fetch_from,
)
from user_service.keys import KeysRefused

KEY = rsa.generate_private_key(65537, 2048).public_key()


def key_set(*names: str) -> bytes:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY))
    return json.dumps({"keys": [jwk | {"kid": name} for name in names]}).encode()


class Issuer:
    """Publishes a key set, or nothing."""

    def __init__(self) -> None:
        self.published: bytes | None = key_set("a")
        self.asked = 0
        self.time = 0.0
        self.keys = FetchedKeys(self.fetch, clock=lambda: self.time)

    async def fetch(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.published is None:
            raise OSError
        return self.published

    async def has(self, name: str | None) -> bool:
        return bool(await self.keys.find(name, algorithm="RS256"))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def test_keys_are_read_when_they_are_needed_and_kept(issuer: Issuer) -> None:
    assert issuer.asked == 0
    assert all([await issuer.has("a") for _ in range(5)])
    assert issuer.asked == 1


async def test_many_at_once_ask_once(issuer: Issuer) -> None:
    assert all(await asyncio.gather(*(issuer.has("a") for _ in range(20))))
    assert issuer.asked == 1


async def test_a_new_key_is_found_and_unknown_names_can_not_make_us_ask(issuer: Issuer) -> None:
    await issuer.has("a")
    issuer.published = key_set("a", "b")
    for n in range(50):
        assert not await issuer.has(f"unknown {n}")
    assert issuer.asked == 1
    issuer.time = PAUSE_SECONDS + 1
    assert await issuer.has("b")
    assert issuer.asked == 2


async def test_a_key_that_is_gone_is_forgotten_when_the_set_is_old(issuer: Issuer) -> None:
    await issuer.has("a")
    issuer.published = key_set("b")
    issuer.time = FRESH_SECONDS + 1
    assert not await issuer.has("a")


async def test_an_issuer_that_is_away_is_not_missed_for_a_day(issuer: Issuer) -> None:
    await issuer.has("a")
    issuer.published = None
    issuer.time = USABLE_SECONDS - 1
    assert await issuer.has("a")
    issuer.time = USABLE_SECONDS + PAUSE_SECONDS + 1
    with pytest.raises(KeysUnavailable):
        await issuer.has("a")


@pytest.mark.parametrize(
    "published", [None, b"", b"[]", b'{"keys": 1}', b'{"keys": []}', b"x" * 99]
)
async def test_without_keys_it_is_said_that_they_are_away(
    issuer: Issuer, published: bytes | None
) -> None:
    issuer.published = published
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await issuer.has("a")
    assert issuer.asked == 1


class TestOverHttp:
    async def test_a_set_is_read(self) -> None:
        with serving(lambda handler: answer(handler, 200, key_set("a"))) as url:
            assert await FetchedKeys(fetch_from(url)).find("a", algorithm="RS256")

    async def test_nobody_sends_us_elsewhere(self) -> None:
        asked: list[str] = []

        def redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
            asked.append(handler.path)
            handler.send_response(302)
            handler.send_header("Location", "/elsewhere")
            handler.end_headers()

        with serving(redirect) as url, pytest.raises(OSError, match="302"):
            await fetch_from(url)()
        assert asked == ["/jwks"]

    async def test_an_endless_answer_is_refused(self) -> None:
        with (
            serving(lambda handler: answer(handler, 200, b" " * 300_000)) as url,
            pytest.raises(KeysRefused),
        ):
            await fetch_from(url)()

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:,x", "https://", "x"])
    def test_only_web_addresses_are_taken(self, url: str) -> None:
        with pytest.raises(KeysRefused):
            fetch_from(url)


def answer(handler: http.server.BaseHTTPRequestHandler, status: int, content: bytes) -> None:
    handler.send_response(status)
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def serving(
    respond: Callable[[http.server.BaseHTTPRequestHandler], None],
) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
