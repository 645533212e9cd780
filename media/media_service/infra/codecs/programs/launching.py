"""Starts a program in a confinement: `python -m ….programs.launching ORDER`.

The order is JSON (`Order`). The interpreter gives up everything the program doesn't need, and then
becomes the program, in the same process: whoever kills it has killed the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Final, Self

from media_service.infra.codecs.cells.confinement import (
    READ,
    READ_AND_EXECUTE,
    USE_FOLDER,
    Allowed,
    Limits,
    allow_cpu,
    confine,
)
from media_service.infra.codecs.cells.syscalls import deny_processes_and_sockets

SOURCE: Final = 9
"""The descriptor by which the program reads its source."""
CANNOT_START: Final = 126
"""The exit status if the program can't be started."""

_LIBRARIES: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
)
_DEVICES: Final = ("/dev/null", "/dev/urandom")
_NICENESS: Final = 19
_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run and within which bounds; `source` is a descriptor, -1 for none."""

    parent: int
    program: str
    arguments: list[str]
    folder: str
    source: int
    cpu_seconds: float
    memory_bytes: int
    file_bytes: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The order that was written by `text`."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """For `parse`."""
        return json.dumps(asdict(self))


def launch(order: Order) -> None:
    """Become the program. Raises OSError if it can't be started."""
    if order.source >= 0:
        os.dup2(order.source, SOURCE, inheritable=True)
    os.chdir(order.folder)  # by whoever may still enter where it lies
    program = os.open(order.program, os.O_PATH)
    allowed = [
        Allowed(program, READ_AND_EXECUTE),
        Allowed(os.open(".", os.O_PATH), USE_FOLDER),
        *_allowed(_LIBRARIES, READ_AND_EXECUTE),
        *_allowed(_DEVICES, READ),
    ]
    limits = Limits(
        niceness=_NICENESS, memory_bytes=order.memory_bytes, file_bytes=order.file_bytes
    )
    _leave_the_rest_to_others()
    confine(order.parent, limits=limits, allowed=allowed)
    deny_processes_and_sockets()
    allow_cpu(order.cpu_seconds, is_final=True)
    # By descriptor: nobody may not be allowed into the folders that lead to it.
    os.execve(program, [order.program, *order.arguments], _ENVIRONMENT)  # noqa: S606 - the point


def _leave_the_rest_to_others() -> None:
    """Run when nothing else wants to (SCHED_IDLE): people wait for pictures, nobody for a film."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _allowed(paths: tuple[str, ...], rights: int) -> list[Allowed]:
    return [Allowed(os.open(path, os.O_PATH), rights) for path in paths if os.path.exists(path)]  # noqa: PTH110 - pathlib is slow to import


if __name__ == "__main__":
    try:
        launch(Order.parse(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CANNOT_START)
