"""Bodies as no honest client sends them, over raw sockets (rows H31-44 of the hostile inputs)."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from media_client.testing import sample_picture
from user_fakes.forms import BOUNDARY, form, part
from user_fakes.running import PICTURE, Person, Running, running

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
MB = 1024 * 1024


def head(person: Person, *lines: str, boundary: bytes = BOUNDARY) -> bytes:
    told = (
        f"POST {PICTURE} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {person.access_token}",
        f"Content-Type: multipart/form-data; boundary={boundary.decode()}",
        *lines,
    )
    return ("\r\n".join(told) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def parsed(answer: bytes) -> tuple[int, str]:
    """Status and code of the only answer there is."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer[:500]
    top, _, body = answer.partition(b"\r\n\r\n")
    envelope = json.loads(body)
    return int(top.split()[1]), envelope.get("error", {}).get("code", "")


async def test_a_body_without_length_is_taken(service: Running) -> None:
    person = await service.person()
    whole = form(sample_picture())
    pieces = [chunk(whole[i : i + 50]) for i in range(0, len(whole), 50)] + [b"0\r\n\r\n"]
    sent = head(person, "Transfer-Encoding: chunked", "Connection: close")
    assert parsed(await service.raw(sent, *pieces)) == (200, "")


async def test_two_gigabytes_announced_are_refused_at_once(service: Running) -> None:
    person = await service.person()
    began = time.monotonic()
    answer = await service.raw(head(person, f"Content-Length: {2 * 1024 * MB}"), until_end=False)
    assert parsed(answer) == (413, "file_too_large")
    assert b"connection: close" in answer.lower()
    assert time.monotonic() - began < 2


async def test_an_endless_body_is_refused_at_the_limit_and_cut(service: Running) -> None:
    person = await service.person()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head(person, "Transfer-Encoding: chunked"))
    writer.write(chunk(part(sample_picture())[:-2]))
    sent = 0
    try:
        while sent < 200 * MB:
            writer.write(chunk(bytes(MB)))
            await writer.drain()
            sent += MB
    except ConnectionError:
        pass
    assert sent < 100 * MB
    writer.close()
    assert (await service.profile(person))["profile_picture_id"] is None
    del reader


async def test_ten_megabytes_and_one_byte_get_an_answer_that_is_read(service: Running) -> None:
    person = await service.person()
    body = form(sample_picture() + bytes(10 * MB + 1 - len(sample_picture())))
    told = head(person, f"Content-Length: {len(body)}", "Connection: close")
    answer = await service.raw(told, body)
    assert parsed(answer) == (413, "file_too_large")


async def test_a_body_that_ends_too_early_changes_nothing(service: Running) -> None:
    person = await service.person()
    body = form(sample_picture())
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head(person, f"Content-Length: {len(body) + 10}") + body)
    await writer.drain()
    writer.write_eof()
    assert b"HTTP/1.1 200" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert (await service.profile(person))["profile_picture_id"] is None


async def test_a_body_longer_than_announced_is_no_second_request(service: Running) -> None:
    person = await service.person()
    body = form(sample_picture())
    sent = head(person, f"Content-Length: {len(body) - 4}", "Connection: close")
    assert parsed(await service.raw(sent, body)) == (400, "invalid_multipart")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: x",),
        ("Content-Length: 1e3",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 10", "Content-Length: 11"),
        ("Content-Length: 10", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: chunked, identity",),
        ("X: a\r\n b", "Content-Length : 10"),
        ("X: \0",),
    ],
    ids=range(10),
)
async def test_heads_that_can_be_read_two_ways_get_one_refusal(
    service: Running, lines: tuple[str, ...]
) -> None:
    person = await service.person()
    answer = await service.raw(head(person, *lines, "Connection: close"), b"0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") <= 1
    if answer:
        assert parsed(answer)[0] in (400, 413, 415, 431, 501)


async def test_endless_heads_are_refused(service: Running) -> None:
    answer = await service.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000)
    assert parsed(answer) == (431, "headers_too_large")
    answer = await service.raw(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n")
    assert parsed(answer) == (414, "uri_too_long")
    answer = await service.raw(b"nonsense\r\n\r\n")
    assert parsed(answer) == (400, "invalid_request")


class TestSlowness:
    async def test_a_body_that_stands_still_ends(self, database_url: str, tmp_path: Path) -> None:
        async with running(database_url, tmp_path, upload_idle_seconds=0.5) as service:
            person = await service.person()
            body = form(sample_picture())
            sent = head(person, f"Content-Length: {len(body)}")
            began = time.monotonic()
            answer = await service.raw(sent, body[:40])
            assert parsed(answer) == (408, "upload_stalled")
            assert time.monotonic() - began < 5

    async def test_a_body_that_trickles_ends(self, database_url: str, tmp_path: Path) -> None:
        async with running(database_url, tmp_path, upload_idle_seconds=0.5) as service:
            person = await service.person()
            body = form(sample_picture())
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(head(person, f"Content-Length: {len(body)}"))
            began = time.monotonic()
            # Not to its end: who goes on sending after the answer has it cut.
            answer = asyncio.create_task(reader.readuntil(b"}}"))
            for byte in body:
                if answer.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
            assert parsed(await asyncio.wait_for(answer, 5)) == (408, "upload_stalled")
            assert time.monotonic() - began < 8
            writer.close()

    async def test_others_are_served_meanwhile_and_nothing_is_left(self, service: Running) -> None:
        person = await service.person()
        body = form(sample_picture())
        slow = []
        for _ in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(head(person, f"Content-Length: {len(body)}") + body[:30])
            slow.append(writer)
        other = await service.person()
        assert (await service.upload(other)).status_code == 200
        for writer in slow:
            writer.close()
        await asyncio.sleep(0.2)
        ready = await service.http.get("/metrics")
        assert "userd_http_in_flight_requests 1.0" in ready.text


async def test_expecting_clients_are_told_to_go_on(service: Running) -> None:
    person = await service.person()
    body = form(sample_picture())
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = (f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
    writer.write(head(person, *lines))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert parsed(await reader.read()) == (200, "")
    writer.close()


async def test_a_slow_json_body_ends_too(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from user_service.http_api import bodies

    monkeypatch.setattr(bodies, "_JSON_SECONDS", 0.3)
    sent = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 50\r\n\r\n{"
    )
    assert parsed(await service.raw(sent)) == (408, "timed_out")
