"""What making everything of a film costs, against the ffmpeg commands that do it, run bare."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import statistics
import subprocess
from pathlib import Path

from media_proto import media_service_pb2 as pb
from media_service.core.formats import Format
from media_service.core.media import Purpose
from media_service.core.purposes import DEFAULT_POLICIES
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Shape
from media_service.infra.codecs.films.describing import film_facts
from media_service.infra.codecs.films.description import Film
from media_service.infra.codecs.films.plans import film_arguments
from media_service.infra.codecs.films.streams import stream_arguments
from media_service.infra.codecs.programs.launching import SOURCE

from benchmarks.clips import FFMPEG, clip, variant
from benchmarks.films import stream
from benchmarks.processes import cpu_seconds, tree_memory_mb
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, stub

ROUNDS = 3
SECONDS = 10
MOST = 1.05


def measure(folder: Path) -> list[Row]:
    """CPU from the answer until COMPLETED: poster, thumbnails, film, four rungs, preview.

    The reference makes film, rungs and preview only, by the same two commands. Rounds of both
    alternate, because the machine's own speed drifts; medians over the rounds.
    """
    film = clip(folder / "film.mp4", seconds=SECONDS, megabits=16, codec="libx265")
    data = film.read_bytes()
    ours, bare, memory = [], [], 0.0
    with Mediad(folder / "mediad").running() as mediad:
        asyncio.run(_completed(mediad, variant(data, "to warm up")))
        for number in range(ROUNDS):
            bare.append(_bare(film, folder / "bare"))
            before = cpu_seconds(mediad.pid)
            asyncio.run(_completed(mediad, variant(data, number)))
            ours.append(cpu_seconds(mediad.pid) - before)
        memory = tree_memory_mb(mediad.pid)
    spent, reference = statistics.median(ours), statistics.median(bare)
    return [
        Row(
            name=f"everything of a {SECONDS} s 1080p film, CPU of all processes / bare ffmpeg",
            ours=spent,
            reference=reference,
            unit="CPU-s",
            target=f"≤ {MOST}",
            is_met=spent <= MOST * reference,
            note=f"HEVC in; 720p film, four rungs, preview; afterwards {memory:.0f} MB in all",
        )
    ]


async def _completed(mediad: Mediad, data: bytes) -> None:
    async with mediad.channel() as channel:
        media = stub(channel)
        answer = await media.UploadMediaStream(stream(data), timeout=120)
        request = pb.WatchMediaRequest(media_id=answer.media_id)
        async for state in media.WatchMedia(request, timeout=600):
            last = state.status
        assert last == pb.COMPLETED


def _bare(film: Path, folder: Path) -> float:
    """Processor seconds of the commands."""
    policy = DEFAULT_POLICIES.of[Purpose.POST_ATTACHMENT].developing
    with film.open("rb") as opened:
        facts = Film(**film_facts(opened.fileno(), format=Format.MP4))
    recipe = FilmRecipe(short_side=policy.film_short_side, frame_rate=policy.film_frame_rate)
    preview = PictureRecipe(
        shape=Shape.FIT, width=320, height=320, quality=60, encoding=Encoding.WEBP, animated=True
    )
    commands = [
        film_arguments(facts, recipe, is_remux=False, output="film.mp4")[0],
        stream_arguments(
            facts,
            policy.stream_rungs,
            frame_rate=policy.film_frame_rate,
            preview=(preview, "preview.webp"),
        ),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for arguments in commands:
        folder.mkdir()
        source = os.open(film, os.O_RDONLY)
        try:
            os.dup2(source, SOURCE, inheritable=True)
            subprocess.run(
                [FFMPEG, *arguments],
                cwd=folder,
                pass_fds=[SOURCE],
                stdout=subprocess.DEVNULL,
                check=True,
            )
        finally:
            os.close(source)
            os.close(SOURCE)
        shutil.rmtree(folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
