"""HLS playlists (RFC 8216): read with doubt, as who wrote them has met a stranger's bytes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from media_service.core.errors import BrokenFile
from media_service.core.recipes import StreamPart, stream_name

_MAP = re.compile(r'#EXT-X-MAP:URI="[^"]*",BYTERANGE="(\d{1,10})@0"')
_SECONDS = re.compile(r"#EXTINF:(\d{1,6}\.\d{1,9}),")
_RANGE = re.compile(r"#EXT-X-BYTERANGE:(\d{1,12})@(\d{1,12})")
_MOST_HEADER: Final = 65_536
_H264_RECORD: Final = 4
_AAC_LC: Final = "mp4a.40.2"
_NO_ROUNDING: Final = 0.5
"""Seconds: a playlist that is so far from how long its film plays is wrong."""


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rung: how long it plays, and which bytes of the rung's file it is."""

    seconds: float
    size_bytes: int
    start: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung that was made; `header_bytes` is what comes before its segments in their file."""

    short_side: int
    size: tuple[int, int]
    frame_rate: float
    codecs: str
    header_bytes: int
    segments: tuple[Segment, ...]

    @property
    def peak_bandwidth(self) -> int:
        """The most bits a second that any of its segments takes."""
        return max(_bandwidth(s.size_bytes, s.seconds) for s in self.segments)

    @property
    def average_bandwidth(self) -> int:
        """The bits a second of the whole."""
        total = sum(segment.size_bytes for segment in self.segments)
        return _bandwidth(total, self.seconds)

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return sum(segment.seconds for segment in self.segments)

    def lasting(self, least: float, most: float) -> Rung:
        """The same, of which the last segment ends between these seconds.

        Who wrote the playlist measured the last one by what its pictures say of themselves: too
        short if sound goes on after them, too long if there was a pause among frames out of order.
        """
        whole = max(least, min(self.seconds, most))
        if abs(whole - self.seconds) < _NO_ROUNDING:
            return self
        *others, last = self.segments
        left = whole - sum(segment.seconds for segment in others)
        ending = dataclasses.replace(last, seconds=max(left, 1 / self.frame_rate))
        return dataclasses.replace(self, segments=(*others, ending))


def read_rung(
    playlist: Path, segments: Path, *, short_side: int, size: tuple[int, int], frame_rate: float
) -> Rung:
    """What a program made of a rung. Raises BrokenFile if the parts don't fit together."""
    lines = playlist.read_text(errors="replace").splitlines()
    header = next((int(found[1]) for line in lines if (found := _MAP.fullmatch(line))), 0)
    seconds = [float(found[1]) for line in lines if (found := _SECONDS.fullmatch(line))]
    ranges = [found for line in lines if (found := _RANGE.fullmatch(line))]
    if not 0 < header <= _MOST_HEADER or not seconds or len(seconds) != len(ranges):
        raise BrokenFile
    pieces = tuple(
        Segment(length, int(found[1]), int(found[2]))
        for length, found in zip(seconds, ranges, strict=True)
    )
    end = header
    for piece in pieces:
        if piece.start != end or not piece.size_bytes:
            raise BrokenFile
        end += piece.size_bytes
    if end > segments.stat().st_size:
        raise BrokenFile
    with segments.open("rb") as opened:
        codecs = _codecs(opened.read(header))
    return Rung(
        short_side=short_side,
        size=size,
        frame_rate=frame_rate,
        codecs=codecs,
        header_bytes=header,
        segments=pieces,
    )


def rung_playlist(rung: Rung) -> str:
    """The playlist of one rung."""
    uri = stream_name(StreamPart.SEGMENTS, rung.short_side)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(math.floor(s.seconds + 0.5) or 1 for s in rung.segments)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{rung.header_bytes}@0"',
    ]
    for segment in rung.segments:
        lines += [
            f"#EXTINF:{segment.seconds:.6f},",
            f"#EXT-X-BYTERANGE:{segment.size_bytes}@{segment.start}",
            uri,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def master_playlist(rungs: Sequence[Rung]) -> str:
    """The playlist that names each rung's, the smallest first."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rung in rungs:
        width, height = rung.size
        told = (
            f"BANDWIDTH={rung.peak_bandwidth}",
            f"AVERAGE-BANDWIDTH={rung.average_bandwidth}",
            f"RESOLUTION={width}x{height}",
            f'CODECS="{rung.codecs}"',
            f"FRAME-RATE={rung.frame_rate:.3f}",
        )
        lines.append(f"#EXT-X-STREAM-INF:{','.join(told)}")
        lines.append(stream_name(StreamPart.PLAYLIST, rung.short_side))
    return "\n".join([*lines, ""])


def _codecs(header: bytes) -> str:
    """What decoders the tracks of this header want (RFC 6381)."""
    record = header.find(b"avcC") + _H264_RECORD
    if record < _H264_RECORD or len(header) < record + _H264_RECORD:
        raise BrokenFile
    h264 = f"avc1.{header[record + 1 : record + 4].hex()}"
    return f"{h264},{_AAC_LC}" if b"esds" in header else h264


def _bandwidth(size_bytes: int, seconds: float) -> int:
    return math.ceil(size_bytes * 8 / max(seconds, 0.001))
