"""Films as phones take them, made by a real encoder; each different, so none deduplicates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def clip(file: Path, *, seconds: int, megabits: int, codec: str = "libx264") -> Path:
    """A film of 1920 × 1080 at 30 frames a second with sound: things that move, and grain."""
    quick = ["-preset", "ultrafast"] if codec.startswith("libx26") else []
    subprocess.run(
        [
            FFMPEG, "-v", "error", "-nostdin", "-y",
            "-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=30:duration={seconds}",
            "-f", "lavfi", "-i", f"sine=frequency=330:sample_rate=48000:duration={seconds}",
            "-vf", "noise=alls=12:allf=t,format=yuv420p",
            "-c:v", codec, *quick, "-b:v", f"{megabits}M", "-g", "60",
            "-minrate", f"{megabits}M", "-maxrate", f"{megabits}M", "-bufsize", f"{megabits}M",
            "-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart",
            file,
        ],
        check=True,
    )  # fmt: skip
    return file


def variant(base: bytes, number: int | str) -> bytes:
    """The same film with other bytes: a box that players skip is put behind its end."""
    text = f"variant {number}".encode()
    return base + (8 + len(text)).to_bytes(4, "big") + b"free" + text
