"""Readers of a service on fakes, over HTTP without sockets: what they ask for and what they get."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import BASE_URL, FakeService
from media_service.core.media import Media
from media_service.core.readiness import Readiness
from media_service.entrypoints.http_api.app import http_app
from starlette.types import ASGIApp

SAFETY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


def app_of(fake: FakeService, *, redirects: bool = False) -> ASGIApp:
    """Its HTTP API."""
    readiness = Readiness(needed={})
    return http_app(fake.service, readiness=readiness, capabilities=dict, redirects=redirects)


@asynccontextmanager
async def reader_of(
    fake: FakeService, *, redirects: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who asks it."""
    transport = httpx.ASGITransport(app_of(fake, redirects=redirects))
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


def url_of(fake: FakeService, media: Media, name: str = "full") -> str:
    """The URL of a rendition, as answers tell it now."""
    rendition = media.rendition(name)
    assert rendition
    return fake.service.links.url(media, rendition, now=fake.clock.now)


def path_of(fake: FakeService, media: Media) -> str:
    """The path and query of the URL of `full`."""
    return "/" + url_of(fake, media).split("/", 3)[3]


def content_of(media: Media, name: str = "full") -> bytes:
    """What the scripted codecs make of a picture."""
    rendition = media.rendition(name)
    assert rendition
    return developed_bytes(picture(), rendition.recipe)


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal, which must be whole."""
    body = answer.json()
    assert body["success"] is False
    assert body["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert SAFETY.items() <= dict(answer.headers).items()
    assert answer.headers["x-request-id"]
    return str(body["error"]["code"])
