"""What making films and sounds has in common: targets, progress, time, and taking what was made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import Histogram

from media_service.core.codec_ports import OnProgress
from media_service.core.errors import BrokenFile, MediaError
from media_service.core.recipes import Recipe
from media_service.infra.codecs.programs.running import take_result

Target = tuple[Recipe, Path]

LEAST_MADE: Final = 0.9
"""How much must play, of what an original says it does: less is one that was cut off."""
_SECONDS_BETWEEN: Final = 0.1

_SECONDS = Histogram(
    "mediad_transcode_seconds",
    "Time that runs of ffmpeg took.",
    ["kind", "outcome"],
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)


class Share:
    """Turns seconds that were made into a share of all there is to do, and tells it, seldom."""

    def __init__(self, seconds: float, on_progress: OnProgress, *, number: int, of: int) -> None:
        self._seconds, self._on_progress = seconds, on_progress
        self._number, self._of = number, of
        self._told_at = 0.0
        self._made = 0.0

    def __call__(self, seconds: float) -> None:
        """So many seconds were made; ffmpeg itself goes back now and then."""
        self._made = max(self._made, min(1.0, seconds / self._seconds))
        now = time.monotonic()
        if now - self._told_at >= _SECONDS_BETWEEN:
            self._told_at = now
            self._on_progress((self._number + self._made) / self._of)


def take_made(made: Path, target: Path) -> None:
    """Put what ffmpeg made in the place of the target. Raises BrokenFile if it made no file."""
    try:
        take_result(made, target)
    except (FileNotFoundError, ValueError) as cause:
        raise BrokenFile from cause


@contextmanager
def timed(kind: str) -> Iterator[None]:
    """Count a run of ffmpeg, its time and its outcome."""
    started = time.monotonic()
    outcome = "cancelled"
    try:
        yield
        outcome = "made"
    except MediaError as error:
        outcome = error.code
        raise
    finally:
        _SECONDS.labels(kind, outcome).observe(time.monotonic() - started)
