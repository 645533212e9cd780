"""From what a sound is to what ffmpeg is asked to make of it. Nothing here touches a file.

What the options are for, where it doesn't show:
- `asetpts` lays samples one after the other: what was made lasts as long as its wave is drawn,
  where a recorder paused or a part was damaged, too. Where the rate or the channels change, ffmpeg
  begins its filters anew: it would count from 0 again, and nothing measures all of the sound.
- `loudnorm` stays linear (one gain for all) while the peaks leave room; `LRA=50` keeps it from
  leaving that for a wide range. Where they don't, it limits.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from media_service.core.errors import BrokenFile
from media_service.core.recipes import SoundEncoding, SoundRecipe
from media_service.infra.codecs.containers import AUDIO_CODECS, FORMATS, MAX_STREAMS
from media_service.infra.codecs.programs.launching import SOURCE
from media_service.infra.codecs.programs.running import Allowance
from media_service.infra.codecs.sounds.tags import MAX_TAG_BYTES

TARGET_LUFS: Final = -16.0
TARGET_PEAK: Final = -1.5
SILENCE_LUFS: Final = -70.0
"""What EBU R 128 leaves out: there is nothing to make louder."""

_MOST_SECONDS: Final = 1e6
_AAC_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATE: Final = 48_000
_LEAST_SECONDS: Final = 0.02
"""One packet of Opus. Of less, an encoder makes a file in which there is nothing to play."""
_MOST_COPIED_BITS: Final = 320_000
_MEASURED = re.compile(r"lavfi\.r128\.(I|LRA|true_peaks_ch\d)=(-?[\d.]+|-?inf|nan)")
_MOST_GAIN: Final = 40.0

_SPARE_SECONDS, _CPU_A_SECOND = 60.0, 0.2
_MOST_LOADED: Final = 4
_MEMORY_BYTES: Final = 2 * 1024**3
_SPARE_BYTES: Final = 64 * 1024**2
_BYTES_A_SECOND: Final = 64_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound that a cell has listened to; `skipped_bytes` are tags before it.

    `is_cut`: there is more in the file than is to be heard of it. `is_uniform`: neither its rate
    nor its channels change on the way.
    """

    demuxer: str
    stream: int
    codec: str
    profile: str
    bit_rate: int
    channels: int
    sample_rate: int
    seconds: float
    skipped_bytes: int = 0
    is_cut: bool = False
    is_uniform: bool = True

    @classmethod
    def told(cls, answer: Mapping[str, Any]) -> Self:
        """What a cell told, checked as anyone else's. Raises BrokenFile for what can't be."""
        names = {field.name: field.type for field in dataclasses.fields(cls)}
        if any(type(answer.get(name)).__name__ != type_ for name, type_ in names.items()):
            raise BrokenFile
        sound = cls(**{name: answer[name] for name in names})
        if not sound.demuxer.isalnum() or min(sound.stream, sound.bit_rate) < 0:
            raise BrokenFile
        if min(sound.channels, sound.sample_rate) < 1 or not 0 < sound.seconds < _MOST_SECONDS:
            raise BrokenFile
        if not 0 <= sound.skipped_bytes <= MAX_TAG_BYTES:
            raise BrokenFile
        return sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudness:
    """As EBU R 128 measures it: integrated in LUFS, range in LU, true peak in dBTP."""

    integrated: float
    range: float
    true_peak: float


def plays_everywhere(sound: Sound, recipe: SoundRecipe) -> bool:
    """Whether it is to be put in another container only: AAC-LC, and at no other loudness."""
    return (
        recipe.encoding is SoundEncoding.AAC
        and not recipe.normalized
        and sound.is_uniform
        and not sound.is_cut
        and (sound.codec, sound.profile) == ("aac", "LC")
        and sound.channels <= 2
        and sound.sample_rate in _AAC_RATES
        and sound.bit_rate <= _MOST_COPIED_BITS
    )


def sound_arguments(
    sound: Sound, recipe: SoundRecipe, *, output: str, loudness: Loudness | None = None
) -> list[str]:
    """The arguments that make it; normalized by the loudness that was measured, if it is given."""
    return [
        *_input(sound),
        *("-map", f"0:{sound.stream}", "-vn", "-sn", "-dn"),
        *_encoding(sound, recipe, loudness),
        *("-map_metadata", "-1", "-map_chapters", "-1"),
        *("-fflags", "+bitexact", "-flags:a", "+bitexact"),
        *_container(recipe, output),
    ]


def measuring_arguments(sound: Sound, *, output: str) -> list[str]:
    """The arguments that write to `output` how loud it is so far, every tenth of a second."""
    printed = ",".join(
        f"ametadata=mode=print:key=lavfi.r128.{key}:file={output}.{key}" for key in _keys(sound)
    )
    graph = f"{_layout(sound)},ebur128=metadata=1:peak=true:framelog=verbose,{printed}"
    return [
        *_input(sound),
        *("-map", f"0:{sound.stream}", "-vn", "-sn", "-dn", "-af", graph, "-f", "null", "-"),
    ]


