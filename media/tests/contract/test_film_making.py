from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import pytest
from contract.cutting_room import (
    FULL,
    PREVIEW,
    CuttingRoom,
    Made,
    is_near,
    open_room,
    order_of_boxes,
    seconds_in_header,
    shown,
    stream_of,
)
from fakes.films import (
    BLUE,
    CANARIES,
    RED,
    cut_film,
    film,
    film_of_several_streams,
    made,
    pattern,
    paused_film,
    phone_film,
)
from media_service.core.errors import BrokenFile
from media_service.core.formats import Format
from media_service.core.recipes import FilmRecipe, Recipe
from media_service.infra.codecs.films.description import Film
from PIL import Image

SMALL = FilmRecipe(short_side=90, frame_rate=60)


FAST_START = {"mkv": (), "mp4": ("-movflags", "+faststart")}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[CuttingRoom]:
    async with open_room(tmp_path) as room:
        yield room


@pytest.mark.parametrize(
    ("codec", "container", "audio"),
    [
        ("h264", "mkv", "mp3"),
        ("hevc", "mov", "aac"),
        ("vp8", "webm", "vorbis"),
        ("vp9", "webm", "opus"),
        ("av1", "mp4", "aac"),
        ("h264", "mov", "pcm"),
    ],
)
async def test_every_codec_comes_out_playing_everywhere(
    room: CuttingRoom, codec: str, container: str, audio: str
) -> None:
    source = film(codec=codec, container=container, audio=audio)

    made = await room.film(source, format=Format[container.upper()])

    assert (made.video, made.audio, made.pixel_format) == ("h264", "aac", "yuv420p")
    assert made.size == (320, 180)
    assert len(made.times) == 25
    assert made.seconds == pytest.approx(1.0, abs=0.1)
    assert order_of_boxes(made.content)[:2] == [b"ftyp", b"moov"]
    assert is_near(made.corner(), RED)
    assert is_near(made.corner(bottom_right=True), BLUE)


@pytest.mark.parametrize("recipe", [FULL, SMALL], ids=["remuxed", "transcoded"])
async def test_a_pause_among_frames_out_of_order_counts_once(
    room: CuttingRoom, recipe: FilmRecipe
) -> None:
    made = await room.film(paused_film(), recipe)

    assert made.seconds == pytest.approx(10.0, abs=0.05)
    assert seconds_in_header(made.content) == pytest.approx(10.0, abs=0.05)


@pytest.mark.parametrize("recipe", [FULL, SMALL], ids=["remuxed", "transcoded"])
async def test_a_last_picture_stays_as_long_as_it_did(
    room: CuttingRoom, recipe: FilmRecipe
) -> None:
    stays = (
        "-bf",
        "0",
        "-bsf:v",
        "setts=pts=PTS:dts=DTS:duration=if(gte(PTS*TB\\,0.96)\\,3/TB\\,DURATION)",
    )

    made = await room.film(film(audio="", options=stays), recipe)

    assert made.seconds == pytest.approx(3.96, abs=0.05)


async def test_what_plays_everywhere_is_only_put_in_another_container(room: CuttingRoom) -> None:
    source = film(container="mov", rotation=90)

    made = await room.film(source, SMALL, format=Format.MOV)

    assert made.size == (320, 180)  # not 160x90: its pictures are as they were
    assert is_near(made.corner(), RED)
    assert order_of_boxes(made.content)[:2] == [b"ftyp", b"moov"]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
async def test_what_was_cut_away_is_in_nothing_that_is_made(room: CuttingRoom, codec: str) -> None:
    full, *stream = await room.make(cut_film(codec=codec), FULL, *stream_of(180), format=Format.MOV)

    for content in (full, stream[2]):
        seconds, loudest = stored(content)
        assert seconds == pytest.approx([1.4, 1.4], abs=0.1)
        assert loudest < 0.01


def stored(content: bytes) -> tuple[list[float], float]:
    """The seconds of pictures and of sound that it holds, shown or not; its loudest sample."""
    whole = {"ignore_editlist": "1"}
    with av.open(io.BytesIO(content), "r", options=whole) as container:
        pictures = list(container.decode(video=0))
    with av.open(io.BytesIO(content), "r", options=whole) as container:
        sounds = list(container.decode(audio=0))
    heard = sum(frame.samples / frame.sample_rate for frame in sounds)
    loudest = max(float(np.abs(frame.to_ndarray()).max()) for frame in sounds)
    return [len(pictures) / 25, heard], loudest


