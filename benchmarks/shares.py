"""What an upload of a picture feels of films that are being transcoded."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from media_proto import media_service_pb2 as pb

from benchmarks.clips import clip, variant
from benchmarks.films import stream
from benchmarks.photographs import photograph
from benchmarks.photographs import variant as picture_variant
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub, upload_request

PICTURES = 300
PAUSE_SECONDS = 0.02
FILMS = 2
MOST = 2.0


def measure(folder: Path) -> list[Row]:
    """The 99th percentile of answers to pictures, alone and while two films are transcoded."""
    film = clip(folder / "film.mp4", seconds=40, megabits=8, codec="libx265").read_bytes()
    picture = photograph(4)
    with Mediad(folder / "mediad", MEDIAD_TRANSCODES=str(FILMS)).running() as mediad:
        return asyncio.run(_measured(mediad, film, picture))


async def _measured(mediad: Mediad, film: bytes, picture: bytes) -> list[Row]:
    async with mediad.channel() as channel:
        media = stub(channel)
        await _answers(media, picture, "warm", count=20)
        idle = await _answers(media, picture, "idle", count=PICTURES)
        films = [
            (await media.UploadMediaStream(stream(variant(film, n)), timeout=120)).media_id
            for n in range(FILMS)
        ]
        await asyncio.gather(*(_transcoding(media, media_id) for media_id in films))
        busy = await _answers(media, picture, "busy", count=PICTURES)
        still = [await _is_transcoding(media, media_id) for media_id in films]
        for media_id in films:
            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="bench"))
    assert all(still), "the films were done too soon to measure beside them"
    ours, reference = (statistics.quantiles(each, n=100)[98] * 1e3 for each in (busy, idle))
    return [
        Row(
            name="99th percentile of a picture's answer while two films are transcoded / idle",
            ours=ours,
            reference=reference,
            unit="ms",
            target=f"≤ {MOST}",
            is_met=ours <= MOST * reference,
            note=f"medians {statistics.median(busy) * 1e3:.0f} and "
            f"{statistics.median(idle) * 1e3:.0f} ms; {PICTURES} uploads of 12 MP each",
        )
    ]


async def _answers(media: Stub, picture: bytes, name: str, *, count: int) -> list[float]:
    """Seconds that each of these uploads took, one after the other."""
    seconds = []
    for number in range(count):
        request = upload_request(picture_variant(picture, f"{name} {number}"))
        started = time.perf_counter()
        await media.UploadMedia(request)
        seconds.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE_SECONDS)
    return seconds


async def _transcoding(media: Stub, media_id: str) -> None:
    while not await _is_transcoding(media, media_id):
        await asyncio.sleep(0.05)


async def _is_transcoding(media: Stub, media_id: str) -> bool:
    """Whether its poster is there, and its work goes on."""
    found = await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
    is_shown = all(thumbnail.size_bytes for thumbnail in found.thumbnails)
    return is_shown and found.status == pb.PROCESSING
