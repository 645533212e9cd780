"""Delivery of a thumbnail against a static file by the same HTTP stack."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop

from benchmarks.photographs import photograph
from benchmarks.processes import own_cpu_seconds
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, free_port, stub, upload_request

REQUESTS = 8000
AT_ONCE = 16
ROUNDS = 3
LEAST = 0.8


def measure(folder: Path) -> list[Row]:
    """Requests that one second of the server's CPU answers; rounds of both alternate."""
    with Mediad(folder / "mediad").running() as mediad:
        url = asyncio.run(_thumbnail_url(mediad))
        body = httpx.get(url).content
        file = folder / "thumbnail.jpg"
        file.write_bytes(body)
        port = free_port()
        static = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.static_server", str(file), str(port)]
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/")
            ours, reference = [], []
            for _ in range(ROUNDS):
                reference.append(_per_cpu_second(static.pid, f"http://127.0.0.1:{port}/"))
                ours.append(_per_cpu_second(mediad.pid, url))
        finally:
            static.kill()
    best, best_reference = max(ours), max(reference)
    return [
        Row(
            name=f"delivery of a {len(body) // 1024} KB thumbnail / static file, same HTTP stack",
            ours=best,
            reference=best_reference,
            unit="requests per CPU-second",
            target=f"≥ {LEAST}",
            is_met=best >= LEAST * best_reference,
            note=f"{AT_ONCE} connections; best of {ROUNDS} rounds of {REQUESTS}",
        )
    ]


async def _thumbnail_url(mediad: Mediad) -> str:
    async with mediad.channel() as channel:
        answer = await stub(channel).UploadMedia(upload_request(photograph(4)))
        return str(answer.thumbnails[2].url)


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {url}")


def _per_cpu_second(pid: int, url: str) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_request(url, 500))
        before = own_cpu_seconds(pid)
        runner.run(_request(url, REQUESTS))
        time.sleep(0.05)
        return REQUESTS / (own_cpu_seconds(pid) - before)


async def _request(url: str, requests: int) -> None:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    left = iter(range(requests))

    async def reader() -> None:
        incoming, outgoing = await asyncio.open_connection(parts.hostname, parts.port)
        for _ in left:
            outgoing.write(head)
            headers = await incoming.readuntil(b"\r\n\r\n")
            assert headers.startswith(b"HTTP/1.1 200"), headers
            length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await incoming.readexactly(length)
        outgoing.close()

    await asyncio.gather(*(reader() for _ in range(AT_ONCE)))
