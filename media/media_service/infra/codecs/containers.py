"""Opening strangers' films and sounds: the one place that hands them to libavformat.

A container is read through a descriptor that is open already. There is no path or URL in it for
libavformat to follow, the demuxer is that of the sniffed format, and whatever else it asks to open
(another file that the container names, a playlist's segments) it is refused.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import av

# PyAV imports these when a file first needs them: too late in a cell.
import av.audio.codeccontext
import av.error
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from media_service.core.errors import BrokenFile, MediaError, TooComplex, UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.renditions import MAX_FRAME_PIXELS

DEMUXERS: Final = {
    Format.MP4: "mov",
    Format.MOV: "mov",
    Format.M4A: "mov",
    Format.WEBM: "matroska",
    Format.MKV: "matroska",
    Format.WEBA: "matroska",
    Format.MP3: "mp3",
    Format.WAV: "wav",
    Format.FLAC: "flac",
    Format.OGG: "ogg",
    Format.AAC: "aac",
}
VIDEO_CODECS: Final = frozenset({"h264", "hevc", "vp8", "vp9", "libdav1d"})
AUDIO_CODECS: Final = frozenset(
    {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac"}
    | {f"pcm_{kind}" for kind in ("u8", "s16le", "s24le", "s32le", "f32le", "f64le")}
    | {f"pcm_{kind}" for kind in ("s16be", "s24be", "s32be", "f32be", "alaw", "mulaw")}
)
"""Names of decoders: only these ever meet a packet."""
FORMATS: Final = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}
"""What libavformat calls what a demuxer reads, where that is more than the demuxer's name."""
MAX_STREAMS: Final = 16
MIN_SAMPLE_RATE: Final = 4000
"""Half of what a telephone has: the loudness of less can't be measured."""
MAX_SAMPLE_RATE: Final = 384_000
MAX_CHANNELS: Final = 16

_PROBED_BYTES: Final = 5_000_000
_PROBED_MICROSECONDS: Final = 5_000_000
_BUFFER_BYTES: Final = 256 * 1024
_BEFORE_ALL: Final = -(1 << 40)
_EARLY_SECONDS: Final = {"video": 0.05, "audio": 0.3}
"""So much before its beginning is no cut: encoders of AAC put up to 2112 samples there."""
_ATTACHED: Final = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
_OPTIONS: Final = {
    "format_whitelist": ",".join([*FORMATS.values(), "mp3", "wav", "flac", "ogg", "aac"]),
    "codec_whitelist": ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS)),
    "protocol_whitelist": "none",
    "max_streams": str(MAX_STREAMS),
    "probesize": str(_PROBED_BYTES),
    "analyzeduration": str(_PROBED_MICROSECONDS),
    "max_pixels": str(MAX_FRAME_PIXELS),
    "threads": "1",
}

av.logging.set_level(None)


class _Source(io.RawIOBase):
    """An open descriptor, read where it is asked; whoever else has it keeps their own place."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        found = os.pread(self._descriptor, size if size >= 0 else _BUFFER_BYTES, self._at)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(offset)
        self._at = start + offset
        return self._at


@contextlib.contextmanager
def open_container(
    source: int, format: Format, *, skipped_bytes: int = 0
) -> Iterator[InputContainer]:
    """The container in this descriptor; what fails within the context is the file's fault.

    The first `skipped_bytes` are never looked at.
    Raises BrokenFile, UnsupportedCodec, TooComplex.
    """
    demuxer = DEMUXERS.get(format)
    if demuxer is None:
        raise UnsupportedCodec
    with demuxing():
        container = av.open(
            _Source(source),
            mode="r",
            format=demuxer,
            options={**_OPTIONS, "skip_initial_bytes": str(skipped_bytes)},
            buffer_size=_BUFFER_BYTES,
            metadata_errors="replace",
            io_open=_refuse_to_open,
        )
        with container:
            if len(container.streams) > MAX_STREAMS:
                raise TooComplex
            yield container


@contextlib.contextmanager
def demuxing() -> Iterator[None]:
    """Whatever libavformat or a decoder complains of is the file's fault.

    An OSError that isn't theirs passes: no file is to blame for it.
    """
    try:
        yield
    except (MemoryError, av.error.MemoryError) as cause:
        raise TooComplex from cause
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as cause:
        raise UnsupportedCodec from cause
    except (
        av.error.FFmpegError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        ValueError,
    ) as cause:
        raise BrokenFile from cause


def video_stream(container: InputContainer) -> VideoStream | None:
    """The film's pictures: the default stream, else the largest; None where there are none.

    Covers are not a film. Raises UnsupportedCodec if there are only streams we don't decode.
    """
    streams = [s for s in container.streams.video if not s.disposition & _ATTACHED]
    decoded = [s for s in streams if _decoder(s) in VIDEO_CODECS]
    if not decoded and any(_decoder(s) for s in streams):
        raise UnsupportedCodec
    return max(decoded, key=_picture_rank, default=None)


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The sound to play: the default stream, else that of most channels; None if none decodes."""
    decoded = [s for s in container.streams.audio if _is_sound(s)]
    return max(decoded, key=lambda s: (_is_default(s), s.codec_context.channels), default=None)


def is_cut(container: InputContainer, stream: VideoStream | AudioStream) -> bool:
    """Whether an edit list hides what is stored of the stream before its beginning.

    Phones cut films so, without encoding them again. Where the container is read next is undefined.
    """
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(_BEFORE_ALL, stream=stream)
        packet = next(container.demux(stream))
        if packet.pts is not None and packet.time_base:
            return bool(packet.pts * packet.time_base < -_EARLY_SECONDS[stream.type])
    return False


def nothing_to_play(container: InputContainer) -> MediaError:
    """Why there is neither a picture nor a sound."""
    streams = [*container.streams.video, *container.streams.audio]
    return UnsupportedCodec() if any(_decoder(s) for s in streams) else BrokenFile()


def library_versions() -> dict[str, str]:
    """The versions of libav* and of what binds them."""
    found = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    wanted = ("libavformat", "libavcodec", "libswscale")
    return {"pyav": av.__version__, **{name: found[name] for name in wanted}}


def _refuse_to_open(_url: str, _flags: int, _options: dict[str, Any]) -> NoReturn:
    """No container makes us open another file."""
    raise BrokenFile


def _decoder(stream: Stream) -> str:
    """The name of its decoder; a stream without one has no codec context."""
    context: Any = stream.codec_context
    return context.name if context else ""


def _is_default(stream: VideoStream | AudioStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)


def _picture_rank(stream: VideoStream) -> tuple[bool, int]:
    return _is_default(stream), stream.codec_context.width * stream.codec_context.height


def _is_sound(stream: AudioStream) -> bool:
    if _decoder(stream) not in AUDIO_CODECS:
        return False
    context = stream.codec_context
    is_heard = MIN_SAMPLE_RATE <= context.sample_rate <= MAX_SAMPLE_RATE
    return is_heard and 0 < context.channels <= MAX_CHANNELS
