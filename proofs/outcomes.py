"""What a proof found, and what it is given to find it with."""

from __future__ import annotations

import dataclasses
import enum
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


class Verdict(enum.StrEnum):
    """How a proof ended."""

    PROVED = "proved"
    LOST = "LOST"
    """Something that was promised did not hold."""
    BLIND = "BLIND"
    """A control run that must lose something lost nothing, so its proof proves nothing."""
    SKIPPED = "skipped"
    """It can't run here; the note says why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one proof found. `losses` counts whatever was promised and did not hold."""

    proof: str
    invariant: str
    faults: int = 0
    acknowledged: int = 0
    losses: int = 0
    is_control: bool = False
    """A run with a safety removed: it must lose something, which shows that losses are seen."""
    skipped: str = ""
    """Why it could not run."""
    note: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """How it ended."""
        if self.skipped:
            return Verdict.SKIPPED
        if self.is_control:
            return Verdict.PROVED if self.losses else Verdict.BLIND
        return Verdict.LOST if self.losses else Verdict.PROVED


class CannotRun(Exception):
    """Something that a proof needs is not here; the text says what."""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What a proof works with: a folder of its own, how thorough to be, where chance begins."""

    folder: Path
    is_quick: bool
    seed: int

    def size(self, full: int, *, quick: int) -> int:
        """How many rounds to do."""
        return quick if self.is_quick else full

    @property
    def chance(self) -> random.Random:
        """Chance that is the same in every run with the same seed."""
        return random.Random(self.seed)

    def progress(self, text: str) -> None:
        """Say how far it is."""
        print(f"  {text}", file=sys.stderr, flush=True)


Prove = Callable[[Run], list[Outcome]]


class Stopwatch:
    """How long something took, so far or until it ended."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._begun, 1)


def require(*tools: str) -> None:
    """Raise CannotRun unless these programs are here."""
    missing = [tool for tool in tools if shutil.which(tool, path=_PATH) is None]
    if missing:
        raise CannotRun(f"{', '.join(missing)} not here")


def require_root() -> None:
    """Raise CannotRun unless this is root."""
    if os.geteuid() != 0:
        raise CannotRun("needs root")
