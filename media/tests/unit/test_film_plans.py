from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from media_service.core.errors import BrokenFile
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Shape
from media_service.infra.codecs.films.description import Film
from media_service.infra.codecs.films.plans import (
    allowance,
    ceiling_kilobits,
    film_arguments,
    h264,
    picture_chain,
    plays_everywhere,
    preview_chain,
    sound_arguments,
)
from media_service.infra.codecs.films.streams import stream_arguments

FULL = FilmRecipe(short_side=720, frame_rate=60)
PLAIN = Film(
    demuxer="mov",
    seconds=10.0,
    bit_rate=8_000_000,
    codec="h264",
    profile="High",
    level=40,
    width=1920,
    height=1080,
    audio_stream=1,
    audio_codec="aac",
    audio_profile="LC",
    audio_bit_rate=128_000,
    channels=2,
    sample_rate=48_000,
)


def but(**changes: Any) -> Film:
    return dataclasses.replace(PLAIN, **changes)


def test_what_plays_everywhere_is_remuxed() -> None:
    assert plays_everywhere(PLAIN, FULL)


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "hevc"},
        {"profile": "High 10"},
        {"profile": "High 4:4:4 Predictive"},
        {"level": 52},
        {"level": 0},
        {"pixel_format": "yuvj420p"},
        {"is_plain": False},
        {"is_interlaced": True},
        {"is_cut": True},
        {"transfer": 16},
        {"transfer": 18},
        {"primaries": 9},
        {"width": 3840, "height": 2160},
        {"frame_rate": 120.0},
        {"bit_rate": 40_000_000},
    ],
)
def test_what_some_cannot_play_is_not(changes: dict[str, Any]) -> None:
    assert not plays_everywhere(but(**changes), FULL)


@pytest.mark.parametrize(
    ("changes", "is_copied"),
    [
        ({}, True),
        ({"audio_codec": "opus"}, False),
        ({"audio_profile": "HE-AAC"}, False),
        ({"channels": 6}, False),
        ({"sample_rate": 96_000}, False),
        ({"audio_bit_rate": 320_000}, False),
        ({"is_cut": True}, False),
    ],
)
def test_sound_is_encoded_only_if_it_must_be(changes: dict[str, Any], is_copied: bool) -> None:
    assert ("copy" in sound_arguments(but(**changes))) is is_copied


def test_a_film_without_sound_gets_no_options_for_it() -> None:
    assert sound_arguments(but(audio_stream=-1)) == []


def test_mono_stays_mono() -> None:
    arguments = sound_arguments(but(channels=1, audio_codec="opus"))

    assert arguments[arguments.index("-ac") + 1] == "1"


def test_frames_are_in_order_only_around_pauses() -> None:
    assert "-bf:v" not in h264(PLAIN, (1280, 720), frame_rate=60)
    assert "-bf:v" in h264(but(is_paused=True), (1280, 720), frame_rate=60)


def test_frames_are_thinned_out_only_above_the_most() -> None:
    assert "fps" not in picture_chain(but(frame_rate=60.2), (1280, 720), frame_rate=60)
    assert "fps=60" in picture_chain(but(frame_rate=119.9), (1280, 720), frame_rate=60)


def test_hdr_is_scaled_before_its_tones_are_mapped() -> None:
    chain = picture_chain(but(transfer=16), (1280, 720), frame_rate=60)

    assert chain.index("w=1280") < chain.index("tonemap=") < chain.index("t=bt709")


def test_colours_nobody_named_are_named_by_the_size_they_came_in() -> None:
    assert "colorspace=bt709" in picture_chain(PLAIN, (640, 360), frame_rate=60)
    assert "smpte170m" in picture_chain(but(width=640, height=480), (640, 480), frame_rate=60)
    assert "setparams" not in picture_chain(but(matrix=6), (640, 360), frame_rate=60)


def test_a_source_is_opened_by_one_demuxer_and_no_path() -> None:
    arguments, size = film_arguments(PLAIN, FULL, is_remux=False, output="film.mp4")

    told = dict(itertools.pairwise(arguments))
    assert told["-i"] == "fd:"
    assert told["-protocol_whitelist"] == "fd"
    assert told["-format_whitelist"] == "mov,mp4,m4a,3gp,3g2,mj2"
    assert set(told["-codec_whitelist"].split(",")) >= {"h264", "hevc", "vp9", "libdav1d", "aac"}
    assert not {"magicyuv", "png", "mjpeg"} & set(told["-codec_whitelist"].split(","))
    assert size == (1280, 720)


def test_other_demuxers_meet_only_their_own_codec_beside_those_of_films() -> None:
    gif = Film(demuxer="gif", seconds=1.0, codec="gif", width=320, height=180)

    arguments, _ = film_arguments(gif, FULL, is_remux=False, output="film.mp4")

    told = dict(itertools.pairwise(arguments))
    assert told["-format_whitelist"] == "gif"
    assert "gif" in told["-codec_whitelist"].split(",")


def test_all_rungs_come_from_one_decode() -> None:
    arguments = stream_arguments(PLAIN, (360, 540, 720, 1080), frame_rate=60)

    assert arguments.count("-i") == 1
    assert arguments.count("hls") == 4
    graph = arguments[arguments.index("-filter_complex") + 1]
    assert graph.count("[0:0]") == 1
    assert [graph.index(f"[v{rung}]") for rung in (1080, 720, 540, 360)] == sorted(
        graph.index(f"[v{rung}]") for rung in (1080, 720, 540, 360)
    )


def test_a_larger_rung_may_hold_more() -> None:
    held = [ceiling_kilobits(PLAIN, rung, frame_rate=60) for rung in (360, 540, 720, 1080)]

    assert held == sorted(held)
    assert held[0] == 800
    assert 5200 < held[3] < 5800


def test_a_short_film_is_previewed_at_its_own_pace() -> None:
    preview = PictureRecipe(
        shape=Shape.FIT, width=320, height=320, quality=60, encoding=Encoding.WEBP, animated=True
    )

    short, size = preview_chain(but(seconds=2.0), preview)
    long, _ = preview_chain(but(seconds=240.0), preview)

    assert "selected_n*0.125" in short
    assert "selected_n*10.0" in long
    assert size == (320, 180)
    assert preview_chain(but(seconds=2.0, is_interlaced=True), preview)[0] == short


def test_a_longer_or_larger_film_may_take_longer() -> None:
    usual = allowance(PLAIN, source_bytes=10**7)

    assert allowance(but(seconds=20.0), source_bytes=10**7).cpu_seconds > usual.cpu_seconds
    assert allowance(but(width=3840, height=2160), source_bytes=10**7).cpu_seconds > 200
    assert usual.cpu_seconds == 180
    assert usual.wall_seconds > usual.cpu_seconds


def test_what_a_cell_tells_of_a_film_is_checked() -> None:
    told = dataclasses.asdict(PLAIN)
    assert Film.told(told) == PLAIN

    for wrong in (
        {"width": 0},
        {"width": 10**6},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"frame_rate": -1.0},
        {"codec": 7},
        {"codec": None},
        {"codec": "h264,png"},
        {"demuxer": "concat -i x"},
        {"stream": 10**9},
        {"is_plain": 1},
    ):
        with pytest.raises(BrokenFile):
            Film.told({**told, **wrong})
