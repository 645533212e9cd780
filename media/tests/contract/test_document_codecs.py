"""`DocumentCodecs` on a real cell: pages, text and archives, and files that are made to hurt."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from fakes import documents
from fakes.documents import DOCUMENTS, pdf
from fakes.witnesses import most_memory
from media_service.core.errors import (
    BrokenFile,
    MediaError,
    TooComplex,
    UnsafeArchive,
    UnsupportedType,
)
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.documents.codecs import (
    DOCUMENT_CELL,
    DOCUMENT_TIME_LIMITS,
    DocumentCodecs,
)
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1024 * 1024
MOST_SECONDS = sum(DOCUMENT_TIME_LIMITS.values())
MOST_BYTES = 512 * MB
FULL = PictureRecipe(shape=Shape.FIT, width=2048, height=2048, quality=92, encoding=Encoding.JPEG)
SMALL = PictureRecipe(shape=Shape.FIT, width=320, height=320, quality=85, encoding=Encoding.WEBP)

Inspect = Callable[[bytes, Format], Awaitable[Inspection]]
Draw = Callable[[bytes], Awaitable[list[Image.Image]]]
Attempt = Callable[[bytes, Format], Awaitable[MediaError | None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cells() -> AsyncIterator[Cells]:
    async with Cells(
        DOCUMENT_CELL, size=1, jobs_per_cell=100_000, time_limits=DOCUMENT_TIME_LIMITS
    ) as cells:
        yield cells


@pytest.fixture
def codecs(cells: Cells) -> DocumentCodecs:
    return DocumentCodecs(cells)


@pytest.fixture
def inspect(codecs: DocumentCodecs, tmp_path: Path) -> Inspect:
    async def inspected(content: bytes, format: Format) -> Inspection:
        source = tmp_path / "source"
        source.write_bytes(content)
        return await codecs.inspect(source, format=format)

    return inspected


@pytest.fixture
def draw(codecs: DocumentCodecs, tmp_path: Path) -> Draw:
    """The first page of a PDF, large and small."""

    async def drawn(content: bytes) -> list[Image.Image]:
        source = tmp_path / "source"
        source.write_bytes(content)
        targets = [(FULL, tmp_path / "full"), (SMALL, tmp_path / "small")]
        sizes = await codecs.develop(source, format=Format.PDF, targets=targets)
        pictures: list[Image.Image] = [
            Image.open(io.BytesIO(path.read_bytes())) for _, path in targets
        ]
        assert [picture.size for picture in pictures] == sizes
        return pictures

    return drawn


@pytest.fixture
def attempt(cells: Cells, inspect: Inspect, draw: Draw) -> Attempt:
    """Inspects and draws; the error, if any. Nothing takes long or much memory."""

    async def tried(content: bytes, format: Format) -> MediaError | None:
        while not cells.pids():
            await asyncio.sleep(0.05)
        [pid], started = cells.pids(), time.monotonic()
        try:
            if (await inspect(content, format)).pages:
                await draw(content)
        except MediaError as error:
            return error
        finally:
            assert time.monotonic() - started < MOST_SECONDS
            assert most_memory(pid) < MOST_BYTES
        return None

    return tried


def _colour(picture: Image.Image, across: float, down: float) -> list[int]:
    pixels = np.asarray(picture.convert("RGB"))
    found: list[int] = pixels[int(down * picture.height), int(across * picture.width)].tolist()
    return found


def _is_red(colour: list[int]) -> bool:
    return colour[0] > 240 and max(colour[1:]) < 20


def _is_white(colour: list[int]) -> bool:
    return min(colour) > 240


# What is taken


async def test_every_document_is_taken(codecs: DocumentCodecs, inspect: Inspect) -> None:
    assert codecs.formats() == frozenset(DOCUMENTS)

    for format, content in DOCUMENTS.items():
        told = await inspect(content, format)

        assert told.content_type in ("", format)
        assert told.pages == (format is Format.PDF)


async def test_the_decoder_and_its_version_are_told(codecs: DocumentCodecs) -> None:
    assert set(codecs.versions()) == {"pdfium"}


async def test_a_page_has_the_size_it_has_on_paper(inspect: Inspect) -> None:
    told = await inspect(documents.pdf_letter(pages=20), Format.PDF)

    assert (told.width, told.height, told.pages) == (1190, 1684, 20)
    assert len(told.blurhash) == 28


async def test_a_page_that_is_turned_is_upright(inspect: Inspect, draw: Draw) -> None:
    turned = pdf(page=b"/Rotate 90")

    told = await inspect(turned, Format.PDF)
    full, _ = await draw(turned)

    assert (told.width, told.height) == full.size == (1684, 1190)
    assert _is_red(_colour(full, 0.75, 0.5))
    assert _is_white(_colour(full, 0.25, 0.5))


async def test_the_first_page_is_drawn_on_white(draw: Draw) -> None:
    full, small = await draw(pdf(pages=3))

    assert full.size == (1190, 1684)
    assert small.size == (226, 320)
    for picture in (full, small):
        assert _is_red(_colour(picture, 0.5, 0.25))
        assert _is_white(_colour(picture, 0.5, 0.75))


@pytest.mark.parametrize("encoding", Encoding)
async def test_a_page_is_drawn_in_every_encoding(
    codecs: DocumentCodecs, tmp_path: Path, encoding: Encoding
) -> None:
    (tmp_path / "source").write_bytes(pdf())
    recipe = dataclasses.replace(SMALL, encoding=encoding)

    sizes = await codecs.develop(
        tmp_path / "source", format=Format.PDF, targets=[(recipe, tmp_path / "made")]
    )

    made = Image.open(tmp_path / "made")
    assert [made.size] == sizes
    assert made.get_format_mimetype() == encoding.value


async def test_text_without_fonts_of_its_own_is_drawn(draw: Draw) -> None:
    full, _ = await draw(documents.pdf_letter())

    share_of_ink = float((np.asarray(full.convert("L")) < 128).mean())
    assert 0.01 < share_of_ink < 0.2


async def test_what_is_locked_by_a_password_is_taken_without_pages(inspect: Inspect) -> None:
    told = await inspect(documents.pdf_with_password(), Format.PDF)

    assert (told.pages, told.width, told.height, told.blurhash) == (0, 0, 0, "")


async def test_text_is_read_to_its_end(inspect: Inspect) -> None:
    long = "Ä line of some length, and its end.\n".encode() * 30_000

    assert (await inspect(long, Format.TXT)).pages == 0
    for wrong in (long + b"\xff", long + b"\0", long + "Ä".encode()[:1], long + b"\x1a"):
        with pytest.raises(BrokenFile):
            await inspect(wrong, Format.TXT)


# What is made to hurt

HURTFUL: dict[str, tuple[Callable[[], bytes], type[MediaError] | None]] = {
    "B24, 600 MB of drawing": (lambda: documents.pdf_bomb(megabytes=600), TooComplex),
    "B24, a picture of 108 megapixels": (lambda: documents.pdf_with_picture(12_000, 9000), None),
    "B24, forms in forms": (lambda: documents.pdf_of_nested_forms(9), TooComplex),
    "B25, pages in a loop": (documents.pdf_of_loops, BrokenFile),
    "B26, a page of 350,000 km": (lambda: pdf(size=(1e12, 1e12)), None),
    "B26, a page as thin as a hair": (lambda: pdf(size=(1e9, 1e-3)), None),
    "a page of no size": (lambda: pdf(size=(0, 0)), None),
    "a page of less than nothing": (lambda: pdf(size=(-500, -500)), None),
    "only a beginning": (lambda: b"%PDF-1.7\n", BrokenFile),
    "noise": (lambda: b"%PDF-1.7\n" + random.Random(1).randbytes(20_000), BrokenFile),
}


@pytest.mark.parametrize("name", HURTFUL)
async def test_a_page_that_hurts_is_refused_or_drawn(attempt: Attempt, name: str) -> None:
    make, error = HURTFUL[name]

    refusal = await attempt(make(), Format.PDF)

    assert refusal is None if error is None else isinstance(refusal, error)


async def test_a_page_of_any_size_is_of_few_pixels(inspect: Inspect) -> None:
    told = await inspect(pdf(size=(1e9, 1e9)), Format.PDF)

    assert (told.width, told.height) == (4096, 4096)


async def test_what_a_page_asks_for_is_not_done(attempt: Attempt) -> None:
    """D01: it is taken, and nobody hears of it."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1") as sink:
        port = sink.sockets[0].getsockname()[1]

        assert (
            await attempt(documents.pdf_that_acts(b"http://127.0.0.1:%d/" % port), Format.PDF)
            is None
        )

        await asyncio.sleep(0.1)
    assert heard == []


