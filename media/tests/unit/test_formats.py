from __future__ import annotations

import time

import pytest
from fakes.documents import DOCUMENTS
from fakes.scripted_codecs import picture
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.errors import InvalidContentType, TypeMismatch
from media_service.core.formats import Format, check_declared, parse_content_type
from media_service.core.media import MediaType
from media_service.core.sniffing import sniff

PICTURES = [format for format in Format if format.media_type is MediaType.IMAGE]


def _ftyp(*brands: bytes, size: int | None = None) -> bytes:
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (len(body) + 4 if size is None else size).to_bytes(4, "big") + body


def _gif(*, packed: int = 0, block: bytes = b"\x2c", palette_bytes: int = 0) -> bytes:
    screen = b"\x10\x00\x10\x00" + bytes([packed]) + b"\x00\x00"
    return b"GIF89a" + screen + bytes(palette_bytes) + block + b"rest"


# Sniffing


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", Format.JPEG),
        (b"\xff\xd8\xff\xe1\x00\x10Exif\x00", Format.JPEG),
        (b"\xff\xd8\xff\xdb", Format.JPEG),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", Format.PNG),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", Format.WEBP),
        (_gif(), Format.GIF),
        (_gif().replace(b"89a", b"87a"), Format.GIF),
        (_gif(block=b"\x21"), Format.GIF),
        (_gif(block=b"\x3b"), Format.GIF),
        (_gif(packed=0xF7, palette_bytes=768), Format.GIF),
        (_gif(packed=0x80, palette_bytes=6), Format.GIF),
        (_ftyp(b"avif"), Format.AVIF),
        (_ftyp(b"avis", b"msf1"), Format.AVIF),
        (_ftyp(b"mif1", b"miaf", b"avif"), Format.AVIF),
        (_ftyp(b"heic"), Format.HEIC),
        (_ftyp(b"heix"), Format.HEIC),
        (_ftyp(b"hevc"), Format.HEIC),
        (_ftyp(b"mif1", b"heic"), Format.HEIC),
        (_ftyp(b"msf1", b"hevx"), Format.HEIC),
        (_ftyp(b"isom", b"iso2", b"avc1", b"mp41"), Format.MP4),
        (_ftyp(b"qt  "), Format.MOV),
        (_ftyp(b"M4A ", b"mp42"), Format.M4A),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", Format.MOV),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", Format.WEBM),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", Format.MKV),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", Format.WAV),
        (b"fLaC\x00\x00\x00\x22", Format.FLAC),
        (b"OggS\x00\x02", Format.OGG),
        (b"ID3\x04\x00", Format.MP3),
        (b"\xff\xfb\x90\x64", Format.MP3),
        (b"\xff\xf1\x50\x80", Format.AAC),
        (b"%PDF-1.7\n", Format.PDF),
        (b"PK\x03\x04 a zip", Format.ZIP),
        ("Müller;3,50 €\n".encode(), Format.TXT),
        (b"\xef\xbb\xbfname,price\n", Format.TXT),
        (b"# A heading\n\nand words, 1 < 2 <3\n", Format.TXT),
        (b"12:00:01 \x1b[31mERROR\x1b[0m no such file\n", Format.TXT),
        (b"RIFFs and GIFs are what this is about"[5:], Format.TXT),
    ],
)
def test_first_bytes_tell_the_format(head: bytes, format: Format) -> None:
    assert sniff(head) is format


@pytest.mark.parametrize("format", PICTURES)
def test_pictures_of_every_format_are_told_apart(format: Format) -> None:
    assert sniff(picture(format=format)) is format


@pytest.mark.parametrize("format", DOCUMENTS)
def test_documents_of_every_format_are_told_apart(format: Format) -> None:
    assert sniff(DOCUMENTS[format]) is format


@pytest.mark.parametrize("format", PICTURES)
def test_more_bytes_tell_no_other_format(format: Format) -> None:
    content = picture(format=format, size_bytes=8192)

    assert {sniff(content[:size]) for size in range(20, 8192, 7)} == {format}


