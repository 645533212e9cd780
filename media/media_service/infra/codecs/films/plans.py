"""From what a film is to what ffmpeg is asked to make of it. Nothing here touches a file.

What the options are for, where it doesn't show:
- `filter_units` lets through slices and parameter sets: encoders and cameras put their names and
  settings in the rest of an H.264 stream.
- `setts` lets no frame last beyond the film's end: where frames are shown in another order, a pause
  among them looks like the length of a late one, and the file's header would count it twice. In a
  stream it would move what follows, so there each lasts until the next one is decoded. The last
  frame of a moving picture lasts until its end, which demuxers forget; only the frame that is
  decoded last can.
- `-bf 0` has all frames in order: of moving pictures for the sake of the last, and of films with
  pauses, as a frame can stay (and be sought) for long only if the next one decoded is shown next.
- `-enc_time_base demux` keeps each frame's own time where frames don't come evenly.
- A fixed number of threads gives the same bytes on every machine.
- The level is told: x264 would guess it from the frame rate, which some containers overstate.
- `setpts` shows frames of moving pictures as long as browsers do: what says it lasts 10 ms or less
  lasts 100. `-noautorotate` and `sidedata`: nothing turns them, as nothing turns their `full`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from media_service.core.recipes import FilmRecipe, PictureRecipe
from media_service.core.renditions import MAX_FRAME_PIXELS
from media_service.infra.codecs.containers import AUDIO_CODECS, FORMATS, MAX_STREAMS, VIDEO_CODECS
from media_service.infra.codecs.films.description import Film, Size
from media_service.infra.codecs.programs.ffmpeg import Made
from media_service.infra.codecs.programs.launching import SOURCE
from media_service.infra.codecs.programs.making import LEAST_MADE
from media_service.infra.codecs.programs.running import Allowance

_THREADS: Final = "4"
_MOST_ERRORS: Final = "0.1"
"""The share of a stream's packets that may be damaged."""

_PLAIN_PROFILES: Final = {"Constrained Baseline", "Baseline", "Main", "High"}
_PLAIN_LEVEL, _PLAIN_LONG_SIDE, _PLAIN_BIT_RATE = 51, 1920, 20_000_000
_RATE_TOLERANCE: Final = 0.5
_AAC_KILOBITS, _MOST_COPIED_AAC = 128, 192_000
_SAMPLE_RATE: Final = 48_000

_PQ, _HLG, _BT2020 = 16, 18, 9
_UNSPECIFIED: Final = 2
_HD_LINES: Final = 720
_WHITE_NITS: Final = 203

_DEINTERLACED: Final = "bwdif=mode=send_frame:deint=interlaced"
_PREVIEW_FRAMES, _PREVIEW_RATE = 24, 8
_LASTING: Final = "if(lt((PTS-PREV_INPTS)*TB,0.0105),0.1/TB,PTS-PREV_INPTS)"
_AS_IN_BROWSERS: Final = (
    "sidedata=mode=delete",
    f"setpts='if(isnan(PREV_OUTPTS),PTS,PREV_OUTPTS+{_LASTING})'",
)

# Macroblocks a frame and a second that each level of H.264 allows (Rec. H.264, table A-1).
_LEVELS: Final = (
    ("3.0", 1_620, 40_500),
    ("3.1", 3_600, 108_000),
    ("3.2", 5_120, 216_000),
    ("4.0", 8_192, 245_760),
    ("4.2", 8_704, 522_240),
    ("5.0", 22_080, 589_824),
    ("5.1", 36_864, 983_040),
)

_GIB: Final = 1024**3
_MEMORY_BYTES: Final = 3 * _GIB
_SPARE_BYTES: Final = 64 * 1024**2
_SPARE_SECONDS: Final = 60.0
_CPU_A_SECOND: Final = 12.0
"""Processor seconds for each second of 1080p at 30 frames: six times what a stream takes."""
_USUAL_PIXEL_RATE: Final = 1920 * 1080 * 30
_MOST_LOADED: Final = 4
"""How many times its processor time a program may take by the clock: it runs in what is left."""


def plays_everywhere(film: Film, recipe: FilmRecipe) -> bool:
    """Whether its pictures do as they are, so that they are only to be put in another container."""
    return (
        film.codec == "h264"
        and film.profile in _PLAIN_PROFILES
        and 0 < film.level <= _PLAIN_LEVEL
        and film.pixel_format == "yuv420p"
        and film.is_plain
        and not film.is_interlaced
        and not film.is_cut
        and not is_hdr(film)
        and max(film.width, film.height) <= _PLAIN_LONG_SIDE
        and film.frame_rate <= recipe.frame_rate + _RATE_TOLERANCE
        and film.bit_rate <= _PLAIN_BIT_RATE
    )


