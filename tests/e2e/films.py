"""Films of a real encoder, as a phone would send them: not yet what plays everywhere."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg


@functools.cache
def phone_film(*, seconds: float = 2, size: str = "320x180", name: str = "0") -> bytes:
    """HEVC with sound, in QuickTime; other bytes for every name."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "film.mov"
        subprocess.run(
            [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
                *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}"),
                *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
                *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
                *("-tag:v", "hvc1", "-pix_fmt", "yuv420p", "-c:a", "aac"),
                *("-metadata", f"title={name}", str(made)),
            ],
            check=True,
            timeout=120,
        )
        return made.read_bytes()
