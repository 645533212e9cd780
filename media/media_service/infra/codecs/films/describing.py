"""Looking at a film, in a cell, for what making others of it needs to know."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, Final

import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from media_service.core.errors import UnsupportedCodec
from media_service.core.formats import Format
from media_service.infra.codecs.containers import (
    DEMUXERS,
    audio_stream,
    demuxing,
    is_cut,
    open_container,
    video_stream,
)
from media_service.infra.codecs.durations import MOST_PACKETS, duration_ms
from media_service.infra.codecs.films.description import Film
from media_service.infra.codecs.films.posters import find_poster

_AVCC: Final = 1
_PAUSE_SECONDS: Final = 0.5
_USUAL_RATE: Final = 30.0
_MOST_RATE: Final = 1000.0
_TURNED: Final = {1, 3, 6, 8}
"""The orientations that mirror nothing."""


def film_facts(source: int, *, format: Format) -> dict[str, Any]:
    """The fields of a `Film`. Raises as inspecting it does."""
    with open_container(source, format) as container:
        pictures, sound = video_stream(container), audio_stream(container)
        if pictures is None:
            raise UnsupportedCodec
        streams = [stream for stream in (pictures, sound) if stream]
        length_ms = duration_ms(container, streams)
        with demuxing():
            sound_facts = _sound_facts(sound) if sound else {}
            facts = {**_picture_facts(container, pictures, length_ms), **sound_facts}
            facts["is_cut"] = any(is_cut(container, stream) for stream in streams)
            facts["is_paused"] = _is_paused(container, pictures)
        film = Film(
            demuxer=DEMUXERS[format],
            seconds=length_ms / 1000,
            bit_rate=container.bit_rate or 0,
            **facts,
        )
    return dataclasses.asdict(film)


def _picture_facts(
    container: InputContainer, stream: VideoStream, length_ms: int
) -> Mapping[str, Any]:
    poster = find_poster(container, stream, duration_ms=length_ms)
    context = stream.codec_context
    width, height = poster.upright_size
    is_square = (context.width, context.height) == (poster.header.width, poster.header.height)
    return {
        "stream": stream.index,
        "codec": context.name,
        "profile": str(context.profile or ""),
        "level": _level(context.extradata),
        "pixel_format": str(context.pix_fmt or ""),
        "width": width,
        "height": height,
        "is_plain": is_square and poster.header.orientation in _TURNED,
        "is_interlaced": poster.is_interlaced,
        "frame_rate": _rate(stream),
        "transfer": int(context.color_trc),
        "primaries": int(context.color_primaries),
        "matrix": int(context.colorspace),
    }


def _sound_facts(stream: AudioStream) -> Mapping[str, Any]:
    context = stream.codec_context
    return {
        "audio_stream": stream.index,
        "audio_codec": context.name,
        "audio_profile": str(context.profile or ""),
        "audio_bit_rate": context.bit_rate or 0,
        "channels": context.channels,
        "sample_rate": context.sample_rate,
    }


def _is_paused(container: InputContainer, stream: VideoStream) -> bool:
    """Whether some picture stays for long. Reads all of the file."""
    times: list[int] = []
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(0)
        packets = itertools.islice(container.demux(stream), MOST_PACKETS)
        times.extend(packet.pts for packet in packets if packet.pts is not None)
    longest = max(
        (after - before for before, after in itertools.pairwise(sorted(times))), default=0
    )
    return bool(longest * (stream.time_base or 0) > _PAUSE_SECONDS)


def _rate(stream: VideoStream) -> float:
    """Frames a second on average; as usual where the container doesn't tell."""
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    return stated if 0 < stated <= _MOST_RATE else _USUAL_RATE


def _level(extradata: bytes | None) -> int:
    """The level in H.264's configuration record (ISO/IEC 14496-15); 0 if there is none."""
    is_record = extradata is not None and len(extradata) > 4 and extradata[0] == _AVCC
    return extradata[3] if extradata and is_record else 0
