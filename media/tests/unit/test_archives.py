"""The directories of archives: what is taken, and what is refused before anybody unpacks it."""

from __future__ import annotations

import random
import time
import zipfile
from collections.abc import Callable

import pytest
from fakes import documents
from fakes.documents import OFFICE, OPEN_DOCUMENTS, office, open_document, zip_of
from media_service.core.archives import MAX_ENTRIES, check_entries, format_of
from media_service.core.errors import BrokenFile, MediaError, UnsafeArchive, UnsupportedType
from media_service.core.formats import Format
from media_service.core.sniffing import SNIFF_BYTES, sniff
from media_service.infra.codecs.documents.zip_directory import read_directory

MACROS = {
    Format.DOCX: "word/vbaProject.bin",
    Format.XLSX: "xl/VBAPROJECT.BIN",
    Format.PPTX: "ppt/vbaProject.bin",
    Format.ODT: "Basic/Standard/Module1.xml",
    Format.ODS: "Scripts/python/run.py",
    Format.ODP: "Basic/script-lc.xml",
}


def _looked_at(content: bytes) -> Format:
    sniffed = sniff(content[:SNIFF_BYTES])
    assert sniffed
    entries = read_directory(content)
    check_entries(entries, size_bytes=len(content))
    return format_of(entries, sniffed=sniffed)


# Which format it is


@pytest.mark.parametrize("format", [*OFFICE, *OPEN_DOCUMENTS, Format.ZIP])
def test_documents_are_known_by_what_is_in_them(format: Format) -> None:
    assert _looked_at(documents.DOCUMENTS[format]) is format


@pytest.mark.parametrize("format", OFFICE)
def test_the_directory_tells_what_the_first_bytes_do_not(format: Format) -> None:
    content = office(format, late=True)

    assert sniff(content[:SNIFF_BYTES]) is Format.ZIP
    assert _looked_at(content) is format


def test_what_only_begins_like_a_document_is_an_archive() -> None:
    content = zip_of({"word/document.xml": b"<w/>", "_rels/.rels": b"<r/>"})

    assert sniff(content) is Format.DOCX
    assert _looked_at(content) is Format.ZIP


def test_what_is_two_documents_is_an_archive() -> None:
    assert _looked_at(office(Format.DOCX, {"xl/workbook.xml": b"<x/>"})) is Format.ZIP


def test_a_document_within_a_document_does_not_count() -> None:
    within = {"word/embeddings/book.xlsx": office(Format.XLSX)}

    assert _looked_at(office(Format.DOCX, within)) is Format.DOCX


@pytest.mark.parametrize("format", MACROS)
def test_documents_with_macros_are_refused(format: Format) -> None:
    macros = {MACROS[format]: b"Sub AutoOpen()"}
    make = office if format in OFFICE else open_document

    with pytest.raises(UnsupportedType):
        _looked_at(make(format, macros))


@pytest.mark.parametrize("name", ["Basic", "basics/readme.txt", "xl/macros.xml"])
def test_names_that_only_sound_like_macros_are_taken(name: str) -> None:
    assert _looked_at(office(Format.XLSX, {name: b""})) is Format.XLSX


# What is taken


def test_archives_as_programs_write_them_are_taken() -> None:
    many = {f"folder/{n}.txt": b"some words " * 50 for n in range(1000)}

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        assert _looked_at(zip_of(many, method=method)) is Format.ZIP


def test_archives_with_folders_comments_and_names_of_any_tongue_are_taken() -> None:
    named = {"größe/": b"", "größe/文件.txt": b"words", "..hidden..": b"", "a..b/c": b""}

    assert _looked_at(zip_of(named, comment=b"a comment")) is Format.ZIP


def test_archives_with_wide_fields_are_taken() -> None:
    assert _looked_at(documents.zip_bomb(megabytes=1)) is Format.ZIP


def test_archives_within_archives_are_not_opened() -> None:
    inner = documents.zip_bomb(megabytes=100)

    assert _looked_at(zip_of({"inner.zip": inner}, method=zipfile.ZIP_STORED)) is Format.ZIP


# What is refused

UNSAFE: dict[str, Callable[[], bytes]] = {
    "B27, a bomb": lambda: documents.zip_bomb(megabytes=100),
    "B27, in a document": lambda: documents.zip_bomb(
        megabytes=100,
        name="word/document.xml",
        before={"[Content_Types].xml": b"<Types/>", "_rels/.rels": b"<r/>"},
    ),
    "B28, 100,000 entries": lambda: documents.zip_of_many(100_000),
    "one entry too many": lambda: documents.zip_of_many(MAX_ENTRIES + 1),
    "entries over each other": documents.zip_over_itself,
    "D02, out of its folder": lambda: documents.zip_named("../../etc/cron.d/x"),
    "D02, within": lambda: documents.zip_named("a/../../x"),
    "D02, backslashes": lambda: documents.zip_named("..\\..\\x"),
    "D02, absolute": lambda: documents.zip_named("/etc/passwd"),
    "D02, a drive": lambda: documents.zip_named("C:\\autoexec.bat"),
    "D02, a share": lambda: documents.zip_named("\\\\server\\share"),
    "a name with a line break": lambda: documents.zip_named("a\nb"),
    "a name of nothing": lambda: documents.zip_named(""),
    "a name twice": lambda: documents.zip_named("first.txt"),
    "D03, a link": documents.zip_of_links,
    "two ends": lambda: zip_of({"a": b""}, comment=b"PK\5\6" + bytes(18)),
    "a name that lies": lambda: zip_of({"a.txt": b"x"}).replace(b"a.txt", b"b.exe", 1),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", UNSAFE)
def test_archives_that_do_harm_are_refused_at_once(name: str) -> None:
    content = UNSAFE[name]()
    started = time.perf_counter()

    with pytest.raises(UnsafeArchive):
        _looked_at(content)

    assert time.perf_counter() - started < 0.5


def test_what_unpacks_to_little_may_be_packed_well() -> None:
    assert _looked_at(documents.zip_bomb(megabytes=15)) is Format.ZIP


@pytest.mark.parametrize("late", [False, True])
def test_no_prefix_of_an_archive_is_taken(late: bool) -> None:
    """T08."""
    content = office(Format.DOCX, late=late)

    for size in range(4, len(content), 11 if late else 1):
        with pytest.raises(BrokenFile):
            read_directory(content[:size])


def test_bytes_before_or_after_an_archive_make_it_none() -> None:
    content = zip_of({"a.txt": b"words"})

    for changed in (content + b"\0", b"PK\3\4" + content):
        with pytest.raises(BrokenFile):
            read_directory(changed)


def test_flipped_bits_upset_nothing() -> None:
    """T09."""
    whole, chance = documents.DOCUMENTS[Format.DOCX], random.Random(9)

    def outcome() -> type[MediaError] | None:
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            read_directory(bytes(content))
        except MediaError as error:
            return type(error)
        return None

    assert {outcome() for _ in range(2000)} == {None, BrokenFile, UnsafeArchive}
