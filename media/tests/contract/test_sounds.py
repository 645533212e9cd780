"""`SoundCodecs` on a real cell and a real ffmpeg: what comes of sounds of every kind."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
import pytest_asyncio
from av.container import InputContainer
from fakes import sounds
from media_service.core.errors import UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import (
    Encoding,
    PictureRecipe,
    Recipe,
    Shape,
    SoundEncoding,
    SoundRecipe,
    WaveformRecipe,
)
from media_service.core.renditions import Inspection
from media_service.core.sniffing import settled
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg
from media_service.infra.codecs.sounds.codecs import SoundCodecs
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

AAC = SoundRecipe(encoding=SoundEncoding.AAC, kilobits=128)
OPUS = SoundRecipe(encoding=SoundEncoding.OPUS, kilobits=64)
LOUD_AAC = SoundRecipe(encoding=SoundEncoding.AAC, kilobits=128, normalized=True)
LOUD_OPUS = SoundRecipe(encoding=SoundEncoding.OPUS, kilobits=64, normalized=True)
WAVEFORM = WaveformRecipe(points=200)
WAVE = PictureRecipe(
    shape=Shape.FIT, width=640, height=160, quality=80, encoding=Encoding.WEBP
)  # fmt: skip


class Listener:
    """Puts sounds into files, and what is made of them out of others."""

    def __init__(self, codecs: SoundCodecs, folder: Path) -> None:
        self.codecs, self._folder = codecs, folder
        self.source = folder / "source"
        self.progress: list[float] = []

    async def inspect(self, content: bytes, format: Format) -> Inspection:
        self.source.write_bytes(content)
        return await self.codecs.inspect(self.source, format=format)

    async def develop(self, content: bytes, format: Format, *recipes: Recipe) -> list[bytes]:
        self.source.write_bytes(content)
        targets = [(recipe, self._folder / f"{i}") for i, recipe in enumerate(recipes)]
        await self.codecs.develop(
            self.source, format=format, targets=targets, on_progress=self.progress.append
        )
        return [path.read_bytes() for _, path in targets]

    async def waveform(self, content: bytes, format: Format) -> dict[str, Any]:
        (made,) = await self.develop(content, format, WAVEFORM)
        told: dict[str, Any] = json.loads(made)
        return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def codecs() -> AsyncIterator[SoundCodecs]:
    ffmpeg = await Ffmpeg.find(None)
    async with Cells(AV_CELL, size=1, time_limits=AV_TIME_LIMITS) as cells:
        yield SoundCodecs(cells, ffmpeg)


@pytest.fixture
def listener(codecs: SoundCodecs, tmp_path: Path) -> Listener:
    return Listener(codecs, tmp_path)


def heard(content: bytes) -> tuple[InputContainer, float]:
    """The container, and how many seconds of sound decode."""
    container = av.open(io.BytesIO(content), mode="r")
    stream = container.streams.audio[0]
    return container, sum(f.samples for f in container.decode(stream)) / stream.sample_rate


def loudness_of(content: bytes) -> tuple[float, float]:
    """Integrated loudness (LUFS) and true peak (dBTP), as ffmpeg's ebur128 measures them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", "pipe:0"]
    command += ["-af", "ebur128=peak=true", "-f", "null", "-"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=30, check=True)
    summary = done.stderr.decode().rpartition("Summary:")[2]
    integrated, peak = (
        re.search(r"I:\s+(-?[\d.]+)", summary),
        re.search(r"Peak:\s+(-?\S+)", summary),
    )
    assert integrated
    assert peak
    return float(integrated[1]), float(peak[1])


async def test_every_format_is_decoded_here(codecs: SoundCodecs) -> None:
    assert codecs.formats() == {sounds.format_of(kind) for kind in sounds.DECODED}


@pytest.mark.parametrize("kind", sounds.DECODED)
async def test_a_sound_of_every_kind_shows_its_wave(listener: Listener, kind: str) -> None:
    content, format = sounds.sound(kind), sounds.format_of(kind)

    inspection = await listener.inspect(content, format)
    waveform, wave = await listener.develop(content, format, WAVEFORM, WAVE)

    told = json.loads(waveform)
    assert inspection.has_audio
    assert not inspection.has_video
    assert (inspection.width, inspection.height, inspection.blurhash) == (0, 0, "")
    assert inspection.duration_ms == pytest.approx(2000, abs=60)
    assert told["version"] == 1
    assert told["duration_ms"] == inspection.duration_ms
    assert list(told) == ["version", "duration_ms", "peaks"]
    assert len(told["peaks"]) == 200
    assert max(told["peaks"]) == pytest.approx(sounds.LOUDEST, abs=0.08)
    assert Image.open(io.BytesIO(wave)).size == (640, 160)


