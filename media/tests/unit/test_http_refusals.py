from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
from fakes.readers import code_of, content_of, reader_of, url_of
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.errors import (
    BrokenFile,
    DatabaseUnavailable,
    DecoderUnavailable,
    StorageUnavailable,
)
from media_service.core.media import new_media_id

IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with reader_of(fake) as reader:
        yield reader


async def test_what_is_not_there_is_said_to_be_so(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())

    for path, status, code in (
        (f"/media/{media.id}/huge", 404, "rendition_not_found"),
        (f"/media/{new_media_id()}/full", 404, "media_not_found"),
        (f"/media/{media.id}", 404, "not_found"),
        ("/media/1/full", 400, "invalid_media_id"),
        (f"/media/{media.id}/full?v=1&v=2", 400, "invalid_request"),
    ):
        answer = await http.get(path)
        assert (answer.status_code, code_of(answer)) == (status, code), path


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_media_are_only_read(fake: FakeService, http: httpx.AsyncClient, method: str) -> None:
    media = await fake.upload_done(picture())

    answer = await http.request(method, url_of(fake, media))

    assert (answer.status_code, code_of(answer)) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_medium_that_failed_says_so(fake: FakeService, http: httpx.AsyncClient) -> None:
    fake.codecs.develop_error = BrokenFile()
    media = await fake.upload_done(picture())

    answer = await http.get(url_of(fake, media))

    assert (answer.status_code, code_of(answer)) == (409, "media_failed")


async def test_what_will_pass_says_when_to_come_again(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(picture())
    url = url_of(fake, media)

    fake.codecs.develop_error = DecoderUnavailable()
    busy = await http.get(url)
    fake.codecs.develop_error = None
    await fake.work()
    fake.blobs.failure = StorageUnavailable()
    away = await http.get(url)

    assert (busy.status_code, code_of(busy)) == (503, "decoder_unavailable")
    assert (away.status_code, code_of(away)) == (503, "storage_unavailable")
    assert busy.headers["retry-after"] == away.headers["retry-after"] == "2"


async def test_a_database_that_is_away_is_said_to_be_so(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable

    fake.database.before["media.find"] = fail

    answer = await http.get(f"/media/{new_media_id()}/full")

    assert (answer.status_code, code_of(answer)) == (503, "database_unavailable")


async def test_damaged_bytes_are_made_anew_and_never_sent(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    for key in fake.blobs.contents:
        if key.startswith("renditions/"):
            fake.blobs.contents[key] = b"x" * len(fake.blobs.contents[key])

    healed = await http.get(url_of(fake, media))
    for key in fake.blobs.contents:
        fake.blobs.contents[key] = b"x" * len(fake.blobs.contents[key])
    lost = await http.get(url_of(fake, media))

    assert healed.content == content_of(media)
    assert (lost.status_code, code_of(lost)) == (503, "media_damaged")


async def test_a_bug_tells_nothing_of_itself(fake: FakeService, http: httpx.AsyncClient) -> None:
    async def fail() -> None:
        raise RuntimeError("secret")

    fake.database.before["media.find"] = fail
    with structlog.testing.capture_logs() as logs:
        answer = await http.get(
            f"/media/{new_media_id()}/full?v=1234567890", headers={"x-request-id": "abc"}
        )

    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "abc"
    assert [entry["event"] for entry in logs] == ["http.bug"]
    assert logs[0]["request_id"] == "abc"
    assert "1234567890" not in str(logs)
