"""ffmpeg: which one, whether it will do, and what its ends mean."""

from __future__ import annotations

import errno
import logging
import re
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

import imageio_ffmpeg

from media_service.core.codec_ports import OnProgress
from media_service.core.errors import (
    BrokenFile,
    DecoderUnavailable,
    MediaError,
    StorageFull,
    StorageUnavailable,
    TooComplex,
)
from media_service.infra.codecs.programs.launching import CANNOT_START
from media_service.infra.codecs.programs.running import (
    Allowance,
    ProgramFailed,
    ProgramKilled,
    ProgramLate,
    private_folder,
    run_program,
)

OLDEST: Final = (6, 1)
"""The first that reads a source by its descriptor."""

_NEEDED: Final = {
    "-encoders": ("libx264", "aac", "libwebp_anim"),
    "-decoders": ("h264", "hevc", "vp8", "vp9", "libdav1d", "aac", "mp3float", "opus", "vorbis"),
    "-filters": (
        *("zscale", "tonemap", "scale", "split", "select", "fps"),
        *("setparams", "setpts", "sidedata", "bwdif"),
    ),
    "-bsfs": ("filter_units", "setts"),
    "-muxers": ("mp4", "hls", "webp"),
    "-protocols": ("fd",),
}
_VERSION = re.compile(r"ffmpeg version n?(\d+)\.(\d+)(\S*)")
_TIME = re.compile(r"out_time_us=(\d{1,15})")
_FRAMES = re.compile(r"frame=\s*(\d{1,9})")
_LOOK: Final = Allowance(
    cpu_seconds=10, wall_seconds=30, memory_bytes=2 * 1024**3, file_bytes=1024**2
)

# ffmpeg ends with the lowest byte of what stopped it, which is negative.
_NO_ROOM: Final = {256 - errno.ENOSPC, 256 - errno.EDQUOT}
_TOO_MUCH: Final = {256 - errno.ENOMEM, 256 - errno.EFBIG}
_NO_MEMORY: Final = ("cannot allocate memory", "malloc of size")
_KILLED: Final = {-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGXFSZ, -signal.SIGABRT}

_log = logging.getLogger(__name__)


class UnusableFfmpeg(Exception):
    """This ffmpeg can't be used."""


class Made(NamedTuple):
    """How much a run made."""

    seconds: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ffmpeg:
    """An ffmpeg that was found to have what we need, here, in its confinement."""

    path: Path
    version: str

    @classmethod
    async def find(cls, chosen: Path | None) -> Self:
        """The operator's, which may lack things, or the wheel's. Raises UnusableFfmpeg."""
        path = chosen or _of_the_wheel()
        if not path.is_file():
            raise UnusableFfmpeg(f"there is no program {path}")
        try:
            with tempfile.TemporaryDirectory() as folder:
                version = await _check(path, Path(folder), is_known=chosen is None)
        except (ProgramFailed, ProgramLate, ProgramKilled, OSError) as cause:
            raise UnusableFfmpeg(f"{path} does not run here: {cause or 'too slow'}") from cause
        return cls(path=path, version=version)

    async def run(
        self,
        arguments: Sequence[str],
        *,
        source: Path,
        folder: Path,
        allowance: Allowance,
        on_time: OnProgress,
    ) -> Made:
        """How much was made; `on_time` hears of its seconds. Arguments ask for `-progress pipe:1`.

        Raises BrokenFile, TooComplex, StorageFull, StorageUnavailable, DecoderUnavailable.
        """
        made = Made(0.0, 0)

        def on_line(line: str) -> None:
            nonlocal made
            if found := _TIME.fullmatch(line.strip()):
                made = made._replace(seconds=int(found[1]) / 1_000_000)
                on_time(made.seconds)
            elif found := _FRAMES.fullmatch(line.strip()):
                made = made._replace(frames=int(found[1]))

        try:
            await run_program(
                self.path,
                arguments,
                source=source,
                folder=folder,
                allowance=allowance,
                on_line=on_line,
            )
        except ProgramFailed as cause:
            _log.warning("ffmpeg ended with %d: %s", cause.status, cause.complaint)
            raise refusal(cause) from cause
        except ProgramLate as cause:
            raise TooComplex from cause
        except ProgramKilled as cause:
            _log.warning("ffmpeg was killed by others; is there enough memory?")
            raise DecoderUnavailable(was_killed=True) from cause
        except OSError as cause:
            raise StorageUnavailable from cause
        return made


def refusal(failed: ProgramFailed) -> MediaError:
    """What the core is to think of it."""
    complaint = failed.complaint.lower()
    if failed.status == CANNOT_START:
        return DecoderUnavailable()
    if failed.status in _NO_ROOM:
        return StorageFull()
    if failed.status in _TOO_MUCH | _KILLED or any(words in complaint for words in _NO_MEMORY):
        return TooComplex()
    return BrokenFile()


def _of_the_wheel() -> Path:
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as cause:
        raise UnusableFfmpeg("this machine has none: set MEDIAD_FFMPEG") from cause


async def _check(path: Path, folder: Path, *, is_known: bool) -> str:
    """Its version. Raises UnusableFfmpeg, and as `run_program`."""
    async with private_folder(folder / "ffmpeg") as private:
        version = _checked_version(path, await _told(path, "-version", private))
        for question, names in () if is_known else _NEEDED.items():
            _check_names(path, await _told(path, question, private), names)
    return version


async def _told(path: Path, question: str, folder: Path) -> str:
    lines: list[str] = []
    await run_program(
        path,
        ["-hide_banner", question] if question != "-version" else [question],
        source=None,
        folder=folder,
        allowance=_LOOK,
        on_line=lines.append,
    )
    return "\n".join(lines)


def _checked_version(path: Path, told: str) -> str:
    found = _VERSION.search(told)
    if not found:
        raise UnusableFfmpeg(f"{path} does not say that it is ffmpeg")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise UnusableFfmpeg(f"{path} is version {found[1]}.{found[2]}; 6.1 or later is needed")
    return f"{found[1]}.{found[2]}{found[3]}"


def _check_names(path: Path, told: str, names: Sequence[str]) -> None:
    words = set(told.replace(",", " ").split())
    if missing := [name for name in names if name not in words]:
        raise UnusableFfmpeg(f"{path} lacks {', '.join(missing)}")