def measured_files(sound: Sound, *, output: str) -> list[str]:
    """The names of what `measuring_arguments` has written."""
    return [f"{output}.{key}" for key in _keys(sound)]


def read_loudness(ends: list[str]) -> Loudness:
    """From the end of each of `measured_files`. Raises BrokenFile for what is none."""
    found: dict[str, float] = {}
    for end in ends:
        for key, value in _MEASURED.findall(end):
            found[key] = float(value)
    peak = max((value for key, value in found.items() if key.startswith("true")), default=0.0)
    integrated = found.get("I", SILENCE_LUFS)
    if not math.isfinite(integrated) or not math.isfinite(peak):
        raise BrokenFile
    return Loudness(
        integrated=max(integrated, -99.0),
        range=min(max(found.get("LRA", 0.0), 0.0), 99.0),
        true_peak=min(20 * math.log10(peak), 99.0) if peak > 0 else -99.0,
    )


def allowance(sound: Sound, *, source_bytes: int) -> Allowance:
    """What a program may use for this sound."""
    cpu_seconds = _SPARE_SECONDS + sound.seconds * _CPU_A_SECOND
    return Allowance(
        cpu_seconds=cpu_seconds,
        wall_seconds=_MOST_LOADED * cpu_seconds,
        memory_bytes=_MEMORY_BYTES,
        file_bytes=_SPARE_BYTES + max(source_bytes, int(sound.seconds * _BYTES_A_SECOND)),
    )


def _input(sound: Sound) -> list[str]:
    """How the source is opened: by its descriptor, with one demuxer and the decoders we mean."""
    return [
        *("-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"),
        *("-progress", "pipe:1", "-stats_period", "0.25", "-filter_threads", "1"),
        *("-protocol_whitelist", "fd", "-codec_whitelist", ",".join(sorted(AUDIO_CODECS))),
        *("-format_whitelist", FORMATS.get(sound.demuxer, sound.demuxer)),
        *("-max_streams", str(MAX_STREAMS), "-skip_initial_bytes", str(sound.skipped_bytes)),
        *("-threads", "1", "-f", sound.demuxer, "-fd", str(SOURCE), "-i", "fd:"),
    ]


def _encoding(sound: Sound, recipe: SoundRecipe, loudness: Loudness | None) -> list[str]:
    if plays_everywhere(sound, recipe):
        return ["-c:a", "copy"]
    channels = _channels(sound)
    kilobits = recipe.kilobits if channels > 1 else recipe.kilobits // 2
    is_opus = recipe.encoding is SoundEncoding.OPUS
    rate = _OPUS_RATE if is_opus else _aac_rate(sound.sample_rate)
    steps = [_layout(sound), *(["asetpts=N/SR/TB"] if sound.is_uniform else [])]
    if recipe.normalized and loudness and loudness.integrated > SILENCE_LUFS:
        steps.append(_normalizing(loudness))
    steps.append(f"aresample={rate}")
    if sound.seconds < _LEAST_SECONDS:
        steps.append(f"apad=whole_dur={_LEAST_SECONDS}")
    encoder = ["-c:a", "libopus" if is_opus else "aac", "-b:a", f"{kilobits}k"]
    return ["-af", ",".join(steps), *encoder, "-ar", str(rate), "-ac", str(channels)]


def _normalizing(loudness: Loudness) -> str:
    gain = min(TARGET_LUFS - loudness.integrated, _MOST_GAIN)
    return (
        f"loudnorm=I={loudness.integrated + gain:.2f}:TP={TARGET_PEAK}:LRA=50:linear=true"
        f":measured_I={loudness.integrated:.2f}:measured_TP={loudness.true_peak:.2f}"
        f":measured_LRA={loudness.range:.2f}:measured_thresh={loudness.integrated - 10:.2f}"
    )


def _container(recipe: SoundRecipe, output: str) -> list[str]:
    if recipe.encoding is SoundEncoding.OPUS:
        return ["-f", "ogg", output]
    return ["-movflags", "+faststart", "-f", "ipod", output]


def _channels(sound: Sound) -> int:
    return 1 if sound.channels == 1 else 2


def _layout(sound: Sound) -> str:
    """Surround is mixed down by libswresample, which keeps it from clipping."""
    return "aformat=channel_layouts=" + ("mono" if sound.channels == 1 else "stereo")


def _keys(sound: Sound) -> list[str]:
    return ["I", "LRA", *(f"true_peaks_ch{i}" for i in range(_channels(sound)))]


def _aac_rate(rate: int) -> int:
    """As it was if AAC players take that, 44.1 kHz for its multiples, else 48 kHz."""
    if rate in _AAC_RATES:
        return rate
    return 44_100 if rate % 44_100 == 0 else 48_000
