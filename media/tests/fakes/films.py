"""Films made by a real encoder, the wheel's ffmpeg: of every codec and container, and a phone's.

All show the same upright: a moving pattern with a red corner at the top left and a blue one at the
bottom right. Each is made once per process.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import imageio_ffmpeg
from fakes.boxes import appended_to, box

RED: Final = (254, 0, 0)
BLUE: Final = (0, 0, 254)

LATITUDE: Final = b"51.5007"
SERIAL: Final = b"C39CANARY42"
DEVICE: Final = b"CanaryPhone 15"
CANARIES: Final = (LATITUDE, SERIAL, DEVICE, b"000.1246")
"""What `phone_film` says of place and device: no rendition may hold any of these."""

_ISO6709: Final = "+51.5007-000.1246+035.000/"
_X265_QUIET: Final = "log-level=error"
_HDR: Final = {"pq": "smpte2084", "hlg": "arib-std-b67"}
_VIDEO: Final = {
    "h264": ("libx264", "-preset", "ultrafast"),
    "hevc": ("libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", _X265_QUIET),
    "vp8": ("libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k"),
    "vp9": ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k"),
    "av1": ("libsvtav1", "-preset", "13", "-crf", "40"),
    "mpeg4": ("mpeg4", "-q:v", "5"),
}
_AUDIO: Final = {
    "aac": ("aac",),
    "mp3": ("libmp3lame",),
    "opus": ("libopus",),
    "vorbis": ("libvorbis",),
    "flac": ("flac",),
    "ac3": ("ac3",),
    "pcm": ("pcm_s16le",),
}
_CONTAINERS: Final = {"mp4": "mp4", "mov": "mov", "webm": "webm", "mkv": "matroska"}
_TURNS: Final = {0: "", 90: ",transpose=clock", 180: ",hflip,vflip", 270: ",transpose=cclock"}
"""How upright pictures are stored so that the display matrix of this angle turns them back."""


def run_ffmpeg(*arguments: str) -> None:
    """Run the wheel's ffmpeg; fails with what it says."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def pattern(size: tuple[int, int], *, seconds: float, rate: str = "25") -> str:
    """The source filter of the picture that all films show."""
    width, height = size
    corner = f"w={width // 4}:h={height // 4}:t=fill"
    return (
        f"testsrc2=s={width + width % 2}x{height + height % 2}:r={rate}:d={seconds}"
        f",format=yuv444p,crop={width}:{height}:0:0:exact=1"
        f",drawbox=x=0:y=0:{corner}:c=red"
        f",drawbox=x={width - width // 4}:y={height - height // 4}:{corner}:c=blue"
    )


@functools.cache
def film(
    *,
    codec: str = "h264",
    container: str = "mp4",
    audio: str = "aac",
    seconds: float = 1.0,
    size: tuple[int, int] = (320, 180),
    rate: str = "25",
    rotation: int = 0,
    hdr: str = "",
    sample_aspect: str = "",
    is_of_variable_rate: bool = False,
    options: tuple[str, ...] = (),
) -> bytes:
    """One film; `size` is how it is seen upright, before `sample_aspect` stretches its pixels.

    `audio` may be empty; `rotation` is the display matrix's, counterclockwise; `hdr` is `pq` or
    `hlg` (10 bits, BT.2020); `options` come last.
    """
    picture = pattern(size, seconds=seconds, rate=rate) + _TURNS[rotation]
    if sample_aspect:
        picture += f",setsar={sample_aspect}"
    if is_of_variable_rate:
        picture += ",select='not(between(mod(n,7),2,4))'"
    if hdr:
        picture += _to_hdr(_HDR[hdr])
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"] if audio else []
    arguments = [
        *("-f", "lavfi", "-i", picture, *sound, "-fps_mode", "vfr"),
        *("-c:v", *_VIDEO[codec], *([] if hdr else ["-pix_fmt", _pixels(size)])),
        *(["-c:a", *_AUDIO[audio]] if audio else []),
        *_hdr_tags(codec, _HDR.get(hdr, "")),
        *options,
    ]
    return made(arguments, container=container, rotation=rotation)


@functools.cache
def paused_film(*, in_order: bool = False) -> bytes:
    """10 seconds of which those from the first on are missing; frames are stored out of order."""
    source = ("-f", "lavfi", "-i", pattern((320, 180), seconds=10))
    pause = ("-vf", "select=lt(t\\,1)+gt(t\\,9)", "-fps_mode", "vfr")
    order = ("-bf", "0") if in_order else ("-x264-params", "b-adapt=0:scenecut=0")
    return made(
        [*source, *pause, "-c:v", "libx264", *order, "-pix_fmt", "yuv420p"], container="mp4"
    )


