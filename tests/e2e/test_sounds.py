"""A voice message through the whole service: its wave at once, then it plays; louder if asked."""

from __future__ import annotations

import asyncio
import functools
import subprocess
from typing import Any

import httpx
import imageio_ffmpeg
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Stub, upload_request

MESSAGE: dict[str, Any] = {
    "filename": "voice.webm",
    "content_type": "audio/webm;codecs=opus",
    "purpose": pb.MESSAGE_ATTACHMENT,
}


@functools.cache
def voice_message() -> bytes:
    """As a browser's MediaRecorder leaves it: Opus in WebM, its length not told."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
        *("-f", "lavfi", "-i", "aevalsrc='0.05*sin(880*PI*t)*abs(sin(3*t))':s=48000:d=3"),
        *("-c:a", "libopus", "-live", "1", "-f", "webm", "pipe:1"),
    ]
    return subprocess.run(command, check=True, timeout=60, capture_output=True).stdout


async def _done(media: Stub, media_id: str) -> pb.MediaResponse:
    async with asyncio.timeout(100):
        told = [each async for each in media.WatchMedia(pb.WatchMediaRequest(media_id=media_id))]
    return told[-1]


async def test_a_voice_message_shows_its_wave_then_plays(
    media: Stub, http: httpx.AsyncClient
) -> None:
    uploaded = await media.UploadMedia(upload_request(voice_message(), **MESSAGE))

    done = await _done(media, uploaded.media_id)

    by_name = {rendition.name: rendition for rendition in (*done.renditions, *done.thumbnails)}
    answers = {name: await http.get(rendition.url) for name, rendition in by_name.items()}
    assert done.status == pb.COMPLETED
    assert abs(done.duration_ms - 3000) < 60
    assert done.has_audio
    assert (done.width, done.height, done.blurhash) == (0, 0, "")
    assert {name: answer.headers["content-type"] for name, answer in answers.items()} == {
        "full": "audio/mp4",
        "waveform": "application/json",
        "wave": "image/webp",
        "opus": "audio/ogg",
    }
    waveform = answers["waveform"]
    assert waveform.json()["duration_ms"] == done.duration_ms
    assert len(waveform.json()["peaks"]) == 200
    assert waveform.headers["content-disposition"].startswith("attachment")
    assert waveform.headers["x-content-type-options"] == "nosniff"
    assert waveform.headers["access-control-allow-origin"] == "*"


async def test_loudness_is_made_even_when_that_is_asked_for(
    media: Stub, http: httpx.AsyncClient
) -> None:
    uploaded = await media.UploadMedia(upload_request(voice_message(), **MESSAGE))
    before = await _done(media, uploaded.media_id)
    options = pb.ProcessingOptions(
        generate_thumbnails=True, generate_blurhash=True, normalize_loudness=True
    )

    await media.ProcessMedia(
        pb.ProcessMediaRequest(
            media_id=uploaded.media_id, user_id="alice", processing_options=options
        )
    )
    after = await _done(media, uploaded.media_id)

    assert after.status == pb.COMPLETED
    quiet, loud = (await http.get(before.url)).content, (await http.get(after.url)).content
    assert _loudness_of(quiet) < -28
    assert abs(_loudness_of(loud) + 16) < 1
    urls = [{r.name: r.url.split("v=")[1][:10] for r in m.renditions} for m in (before, after)]
    assert {name for name in urls[0] if urls[0][name] != urls[1][name]} == {"full", "opus"}


def _loudness_of(content: bytes) -> float:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", "pipe:0"]
    command += ["-af", "ebur128", "-f", "null", "-"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=True)
    summary = done.stderr.decode().rpartition("Summary:")[2]
    return float(summary.partition("I:")[2].split()[0])
