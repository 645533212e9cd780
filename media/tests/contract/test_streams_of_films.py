from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
from contract.cutting_room import PREVIEW, CuttingRoom, is_near, open_room, shown, stream_of
from fakes.films import RED, film, made, paused_film, phone_film
from media_service.core.formats import Format
from PIL import Image

RUNGS = (90, 180)
SECONDS = 9.0


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[CuttingRoom]:
    async with open_room(tmp_path) as room:
        yield room


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Master, playlists and segments of two rungs, and the preview made beside them."""

    async def make() -> list[bytes]:
        async with open_room(tmp_path_factory.mktemp("stream")) as room:
            source = film(seconds=SECONDS, rate="30")
            made = await room.make(source, *stream_of(*RUNGS), PREVIEW)
            assert room.sizes == [(320, 180), *[(160, 90)] * 2, *[(320, 180)] * 3]
            return made

    return asyncio.run(make())


def key_frames(content: bytes) -> list[float]:
    with av.open(io.BytesIO(content), "r") as container:
        packets = container.demux(video=0)
        return [float((p.pts or 0) * p.time_base) for p in packets if p.is_keyframe]


def segments_in(playlist: str) -> list[tuple[float, int, int]]:
    pattern = r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n"
    return [(float(s), int(n), int(at)) for s, n, at in re.findall(pattern, playlist)]


def test_the_master_tells_of_each_rung_what_it_takes(stream: list[bytes]) -> None:
    master, _, low, _, high, _ = stream

    lines = master.decode().splitlines()

    assert [line for line in lines if not line.startswith("#")] == ["hls-90", "hls-180"]
    told = [line for line in lines if line.startswith("#EXT-X-STREAM-INF")]
    for line, size, content in zip(told, ("160x90", "320x180"), (low, high), strict=True):
        assert f"RESOLUTION={size}," in line
        assert re.search(r'CODECS="avc1\.64[0-9a-f]{4},mp4a\.40\.2",FRAME-RATE=30\.000', line)
        average = int(re.findall(r"AVERAGE-BANDWIDTH=(\d+)", line)[0])
        assert average == pytest.approx(len(content) * 8 / SECONDS, rel=0.02)
        assert int(re.findall(r":BANDWIDTH=(\d+)", line)[0]) >= average


def test_a_playlist_names_every_byte_of_its_segments_once(stream: list[bytes]) -> None:
    for rung, playlist, content in ((90, stream[1], stream[2]), (180, stream[3], stream[4])):
        text = playlist.decode()
        header = int(re.findall(r'MAP:URI="hls-\d+-segments",BYTERANGE="(\d+)@0"', text)[0])
        segments = segments_in(text)

        assert text.count(f"\nhls-{rung}-segments\n") == len(segments) == 3
        assert sum(seconds for seconds, _, _ in segments) == pytest.approx(SECONDS, abs=0.1)
        assert content[4:8] == b"ftyp"
        end = header
        for _, length, start in segments:
            assert start == end
            assert content[start + 4 : start + 8] == b"moof"
            end += length
        assert end <= len(content)


async def test_a_playlist_lasts_as_long_as_sound_that_goes_on(room: CuttingRoom) -> None:
    sources = ("testsrc2=s=320x180:r=25:d=2", "sine=duration=7")
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    source = made([*inputs, "-pix_fmt", "yuv420p"], container="mp4")

    _, playlist, _ = await room.make(source, *stream_of(180))

    assert sum(seconds for seconds, _, _ in segments_in(playlist.decode())) == pytest.approx(
        7, abs=0.1
    )
    assert "TARGETDURATION:7" in playlist.decode()


async def test_a_playlist_lasts_as_long_as_a_film_with_a_pause(room: CuttingRoom) -> None:
    _, playlist, _ = await room.make(paused_film(), *stream_of(180))

    lengths = [seconds for seconds, _, _ in segments_in(playlist.decode())]
    assert sum(lengths) == pytest.approx(10, abs=0.5)
    assert min(lengths) > 0


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_picture_stays_as_long_as_a_film_pauses(room: CuttingRoom, in_order: bool) -> None:
    source = paused_film(in_order=in_order)

    _, _, segments = await room.make(source, *stream_of(180))

    assert_shown_at_the_same_times(segments, source)
    with av.open(io.BytesIO(segments), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]


async def test_pictures_that_come_unevenly_are_shown_at_their_times(room: CuttingRoom) -> None:
    source = film(is_of_variable_rate=True, seconds=9.0)

    _, _, segments = await room.make(source, *stream_of(180))

    assert_shown_at_the_same_times(segments, source)


def assert_shown_at_the_same_times(segments: bytes, source: bytes) -> None:
    expected, times = shown(source).times, shown(segments).times
    assert [time - times[0] for time in times] == pytest.approx(
        [time - expected[0] for time in expected], abs=0.001
    )


def test_each_segment_plays_after_the_header_alone(stream: list[bytes]) -> None:
    content = stream[2]
    segments = segments_in(stream[1].decode())
    header = content[: segments[0][2]]

    frames = []
    for _, length, start in segments:
        frames.append(len(shown(header + content[start : start + length]).times))

    assert frames == [120, 120, 30]


def test_rungs_have_their_key_frames_at_the_same_times(stream: list[bytes]) -> None:
    low, high = key_frames(stream[2]), key_frames(stream[4])

    assert low == high
    assert low == pytest.approx([0, 4, 8], abs=0.1)


def test_a_rung_shows_the_film(stream: list[bytes]) -> None:
    for content, size in ((stream[2], (160, 90)), (stream[4], (320, 180))):
        made = shown(content)
        assert (made.size, made.video, made.audio, made.pixel_format) == (
            size,
            "h264",
            "aac",
            "yuv420p",
        )
        assert is_near(made.corner(), RED)


def test_the_preview_beside_a_stream_is_of_all_the_film(stream: list[bytes]) -> None:
    picture = Image.open(io.BytesIO(stream[5]))

    assert picture.size == (320, 180)
    assert getattr(picture, "n_frames", 1) == 24


async def test_a_part_made_alone_has_the_same_bytes(room: CuttingRoom) -> None:
    recipes = stream_of(*RUNGS)
    content = film(seconds=1)

    together = await room.make(content, *recipes)
    (playlist,) = await room.make(content, recipes[1])
    (segments,) = await room.make(content, recipes[4])

    assert (playlist, segments) == (together[1], together[4])


async def test_a_film_that_stands_upright_and_is_silent_streams(room: CuttingRoom) -> None:
    source = film(codec="vp9", container="webm", audio="", size=(180, 320))

    master, _, low, *_ = await room.make(source, *stream_of(90, 180), format=Format.WEBM)

    assert b"mp4a" not in master
    assert b"RESOLUTION=90x160" in master
    assert shown(low).size == (90, 160)


async def test_a_stream_does_not_tell_where_or_by_what_it_was_made(room: CuttingRoom) -> None:
    parts = await room.make(phone_film(), *stream_of(180), PREVIEW, format=Format.MOV)

    whole = b"".join(parts)
    for word in (b"51.5007", b"CANARY", b"CanaryPhone", b"Core Media", b"x264 - core"):
        assert word not in whole