@functools.cache
def cut_film(*, codec: str = "h264") -> bytes:
    """A second and a half of two, as phones cut: all of it is there, and an edit list hides half.

    The sound is a tone only where it is hidden.
    """
    tone = "sine=frequency=440:duration=2,volume='if(lt(t,0.5),1,0)':eval=frame"
    source = ["-f", "lavfi", "-i", pattern((320, 180), seconds=2), "-f", "lavfi", "-i", tone]
    codecs = ["-c:v", *_VIDEO[codec], "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder, "whole"), Path(folder, "cut")
        whole.write_bytes(made([*source, *codecs], container="mov"))
        run_ffmpeg("-ss", "0.6", "-i", str(whole), "-c", "copy", "-f", "mov", str(cut))
        return cut.read_bytes()


def made(arguments: Sequence[str], *, container: str, rotation: int = 0) -> bytes:
    """What ffmpeg makes of these arguments, with a display matrix if there is a rotation."""
    with tempfile.TemporaryDirectory() as folder:
        plain, turned = Path(folder, "plain"), Path(folder, "turned")
        form = ("-f", _CONTAINERS.get(container, container))
        run_ffmpeg(*arguments, *form, str(plain))
        if not rotation:
            return plain.read_bytes()
        source = ("-display_rotation:v:0", str(rotation), "-i", str(plain))
        run_ffmpeg(*source, "-map", "0", "-c", "copy", *form, str(turned))
        return turned.read_bytes()


@functools.cache
def phone_film(
    *, codec: str = "h264", seconds: float = 1.0, size: tuple[int, int] = (180, 320)
) -> bytes:
    """What a phone records upright: a MOV with a display matrix, which tells where and by what.

    The place is in its metadata keys and in `©xyz`; make, model and serial number are tags of the
    file and of its streams. Its index comes last.
    """
    tags = {
        "com.apple.quicktime.location.ISO6709": _ISO6709,
        "com.apple.quicktime.make": "Canary",
        "com.apple.quicktime.model": DEVICE.decode(),
        "com.apple.quicktime.software": "17.1",
        "com.apple.quicktime.serial": SERIAL.decode(),
        "com.apple.quicktime.creationdate": "2026-01-01T12:00:00+0000",
    }
    options = ["-movflags", "use_metadata_tags"]
    for name, value in tags.items():
        options += ["-metadata", f"{name}={value}"]
    for stream in ("v", "a"):
        options += [f"-metadata:s:{stream}", f"handler_name=Core Media {SERIAL.decode()}"]
    recorded = film(
        codec=codec,
        container="mov",
        seconds=seconds,
        size=size,
        rotation=270,
        options=tuple(options),
    )
    with tempfile.TemporaryDirectory() as folder:
        plain, tagged = Path(folder, "plain.mov"), Path(folder, "tagged.mov")
        plain.write_bytes(recorded)
        run_ffmpeg("-i", str(plain), "-map", "0", "-c", "copy", *options, str(tagged))
        return appended_to(tagged.read_bytes(), b"moov", _user_data())


def _user_data() -> bytes:
    """The `udta` box of older phones."""
    atoms = {b"\xa9xyz": _ISO6709.encode(), b"\xa9mak": b"Canary", b"\xa9mod": DEVICE}
    atoms[b"\xa9swr"] = b"firmware " + SERIAL
    text = (
        box(name, len(value).to_bytes(2, "big") + b"\x15\xc7" + value)
        for name, value in atoms.items()
    )
    return box(b"udta", b"".join(text))


@functools.cache
def film_of_several_streams(*, container: str = "mkv") -> bytes:
    """Pictures of 320x180 and, by default, 160x90; silence and, by default, a tone."""
    sources = (
        f"{pattern((320, 180), seconds=1)}",
        f"{pattern((160, 90), seconds=1)}",
        "anullsrc=r=48000:cl=mono,atrim=duration=1",
        "sine=frequency=440:duration=1",
    )
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    maps = [word for index in range(4) for word in ("-map", str(index))]
    chosen = [
        *("-disposition:v:0", "0", "-disposition:v:1", "default"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default"),
    ]
    codecs = ("-c:v", *_VIDEO["h264"], "-pix_fmt", "yuv420p", "-c:a", "aac")
    return made([*inputs, *maps, *codecs, *chosen], container=container)


@functools.cache
def sound_in_film(*, container: str = "mp4", audio: str = "aac", has_cover: bool = False) -> bytes:
    """A container for films that holds only a second of sound, perhaps with a cover."""
    arguments = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    if has_cover:
        arguments += ["-f", "lavfi", "-i", "color=c=red:s=64x64:d=0.04", "-map", "0", "-map", "1"]
        arguments += ["-c:v", "mjpeg", "-disposition:v:0", "attached_pic"]
    return made([*arguments, "-c:a", *_AUDIO[audio]], container=container)


def _pixels(size: tuple[int, int]) -> str:
    """4:2:0 wants even sides; odd ones keep all their colours."""
    return "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"


def _to_hdr(transfer: str) -> str:
    """The same picture in BT.2020; what was white shines with 203 nits (BT.2408)."""
    return (
        ",scale=out_color_matrix=bt709,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
        f",zscale=p=bt2020:t={transfer}:m=bt2020nc:npl=203,format=yuv420p10le"
    )


def _hdr_tags(codec: str, transfer: str) -> list[str]:
    if not transfer:
        return []
    tags = ["-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc"]
    if codec == "hevc":
        words = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
        tags += ["-x265-params", f"{_X265_QUIET}:{words}"]
    return tags
