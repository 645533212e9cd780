"""What films cost: how soon an upload is answered, how soon its poster is there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from media_proto import media_service_pb2 as pb

from benchmarks.clips import FFMPEG, clip, variant
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub

MB = 1024 * 1024
CHUNK_BYTES = MB
ROUNDS = 5
MOST_ANSWER, MOST_POSTER_SECONDS = 1.5, 1.5


def measure(folder: Path) -> list[Row]:
    """The answer to a clip of 100 MB, and the poster of a clip of 30 s; medians over the rounds.

    Each round's media is deleted before the next, so that no transcode runs while it is measured.
    """
    large = clip(folder / "large.mp4", seconds=30, megabits=28).read_bytes()
    usual = clip(folder / "usual.mp4", seconds=30, megabits=16).read_bytes()
    with Mediad(folder / "mediad").running() as mediad:
        return asyncio.run(_measured(mediad, folder, large, usual))


async def _measured(mediad: Mediad, folder: Path, large: bytes, usual: bytes) -> list[Row]:
    answers, bare, posters, stills = [], [], [], []
    async with mediad.channel() as channel:
        media = stub(channel)
        await _uploaded(media, variant(usual, "to warm up"))
        for number in range(ROUNDS):
            data = variant(large, number)
            bare.append(_hashed_and_written(data, folder / "bare"))
            seconds, _ = await _uploaded(media, data)
            answers.append(seconds)
            data = variant(usual, number)
            stills.append(_bare_still(data, folder))
            posters.append((await _uploaded(media, data))[1])
    return [
        Row(
            name=f"answer to a clip of {len(large) / MB:.0f} MB / hashing and writing its bytes",
            ours=statistics.median(answers) * 1e3,
            reference=statistics.median(bare) * 1e3,
            unit="ms",
            target=f"≤ {MOST_ANSWER}",
            is_met=statistics.median(answers) <= MOST_ANSWER * statistics.median(bare),
            note="SHA-256, write, fsync; streamed in chunks of 1 MB",
        ),
        Row(
            name="poster and thumbnails of a 30 s 1080p clip, from the answer / bare ffmpeg still",
            ours=statistics.median(posters) * 1e3,
            reference=statistics.median(stills) * 1e3,
            unit="ms",
            target=f"≤ {MOST_POSTER_SECONDS * 1e3:.0f} ms",
            is_met=statistics.median(posters) <= MOST_POSTER_SECONDS,
            note=f"worst {max(posters) * 1e3:.0f} ms",
        ),
    ]


async def _uploaded(media: Stub, data: bytes) -> tuple[float, float]:
    """Upload, wait for the poster, delete; seconds until the answer, and from it to the poster."""
    started = time.perf_counter()
    answer = await media.UploadMediaStream(stream(data), timeout=120)
    answered = time.perf_counter()
    await _poster_ready(media, answer.media_id)
    ready = time.perf_counter()
    await media.DeleteMedia(pb.DeleteMediaRequest(media_id=answer.media_id, user_id="bench"))
    return answered - started, ready - answered


async def _poster_ready(media: Stub, media_id: str) -> None:
    """Return when the poster and every thumbnail have been made."""
    request = pb.GetMediaRequest(media_id=media_id)
    while True:
        found = await media.GetMedia(request)
        pictures = [r for r in found.renditions if r.name == "poster"] + list(found.thumbnails)
        if all(picture.size_bytes for picture in pictures):
            return
        await asyncio.sleep(0.01)


async def stream(data: bytes) -> AsyncIterator[pb.UploadChunk]:
    """The clip as an upload of a post."""
    yield pb.UploadChunk(
        metadata=pb.UploadMetadata(
            user_id="bench",
            purpose=pb.POST_ATTACHMENT,
            filename="clip.mp4",
            content_type="video/mp4",
            expected_size_bytes=len(data),
        )
    )
    for at in range(0, len(data), CHUNK_BYTES):
        yield pb.UploadChunk(data=data[at : at + CHUNK_BYTES])


def _hashed_and_written(data: bytes, file: Path) -> float:
    """Seconds it takes to hash these bytes once and to write them for good."""
    started = time.perf_counter()
    hashlib.sha256(data).digest()
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    seconds = time.perf_counter() - started
    file.unlink()
    return seconds


def _bare_still(data: bytes, folder: Path) -> float:
    """Seconds in which ffmpeg makes one still of the clip, as a command."""
    source, still = folder / "still.mp4", folder / "still.jpg"
    source.write_bytes(data)
    started = time.perf_counter()
    subprocess.run(
        [
            FFMPEG,
            "-v",
            "error",
            "-nostdin",
            "-y",
            "-ss",
            "1",
            "-i",
            source,
            "-frames:v",
            "1",
            still,
        ],
        check=True,
    )
    return time.perf_counter() - started
