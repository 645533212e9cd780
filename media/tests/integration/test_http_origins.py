"""Pages of other origins, as browsers let them: over a socket, with the requests browsers send."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fakes.readers import path_of
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.errors import DecoderUnavailable
from media_service.core.media import Visibility, new_media_id
from media_service.core.readiness import Readiness
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.server import serve_http

PAGE = {"origin": "http://page.example:8080"}
ASKING = PAGE | {
    "access-control-request-method": "GET",
    "access-control-request-headers": "range",
}


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    app = http_app(fake.service, readiness=Readiness(needed={}), capabilities=dict)
    async with (
        serve_http(app, host="127.0.0.1") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


def _exposed(answer: httpx.Response) -> set[str]:
    """The headers that a page's script may read."""
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    return set(answer.headers["access-control-expose-headers"].lower().split(", "))


@pytest.mark.parametrize("visibility", Visibility)
async def test_a_page_reads_what_it_has_the_url_of(
    fake: FakeService, http: httpx.AsyncClient, visibility: Visibility
) -> None:
    media = await fake.upload_done(picture(), visibility=visibility)
    path = path_of(fake, media)

    whole = await http.get(path, headers=PAGE)
    part = await http.get(path, headers=PAGE | {"range": "bytes=2-5"})
    known = await http.get(path, headers=PAGE | {"if-none-match": whole.headers["etag"]})
    head = await http.head(path, headers=PAGE)

    full = media.rendition("full")
    assert full
    content = developed_bytes(picture(), full.recipe)
    assert whole.content == content
    assert (part.status_code, part.content) == (206, content[2:6])
    assert known.status_code == 304
    for answer in (whole, part, known, head):
        assert {"etag", "content-length", "content-range", "accept-ranges"} <= _exposed(answer)
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "vary" not in answer.headers


async def test_an_answer_is_the_same_for_every_origin(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    same = {"x-request-id": "same"}

    answers = [await http.get(path_of(fake, media), headers=same | own) for own in ({}, PAGE)]

    first, second = ({k: v for k, v in a.headers.items() if k != "date"} for a in answers)
    assert first == second


async def test_a_page_learns_why_it_gets_nothing(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(picture(), visibility=Visibility.PRIVATE)
    fake.codecs.develop_error = DecoderUnavailable()

    later = await http.get(path_of(fake, media), headers=PAGE)
    unsigned = await http.get(f"/media/{media.id}/full", headers=PAGE)

    assert (later.status_code, unsigned.status_code) == (503, 404)
    assert {"retry-after", "x-request-id"} <= _exposed(later)
    assert unsigned.json()["error"]["code"]
    assert _exposed(unsigned)


@pytest.mark.parametrize("visibility", Visibility)
async def test_a_browser_that_asks_first_may_ask_for_ranges(
    fake: FakeService, http: httpx.AsyncClient, visibility: Visibility
) -> None:
    media = await fake.upload_done(picture(), visibility=visibility)

    answer = await http.request("OPTIONS", path_of(fake, media), headers=ASKING)
    then = await http.get(path_of(fake, media), headers=PAGE | {"range": "bytes=0-0"})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert "range" in answer.headers["access-control-allow-headers"].lower().split(", ")
    assert int(answer.headers["access-control-max-age"]) > 0
    assert then.status_code == 206


async def test_asking_first_tells_nothing_of_what_is_there(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    own = ASKING | {"x-request-id": "same"}

    answers = [
        await http.request("OPTIONS", path, headers=own)
        for path in (path_of(fake, media), f"/media/{new_media_id()}/full", "/media/x")
    ]

    told = [{k: v for k, v in a.headers.items() if k != "date"} for a in answers]
    assert {answer.status_code for answer in answers} == {204}
    assert told[0] == told[1] == told[2]


async def test_pages_are_not_let_near_what_operators_ask(http: httpx.AsyncClient) -> None:
    for path in ("/metrics", "/healthz", "/readyz", "/capabilities", "/nothing"):
        got = await http.get(path, headers=PAGE)
        asked = await http.request("OPTIONS", path, headers=ASKING)

        assert "access-control-allow-origin" not in got.headers, path
        assert asked.status_code in {404, 405}, path
        assert "access-control-allow-origin" not in asked.headers, path
