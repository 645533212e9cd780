"""A film through the whole service: shown at once, then played, then streamed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

import grpc
import httpx
import psutil
import pytest
from media_proto import media_service_pb2 as pb

from tests.e2e.films import phone_film
from tests.e2e.processes import Mediad, Stub, upload_request

POST: dict[str, Any] = {
    "filename": "clip.mov",
    "content_type": "video/quicktime",
    "purpose": pb.POST_ATTACHMENT,
}


async def _watched(media: Stub, media_id: str) -> list[pb.MediaResponse]:
    """Everything that is told of the medium until it is done."""
    request = pb.WatchMediaRequest(media_id=media_id)
    async with asyncio.timeout(100):
        return [told async for told in media.WatchMedia(request)]


@pytest.fixture
async def private(media: Stub) -> pb.MediaResponse:
    request = upload_request(phone_film(), **POST, visibility=pb.PRIVATE)
    uploaded = await media.UploadMedia(request)
    return (await _watched(media, uploaded.media_id))[-1]


async def test_a_film_is_shown_then_plays_then_is_streamed(
    media: Stub, http: httpx.AsyncClient
) -> None:
    takes_a_while = phone_film(name="shown", seconds=6, size="1280x720")
    uploaded = await media.UploadMedia(upload_request(takes_a_while, **POST))

    assert (await http.get(uploaded.thumbnail_url)).headers["content-type"] == "image/jpeg"
    seen = await _watched(media, uploaded.media_id)

    assert seen[-1].status == pb.COMPLETED
    percents = [told.progress_percent for told in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    names = [{r.name for r in told.renditions} for told in seen]
    assert all(before <= after for before, after in pairwise(names))
    assert names[-1] == {"full", "poster", "hls", "preview"}
    assert any("full" in shown and "hls" not in shown for shown in names)


async def test_a_film_is_played_by_ranges(
    private: pb.MediaResponse, http: httpx.AsyncClient
) -> None:
    whole = await http.get(private.url)

    begin = await http.get(private.url, headers={"range": "bytes=0-99"})
    end = await http.get(private.url, headers={"range": "bytes=-100"})

    assert whole.headers["content-type"] == "video/mp4"
    assert whole.content[4:8] == b"ftyp"
    assert whole.content.index(b"moov") < whole.content.index(b"mdat")
    assert (begin.status_code, end.status_code) == (206, 206)
    assert (begin.content, end.content) == (whole.content[:100], whole.content[-100:])


async def test_a_private_stream_is_read_from_its_playlist_on(
    private: pb.MediaResponse, media: Stub, http: httpx.AsyncClient
) -> None:
    request = pb.GetSignedUrlRequest(media_id=private.media_id, expiry_seconds=60, rendition="hls")
    url = (await media.GetSignedUrl(request)).url

    master = await http.get(url)
    rung_url = urljoin(url, _uris(master.text)[0])
    rung = await http.get(rung_url)
    [segments_url] = {urljoin(rung_url, uri) for uri in _uris(rung.text)}
    segments = await http.get(segments_url)

    assert master.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert segments.headers["content-type"] == "video/mp4"
    assert segments.content[4:8] == b"ftyp"
    assert (await http.get(segments_url.split("?")[0])).status_code == 404


async def test_ffmpeg_stops_when_its_film_is_deleted(
    mediad: Mediad, media: Stub, http: httpx.AsyncClient
) -> None:
    film = phone_film(seconds=20, size="640x360", name="long")
    uploaded = await media.UploadMedia(upload_request(film, **POST))
    async with asyncio.timeout(100):
        while (await _get(media, uploaded.media_id)).progress_percent < 34:
            await asyncio.sleep(0.05)
    assert _encoders(mediad)

    await media.DeleteMedia(pb.DeleteMediaRequest(media_id=uploaded.media_id, user_id="alice"))

    async with asyncio.timeout(10):
        while _encoders(mediad):
            await asyncio.sleep(0.02)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _get(media, uploaded.media_id)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await http.get(uploaded.url)).status_code == 404


def _encoders(mediad: Mediad) -> list[psutil.Process]:
    children = psutil.Process(mediad.pid).children(recursive=True)
    return [child for child in children if "ffmpeg" in " ".join(_command(child))]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


async def _get(media: Stub, media_id: str) -> pb.MediaResponse:
    return await media.GetMedia(pb.GetMediaRequest(media_id=media_id))


def _uris(playlist: str) -> list[str]:
    tagged = [
        line.split('URI="')[1].split('"')[0] for line in playlist.split("\n") if "URI=" in line
    ]
    return tagged + [line for line in playlist.split("\n") if line and line[0] != "#"]
