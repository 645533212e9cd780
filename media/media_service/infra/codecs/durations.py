"""How long films and sounds last: by their last packets, as headers lie or say nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from media_service.core.errors import BrokenFile, TooComplex
from media_service.infra.codecs.containers import demuxing
from media_service.infra.codecs.headers.limits import MAX_DURATION_MS

_BEYOND_THE_END: Final = 10**15
MOST_PACKETS: Final = 2_000_000
"""Of one file; nobody reads more of them."""


def duration_ms(container: InputContainer, streams: Sequence[Stream]) -> int:
    """From the first packet of these streams to the end of the last; leaves the place it reads at.

    A packet tells how long it is until the next is decoded. Where frames are shown in another
    order, that says something of the end only in the packet decoded last.
    Reads what follows the last keyframe, or all of a file that can't be searched. Raises
    BrokenFile if there is no packet, TooComplex for too many.
    """
    with demuxing():
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(_BEYOND_THE_END)
        end = _last_end(container, streams)
        if end is None:  # the index names packets that aren't there
            container.seek(0)
            end = _last_end(container, streams)
    if end is None:
        raise BrokenFile
    length = math.ceil((end - _start(streams)) * 1000)
    return min(max(length, 1), MAX_DURATION_MS)


def _start(streams: Sequence[Stream]) -> Fraction:
    starts = (
        s.start_time * s.time_base
        for s in streams
        if s.start_time is not None and s.time_base is not None
    )
    return min(starts, default=Fraction(0))


def _last_end(container: InputContainer, streams: Sequence[Stream]) -> Fraction | None:
    """When the last of the packets that follow ends, in seconds."""
    last: dict[int, int] = {}
    lasting: dict[int, int] = {}
    with contextlib.suppress(av.error.FFmpegError):
        for count, packet in enumerate(container.demux(*streams)):
            if count > MOST_PACKETS:
                raise TooComplex
            start = _start_of(packet)
            if start is not None:
                last[packet.stream_index] = max(start, last.get(packet.stream_index, start))
                lasting[packet.stream_index] = packet.duration or 0
    bases = {stream.index: stream.time_base for stream in streams}
    ends = (
        Fraction(start + lasting[index]) * base
        for index, start in last.items()
        if (base := bases[index]) is not None
    )
    return max(ends, default=None)


def _start_of(packet: Packet[Any]) -> int | None:
    """In its stream's time base; None for what only marks the end of a stream."""
    if not packet.size:
        return None
    return max((stamp for stamp in (packet.pts, packet.dts) if stamp is not None), default=None)