@pytest.mark.parametrize("rotation", [90, 180, 270])
async def test_a_film_comes_out_upright(room: CuttingRoom, rotation: int) -> None:
    made = await room.film(
        film(codec="hevc", container="mov", rotation=rotation), format=Format.MOV
    )

    assert made.size == (320, 180)
    assert is_near(made.corner(), RED)
    assert is_near(made.corner(bottom_right=True), BLUE)


async def test_a_film_is_scaled_down_to_even_sides(room: CuttingRoom) -> None:
    made = await room.film(film(codec="hevc", size=(180, 320)), SMALL)

    assert made.size == (90, 160)


async def test_odd_sides_become_even(room: CuttingRoom) -> None:
    made = await room.film(film(size=(321, 181), container="mkv"), format=Format.MKV)

    assert made.size == (320, 180)
    assert made.pixel_format == "yuv420p"


async def test_pixels_come_out_square(room: CuttingRoom) -> None:
    made = await room.film(film(size=(160, 180), sample_aspect="2/1"))

    assert made.size == (320, 180)


async def test_a_film_without_sound_has_none(room: CuttingRoom) -> None:
    made = await room.film(film(codec="vp9", container="webm", audio=""), format=Format.WEBM)

    assert (made.audio, made.streams) == ("", 1)


async def test_a_silent_recipe_leaves_the_sound_out(room: CuttingRoom) -> None:
    made = await room.film(film(), FilmRecipe(short_side=720, frame_rate=60, silent=True))

    assert (made.audio, made.streams) == ("", 1)


async def test_of_several_streams_the_default_ones_are_taken(room: CuttingRoom) -> None:
    made = await room.film(film_of_several_streams(), format=Format.MKV)

    assert made.size == (160, 90)
    assert made.streams == 2


async def test_frames_that_come_unevenly_keep_their_times(room: CuttingRoom) -> None:
    source = film(codec="hevc", container="mkv", seconds=2, is_of_variable_rate=True)

    made = await room.film(source, format=Format.MKV)

    assert made.times == pytest.approx(shown(source).times, abs=0.002)


async def test_lines_of_different_moments_are_put_together(room: CuttingRoom) -> None:
    lines = ("-vf", "interlace=scan=tff:lowpass=off", "-flags", "+ilme+ildct")
    options = (*lines, "-x264-params", "tff=1", "-crf", "10")
    source = film(rate="50", size=(320, 192), audio="", options=options)

    made = await room.film(source)

    assert combing(made) < 0.7 * combing(shown(source))
    assert made.times == pytest.approx([n / 25 for n in range(25)], abs=0.001)


def combing(film: Made) -> float:
    """How much lines differ from those around them, on average."""
    light = film.first.astype(float).mean(axis=2)
    return float(np.abs(light[1:-1] - (light[:-2] + light[2:]) / 2).mean())


async def test_more_frames_than_wanted_are_thinned_out(room: CuttingRoom) -> None:
    made = await room.film(film(rate="120"), FilmRecipe(short_side=720, frame_rate=30))

    assert len(made.times) == 30
    assert made.seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("hdr", ["pq", "hlg"])
async def test_hdr_becomes_what_every_screen_shows(room: CuttingRoom, hdr: str) -> None:
    plain = shown(film(codec="hevc", audio=""))

    made = await room.film(film(codec="hevc", hdr=hdr, audio=""))

    assert made.colours == (1, 1, 1)
    assert made.pixel_format == "yuv420p"
    assert abs(float(made.first.mean()) - float(plain.first.mean())) < 25
    assert is_near(made.corner(), RED, by=70)