@pytest.mark.parametrize(
    "head",
    [
        b"GIF89a<?php system($_GET['c']); ?>",
        b"GIF89a=1;alert(document.domain)//..........",
        b"GIF87a<script>alert(1)</script>",
        b"GIF88a" + _gif()[6:],
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<?xml version='1.0'?><svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"\x7fELF\x02\x01\x01",
        b"MZ\x90\x00\x03",
        b"PK\x05\x06" + bytes(18),
        b"x%PDF-1.7",
        b"\n%PDF-1.7\n1 0 obj<</Type/Catalog>>",
        b"#EXTM3U\n#EXT-X-VERSION:3\n",
        b"ffconcat version 1.0\n",
        b"1\n00:00:01,000 --> 00:00:02,000\nsubtitles\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"BM\x36\x00\x00\x00",
        b"II*\x00\x08\x00\x00\x00",
        b"8BPS\x00\x01",
        b"\x00\x00\x01\x00\x01\x00",
        b"RIFF\x24\x00\x00\x00AVI LIST",
        b"RIFFWEBPWEBPVP8 "[:8] + b"....",
        b"\xef\xbb\xbf \r\n <HTML>",
        b"\xef\xbb\xbf\xef\xbb\xbf<html>",
        b"  \xef\xbb\xbf<html>",
        "\u00a0\u2003\u200b\u3000<html>".encode(),
        b" " * 1025 + b"plain words",
        b"\r\n" * 4096,
        b"<!-- a page --><img src=x onerror=alert(1)>",
        b"< script>alert(1)</script>",
        b"#!/bin/sh\nrm -rf /\n",
        b"@ECHO off\r\ndel *.*\r\n",
        b"{\\rtf1\\ansi some text}",
        b"%!PS-Adobe-3.0\n",
        b"[playlist]\nFile1=http://127.0.0.1/\n",
        b"[InternetShortcut]\r\nURL=http://127.0.0.1/\r\n",
        b"WEBVTT\n\n00:01.000 --> 00:02.000\n",
        "<svg onload='alert(1)'/>".encode("utf-16"),
        "plain words, but in UTF-16".encode("utf-16"),
        b"plain words\x00and then none",
        "Müller".encode("latin-1"),
        _ftyp(b"mif1"),
        _ftyp(b"avif", size=0),
        _ftyp(b"avif", size=1),
        _ftyp(b"avif", size=8),
        _ftyp(b"mif1", b"xxxx", b"avif", size=20),
        b"\xff\xd8",
        b"\xff\xd8\x00\xff",
        b"\x89PNG\n\x1a\n",
        b"",
        b"\x00" * 64,
    ],
)
def test_other_bytes_are_of_no_format(head: bytes) -> None:
    assert sniff(head) is None


def test_brands_beyond_the_box_do_not_count() -> None:
    assert sniff(_ftyp(b"isom") + b"avifavifavif") is Format.MP4


def test_brands_are_looked_for_in_the_first_256_bytes_only() -> None:
    many = [b"none"] * 70

    assert sniff(_ftyp(*many, b"avif", size=2**31)) is None


def test_a_file_that_is_two_things_is_what_it_begins_as() -> None:
    jpeg = picture(format=Format.JPEG)

    assert sniff(jpeg + b"%PDF-1.7") is Format.JPEG
    assert sniff(jpeg + b"PK\x03\x04") is Format.JPEG
    assert sniff(_gif() + b"PK\x03\x04") is Format.GIF
    assert sniff(b"%PDF-1.7" + jpeg) is Format.PDF
    assert sniff(b"words, and then a page\n%PDF-1.7") is None


@given(st.binary(max_size=300))
def test_no_bytes_upset_it(head: bytes) -> None:
    sniff(head)


@given(st.sampled_from(PICTURES), st.binary(max_size=300), st.integers(0, 40))
def test_no_bytes_after_a_right_beginning_upset_it(format: Format, tail: bytes, cut: int) -> None:
    sniff(picture(format=format)[:cut] + tail)


def test_formats_know_their_media_type() -> None:
    assert Format.HEIC.media_type is MediaType.IMAGE
    assert Format.MOV.media_type is MediaType.VIDEO
    assert Format.WEBA.media_type is MediaType.AUDIO
    assert {format.media_type for format in DOCUMENTS} == {MediaType.DOCUMENT}


def test_formats_know_their_extension() -> None:
    extensions = [format.extension for format in Format]

    assert len(set(extensions)) == len(extensions)
    assert {".jpg", ".heic", ".mp4", ".mp3", ".pdf", ".txt", ".docx", ".zip"} < set(extensions)


def test_a_billion_laughs_are_refused_at_once() -> None:
    """S04: nothing ever reads XML, so nothing in it is ever expanded."""
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(9))
    bomb = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "lol">' + laughs + b"]><l>&l9;</l>"
    started = time.perf_counter()

    assert sniff(bomb) is None
    assert time.perf_counter() - started < 0.1