async def test_archives_that_do_harm_are_refused(attempt: Attempt) -> None:
    """B27-28, D02-03; all of them in test_archives.py."""
    many, link = documents.zip_of_many(10_001), documents.zip_of_links()
    macros = documents.office(Format.DOCX, {"word/vbaProject.bin": b"x"})

    assert type(await attempt(many, Format.ZIP)) is UnsafeArchive
    assert type(await attempt(link, Format.ZIP)) is UnsafeArchive
    assert type(await attempt(macros, Format.DOCX)) is UnsupportedType
    assert type(await attempt(b"PK\3\4 and no more", Format.ZIP)) is BrokenFile


async def test_names_in_old_code_pages_are_read(attempt: Attempt) -> None:
    plain = documents.zip_of({"grAsse.txt": b"x"})

    assert await attempt(plain.replace(b"grAsse", b"gr\x81sse"), Format.ZIP) is None


async def test_every_prefix_of_a_page_is_refused_or_drawn(attempt: Attempt, cells: Cells) -> None:
    """T08."""
    whole, pids = documents.pdf_that_acts(b"http://127.0.0.1/"), cells.pids()

    refusals = [await attempt(whole[:size], Format.PDF) for size in range(5, len(whole), 7)]

    assert {type(refusal) for refusal in refusals} <= {BrokenFile, type(None)}
    assert cells.pids() == pids


async def test_flipped_bits_are_refused_or_drawn(attempt: Attempt) -> None:
    """T09."""
    whole, chance = pdf(size=(120, 160)), random.Random(9)

    for _ in range(200):
        content = bytearray(whole)
        content[chance.randrange(9, len(content))] ^= 1 << chance.randrange(8)
        refusal = await attempt(bytes(content), Format.PDF)

        assert refusal is None or isinstance(refusal, (BrokenFile, TooComplex))
