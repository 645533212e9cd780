"""PDF by pdfium: how many pages, and the first of them as a picture.

The library is one without a JavaScript engine and without XFA (`is_without_scripts`), and no form
environment is ever made, which alone would act on what a document asks for. What it draws comes
from the file: it has no other fonts than its own fourteen, no network and no file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Iterator
from typing import Final

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from media_service.core.errors import BrokenFile
from media_service.infra.codecs.headers.limits import Header
from media_service.infra.codecs.pictures.opening import Picture
from media_service.infra.codecs.pictures.raster import Raster

PIXELS_PER_POINT: Final = 2
"""A page is taken for a picture of 144 dots per inch: A4 is 1190 by 1684."""
_MAX_SIDE: Final = 4096
_MAX_PAGES: Final = 100_000
_FLAGS: Final = (
    pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER | pdfium_c.FPDF_RENDER_LIMITEDIMAGECACHE
)
_WHITE: Final = 255
_LOCKED: Final = (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY)
SAMPLE: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 4 2]>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF"
)


def pdfium_version() -> str:
    """The version of pdfium."""
    return str(pdfium.PDFIUM_INFO.version)


def is_without_scripts() -> bool:
    """Whether pdfium was built so that it can't run any."""
    return not {"V8", "XFA"} & set(pdfium.PDFIUM_INFO.flags)


class Locked(Exception):
    """It can't be read without a password."""


class Page(Picture):
    """A page of an open document."""

    shrinks = (1, 2, 4, 8, 16)

    def __init__(self, page: pdfium.PdfPage, *, pages: int) -> None:
        super().__init__(b"", _header(*page.get_size()))
        self._page = page
        self.pages = pages

    def decode(self, shrink: int = 1) -> Raster:
        """On white."""
        width, height = (-(-side // shrink) for side in (self.header.width, self.header.height))
        pixels = np.full((height, width, 3), _WHITE, np.uint8)
        bitmap = pdfium_c.FPDFBitmap_CreateEx(
            width, height, pdfium_c.FPDFBitmap_BGR, pixels.ctypes.data, width * 3
        )
        if not bitmap:
            raise BrokenFile
        try:
            pdfium_c.FPDF_RenderPageBitmap(bitmap, self._page, 0, 0, width, height, 0, _FLAGS)
        finally:
            pdfium_c.FPDFBitmap_Destroy(bitmap)
        return Raster.of_array(pixels)

    def decode_small(self, *, least: int) -> Raster:
        """As small as it comes with a longer side of at least so many pixels."""
        longer = max(self.upright_size)
        return self.decode(max(s for s in self.shrinks if s == 1 or longer >= s * least))


@contextlib.contextmanager
def first_page(source: int) -> Iterator[Page]:
    """The first page of the document in a file. Raises BrokenFile, Locked."""
    with _mapped(source) as data, _document(data) as document:
        pages = len(document)
        if not 0 < pages <= _MAX_PAGES:
            raise BrokenFile
        try:
            page = document[0]
        except pdfium.PdfiumError as cause:
            raise BrokenFile from cause
        yield Page(page, pages=pages)


@contextlib.contextmanager
def _mapped(source: int) -> Iterator[ctypes.Array[ctypes.c_char]]:
    """The file's bytes, read as they are asked for."""
    try:
        mapped = mmap.mmap(source, 0, access=mmap.ACCESS_COPY)
    except ValueError as cause:
        raise BrokenFile from cause
    yield (ctypes.c_char * len(mapped)).from_buffer(mapped)


@contextlib.contextmanager
def _document(data: ctypes.Array[ctypes.c_char]) -> Iterator[pdfium.PdfDocument]:
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as cause:
        raise (Locked if cause.err_code in _LOCKED else BrokenFile) from cause
    try:
        yield document
    finally:
        document.close()


def _header(width: float, height: float) -> Header:
    """The size in pixels of a page of so many points."""
    if not (width > 0 and height > 0):
        raise BrokenFile
    scale = min(PIXELS_PER_POINT, _MAX_SIDE / max(width, height))
    return Header(width=max(1, round(width * scale)), height=max(1, round(height * scale)))