async def test_nothing_tells_where_or_by_what_it_was_made(room: CuttingRoom) -> None:
    remuxed = await room.film(phone_film(), format=Format.MOV)
    transcoded = await room.film(
        phone_film(), FilmRecipe(short_side=90, frame_rate=10), format=Format.MOV
    )

    for one in (remuxed, transcoded):
        assert not [canary for canary in CANARIES if canary in one.content]
        assert not set(one.tags) - {
            "major_brand",
            "minor_version",
            "compatible_brands",
            "language",
            "handler_name",
            "vendor_id",
            "encoder",
        }
        assert b"x264 - core" not in one.content


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
async def test_exiftool_finds_no_place_or_device(room: CuttingRoom) -> None:
    recipes: list[Recipe] = [FULL, SMALL, PREVIEW, *stream_of(180)]
    await room.make(phone_film(), *recipes, format=Format.MOV)

    for number in range(len(recipes)):
        found = exif_tags(room.folder / str(number))
        words = ("gps", "location", "make", "model", "serial", "software", "creationdate")
        assert not [tag for tag in found if any(word in tag.lower() for word in words)]
        assert "CANARY" not in "".join(map(str, found.values())).upper()


def exif_tags(path: Path) -> dict[str, object]:
    command = [
        "exiftool",
        "-ee",
        "-j",
        "-G1",
        "-a",
        "-x",
        "System:all",
        "-x",
        "SourceFile",
        str(path),
    ]
    told = subprocess.run(command, capture_output=True, check=False).stdout
    (tags,) = json.loads(told)
    return {name: value for name, value in tags.items() if name != "SourceFile"}


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
async def test_ffprobe_sees_a_film_that_plays_everywhere(room: CuttingRoom) -> None:
    await room.make(film(codec="vp9", container="webm", audio="opus"), FULL, format=Format.WEBM)

    entries = "stream=codec_name,profile,pix_fmt,level,sample_aspect_ratio,is_avc"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json"]
    told = subprocess.run([*command, str(room.folder / "0")], capture_output=True, check=True)
    video, audio = json.loads(told.stdout)["streams"]

    assert (video["codec_name"], video["profile"], video["pix_fmt"]) == ("h264", "High", "yuv420p")
    assert (video["level"], video["is_avc"]) == (30, "true")
    assert (audio["codec_name"], audio["profile"]) == ("aac", "LC")


@pytest.mark.parametrize("kind", ["gif", "apng"])
async def test_a_moving_picture_becomes_a_silent_film(room: CuttingRoom, kind: str) -> None:
    picture = pattern((161, 91), seconds=1, rate="10") + ",select='not(between(n,3,5))'"
    room.source.write_bytes(
        made(["-f", "lavfi", "-i", picture, "-fps_mode", "vfr"], container=kind)
    )
    known = Film(demuxer=kind, codec=kind, seconds=1.0, width=161, height=91, frame_rate=10.0)
    silent = FilmRecipe(short_side=720, frame_rate=60, silent=True)

    sizes = await room.maker.make(known, room.source, targets=[(silent, room.folder / "0")])

    film_of_it = shown((room.folder / "0").read_bytes())
    assert sizes == [film_of_it.size] == [(160, 92)]
    assert film_of_it.times == pytest.approx([0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9], abs=0.02)
    assert film_of_it.pixel_format == "yuv420p"


async def test_a_preview_moves(room: CuttingRoom) -> None:
    (content,) = await room.make(film(seconds=2.0), PREVIEW)

    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.size, room.sizes) == ("WEBP", (320, 180), [(320, 180)])
    assert 12 <= getattr(picture, "n_frames", 1) <= 24


async def test_progress_is_told_up_to_the_end(room: CuttingRoom) -> None:
    told: list[float] = []

    await room.make(film(seconds=3, codec="hevc"), FULL, PREVIEW, on_progress=told.append)

    assert told == sorted(told)
    assert told[-1] == 1.0
    assert all(0 <= done <= 1 for done in told)


@pytest.mark.parametrize("container", ["mkv", "mp4"])
async def test_a_film_that_was_cut_off_plays_as_far_as_it_goes(
    room: CuttingRoom, container: str
) -> None:
    whole = film(codec="hevc", seconds=3, container=container, options=FAST_START[container])

    made = await room.film(whole[: len(whole) // 2], format=Format[container.upper()])

    assert 1 < made.seconds < 2.5


@pytest.mark.parametrize("codec", ["h264", "hevc"])
async def test_a_film_that_is_damaged_from_the_middle_on_is_refused(
    room: CuttingRoom, codec: str
) -> None:
    whole = film(codec=codec, seconds=3, container="mp4", options=FAST_START["mp4"])

    with pytest.raises(BrokenFile):
        await room.film(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert not (room.folder / "0").exists()
