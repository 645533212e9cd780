"""Playlists as players get them: with URLs that open what they name."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
import structlog
from fakes.readers import reader_of, url_of
from fakes.scripted_codecs import developed_bytes, film
from fakes.service import FakeService, fake_service
from media_service.core.media import Purpose, Visibility
from media_service.core.purposes import DEFAULT_POLICIES, Policies
from media_service.core.renditions import ProcessingOptions

POST = {"purpose": Purpose.POST_ATTACHMENT, "filename": "clip.mp4", "content_type": ""}
PRIVATE = {**POST, "visibility": Visibility.PRIVATE}


@pytest.fixture
def fake() -> FakeService:
    fake = fake_service()
    fake.blobs.public_url = "https://store.example"
    return fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with reader_of(fake, redirects=True) as reader:
        yield reader


def _uris(playlist: str) -> list[str]:
    tagged = [
        line.split('URI="')[1].split('"')[0] for line in playlist.split("\n") if "URI=" in line
    ]
    return tagged + [line for line in playlist.split("\n") if line and line[0] != "#"]


async def test_a_player_comes_from_the_playlist_to_the_film(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **PRIVATE)
    master_url = url_of(fake, media, "hls")

    master = await http.get(master_url)
    [rung_url] = [urljoin(master_url, uri) for uri in _uris(master.text)]
    rung = await http.get(rung_url)
    parts = {urljoin(rung_url, uri) for uri in _uris(rung.text)}
    [segments] = [await http.get(url) for url in parts]

    assert master.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert master.headers["content-disposition"] == 'inline; filename="clip.m3u8"'
    assert rung.status_code == 200
    assert segments.status_code == 302
    assert segments.headers["location"].startswith("https://store.example/renditions/")


async def test_urls_of_a_private_playlist_end_when_it_does(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **PRIVATE)
    url = url_of(fake, media, "hls")

    [uri] = _uris((await http.get(url)).text)

    assert uri.startswith("hls-360?v=")
    asked, given = (parse_qs(urlsplit(each).query) for each in (url, uri))
    assert asked["exp"] == given["exp"]
    fake.clock.advance(timedelta(hours=2))
    assert (await http.get(urljoin(url, uri))).status_code == 403


async def test_urls_of_a_public_playlist_carry_no_signature(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **POST)
    rung = media.rendition("hls-360")
    assert rung

    answer = await http.get(url_of(fake, media, "hls"))

    assert _uris(answer.text) == [f"hls-360?v={rung.recipe.version}"]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_a_signed_url_of_a_part_can_be_asked_for(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **PRIVATE)

    for name in ("hls", "hls-360", "hls-360-segments"):
        url, _ = await fake.service.signing.sign(media.id, rendition=name, expiry_seconds=60)
        assert (await http.get(url)).status_code in (200, 302)


async def test_what_is_said_of_a_playlist_is_of_what_is_sent(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **PRIVATE)
    url = url_of(fake, media, "hls")
    whole = await http.get(url)

    head = await http.head(url)
    part = await http.get(url, headers={"range": "bytes=3-8"})
    same = await http.get(url, headers={"if-none-match": whole.headers["etag"]})
    beyond = await http.get(url, headers={"range": "bytes=99999-"})

    assert int(whole.headers["content-length"]) == len(whole.content)
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.content == b""
    assert (part.status_code, part.content) == (206, whole.content[3:9])
    assert part.headers["content-range"] == f"bytes 3-8/{len(whole.content)}"
    assert (same.status_code, same.content) == (304, b"")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"


async def test_playlists_that_open_for_different_times_have_different_tags(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **PRIVATE)
    tags = set()
    for seconds in (60, 3600):
        url, _ = await fake.service.signing.sign(media.id, rendition="hls", expiry_seconds=seconds)
        answer = await http.get(url)
        tags.add(answer.headers["etag"])
        assert answer.headers["cache-control"].startswith("private, max-age=")

    assert len(tags) == 2


async def test_an_older_url_gives_the_present_playlist(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(film(), **POST)
    master = media.rendition("hls")
    assert master
    stored = fake.database.renditions[media.sha256, master.recipe.key]

    answer = await http.get(f"/media/{media.id}/hls?v=0123456789")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert stored.size_bytes != len(answer.content)


def _with_rungs(*rungs: int) -> Policies:
    policy = DEFAULT_POLICIES.of[Purpose.POST_ATTACHMENT]
    developing = dataclasses.replace(policy.developing, stream_rungs=rungs)
    changed = dataclasses.replace(policy, developing=developing)
    return Policies(version=2, of={**DEFAULT_POLICIES.of, Purpose.POST_ATTACHMENT: changed})


async def _played(http: httpx.AsyncClient, url: str) -> list[tuple[int, str]]:
    """What a player gets from here on: status, and text or where it is sent."""
    answer = await http.get(url)
    if answer.is_redirect:
        return [(answer.status_code, answer.headers["location"])]
    played = [(answer.status_code, answer.text)]
    for uri in dict.fromkeys(_uris(answer.text)):
        played += await _played(http, urljoin(url, uri))
    return played


@pytest.mark.parametrize("how", [POST, PRIVATE])
async def test_who_plays_a_stream_goes_on_while_another_is_made_and_after(
    fake: FakeService, http: httpx.AsyncClient, how: dict[str, Any]
) -> None:
    media = await fake.upload_done(film(), **how)
    url = url_of(fake, media, "hls")
    before = await _played(http, url)
    operator = fake_service(beside=fake, policies=_with_rungs(180))

    asked = ProcessingOptions(generate_thumbnails=False, generate_blurhash=False)
    again = await operator.service.processing.request(media.id, user=media.owner, options=asked)
    await fake.cache.drop([media.id])
    assert again.rendition("hls-360") is None
    meanwhile = await _played(http, url)
    await operator.work()
    await fake.cache.drop([media.id])

    assert [status for status, _ in before] == [200, 200, 302]
    assert meanwhile == before
    assert await _played(http, url) == before
    new = url_of(fake, fake.database.media[media.id], "hls")
    assert "hls-180?v=" in (await http.get(new)).text
    assert (await http.get(url.replace("/hls?", "/other?"))).status_code in (403, 404)


async def test_a_playlist_too_large_to_be_one_is_our_fault(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(film(), **POST)
    fake.codecs.engine = "#" * 3_000_000
    await fake.work()

    answer = await http.get(url_of(fake, media, "hls"))

    assert answer.status_code == 500


async def test_what_is_not_ready_says_when_to_come_back(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(film(), **POST)

    for method in ("GET", "HEAD"):
        answer = await http.request(method, url_of(fake, media, "hls"))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["cache-control"] == "no-store"
    answer = await http.get(url_of(fake, media, "full"))
    assert answer.json()["error"]["code"] == "rendition_not_ready"


async def test_a_film_is_delivered_in_parts(fake: FakeService, http: httpx.AsyncClient) -> None:
    fake.blobs.public_url = ""
    media = await fake.upload_done(film(), **POST)
    full = media.rendition("full")
    assert full

    answer = await http.get(url_of(fake, media, "full"), headers={"range": "bytes=2-9"})

    assert (answer.status_code, answer.content) == (206, developed_bytes(film(), full.recipe)[2:10])
    assert answer.headers["content-type"] == "video/mp4"


async def test_who_comes_too_early_is_no_failure_of_ours(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(film(), **POST)

    with structlog.testing.capture_logs() as logs:
        await http.get(url_of(fake, media, "hls"))

    [told] = [entry for entry in logs if entry.get("code") == "rendition_not_ready"]
    assert (told["event"], told["log_level"]) == ("http.refused", "info")
