"""JPEG headers: the segments of ITU-T T.81, annex B."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from media_service.core.errors import BrokenFile, TooComplex
from media_service.infra.codecs.headers.exif import EXIF_PREFIX, read_orientation
from media_service.infra.codecs.headers.limits import Buffer, Header, MetadataBudget

MAX_SCANS: Final = 100
"""Progressive files have about ten; every one costs a pass over all blocks, however short it is."""
_MAX_SEGMENTS: Final = 10_000

# A stuffed zero and restart markers belong to the coded pixels.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_STANDALONE = frozenset({0x01, 0xD8})
_FRAME_STARTS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCAN_START, _END = 0xDA, 0xD9
_EXIF, _ICC, _COMMENT = 0xE1, 0xE2, 0xFE
_APPLICATION = frozenset(range(0xE0, 0xF0))
_ICC_PREFIX = b"ICC_PROFILE\0"


def read_jpeg(data: Buffer) -> Header:
    """Raises as `read_header`."""
    budget = MetadataBudget()
    scans = 0
    frame = b""
    progressive = False
    exif = b""
    profile: dict[int, bytes] = {}
    for code, payload in _segments(data):
        if code in _APPLICATION or code == _COMMENT:
            budget.spend(len(payload) + 4)
        if code in _FRAME_STARTS and not frame:
            frame, progressive = payload, code in _PROGRESSIVE
            _size_of(frame)
        elif code == _EXIF and payload.startswith(EXIF_PREFIX) and not exif:
            exif = payload
        elif code == _ICC and payload.startswith(_ICC_PREFIX):
            profile.setdefault(payload[12], payload[14:])
        elif code == _SCAN_START:
            scans += 1
            if scans > MAX_SCANS:
                raise TooComplex
            if frame and not progressive and payload[0] == frame[5]:
                break  # the only scan: what follows is its pixels
    if not frame or not scans:
        raise BrokenFile
    width, height = _size_of(frame)
    return Header(
        width=width,
        height=height,
        orientation=read_orientation(exif),
        profile=b"".join(profile[number] for number in sorted(profile)),
    )


def _size_of(frame: bytes) -> tuple[int, int]:
    height, width = struct.unpack_from(">HH", frame, 1)
    return width, height


def _segments(data: Buffer) -> Iterator[tuple[int, bytes]]:
    """Every marker with its payload, up to the end of the picture."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None:
            return  # whether pixels are missing is for the decoder to say
        code, at = marker[0][1], marker.end()
        if code == _END:
            return
        if code in _STANDALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2:
            raise BrokenFile
        yield code, data[at + 2 : at + length]
        at += length
    raise TooComplex
