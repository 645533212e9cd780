"""Sniffing: the format of a file by its first bytes, whatever is said of it.

A container that may hold a film or only sound is taken for a film until it has been inspected
(`settled`), a ZIP for whatever its first names say until its directory has been read.

Text that programs act on (markup, scripts by their first line, playlists, subtitles) is of no
format, whatever it is called: so nothing that reads one of those is ever handed a file of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from media_service.core.formats import Format
from media_service.core.renditions import Inspection

SNIFF_BYTES: Final = 4096
"""How many first bytes `sniff` wants to see."""

_BRANDS: Mapping[bytes, Format] = {
    b"avif": Format.AVIF,
    b"avis": Format.AVIF,
    b"heic": Format.HEIC,
    b"heix": Format.HEIC,
    b"heim": Format.HEIC,
    b"heis": Format.HEIC,
    b"hevc": Format.HEIC,
    b"hevx": Format.HEIC,
    b"qt  ": Format.MOV,
    b"M4A ": Format.M4A,
    b"M4B ": Format.M4A,
    **dict.fromkeys(
        (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"3gp4",
         b"3gp5", b"3gp6", b"MSNV", b"dash", b"mmp4", b"av01"),
        Format.MP4,
    ),
}  # fmt: skip
_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""What a QuickTime film without an `ftyp` box begins with."""

_GIF_BLOCKS = b"\x21\x2c\x3b"
_EBML: Final = b"\x1a\x45\xdf\xa3"
_ZIP_TYPES: Mapping[bytes, Format] = {
    format.value.encode(): format for format in (Format.ODT, Format.ODS, Format.ODP)
}
_ZIP_FOLDERS: Mapping[bytes, Format] = {
    b"word/": Format.DOCX,
    b"xl/": Format.XLSX,
    b"ppt/": Format.PPTX,
}
_SOUND_OF: Mapping[Format, Format] = {
    Format.MP4: Format.M4A,
    Format.MOV: Format.M4A,
    Format.WEBM: Format.WEBA,
    Format.MKV: Format.WEBA,
}


_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BLANKS = re.compile(
    rb"(?:\s|\xef\xbb\xbf|\xc2[\x85\xa0]|\xe2\x80[\x80-\x8f\xa8-\xaf]|\xe2\x81\xa0|\xe3\x80\x80)*"
)
"""What is not seen before the first word: spaces of any script, marks of encoding and direction."""
_MOST_BLANKS: Final = 1024
_FOR_PROGRAMS = re.compile(
    rb"""(?:
        <\s*[a-z!?/%]                                   # HTML, XML, SVG, PHP, ASP
        | \#! | @echo\ off | %! | \{\\rtf               # scripts, PostScript, RTF
        | \#extm3u | \[playlist\] | ffconcat\ version    # playlists
        | webvtt | \d+\s*\n\d+:\d\d:\d\d[,.]\d+\s*-->  # subtitles
        | v=0\r?\n[a-z]=                                # session descriptions
        | \[(?:internetshortcut|desktop\ entry)\]       # shortcuts
        | gif8 | riff                                   # names of formats, and then something else
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_PDF_BYTES: Final = 1024
"""A reader of PDF looks for its beginning in so many first bytes."""


def sniff(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes, or None for one we don't know."""
    return _sniff_picture(head) or _sniff_boxes(head) or _sniff_sound(head) or _sniff_document(head)


def settled(format: Format, told: Inspection) -> Format:
    """What the file is once it has been inspected: without pictures, a container holds sound."""
    if told.content_type:
        return Format(told.content_type)
    return format if told.has_video else _SOUND_OF.get(format, format)


def _sniff_picture(head: bytes) -> Format | None:
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF if _is_gif(head) else None
    return None


def _is_gif(head: bytes) -> bool:
    """Whether a block follows the header, where text that only begins like a GIF has none."""
    if len(head) < 13:
        return True
    has_palette, palette_bits = head[10] & 0x80, head[10] & 0x07
    first_block = 13 + (3 << (palette_bits + 1) if has_palette else 0)
    return first_block >= len(head) or head[first_block] in _GIF_BLOCKS


def _sniff_boxes(head: bytes) -> Format | None:
    """What an ISO base media (ISO 14496-12), QuickTime or Matroska file is."""
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    if head[4:8] in _BOXES:
        return Format.MOV
    if head.startswith(_EBML):
        return Format.WEBM if b"webm" in head[:64] else _matroska(head)
    return None


def _matroska(head: bytes) -> Format | None:
    return Format.MKV if b"matroska" in head[:64] else None


def _sniff_brands(head: bytes) -> Format | None:
    """The format that a file names in its `ftyp` box: its major brand first."""
    box = head[: min(int.from_bytes(head[:4], "big"), 256)]
    brands = [box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def _sniff_sound(head: bytes) -> Format | None:
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return Format.WAV
    if head.startswith(b"fLaC"):
        return Format.FLAC
    if head.startswith(b"OggS"):
        return Format.OGG
    if head.startswith(b"ID3"):
        return Format.MP3
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _sniff_frame(head)
    return None


def _sniff_frame(head: bytes) -> Format | None:
    """An MPEG audio frame (layer III) or an ADTS frame of AAC; both begin with 11 set bits."""
    layer, sampling, bit_rate = head[1] & 0x06, head[2] & 0x0C, head[2] & 0xF0
    if head[1] & 0xF6 == 0xF0:
        return Format.AAC
    is_sound = layer == 0x02 and sampling != 0x0C and bit_rate not in (0x00, 0xF0)
    return Format.MP3 if is_sound else None


def _sniff_document(head: bytes) -> Format | None:
    if head.startswith(b"%PDF-"):
        return Format.PDF
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(head)
    return Format.TXT if _is_text(head) else None


def _sniff_zip(head: bytes) -> Format:
    """OpenDocument names itself in its first entry, Office by the folders of its parts."""
    declared = head[38:].split(b"PK", 1)[0] if head[30:38] == b"mimetype" else b""
    if declared in _ZIP_TYPES:
        return _ZIP_TYPES[declared]
    if b"[Content_Types].xml" in head[:2048] or b"_rels/.rels" in head[:2048]:
        found = [(head.find(folder), format) for folder, format in _ZIP_FOLDERS.items()]
        return min(((at, f) for at, f in found if at > 0), default=(0, Format.ZIP))[1]
    return Format.ZIP


def _is_text(head: bytes) -> bool:
    """UTF-8 that is for people; what is cut off at the end may be half a character."""
    blanks = _BLANKS.match(head)
    begins = blanks.end() if blanks else 0
    if not is_plain(head) or begins > _MOST_BLANKS or b"%PDF-" in head[:_PDF_BYTES]:
        return False
    if _FOR_PROGRAMS.match(head, begins):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) >= SNIFF_BYTES and error.start >= len(head) - 4
    return bool(head)


def is_plain(piece: bytes) -> bool:
    """Whether a piece of text has no control characters but those that lay it out or colour it."""
    return not _CONTROLS.search(piece)