def is_all(made: Made, film: Film) -> bool:
    """Whether about as much was made as there is: frames, if they are counted, else seconds."""
    if film.frames:
        return made.frames >= LEAST_MADE * film.frames
    return made.seconds >= LEAST_MADE * film.seconds - 1 / film.frame_rate


def is_hdr(film: Film) -> bool:
    """Whether its colours are beyond what every screen shows (ITU-R BT.2020, BT.2100)."""
    return film.transfer in (_PQ, _HLG) or film.primaries == _BT2020


def input_arguments(film: Film) -> list[str]:
    """How the source is opened: by its descriptor, with one demuxer and the decoders we mean.

    What plays longer than it says is cut.
    """
    codecs = ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS | {film.codec}))
    return [
        *("-hide_banner", "-nostdin", "-y", "-nostats", "-loglevel", "error"),
        *("-progress", "pipe:1", "-stats_period", "0.25"),
        *("-filter_complex_threads", "1", "-max_error_rate", _MOST_ERRORS),
        *("-protocol_whitelist", "fd", "-codec_whitelist", codecs),
        *("-format_whitelist", FORMATS.get(film.demuxer, film.demuxer)),
        *("-max_streams", str(MAX_STREAMS), "-max_pixels", str(MAX_FRAME_PIXELS)),
        *("-t", f"{film.seconds + 1:.3f}", "-threads", _THREADS),
        *(("-noautorotate",) if film.frames else ()),
        *("-f", film.demuxer, "-fd", str(SOURCE), "-i", "fd:"),
    ]


def film_arguments(
    film: Film, recipe: FilmRecipe, *, is_remux: bool, output: str
) -> tuple[list[str], Size]:
    """The arguments that make it, and its width and height; a remux stops at the first damage."""
    if is_remux:
        pictures = ["-xerror", "-map", f"0:{film.stream}", "-c:v", "copy"]
        size = film.width, film.height
    else:
        size = recipe.size_of(film.width, film.height)
        chain = picture_chain(film, size, frame_rate=recipe.frame_rate)
        pictures = ["-filter_complex", f"[0:{film.stream}]{chain}[v]", "-map", "[v]"]
        pictures += [*h264(film, size, frame_rate=recipe.frame_rate), "-fps_mode:v", "vfr"]
    sound = [] if recipe.silent else sound_arguments(film)
    return [
        *input_arguments(film),
        *(*pictures, *sound, *NO_METADATA, *clean_h264(film)),
        *("-movflags", "+faststart", "-write_tmcd", "0", "-f", "mp4", output),
    ], size


NO_METADATA: Final = (
    *("-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"),
)


def clean_h264(film: Film, *, is_stream: bool = False) -> list[str]:
    """What is done to encoded pictures on their way into a container."""
    if film.frames:
        lasting = f"max(DURATION\\,{film.end:.3f}/TB-PTS)"
    else:
        left = f"max({1 / film.frame_rate:.6f}\\,{film.seconds:.6f}-PTS*TB)/TB"
        lasting = f"min(DURATION\\,{left})"
    if is_stream:
        lasting = f"if(eq(NEXT_DTS\\,NOPTS)\\,{lasting}\\,NEXT_DTS-DTS)"
    return ["-bsf:v", f"filter_units=pass_types=1-5|7-8,setts=pts=PTS:dts=DTS:duration={lasting}"]


def picture_chain(film: Film, size: Size, *, frame_rate: int) -> str:
    """The filters that make pictures of this size of the film's, in the colours of every screen."""
    steps = [*_AS_IN_BROWSERS] if film.frames else []
    if film.is_interlaced:
        steps.append(_DEINTERLACED)
    if film.frame_rate > frame_rate + _RATE_TOLERANCE:
        steps.append(f"fps={frame_rate}")
    width, height = size
    if is_hdr(film):
        steps += _tone_mapping(film, width, height)
    else:
        steps.append(f"scale={width}:{height}:out_range=tv")
        if film.matrix == _UNSPECIFIED:
            matrix = "bt709" if film.height >= _HD_LINES else "smpte170m"
            steps.append(f"setparams=colorspace={matrix}")
    return ",".join([*steps, "setsar=1", "format=yuv420p"])


def _tone_mapping(film: Film, width: int, height: int) -> list[str]:
    """Scaled first: the rest is dear. What isn't tagged is taken for BT.2020."""
    told = f"zscale=w={width}:h={height}:pin=bt2020:min=bt2020nc"
    to_screen = "p=bt709:t=bt709:m=bt709:r=tv"
    transfer = {_PQ: "smpte2084", _HLG: "arib-std-b67"}.get(film.transfer)
    if transfer is None:
        return [f"{told}:tin=bt709:{to_screen}"]
    return [
        f"{told}:tin={transfer}:t=linear:npl={_WHITE_NITS}",
        *("format=gbrpf32le", "zscale=p=bt709", "tonemap=tonemap=mobius:desat=0"),
        f"zscale={to_screen}",
    ]