async def test_the_wave_is_drawn_as_the_peaks_are(listener: Listener) -> None:
    content = sounds.sound("wav")

    waveform, wave = await listener.develop(content, Format.WAV, WAVEFORM, WAVE)

    peaks = np.array(json.loads(waveform)["peaks"])
    alpha = np.asarray(Image.open(io.BytesIO(wave)).convert("RGBA"))[:, :, 3] > 127
    heights = alpha[:, 5::10].sum(axis=0) / 160
    assert alpha.any(axis=1).all()  # the loudest bar fills the height
    wanted = np.interp(np.linspace(0, 199, 64), np.arange(200), peaks / peaks.max())
    assert np.abs(heights - wanted).max() < 0.2
    swells = 0.1 + 0.9 * np.abs(np.sin(2 * np.pi * (np.arange(200) + 0.5) / 100))
    assert np.abs(peaks - sounds.LOUDEST * swells).max() < 0.03


async def test_what_a_recorder_left_without_a_duration_has_one(listener: Listener) -> None:
    content = sounds.sound("weba")
    with av.open(io.BytesIO(content), mode="r") as container:
        assert container.duration is None or container.duration <= 0

    assert (await listener.inspect(content, Format.WEBA)).duration_ms == pytest.approx(2000, abs=30)


@pytest.mark.parametrize("kind", ["weba", "m4a"])
async def test_a_film_without_pictures_is_a_sound(listener: Listener, kind: str) -> None:
    as_film = {"weba": Format.WEBM, "m4a": Format.MP4}[kind]

    inspection = await listener.inspect(sounds.sound(kind), as_film)

    assert (inspection.has_video, inspection.has_audio) == (False, True)
    assert inspection.duration_ms == pytest.approx(2000, abs=60)


async def test_silence_has_a_flat_wave(listener: Listener) -> None:
    waveform, wave, full = (
        await listener.develop(sounds.silence(), Format.OGG, WAVEFORM, WAVE)
    ) + await listener.develop(sounds.silence(), Format.OGG, LOUD_AAC)

    assert set(json.loads(waveform)["peaks"]) == {0.0}
    assert Image.open(io.BytesIO(wave)).size == (640, 160)
    assert heard(full)[1] == pytest.approx(2, abs=0.1)


async def test_numbers_beyond_full_scale_are_full_scale(listener: Listener) -> None:
    told = await listener.waveform(sounds.beyond_full_scale(), Format.WAV)

    assert max(told["peaks"]) == 1.0
    assert min(told["peaks"]) >= 0.0


async def test_a_moment_has_as_many_peaks_as_an_hour(listener: Listener) -> None:
    told = await listener.waveform(sounds.sound("wav", seconds=0.002), Format.WAV)

    assert told["duration_ms"] == 2
    assert len(told["peaks"]) == 200


async def test_a_codec_we_have_no_use_for_is_refused(listener: Listener) -> None:
    with pytest.raises(UnsupportedCodec):
        await listener.inspect(sounds.sound("alac"), Format.M4A)


# What plays


@pytest.mark.parametrize("kind", ["mp3", "weba", "vorbis", "wav of floats", "flac", "m4a", "adts"])
async def test_a_sound_of_every_kind_plays(listener: Listener, kind: str) -> None:
    content = sounds.sound(kind)

    aac, opus = await listener.develop(content, sounds.format_of(kind), AAC, OPUS)

    container, seconds = heard(aac)
    assert container.format.name.startswith("mov")
    assert container.streams.audio[0].codec_context.name == "aac"
    assert container.streams.audio[0].codec_context.channels == 1
    assert aac.index(b"moov") < aac.index(b"mdat")
    assert seconds == pytest.approx(2, abs=0.1)
    container, seconds = heard(opus)
    assert (container.format.name, container.streams.audio[0].codec.name) == ("ogg", "opus")
    assert seconds == pytest.approx(2, abs=0.1)
    assert len(opus) < len(aac)
    assert listener.progress[-1] == 1.0


async def test_the_shortest_sound_plays(listener: Listener) -> None:
    content = sounds.sound("wav", seconds=0.0001)

    for made in await listener.develop(content, Format.WAV, AAC, OPUS):
        assert 0 < heard(made)[1] < 0.1


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (2, 2), (6, 2), (8, 2)])
async def test_what_has_more_channels_is_mixed_down(
    listener: Listener, channels: int, wanted: int
) -> None:
    content = sounds.sound("wav", channels=channels)

    made = await listener.develop(content, Format.WAV, AAC, OPUS)

    assert [heard(one)[0].streams.audio[0].codec_context.channels for one in made] == [wanted] * 2


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 8000), (22_050, 22_050), (96_000, 48_000)])
async def test_rates_are_those_that_players_take(
    listener: Listener, rate: int, wanted: int
) -> None:
    aac, opus = await listener.develop(sounds.sound("wav", rate=rate), Format.WAV, AAC, OPUS)

    assert heard(aac)[0].streams.audio[0].sample_rate == wanted
    assert heard(opus)[0].streams.audio[0].sample_rate == 48_000


