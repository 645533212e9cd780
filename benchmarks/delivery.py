"""Delivery of a thumbnail against a static file by the same HTTP stack."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
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
    """Requests that one second of the server's CPU answers; rounds of all alternate."""
    with Mediad(folder / "mediad").running() as mediad, contextlib.ExitStack() as stack:
        url = asyncio.run(_thumbnail_url(mediad))
        body = httpx.get(url).content
        file = folder / "thumbnail.jpg"
        file.write_bytes(body)
        servers = {"ours": (mediad.pid, url)}
        servers |= {kind: stack.enter_context(_static(file, kind)) for kind in ("static", "bare")}
        best = dict.fromkeys(servers, 0.0)
        for _ in range(ROUNDS):
            for name, (pid, target) in servers.items():
                best[name] = max(best[name], _per_cpu_second(pid, target))
    size = f"{len(body) // 1024} KB thumbnail"
    return [
        _row(f"delivery of a {size} / StaticFiles, same HTTP stack", best, "static"),
        _row(f"delivery of a {size} / bare ASGI function, same HTTP stack", best, "bare"),
    ]


def _row(name: str, best: dict[str, float], reference: str) -> Row:
    return Row(
        name=name,
        ours=best["ours"],
        reference=best[reference],
        unit="requests per CPU-second",
        target=f"≥ {LEAST}",
        is_met=best["ours"] >= LEAST * best[reference],
        note=f"{AT_ONCE} connections; best of {ROUNDS} rounds of {REQUESTS}",
    )


@contextlib.contextmanager
def _static(file: Path, kind: str) -> Iterator[tuple[int, str]]:
    """A server of the file; its process id and the file's URL."""
    port = free_port()
    arguments = [sys.executable, "-m", "benchmarks.static_server", str(file), str(port), kind]
    with subprocess.Popen(arguments) as server:
        try:
            url = f"http://127.0.0.1:{port}/{file.name}"
            _wait_for(url)
            yield server.pid, url
        finally:
            server.kill()


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
