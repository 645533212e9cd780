"""Readers who are sent to the store, and those who are not."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fakes.readers import reader_of, url_of
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.media import Visibility

STORE = "https://store.example"


@pytest.fixture
def fake() -> FakeService:
    fake = fake_service()
    fake.blobs.public_url = STORE
    return fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with reader_of(fake, redirects=True) as reader:
        yield reader


def _said(answer: httpx.Response) -> dict[str, str]:
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: value for name, [value] in query.items()}


async def test_a_reader_is_sent_to_the_store(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload_done(filename="Photo.jpeg")

    answer = await http.get(url_of(fake, media))

    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{STORE}/renditions/")
    assert _said(answer) == {
        "type": "image/jpeg",
        "as": 'inline; filename="Photo.jpg"',
        "for": "900",
    }
    assert answer.headers["cache-control"] == "public, max-age=450"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == b""


async def test_a_private_medium_is_open_no_longer_than_its_signature(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)
    url = url_of(fake, media)
    expires = int(parse_qs(urlsplit(url).query)["exp"][0])
    fake.clock.advance(timedelta(seconds=expires - 40 - fake.clock.now.timestamp()))

    answer = await http.get(url)

    assert _said(answer)["for"] == "40"
    assert answer.headers["cache-control"] == "private, max-age=20"


async def test_head_and_revalidation_are_answered_here(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done()

    head = await http.head(url_of(fake, media))
    again = await http.get(url_of(fake, media), headers={"if-none-match": head.headers["etag"]})

    assert (head.status_code, again.status_code) == (200, 304)


async def test_a_rendition_that_is_missing_is_made_before_anyone_is_sent_there(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done()
    for key in [key for key in fake.blobs.contents if key.startswith("renditions/")]:
        del fake.blobs.contents[key]

    answer = await http.get(url_of(fake, media))

    key = urlsplit(answer.headers["location"]).path.removeprefix("/")
    assert key in fake.blobs.contents


async def test_what_a_browser_could_run_is_sent_from_here(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done()
    stored = fake.database.renditions
    for key, each in list(stored.items()):
        stored[key] = dataclasses.replace(each, content_type="image/svg+xml")
    fake.developing._known.clear()

    answer = await http.get(url_of(fake, media))

    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_a_store_without_a_way_past_us_is_read_from_here(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    fake.blobs.public_url = ""
    media = await fake.upload_done()
    rendition = media.rendition("full")
    assert rendition

    answer = await http.get(url_of(fake, media))

    assert answer.status_code == 200
    assert answer.content == developed_bytes(picture(), rendition.recipe)