def h264(film: Film, size: Size, *, frame_rate: int) -> list[str]:
    """The encoder's options for pictures of this size."""
    kilobits = ceiling_kilobits(film, min(size), frame_rate=frame_rate)
    return [
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-profile:v", "high"),
        *("-level:v", _level(film, size, frame_rate=frame_rate)),
        *("-maxrate:v", f"{kilobits}k", "-bufsize:v", f"{2 * kilobits}k"),
        *("-threads:v", _THREADS, "-enc_time_base:v", "demux"),
        *(("-bf:v", "0") if film.frames or film.is_paused else ()),
    ]


def ceiling_kilobits(film: Film, short_side: int, *, frame_rate: int) -> int:
    """The most a second of pictures may hold: 800 at 360 lines, 5500 at 1080; more if quick."""
    is_quick = min(film.frame_rate, frame_rate) > 35
    kilobits = 800 * math.pow(short_side / 360, 1.75) * (1.4 if is_quick else 1)
    return max(100, round(kilobits))


def _level(film: Film, size: Size, *, frame_rate: int) -> str:
    blocks = -(-size[0] // 16) * -(-size[1] // 16)
    rate = blocks * min(film.frame_rate, frame_rate)
    fitting = (name for name, most, most_rate in _LEVELS if blocks <= most and rate <= most_rate)
    return next(fitting, "5.2")


def sound_arguments(film: Film) -> list[str]:
    """AAC: as it is if that will do, else encoded; nothing if there is no sound."""
    if film.audio_stream < 0:
        return []
    chosen = ["-map", f"0:{film.audio_stream}"]
    if _is_plain_aac(film):
        return [*chosen, "-c:a", "copy"]
    channels = str(min(2, film.channels or 2))
    encoded = ["-c:a", "aac", "-b:a", f"{_AAC_KILOBITS}k", "-ac", channels]
    return [*chosen, *encoded, "-ar", str(_SAMPLE_RATE), "-af", "aresample=async=1"]


def _is_plain_aac(film: Film) -> bool:
    return (
        film.audio_codec == "aac"
        and not film.is_cut
        and film.audio_profile == "LC"
        and 1 <= film.channels <= 2
        and 0 < film.sample_rate <= _SAMPLE_RATE
        and 0 < film.audio_bit_rate <= _MOST_COPIED_AAC
    )


def preview_chain(film: Film, recipe: PictureRecipe) -> tuple[str, Size]:
    """Frames from all over the film, or its first seconds as they are if it is short.

    They are not deinterlaced: frames far apart say nothing of each other, and these are small.
    """
    film = dataclasses.replace(film, is_interlaced=False)
    size = recipe.size_of(film.width, film.height)
    apart = max(1 / _PREVIEW_RATE, film.seconds / _PREVIEW_FRAMES)
    picked = f"select='isnan(start_t)+gte(t-start_t,selected_n*{apart:.6f}-0.0005)'"
    paced = f"setpts=N/({_PREVIEW_RATE}*TB)"
    return f"{picked},{paced},{picture_chain(film, size, frame_rate=1000)}", size


def preview_output(recipe: PictureRecipe, *, output: str) -> list[str]:
    """How the preview's frames are saved."""
    return [
        *("-frames:v", str(_PREVIEW_FRAMES), "-c:v", "libwebp_anim", "-loop", "0"),
        *("-quality", str(recipe.quality), "-compression_level", "2", "-fps_mode:v", "vfr"),
        *(*NO_METADATA, "-f", "webp", output),
    ]


def preview_arguments(film: Film, recipe: PictureRecipe, *, output: str) -> tuple[list[str], Size]:
    """The arguments that make the preview alone, and its width and height."""
    chain, size = preview_chain(film, recipe)
    graph = ["-filter_complex", f"[0:{film.stream}]{chain}[p]", "-map", "[p]"]
    return [*input_arguments(film), *graph, *preview_output(recipe, output=output)], size


def allowance(film: Film, *, source_bytes: int) -> Allowance:
    """What a program may use for this film: by how long it says it is, and how large."""
    pixel_rate = film.width * film.height * film.frame_rate / _USUAL_PIXEL_RATE
    cpu_seconds = _SPARE_SECONDS + film.seconds * _CPU_A_SECOND * max(1.0, pixel_rate)
    most_kilobits = ceiling_kilobits(film, 1080, frame_rate=60) + 2 * _AAC_KILOBITS
    made_bytes = int(film.seconds * most_kilobits * 1000 / 8)
    return Allowance(
        cpu_seconds=cpu_seconds,
        wall_seconds=_MOST_LOADED * cpu_seconds,
        memory_bytes=_MEMORY_BYTES,
        file_bytes=_SPARE_BYTES + 2 * max(source_bytes, made_bytes),
    )
