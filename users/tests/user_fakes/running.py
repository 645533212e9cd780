"""The service over HTTP in this process: PostgreSQL, sockets, the media client's double."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from media_client import Retries
from media_client.testing import FakeMediaClient, InMemoryMedia, sample_picture
from user_service.commands.serve import _http
from user_service.composition import open_user_service
from user_service.config import read_settings
from user_service.http_api.app import http_app
from user_service.http_api.server import serve_http

PASSWORD = "a quiet green harbour"
PICTURE = "/api/v1/media/profile-picture"
COVER = "/api/v1/media/cover-photo"


@dataclasses.dataclass
class Person:
    """Somebody who is in."""

    user_id: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


class Running:
    """A service that runs, and ways to ask it."""

    def __init__(self, port: int, media: InMemoryMedia, http: httpx.AsyncClient) -> None:
        self.port = port
        self.media = media
        self.http = http
        self._people = 0

    async def person(self, name: str = "") -> Person:
        self._people += 1
        body = {"username": name or f"user{self._people}", "password": PASSWORD}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        data = answer.json()["data"]
        return Person(data["user_id"], data["access_token"], data["refresh_token"])

    async def upload(
        self, person: Person, data: bytes | None = None, *, path: str = PICTURE, **headers: str
    ) -> httpx.Response:
        file = ("me.png", sample_picture() if data is None else data, "image/png")
        sent = person.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, files={"file": file}, headers=sent)

    async def profile(self, person: Person) -> dict[str, Any]:
        answer = await self.http.get("/api/v1/profile", headers=person.headers)
        assert answer.status_code == 200, answer.text
        profile: dict[str, Any] = answer.json()["data"]
        return profile

    async def raw(self, *pieces: bytes, pause: float = 0.0, until_end: bool = True) -> bytes:
        """Send these bytes over one connection; everything that comes back until its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            if until_end:
                return await asyncio.wait_for(reader.read(), 20)
            return await asyncio.wait_for(reader.read(65_536), 20)
        finally:
            writer.close()


@asynccontextmanager
async def running(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """A service with these settings."""
    read = read_settings(database_url=database_url, data_dir=folder, **settings)
    client = FakeMediaClient(
        retries=Retries(first_pause=0.001), timeout=2.0, upload_timeout=read.media_upload_seconds
    )
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_user_service(read, client=client))
        app = http_app(opened.service, _http(read, opened), checks=opened.checks)
        port = await stack.enter_async_context(serve_http(app, drain_seconds=2))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
        )
        yield Running(port, client.service, http)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a failure, whose envelope must be right."""
    body = answer.json()
    assert set(body) == {"success", "error"}, body
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message"}
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["error"]["code"]
