from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from fakes.readers import SAFETY, code_of, content_of, reader_of, url_of
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.media import Purpose, Visibility, new_media_id

IMMUTABLE = "public, max-age=31536000, immutable"

READABLE = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": (
        "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Request-Id"
    ),
}


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with reader_of(fake) as reader:
        yield reader


# What is there


async def test_a_rendition_is_delivered_with_all_that_is_said_of_it(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), filename="Grüße.png")

    answer = await http.get(url_of(fake, media, "small"))

    content = content_of(media, "small")
    headers = dict(answer.headers)
    assert answer.status_code == 200
    assert answer.content == content
    assert headers.pop("etag").strip('"')
    assert len(headers.pop("x-request-id")) == 32
    assert headers == SAFETY | READABLE | {
        "content-type": "image/jpeg",
        "content-length": str(len(content)),
        "accept-ranges": "bytes",
        "cache-control": IMMUTABLE,
        "content-disposition": (
            "inline; filename=\"Gr__e.jpg\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.jpg"
        ),
    }


async def test_a_url_is_good_before_any_job_ran(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload(picture())

    answer = await http.get(url_of(fake, media))

    assert answer.content == content_of(media)


async def test_head_tells_the_same_without_the_bytes(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    same = {"x-request-id": "same"}

    got = await http.get(url_of(fake, media), headers=same)
    answer = await http.head(url_of(fake, media), headers=same | {"range": "bytes=0-1"})

    assert answer.status_code == 200
    assert answer.headers == got.headers
    assert answer.content == b""


async def test_without_its_version_a_url_means_what_is_there_now(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())

    for url in (f"/media/{media.id}/full", f"/media/{media.id}/full?v=0123456789"):
        answer = await http.get(url)

        assert answer.content == content_of(media)
        assert answer.headers["cache-control"] == "public, max-age=60, must-revalidate"


async def test_a_story_is_kept_no_longer_than_it_lasts(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), purpose=Purpose.STORY)
    url = url_of(fake, media)
    fake.clock.advance(timedelta(hours=23))

    answer = await http.get(url)
    fake.clock.advance(timedelta(hours=2))
    after = await http.get(url)

    assert answer.headers["cache-control"] == "public, max-age=3600, immutable"
    assert (after.status_code, code_of(after)) == (404, "media_not_found")


# What the reader has already


@pytest.mark.parametrize("template", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_reader_who_has_it_is_sent_nothing(
    fake: FakeService, http: httpx.AsyncClient, template: str
) -> None:
    media = await fake.upload_done(picture())
    first = await http.get(url_of(fake, media))
    condition = {"if-none-match": template.format(first.headers["etag"])}

    for method in ("GET", "HEAD"):
        answer = await http.request(method, url_of(fake, media), headers=condition)

        assert answer.status_code == 304
        assert answer.content == b""
        assert "content-length" not in answer.headers
        for name in ("etag", "cache-control", *SAFETY, *READABLE):
            assert answer.headers[name] == first.headers[name]


async def test_a_reader_who_has_another_content_is_sent_this_one(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())

    answer = await http.get(url_of(fake, media), headers={"if-none-match": '"other"'})

    assert answer.status_code == 200


# Parts


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-9", slice(5, 10)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=0-99999", slice(0, None)),
        ("bytes=-99999", slice(0, None)),
    ],
)
async def test_a_part_is_given_as_asked(
    fake: FakeService, http: httpx.AsyncClient, value: str, part: slice
) -> None:
    media = await fake.upload_done(picture())
    content = content_of(media)

    answer = await http.get(url_of(fake, media), headers={"range": value})

    start, stop, _ = part.indices(len(content))
    assert answer.status_code == 206
    assert answer.content == content[part]
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.headers["cache-control"] == IMMUTABLE


async def test_a_part_that_is_not_there_is_refused(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())

    answer = await http.get(url_of(fake, media), headers={"range": "bytes=100000-"})

    assert (answer.status_code, code_of(answer)) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(content_of(media))}"


@pytest.mark.parametrize(
    "value", ["bytes=9-5", "lines=1-2", "bytes=0-1,3-4", "bytes=" + "0-0," * 1000 + "1-1"]
)
async def test_of_several_parts_or_none_the_whole_is_given(
    fake: FakeService, http: httpx.AsyncClient, value: str
) -> None:
    media = await fake.upload_done(picture())

    answer = await http.get(url_of(fake, media), headers={"range": value})

    assert answer.status_code == 200
    assert answer.content == content_of(media)


async def test_a_part_of_another_content_is_not_given(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    url = url_of(fake, media)
    etag = (await http.get(url)).headers["etag"]

    for if_range, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200)):
        headers = {"range": "bytes=0-1", "if-range": if_range}
        assert (await http.get(url, headers=headers)).status_code == status


# Private media


async def test_private_media_need_the_signature_of_their_url(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    url = url_of(fake, media)

    signed = await http.get(url)
    unsigned = await http.get(url.split("?")[0])
    unknown = await http.get(f"/media/{new_media_id()}/full")

    assert signed.content == content_of(media)
    assert signed.headers["cache-control"] == "private, max-age=3600"
    assert unsigned.status_code == 404
    assert unsigned.content == unknown.content
    assert unsigned.headers.keys() == unknown.headers.keys()


async def test_a_signature_works_for_head_and_for_no_other_method(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)

    assert (await http.head(url_of(fake, media))).status_code == 200
    for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"):
        answer = await http.request(method, url_of(fake, media))
        assert answer.status_code == (200 if method == "get" else 403)


async def test_a_tampered_signature_is_refused_whatever_is_there(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    private = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    public = await fake.upload_done(picture(), visibility=Visibility.PUBLIC)
    query = urlsplit(url_of(fake, private)).query

    for path in (
        f"/media/{public.id}/full",
        f"/media/{private.id}/small",
        f"/media/{private.id}/nothing",
        f"/media/{new_media_id()}/full",
        "/media/x/full",
        "/media/../healthz2",
        "/nowhere",
    ):
        answer = await http.get(f"{path}?{query}")
        assert (answer.status_code, code_of(answer)) == (403, "invalid_signature"), path


async def test_a_signature_ends(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    url = url_of(fake, media)
    fake.clock.advance(timedelta(hours=2))

    answer = await http.get(url)

    assert (answer.status_code, code_of(answer)) == (403, "invalid_signature")


async def test_a_signed_url_of_a_deleted_medium_leads_nowhere(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    url = url_of(fake, media)
    await fake.service.deleting.delete(media.id, user=media.owner)

    answer = await http.get(url)

    assert (answer.status_code, code_of(answer)) == (404, "media_not_found")
