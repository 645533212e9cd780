from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from contract.cutting_room import FFMPEG, FULL, CuttingRoom, open_room
from fakes.films import film, made, pattern
from media_service.core.errors import BrokenFile, DecoderUnavailable, StorageFull, TooComplex
from media_service.core.recipes import FilmRecipe
from media_service.infra.codecs.films.description import Film
from media_service.infra.codecs.programs import ffmpeg
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg, UnusableFfmpeg
from media_service.infra.codecs.programs.running import ProgramKilled
from prometheus_client import REGISTRY

KNOWN = Film(demuxer="mov", seconds=1.0, codec="h264", width=320, height=180)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[CuttingRoom]:
    async with open_room(tmp_path) as room:
        yield room


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    """Who listens here must never be called."""
    with socket.create_server(("127.0.0.1", 0)) as sink:
        sink.setblocking(False)
        yield sink
        with pytest.raises(BlockingIOError):
            sink.accept()


def hostile(folder: Path, port: int) -> dict[str, bytes]:
    """Files that would have ffmpeg read a neighbour's film or call somebody."""
    (folder / "neighbour.mp4").write_bytes(film())
    neighbour = folder / "neighbour.mp4"
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "concat": f"ffconcat version 1.0\nfile '{neighbour}'\n".encode(),
        "playlist": playlist.format(neighbour).encode(),
        "calling playlist": playlist.format(f"http://127.0.0.1:{port}/x.ts").encode(),
        "description": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n".encode(),
    }


@pytest.mark.parametrize("name", ["concat", "playlist", "calling playlist", "description"])
async def test_ffmpeg_itself_follows_no_file_to_another(
    room: CuttingRoom, sink: socket.socket, name: str
) -> None:
    room.source.write_bytes(hostile(room.folder, sink.getsockname()[1])[name])

    for demuxer in ("mov", "matroska"):
        known = Film(demuxer=demuxer, seconds=1.0, codec="hevc", width=320, height=180)
        with pytest.raises(BrokenFile):
            await room.maker.make(known, room.source, targets=[(FULL, room.folder / "made")])

    assert not (room.folder / "made").exists()


async def test_ffmpeg_meets_no_codec_that_was_not_asked_for(room: CuttingRoom) -> None:
    room.source.write_bytes(
        made(
            ["-f", "lavfi", "-i", pattern((320, 180), seconds=1), "-c:v", "magicyuv"],
            container="mkv",
        )
    )
    known = Film(demuxer="matroska", seconds=1.0, codec="hevc", width=320, height=180)

    with pytest.raises(BrokenFile):
        await room.maker.make(known, room.source, targets=[(FULL, room.folder / "made")])


async def test_what_is_cancelled_leaves_nothing(room: CuttingRoom) -> None:
    room.source.write_bytes(film(codec="hevc", seconds=3, size=(640, 360)))
    long = Film(demuxer="mov", seconds=3.0, codec="hevc", width=3840, height=2160)
    slow = FilmRecipe(short_side=2160, frame_rate=60)
    targets = [(slow, room.folder / "made")]
    making = asyncio.create_task(room.maker.make(long, room.source, targets=targets))
    async with asyncio.timeout(10):
        while not list(room.folder.glob("job-*/*")):
            await asyncio.sleep(0.02)

    started = time.monotonic()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert time.monotonic() - started < 1
    assert not list(room.folder.glob("job-*"))
    assert not (room.folder / "made").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
async def test_a_full_disk_is_told_as_such(room: CuttingRoom) -> None:
    small = room.folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        room.source.write_bytes(film(seconds=3.0, codec="hevc"))
        known = Film(demuxer="mov", seconds=3.0, codec="hevc", width=320, height=180)
        with pytest.raises(StorageFull):
            await room.maker.make(known, room.source, targets=[(FULL, small / "made")])
    finally:
        subprocess.run(["umount", str(small)], check=True)


async def test_a_film_that_takes_too_much_is_too_complex(
    room: CuttingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.source.write_bytes(film(codec="hevc"))
    monkeypatch.setattr("media_service.infra.codecs.films.plans._MEMORY_BYTES", 2**29)
    huge = Film(demuxer="mov", seconds=1.0, codec="hevc", width=6000, height=6000)
    targets = [(FilmRecipe(short_side=6000, frame_rate=60), room.folder / "made")]

    with pytest.raises(TooComplex):
        await room.maker.make(huge, room.source, targets=targets)


async def test_the_time_of_each_kind_is_measured(room: CuttingRoom) -> None:
    def count(kind: str, outcome: str) -> float:
        labels = {"kind": kind, "outcome": outcome}
        return REGISTRY.get_sample_value("mediad_transcode_seconds_count", labels) or 0

    before = count("remux", "made"), count("film", "broken_file")
    await room.make(film(), FULL)
    room.source.write_bytes(b"nothing")
    with contextlib.suppress(BrokenFile):
        await room.maker.make(KNOWN, room.source, targets=[(FULL, room.folder / "made")])

    assert (count("remux", "made"), count("film", "broken_file")) == (before[0] + 1, before[1] + 1)


async def test_the_ffmpeg_of_the_wheel_has_all_we_need() -> None:
    found = await Ffmpeg.find(FFMPEG.path)

    assert found.version.startswith(("6.", "7.", "8.", "9."))
    assert await Ffmpeg.find(None) == found


async def test_a_program_that_is_no_ffmpeg_is_not_used(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "no program"),
        (Path("/bin/sh"), "does not run here"),
    ):
        with pytest.raises(UnusableFfmpeg, match=reason):
            await Ffmpeg.find(path)


async def test_an_ffmpeg_that_others_kill_is_told_apart(
    room: CuttingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **__: object) -> None:
        raise ProgramKilled

    monkeypatch.setattr(ffmpeg, "run_program", killed)

    with pytest.raises(DecoderUnavailable) as raised:
        await room.make(film(), FULL)
    assert raised.value.was_killed
