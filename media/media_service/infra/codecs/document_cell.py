"""A cell for documents: `python -m media_service.infra.codecs.document_cell SOCKET PARENT`."""

from __future__ import annotations

import dataclasses
import functools
import mmap
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from media_service.core.archives import check_entries, format_of
from media_service.core.errors import BrokenFile, MediaError
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.renditions import Inspection
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.serving import serve
from media_service.infra.codecs.documents import pdf
from media_service.infra.codecs.documents.texts import check_text
from media_service.infra.codecs.documents.zip_directory import read_directory
from media_service.infra.codecs.pictures.developing import develop_picture
from media_service.infra.codecs.pictures.inspecting import blurhash_of
from media_service.infra.codecs.pictures.opening import decoding
from media_service.infra.codecs.pictures.samples import SAMPLE_SIZE
from media_service.infra.codecs.targets import picture_recipe, write_to

_MEMORY_BYTES: Final = 512 * 1024**2
"""Address space beyond what the loaded libraries take, a mapped file of 100 MB among it."""
_HASHED_SIDE: Final = 100
_OPAQUE: Final = Inspection(width=0, height=0, frames=1, has_transparency=False, blurhash="")


def introduce() -> wire.Message:
    """Which formats are taken here and now."""
    opaque = [f.value for f in Format if f.media_type is MediaType.DOCUMENT and f is not Format.PDF]
    documents = [Format.PDF.value, *opaque] if _draws() else opaque
    return {"formats": documents, "versions": {"pdfium": pdf.pdfium_version()}}


def _draws() -> bool:
    """Whether pages can be drawn here, by a pdfium that runs no scripts."""
    file = os.memfd_create("sample")
    try:
        os.write(file, pdf.SAMPLE)
        found = _inspect_pdf(file)
    except MediaError:
        return False
    finally:
        os.close(file)
    return (found.width, found.height) == SAMPLE_SIZE and pdf.is_without_scripts()


def inspect(request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
    """Answers with the fields of an Inspection."""
    format = Format(request["format"])
    if format is Format.PDF:
        told = _inspect_pdf(source)
    elif format is Format.TXT:
        with _mapped(source) as data:
            check_text(data)
        told = _OPAQUE
    else:
        told = _inspect_zip(source, format)
    return dataclasses.asdict(told)


def develop(request: Mapping[str, Any], source: int, targets: Sequence[int]) -> wire.Message:
    """Writes pictures of the first page to their files; answers with their sizes."""
    recipes = (picture_recipe(fields) for fields in request["recipes"])
    writers = (functools.partial(write_to, target) for target in targets)
    try:
        with pdf.first_page(source) as page:
            sizes = develop_picture(page, targets=list(zip(recipes, writers, strict=True)))
    except pdf.Locked as cause:
        raise BrokenFile from cause
    return {"sizes": sizes}


def _inspect_pdf(source: int) -> Inspection:
    """What is locked by a password is taken as it is."""
    try:
        with pdf.first_page(source) as page, decoding():
            width, height = page.upright_size
            small = page.decode_small(least=_HASHED_SIDE)
            hashed = blurhash_of(small, page)
            return dataclasses.replace(
                _OPAQUE, width=width, height=height, pages=page.pages, blurhash=hashed
            )
    except pdf.Locked:
        return _OPAQUE


def _inspect_zip(source: int, sniffed: Format) -> Inspection:
    with _mapped(source) as data:
        entries = read_directory(data)
        check_entries(entries, size_bytes=len(data))
    return dataclasses.replace(_OPAQUE, content_type=format_of(entries, sniffed=sniffed).value)


def _mapped(source: int) -> mmap.mmap:
    try:
        return mmap.mmap(source, 0, access=mmap.ACCESS_READ)
    except ValueError as cause:  # an empty file can't be mapped
        raise BrokenFile from cause


def _limit_memory() -> None:
    """To less than pictures need: the lower limit stays."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    _limit_memory()
    serve({"inspect": inspect, "develop": develop}, introduce=introduce)
