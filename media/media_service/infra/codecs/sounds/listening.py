"""What a cell does with sounds: decodes all of it, which tells its length and draws its wave."""

from __future__ import annotations

import collections
import math
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from media_service.core.errors import BrokenFile, TooComplex, UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import PictureRecipe, WaveformRecipe
from media_service.core.renditions import Inspection
from media_service.core.sniffing import SNIFF_BYTES, sniff
from media_service.infra.codecs.containers import (
    DEMUXERS,
    audio_stream,
    demuxing,
    is_cut,
    open_container,
)
from media_service.infra.codecs.sounds.tags import bytes_of_tags
from media_service.infra.codecs.sounds.waves import Amplitudes, Peaks, wave_picture, waveform_json

MAX_SECONDS: Final = 4 * 3600
"""More than any purpose takes; what claims to be longer is not decoded to its end."""

_SCALES: Final = {"s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
_U8_MIDDLE: Final = 128.0

Size = tuple[int, int]
_Layout = tuple[int, int]
"""Samples a second, and how many channels."""
Write = Callable[[bytes], None]
SoundTarget = tuple[WaveformRecipe | PictureRecipe, Write]


class Heard(NamedTuple):
    """What decoding all of a sound told."""

    duration_ms: int
    peaks: Peaks
    format: Format
    facts: dict[str, Any]
    """The fields of a `sound_plans.Sound`."""


def inspect(source: int, *, format: Format) -> Inspection:
    """Raises BrokenFile, UnsupportedCodec, MetadataTooLarge, TooComplex."""
    return inspection_of(listen(source, format=format))


def inspection_of(heard: Heard) -> Inspection:
    """A sound can't be seen: it has no size and no BlurHash."""
    return Inspection(
        width=0,
        height=0,
        frames=1,
        has_transparency=False,
        blurhash="",
        duration_ms=heard.duration_ms,
        has_audio=True,
        content_type=heard.format.value,
    )


def listen(source: int, *, format: Format) -> Heard:
    """Decode all of it. Raises as `inspect`.

    A recording that breaks off lasts until there, and what is damaged within it is left out, as
    players have it; a file of which less than half decodes is broken.
    """
    skipped = bytes_of_tags(source, format)
    format = _behind_tags(source, format, skipped)
    with open_container(source, format, skipped_bytes=skipped) as container:
        stream = audio_stream(container)
        if stream is None:
            raise UnsupportedCodec
        peaks, samples = Peaks(), collections.Counter[_Layout]()
        for frame in _frames(container, stream):
            layout = frame.sample_rate, len(frame.layout.channels)
            samples[layout] += frame.samples
            peaks.add(_amplitudes(frame))
            if samples[layout] > MAX_SECONDS * frame.sample_rate:
                raise TooComplex
        facts = _facts(stream, format, skipped) | {"is_cut": is_cut(container, stream)}
    seconds = sum((Fraction(count, rate) for (rate, _), count in samples.items()), Fraction(0))
    if not seconds:
        raise BrokenFile
    duration_ms = max(1, math.floor(seconds * 1000 + Fraction(1, 2)))
    facts |= {"seconds": float(seconds), "is_uniform": len(samples) == 1}
    facts["channels"] = max(count for _, count in samples)
    return Heard(duration_ms, peaks, format, facts)


def _behind_tags(source: int, format: Format, skipped_bytes: int) -> Format:
    """AAC, too, may begin with the tags by which MP3 is known."""
    if format is Format.MP3 and sniff(os.pread(source, SNIFF_BYTES, skipped_bytes)) is Format.AAC:
        return Format.AAC
    return format


def develop(
    source: int, *, format: Format, targets: Sequence[SoundTarget], heard: Heard | None = None
) -> list[Size]:
    """Write waveforms and pictures of the wave; their sizes. Raises as `inspect`, and `write`."""
    heard = heard or listen(source, format=format)
    sizes = []
    for recipe, write in targets:
        if isinstance(recipe, WaveformRecipe):
            write(waveform_json(heard.peaks, recipe, duration_ms=heard.duration_ms))
            sizes.append((0, 0))
        else:
            write(wave_picture(heard.peaks, recipe))
            sizes.append((recipe.width, recipe.height))
    return sizes


def _facts(stream: AudioStream, format: Format, skipped_bytes: int) -> dict[str, Any]:
    """Only now that it has been decoded does its context say all of it."""
    context = stream.codec_context
    return {
        "demuxer": DEMUXERS[format],
        "stream": stream.index,
        "codec": context.name,
        "profile": str(context.profile or ""),
        "bit_rate": context.bit_rate or 0,
        "channels": context.channels,
        "sample_rate": context.sample_rate,
        "skipped_bytes": skipped_bytes,
    }


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Whatever decodes, until the end or where nothing more can be read."""
    good = bad = 0
    packets = container.demux(stream)
    with demuxing():
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                break
            if packet is None:
                break
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples and frame.sample_rate:
                    good += 1
                    yield frame
        if bad > good:
            raise BrokenFile


def _amplitudes(frame: AudioFrame) -> Amplitudes:
    """Of each sample, that of its loudest channel."""
    samples = frame.to_ndarray()
    kind = frame.format.name.removesuffix("p")
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if kind == "u8":
        levels = (samples.astype(np.float32) - _U8_MIDDLE) / _U8_MIDDLE
    elif kind in _SCALES:
        levels = samples.astype(np.float32) / np.float32(_SCALES[kind])
    else:
        raise UnsupportedCodec
    loudest: Amplitudes = np.abs(levels).max(axis=0)
    return loudest