def test_text_of_any_shape_is_told_in_no_time() -> None:
    heads = [b" " * 4096, b"1" * 4096, b"\n" * 4096, b"<" * 4096, b"1\n" * 2048, b"\x85" * 4096]
    started = time.perf_counter()

    for head in heads:
        sniff(head)

    assert time.perf_counter() - started < 0.1


# What is declared


@pytest.mark.parametrize(
    ("text", "essence"),
    [
        ("image/jpeg", "image/jpeg"),
        ("Image/JPEG", "image/jpeg"),
        (" image/png ", "image/png"),
        ("image/png; charset=binary", "image/png"),
        ("image/svg+xml;a=b;c=d", "image/svg+xml"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("", ""),
        ("   ", ""),
        (";charset=utf-8", ""),
    ],
)
def test_a_content_type_is_read_without_case_and_parameters(text: str, essence: str) -> None:
    assert parse_content_type(text) == essence


@pytest.mark.parametrize(
    "text",
    [
        "jpeg",
        "image/",
        "/jpeg",
        "image/jpeg/x",
        "image jpeg",
        "image/jp eg",
        "image/jpeg\r\nX-Evil: 1",
        "image/jpeg; a=\0",
        "image/jpeg\u2028",
        "imäge/jpeg",
        "image/" + "x" * 65,
        "text/html, image/jpeg",
        "../../etc/passwd",
    ],
)
def test_what_is_no_content_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidContentType):
        parse_content_type(text)


@given(st.text(max_size=200))
def test_a_content_type_that_is_taken_is_safe_in_a_header(text: str) -> None:
    try:
        essence = parse_content_type(text)
    except InvalidContentType:
        return
    assert essence.isascii()
    assert essence.isprintable()
    assert essence == parse_content_type(essence)


@pytest.mark.parametrize(
    ("content_type", "filename"),
    [
        ("image/png", "a.png"),
        ("", ""),
        ("application/octet-stream", "upload.bin"),
        ("binary/octet-stream", "a"),
        ("image/jpeg", "a.jpg"),
        ("image/heic", "IMG_0001.JPG"),
        ("image/anything", "photo.unknown"),
        ("image/png", "report.exe.png"),
    ],
)
def test_another_format_of_the_same_kind_may_be_declared(content_type: str, filename: str) -> None:
    check_declared(Format.PNG, content_type=content_type, filename=filename)


@pytest.mark.parametrize(
    ("content_type", "filename"),
    [
        ("text/html", "a.png"),
        ("video/mp4", ""),
        ("application/pdf", "a.png"),
        ("image/svg+xml", "a.png"),
        ("image/png", "a.svg"),
        ("image/png", "a.svgz"),
        ("image/png", "a.html"),
        ("image/png", "a.PHP"),
        ("", "a.png.exe"),
        ("", "a.mp4"),
        ("", "a.m3u8"),
        ("", "a.pdf"),
        ("", "a.zip"),
        ("", "a.tiff"),
        ("", ".html"),
    ],
)
def test_another_kind_of_file_may_not_be_declared(content_type: str, filename: str) -> None:
    with pytest.raises(TypeMismatch):
        check_declared(Format.PNG, content_type=content_type, filename=filename)


@pytest.mark.parametrize(
    ("content_type", "filename"),
    [
        ("text/plain", "notes.txt"),
        ("", "notes"),
        ("application/octet-stream", "server.log"),
        ("text/csv", "prices.csv"),
        ("application/vnd.ms-excel", "prices.csv"),
        ("text/markdown", "README.md"),
    ],
)
def test_text_may_be_called_by_what_it_is_for(content_type: str, filename: str) -> None:
    check_declared(Format.TXT, content_type=content_type, filename=filename)


@pytest.mark.parametrize(
    ("content_type", "filename"),
    [
        ("text/html", "a.txt"),
        ("text/javascript", ""),
        ("image/svg+xml", ""),
        ("application/vnd.apple.mpegurl", ""),
        ("video/mp4", "clip.mp4"),
        ("", "clip.mp4"),
        ("", "photo.jpg"),
        ("", "page.html"),
        ("", "drawing.svg"),
        ("", "feed.xml"),
        ("", "run.sh"),
        ("", "run.PS1"),
        ("", "list.m3u8"),
        ("", "list.ffconcat"),
        ("", "subtitles.srt"),
        ("", "session.sdp"),
        ("", "link.url"),
    ],
)
def test_text_may_not_be_called_what_programs_act_on(content_type: str, filename: str) -> None:
    with pytest.raises(TypeMismatch):
        check_declared(Format.TXT, content_type=content_type, filename=filename)
