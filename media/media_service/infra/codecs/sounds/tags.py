"""Tags of sounds: bounded, and kept from the demuxer where they can be.

libavformat compares every tag with all others: 1 MB of short ones keeps it busy for 17 s in ID3,
for 48 s in FLAC. Covers make honest tags large, though, so it is their number that is bounded, and
bytes only generously. Nothing of them is ever decoded or kept.
"""

from __future__ import annotations

import os
import re
from typing import Final

from media_service.core.errors import MetadataTooLarge
from media_service.core.formats import Format

MAX_TAG_BYTES: Final = 16 * 1024**2
"""Of all tags at the beginning of a sound, covers among them."""
MAX_COMMENTS: Final = 4096

_ID3_HEADER: Final = 10
_ID3_SHIFTS: Final = (21, 14, 7, 0)
_FLAC_MAGIC, _FLAC_HEADER, _COMMENT_BLOCK = 4, 4, 4
_MOST_VENDOR_BYTES: Final = 4096
_OGG_HEAD_BYTES: Final = 64 * 1024
_OGG_COMMENTS: Final = re.compile(rb"OpusTags|\x03vorbis")


def bytes_of_tags(source: int, format: Format) -> int:
    """How many bytes of tags to skip before the sound begins. Raises MetadataTooLarge."""
    if format in (Format.MP3, Format.AAC):
        return _id3_bytes(source)
    if format is Format.FLAC:
        _check_flac(source)
    if format is Format.OGG:
        _check_ogg(source)
    return 0


def _id3_bytes(source: int) -> int:
    """The size of all ID3 tags at the beginning, one after the other."""
    at = 0
    while (head := os.pread(source, _ID3_HEADER, at)).startswith(b"ID3"):
        if len(head) < _ID3_HEADER:
            break
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], _ID3_SHIFTS, strict=True)
        )
        has_footer = head[3] == 4 and head[5] & 0x10
        at += _ID3_HEADER + size + (_ID3_HEADER if has_footer else 0)
        if at > MAX_TAG_BYTES:
            raise MetadataTooLarge
    return at


def _check_flac(source: int) -> None:
    at, is_last = _FLAC_MAGIC, False
    while not is_last and len(head := os.pread(source, _FLAC_HEADER, at)) == _FLAC_HEADER:
        is_last, kind = bool(head[0] & 0x80), head[0] & 0x7F
        at += _FLAC_HEADER
        if kind == _COMMENT_BLOCK:
            _check_comments(os.pread(source, _MOST_VENDOR_BYTES + 8, at))
        at += int.from_bytes(head[1:], "big")
        if at > MAX_TAG_BYTES:
            raise MetadataTooLarge


def _check_ogg(source: int) -> None:
    """The comments of the streams that begin the file."""
    head = os.pread(source, _OGG_HEAD_BYTES, 0)
    for found in _OGG_COMMENTS.finditer(head):
        _check_comments(head[found.end() : found.end() + _MOST_VENDOR_BYTES + 8])


def _check_comments(block: bytes) -> None:
    """A Vorbis comment header: who wrote it, how many comments there are, and those."""
    vendor = int.from_bytes(block[:4], "little")
    if vendor > _MOST_VENDOR_BYTES:
        raise MetadataTooLarge
    if int.from_bytes(block[4 + vendor : 8 + vendor], "little") > MAX_COMMENTS:
        raise MetadataTooLarge
