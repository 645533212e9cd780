"""Looking at a film, in a cell, for what making others of it needs to know."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from media_service.core.errors import BrokenFile
from media_service.core.formats import Format
from media_service.infra.codecs.containers import (
    DEMUXERS,
    audio_stream,
    demuxing,
    open_container,
    video_stream,
)
from media_service.infra.codecs.film_description import Film

_AVCC: Final = 1
_USUAL_RATE: Final = 30.0
_MOST_RATE: Final = 1000.0


def film_facts(source: int, *, format: Format) -> dict[str, Any]:
    """The fields of a `Film`, from the first picture. Raises as `open_container`."""
    with open_container(source, format) as container, demuxing():
        pictures = video_stream(container)
        if pictures is None:
            raise BrokenFile
        sound = audio_stream(container)
        facts = {**_picture_facts(container, pictures), **(_sound_facts(sound) if sound else {})}
        film = Film(
            demuxer=DEMUXERS[format],
            seconds=_seconds(container, pictures),
            bit_rate=container.bit_rate or 0,
            stream=pictures.index,
            **facts,
        )
    return dataclasses.asdict(film)


def _picture_facts(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    context = stream.codec_context
    frame = next(container.decode(stream), None)
    if frame is None:
        raise BrokenFile
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)
    aspect = aspect if 0 < aspect <= 16 else Fraction(1)
    width, height = frame.width, frame.height
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    if frame.rotation % 180:
        width, height = height, width
    return {
        "codec": context.name,
        "profile": str(context.profile or ""),
        "level": _level(context.extradata),
        "pixel_format": frame.format.name,
        "width": width,
        "height": height,
        "is_plain": aspect == 1 and not _is_mirrored(frame),
        "frame_rate": _rate(stream),
        "transfer": int(context.color_trc),
        "primaries": int(context.color_primaries),
        "matrix": int(context.colorspace),
    }


def _sound_facts(stream: AudioStream) -> dict[str, Any]:
    context = stream.codec_context
    return {
        "audio_stream": stream.index,
        "audio_codec": context.name,
        "audio_profile": str(context.profile or ""),
        "audio_bit_rate": context.bit_rate or 0,
        "channels": context.channels,
        "sample_rate": context.sample_rate,
    }


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    """What it says; recorders that stream can't, so then the time of its last picture."""
    stated = (container.duration or 0) / av.time_base
    if stated > 0:
        return stated
    last = max((packet.pts or 0 for packet in container.demux(stream)), default=0)
    return max(1 / _MOST_RATE, float(last * stream.time_base)) if stream.time_base else 0.0


def _rate(stream: VideoStream) -> float:
    """Frames a second on average; as usual where the container doesn't tell."""
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    return stated if 0 < stated <= _MOST_RATE else _USUAL_RATE


def _level(extradata: bytes | None) -> int:
    """The level in H.264's configuration record (ISO/IEC 14496-15); 0 if there is none."""
    is_record = extradata is not None and len(extradata) > 4 and extradata[0] == _AVCC
    return extradata[3] if extradata and is_record else 0


def _is_mirrored(frame: VideoFrame) -> bool:
    """Whether its display matrix does more than turn."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = memoryview(bytes(matrix)).cast("i")[:5]
    return a * d - b * c < 0
