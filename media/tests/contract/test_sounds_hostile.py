"""`SoundCodecs` on a real cell: sounds that are made to hurt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from fakes import damage, sounds
from fakes.witnesses import most_memory
from media_service.core.errors import (
    BrokenFile,
    MediaError,
    MetadataTooLarge,
    UnsupportedCodec,
)
from media_service.core.formats import Format
from media_service.core.recipes import SoundEncoding, SoundRecipe, WaveformRecipe
from media_service.core.renditions import Inspection
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg
from media_service.infra.codecs.sounds.codecs import SoundCodecs

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1024 * 1024
MOST_SECONDS = 10
MOST_BYTES = 512 * MB
AAC = SoundRecipe(encoding=SoundEncoding.AAC, kilobits=128)
ENDED = ("mp3", "adts", "opus", "vorbis", "weba", "wav", "flac")
"""What plays up to where it was cut off."""

Attempt = Callable[[bytes, Format], Awaitable[Inspection | MediaError]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cells() -> AsyncIterator[Cells]:
    async with Cells(AV_CELL, size=1, jobs_per_cell=100_000, time_limits=AV_TIME_LIMITS) as cells:
        yield cells


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ffmpeg() -> Ffmpeg:
    return await Ffmpeg.find(None)


@pytest.fixture
def attempt(cells: Cells, ffmpeg: Ffmpeg, tmp_path: Path) -> Attempt:
    """Inspects and draws. Nobody dies, nothing takes long or much memory."""
    codecs = SoundCodecs(cells, ffmpeg)
    source = tmp_path / "source"
    targets = [(WaveformRecipe(points=200), tmp_path / "waveform")]

    async def tried(content: bytes, format: Format) -> Inspection | MediaError:
        source.write_bytes(content)
        pids, started = cells.pids(), time.monotonic()
        try:
            inspection = await codecs.inspect(source, format=format)
            await codecs.develop(source, format=format, targets=targets)
        except MediaError as error:
            return error
        finally:
            assert cells.pids() == pids
            assert time.monotonic() - started < MOST_SECONDS
            assert max(map(most_memory, pids)) < MOST_BYTES
        return inspection

    return tried


REFUSED: dict[str, tuple[Callable[[], bytes], Format, type[MediaError]]] = {
    "T06: no moov": (lambda: sounds.sound("m4a").replace(b"moov", b"none"), Format.M4A, BrokenFile),
    "T07: noise": (lambda: b"\xff\xfb\x90\x64" + bytes(range(256)) * 64, Format.MP3, BrokenFile),
    "empty": (lambda: b"", Format.WAV, BrokenFile),
    "only a tag": (lambda: sounds.with_id3(b"", sounds.many_texts(100)), Format.MP3, BrokenFile),
    "ID3 of 17 MB": (
        lambda: sounds.with_id3(sounds.sound("mp3"), bytes(17 * MB)),
        Format.MP3,
        MetadataTooLarge,
    ),
    "FLAC with 100,000 comments": (
        lambda: sounds.flac_with_block(4, sounds.comments(100_000)),
        Format.FLAC,
        MetadataTooLarge,
    ),
    "FLAC with two pictures of 16 MB": (
        lambda: sounds.flac_with_block(6, bytes(2**24 - 1)),
        Format.FLAC,
        MetadataTooLarge,
    ),
    "rate 0": (lambda: sounds.wav_that_says(rate=0), Format.WAV, BrokenFile),
    "rate 4e9": (lambda: sounds.wav_that_says(rate=4_000_000_000), Format.WAV, BrokenFile),
    "rate 1000": (lambda: sounds.wav_that_says(rate=1000), Format.WAV, UnsupportedCodec),
    "255 channels": (lambda: sounds.wav_that_says(channels=255), Format.WAV, UnsupportedCodec),
    "no channels": (lambda: sounds.wav_that_says(channels=0), Format.WAV, UnsupportedCodec),
    "a playlist": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", Format.MP3, BrokenFile),
    "ffconcat": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", Format.OGG, BrokenFile),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bomb_is_refused(attempt: Attempt, name: str) -> None:
    make, format, error = REFUSED[name]

    refusal = await attempt(make(), format)

    assert type(refusal) is error


PLAYED: dict[str, tuple[Callable[[], bytes], Format, float]] = {
    "V10: a cover that is a bomb": (
        lambda: sounds.with_id3(sounds.sound("mp3"), sounds.cover(sounds.png_bomb())),
        Format.MP3,
        2,
    ),
    "ID3 of 1 MB of short texts": (
        lambda: sounds.with_id3(sounds.sound("mp3"), sounds.many_texts(MB)),
        Format.MP3,
        2,
    ),
    "a cover of 3 MB": (
        lambda: sounds.with_id3(sounds.sound("mp3"), sounds.cover(bytes(3 * MB))),
        Format.MP3,
        2,
    ),
    "a WAV of no stated length": (
        lambda: sounds.wav_that_says(data_bytes=0xFFFF_FFFF, riff_bytes=0xFFFF_FFFF),
        Format.WAV,
        1,
    ),
    "a WAV that says less": (lambda: sounds.wav_that_says(data_bytes=4000), Format.WAV, 0.5),
    "1000 streams in a chain": (lambda: sounds.chained(1000), Format.OGG, 60),
}


@pytest.mark.parametrize("name", PLAYED)
async def test_what_is_odd_but_plays_is_taken(attempt: Attempt, name: str) -> None:
    make, format, seconds = PLAYED[name]

    inspection = await attempt(make(), format)

    assert isinstance(inspection, Inspection), inspection
    assert inspection.duration_ms == pytest.approx(seconds * 1000, rel=0.1)


@pytest.mark.parametrize("kind", ENDED)
async def test_a_recording_that_broke_off_lasts_until_there(attempt: Attempt, kind: str) -> None:
    content = sounds.sound(kind, seconds=6)

    inspection = await attempt(content[: len(content) * 2 // 3], sounds.format_of(kind))

    assert isinstance(inspection, Inspection), inspection
    assert 2000 < inspection.duration_ms < 5000


@pytest.mark.parametrize("kind", sounds.DECODED)
async def test_every_beginning_of_a_file_is_survived(attempt: Attempt, kind: str) -> None:
    """T08."""
    content = sounds.sound(kind, seconds=0.3)

    heads = damage.prefixes(content[:200], count=28)
    for prefix in (*heads, *damage.prefixes(content, count=40)):
        await attempt(prefix, sounds.format_of(kind))


@pytest.mark.parametrize("kind", ["mp3", "m4a", "adts", "opus", "vorbis", "weba", "wav", "flac"])
async def test_200_damaged_files_are_survived(attempt: Attempt, kind: str) -> None:
    """T09."""
    content = sounds.sound(kind, seconds=0.2)

    for seed in range(200):
        await attempt(damage.flipped(content, seed=seed), sounds.format_of(kind))


async def test_a_cover_is_in_nothing_that_is_made(
    cells: Cells, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_bytes(sounds.with_id3(sounds.sound("mp3"), sounds.cover(sounds.png_bomb())))

    await SoundCodecs(cells, ffmpeg).develop(source, format=Format.MP3, targets=[(AAC, made)])

    assert sounds.COVER_CANARY not in made.read_bytes()
    assert b"PNG" not in made.read_bytes()


@pytest.mark.parametrize("kind", ENDED)
async def test_what_is_taken_can_be_made_to_play(
    cells: Cells, ffmpeg: Ffmpeg, tmp_path: Path, kind: str
) -> None:
    content, format = sounds.sound(kind, seconds=6), sounds.format_of(kind)
    source, made = tmp_path / "source", tmp_path / "made"
    middle = len(content) // 2
    damaged = content[:middle] + bytes(200) + content[middle + 200 : -1000]
    source.write_bytes(damaged)
    codecs = SoundCodecs(cells, ffmpeg)

    await codecs.inspect(source, format=format)
    await codecs.develop(source, format=format, targets=[(AAC, made)])

    assert made.stat().st_size > 1000
