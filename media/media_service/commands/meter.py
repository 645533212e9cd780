"""How far a long work is, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import click
from click._termui_impl import ProgressBar

from media_service.core.copies import Kind, Progress

_STEPS = 1000
_BAR_SECONDS = 0.1
_LINE_SECONDS = 10.0


class Meter:
    """Shows progress; a bar for each kind of object."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._kind: Kind | None = None
        self._bar: ProgressBar[Progress] | None = None
        self._started = self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def tell(self, progress: Progress) -> None:
        """Show how far it is, unless that was shown a moment ago."""
        if progress.kind is not self._kind:
            self._begin(progress.kind)
        now, is_over = time.monotonic(), progress.part >= 1
        often = _BAR_SECONDS if sys.stderr.isatty() else _LINE_SECONDS
        if now - self._shown < often and not is_over:
            return
        self._shown = now
        if self._bar:
            self._bar.update(int(progress.part * _STEPS) - self._bar.pos, progress)
        else:
            left = f"{self._seconds_left(progress, now):.0f} s left"
            told = f"{progress.part:.1%}, {self._told(progress)}, {left}"
            click.echo(f"{progress.kind}: {told}", err=True)

    def _begin(self, kind: Kind) -> None:
        self._stack.close()
        self._kind, self._started = kind, time.monotonic()
        if sys.stderr.isatty():
            self._bar = self._stack.enter_context(
                click.progressbar(
                    length=_STEPS,
                    label=kind.value,
                    item_show_func=lambda progress: self._told(progress) if progress else None,
                    file=sys.stderr,
                )
            )

    def _seconds_left(self, progress: Progress, now: float) -> float:
        return (now - self._started) * (1 - progress.part) / max(progress.part, 1e-6)

    def _told(self, progress: Progress) -> str:
        seconds = max(time.monotonic() - self._started, 0.001)
        rate = progress.size_bytes / seconds / 1e6
        return f"{progress.objects} objects, {progress.size_bytes / 1e6:.0f} MB, {rate:.0f} MB/s"