@pytest.mark.parametrize("kind", ["m4a", "adts", "m4a in fragments"])
async def test_what_plays_already_is_not_encoded_again(listener: Listener, kind: str) -> None:
    content = sounds.sound(kind)

    (made,) = await listener.develop(content, sounds.format_of(kind), AAC)

    def packets(of: bytes) -> list[bytes]:
        with av.open(io.BytesIO(of), mode="r") as container:
            return [bytes(packet)[-64:] for packet in container.demux(audio=0) if packet.size]

    assert packets(made) == packets(content)
    assert made.index(b"moov") < made.index(b"mdat")


@pytest.mark.parametrize(("kind", "rate"), [("mp3", 22_050), ("mp3", 44_100), ("adts", 44_100)])
async def test_a_sound_that_changes_on_the_way_plays_to_its_end(
    listener: Listener, kind: str, rate: int
) -> None:
    content = sounds.sound(kind) + sounds.sound(kind, rate=rate, channels=2)
    format = sounds.format_of(kind)

    made = await listener.develop(content, format, AAC, OPUS, LOUD_AAC)

    told = await listener.waveform(content, format)
    assert told["duration_ms"] == pytest.approx(4000, rel=0.05)
    for one in made:
        assert heard(one)[1] == pytest.approx(told["duration_ms"] / 1000, abs=0.1)


async def test_aac_behind_the_tags_of_an_mp3_is_aac(listener: Listener) -> None:
    content = sounds.with_id3(sounds.sound("adts"), sounds.many_texts(10_000))

    inspection = await listener.inspect(content, Format.MP3)

    assert settled(Format.MP3, inspection) is Format.AAC
    assert inspection.duration_ms == pytest.approx(2000, abs=100)
    (made,) = await listener.develop(content, Format.AAC, AAC)
    assert heard(made)[1] == pytest.approx(2.0, abs=0.1)


async def test_what_was_cut_away_is_in_nothing_that_is_made(listener: Listener) -> None:
    content = sounds.cut_sound()

    (made,) = await listener.develop(content, Format.M4A, AAC)

    assert (await listener.inspect(content, Format.M4A)).duration_ms == pytest.approx(1000, abs=50)
    with av.open(io.BytesIO(made), "r", options={"ignore_editlist": "1"}) as container:
        stored = sum(frame.samples for frame in container.decode(audio=0))
    assert stored / 44_100 == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "m4a", "opus", "vorbis", "weba", "flac", "wav"])
async def test_nothing_it_says_of_itself_remains(listener: Listener, kind: str) -> None:
    content, format = sounds.sound(kind, tags=True), sounds.format_of(kind)
    assert sounds.CANARY in content

    made = [*await listener.develop(content, format, AAC, OPUS), *await listener.develop(
        content, format, WAVEFORM, WAVE
    )]  # fmt: skip

    for one in made:
        assert sounds.CANARY not in one
        assert b"Lavf" not in one
    for one in made[:2]:
        container, _ = heard(one)
        assert not set(container.metadata) - {"major_brand", "minor_version", "compatible_brands"}
        assert not container.chapters()


# Loudness


@pytest.mark.parametrize("loudness", [0.02, 0.2, 0.9])
async def test_loudness_is_what_was_asked_for(listener: Listener, loudness: float) -> None:
    content = sounds.sound("wav", seconds=4, channels=2, loudness=loudness)

    made = await listener.develop(content, Format.WAV, LOUD_AAC, LOUD_OPUS)

    for one in made:
        integrated, peak = loudness_of(one)
        assert integrated == pytest.approx(-16, abs=1)
        assert peak <= -1.0


async def test_loudness_stays_as_it_was_when_nothing_was_asked(listener: Listener) -> None:
    content = sounds.sound("wav", seconds=4, channels=2, loudness=0.02)

    made = await listener.develop(content, Format.WAV, AAC, OPUS)

    wanted, _ = loudness_of(content)
    assert wanted < -35
    for one in made:
        assert loudness_of(one)[0] == pytest.approx(wanted, abs=1)


async def test_what_is_cancelled_leaves_nothing_behind(codecs: SoundCodecs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(sounds.sound("wav", seconds=60))
    making = asyncio.create_task(
        codecs.develop(source, format=Format.WAV, targets=[(LOUD_AAC, tmp_path / "made")])
    )
    await asyncio.sleep(0.4)

    making.cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(making, return_exceptions=True)

    assert making.cancelled()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
