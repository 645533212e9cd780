"""`ImageCodecs` on real cells: files that are made to hurt."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from fakes import damage, pictures
from fakes.witnesses import most_memory
from media_service.core.errors import (
    BrokenFile,
    MediaError,
    MetadataTooLarge,
    StorageUnavailable,
    TooComplex,
    TooManyPixels,
)
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.pictures.codecs import ImageCodecs

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1024 * 1024
MOST_SECONDS = 10
MOST_BYTES = 512 * MB
FULL = PictureRecipe(shape=Shape.FIT, width=2048, height=2048, quality=92, encoding=Encoding.JPEG)

Attempt = Callable[[bytes, Format], Awaitable[MediaError | None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cells() -> AsyncIterator[Cells]:
    async with Cells(size=1, jobs_per_cell=100_000) as cells:
        yield cells


@pytest.fixture
def attempt(cells: Cells, tmp_path: Path) -> Attempt:
    """Inspects and develops; the error, if any. Nobody dies, nothing takes long or much memory."""
    codecs = ImageCodecs(cells)
    source = tmp_path / "source"
    targets = [(FULL, tmp_path / "full")]

    async def tried(content: bytes, format: Format) -> MediaError | None:
        source.write_bytes(content)
        pids, started = cells.pids(), time.monotonic()
        try:
            await codecs.inspect(source, format=format)
            await codecs.develop(source, format=format, targets=targets)
        except MediaError as error:
            return error
        finally:
            assert cells.pids() == pids
            assert time.monotonic() - started < MOST_SECONDS
            assert max(map(most_memory, pids)) < MOST_BYTES
        return None

    return tried


REFUSED: dict[str, tuple[Callable[[], bytes], Format, type[MediaError]]] = {
    "B01": (pictures.png_of_one_bit, Format.PNG, TooManyPixels),
    "B02": (lambda: pictures.png_that_lies(60_000, 60_000), Format.PNG, TooManyPixels),
    "B03": (lambda: pictures.png_that_lies(2**31, 2**31), Format.PNG, TooManyPixels),
    "B04": (lambda: pictures.png_that_lies(0, 0), Format.PNG, BrokenFile),
    "B05": (
        lambda: pictures.png_with_packed(b"zTXt", megabytes=256),
        Format.PNG,
        MetadataTooLarge,
    ),
    "B06": (
        lambda: pictures.png_with_packed(b"iCCP", megabytes=256),
        Format.PNG,
        MetadataTooLarge,
    ),
    "B08": (lambda: pictures.jpeg_that_claims(65_500, 65_500), Format.JPEG, TooManyPixels),
    "B09": (lambda: pictures.jpeg_of_scans(2000), Format.JPEG, TooComplex),
    "B10": (lambda: pictures.jpeg_with_segments(900), Format.JPEG, MetadataTooLarge),
    "B13": (
        lambda: pictures.gif_that_claims((65_535, 65_535), (1, 1)),
        Format.GIF,
        TooManyPixels,
    ),
    "B14": (
        lambda: pictures.gif_that_claims((1, 1), (65_535, 65_535)),
        Format.GIF,
        TooManyPixels,
    ),
    "B15": (
        lambda: pictures.gif_of_frames(100_000, canvas=(4000, 4000)),
        Format.GIF,
        TooManyPixels,
    ),
    "B21": (pictures.webp_of_268_megapixels, Format.WEBP, TooManyPixels),
    "T02": (lambda: b"\xff\xd8\xff", Format.JPEG, BrokenFile),
    "empty": (lambda: b"", Format.JPEG, BrokenFile),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bomb_is_refused(attempt: Attempt, name: str) -> None:
    make, format, error = REFUSED[name]
    content = make()
    started = time.monotonic()

    refusal = await attempt(content, format)

    assert type(refusal) is error
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("sides", [(65_535, 65_535), (16_385, 1), (8192, 8192), (0, 0)])
async def test_an_avif_that_lies_is_refused(attempt: Attempt, sides: tuple[int, int]) -> None:
    """B20."""
    refusal = await attempt(pictures.avif_that_claims(*sides), Format.AVIF)

    assert isinstance(refusal, (TooManyPixels, BrokenFile))


ODD: dict[str, tuple[Callable[[], bytes], Format]] = {
    "B07": (lambda: pictures.apng(50_000), Format.PNG),
    "B09, few": (lambda: pictures.jpeg_of_scans(90, size=(2000, 1500)), Format.JPEG),
    "B11": (lambda: pictures.jpeg_with_exif(pictures.exif_loop()), Format.JPEG),
    "B12": (lambda: pictures.jpeg_with_exif(pictures.exif_of_lies()), Format.JPEG),
    "B22": (lambda: pictures.webp_of_frames(2000), Format.WEBP),
    "many frames": (lambda: pictures.gif_of_frames(10_000), Format.GIF),
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_file_does_no_harm(attempt: Attempt, name: str) -> None:
    make, format = ODD[name]

    await attempt(make(), format)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_half_a_file_is_broken(attempt: Attempt, format: Format) -> None:
    """T03."""
    content = pictures.picture(format=format)

    refusal = await attempt(content[: len(content) // 2], format)

    assert isinstance(refusal, BrokenFile)


@pytest.mark.parametrize("format", pictures.MOVING)
async def test_half_an_animation_is_broken(attempt: Attempt, format: Format) -> None:
    content = pictures.moving(format=format)

    refusal = await attempt(content[: len(content) // 2], format)

    assert isinstance(refusal, BrokenFile)


async def test_a_png_without_its_end_is_broken(attempt: Attempt) -> None:
    """T04."""
    refusal = await attempt(pictures.picture(format=Format.PNG)[:-12], Format.PNG)

    assert isinstance(refusal, BrokenFile)


async def test_a_png_with_a_wrong_checksum_is_broken(attempt: Attempt) -> None:
    """T05."""
    content = bytearray(pictures.picture(format=Format.PNG))
    content[-16] ^= 1  # the last byte of the pixels' checksum

    assert isinstance(await attempt(bytes(content), Format.PNG), BrokenFile)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_no_beginning_of_a_file_does_harm(attempt: Attempt, format: Format) -> None:
    """T08."""
    for prefix in damage.prefixes(pictures.small_samples()[format], count=60):
        assert isinstance(await attempt(prefix, format), BrokenFile)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_no_flipped_bit_does_harm(attempt: Attempt, format: Format) -> None:
    """T09."""
    content = pictures.small_samples()[format]
    for flipped in damage.bit_flips(content, count=200, seed=len(content)):
        await attempt(flipped, format)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
@pytest.mark.parametrize("content", [*pictures.NOT_PICTURES, pictures.tiff()], ids=repr)
async def test_what_is_no_picture_of_ours_is_never_decoded(
    attempt: Attempt, format: Format, content: bytes
) -> None:
    assert isinstance(await attempt(content, format), BrokenFile)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_one_format_is_not_decoded_as_another(attempt: Attempt, format: Format) -> None:
    for other, content in pictures.small_samples().items():
        if other is not format:
            assert isinstance(await attempt(content, format), BrokenFile)


async def test_a_killed_cell_is_one_refused_file(cells: Cells, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(pictures.picture())
    codecs = ImageCodecs(cells)
    (pid,) = cells.pids()
    os.kill(pid, signal.SIGSTOP)
    developing = asyncio.create_task(
        codecs.develop(source, format=Format.JPEG, targets=[(FULL, tmp_path / "full")])
    )
    await asyncio.sleep(0.05)

    os.kill(pid, signal.SIGKILL)

    with pytest.raises(TooComplex):
        await developing
    assert (await codecs.inspect(source, format=Format.JPEG)).width == 400


async def test_a_target_that_cannot_be_written_is_no_fault_of_the_file(
    cells: Cells, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(pictures.picture())

    with pytest.raises(StorageUnavailable):
        await ImageCodecs(cells).develop(
            source, format=Format.JPEG, targets=[(FULL, tmp_path / "missing" / "target")]
        )


async def test_a_full_disk_is_no_fault_of_the_file(cells: Cells, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(pictures.picture())

    with pytest.raises(MediaError) as refusal:
        await ImageCodecs(cells).develop(
            source, format=Format.JPEG, targets=[(FULL, Path("/dev/full"))]
        )

    assert refusal.value.code == "storage_full"
