"""A cell that does what hostile files make decoders do: `request["act"]` says what."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from media_service.core.errors import TooManyPixels
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.serving import serve


def act(request: Mapping[str, Any], source: int, targets: Sequence[int]) -> wire.Message:
    said = os.read(source, 100).decode()
    _ACTS[request["act"]]()
    for target in targets:
        os.write(target, said.upper().encode())
    return {"said": said, "pid": os.getpid()}


def burn() -> None:
    while True:
        pass


def refuse() -> None:
    raise TooManyPixels from ValueError("too many")


def surprise() -> None:
    raise LookupError("nobody thought of this")


def write_forever() -> None:
    os.write(LINK, b"x" * 100_000)
    time.sleep(60)


def abort() -> None:
    os.kill(os.getpid(), signal.SIGABRT)


def eat_memory() -> None:
    eaten = [bytes(2**20) for _ in range(10_000)]
    raise AssertionError(len(eaten))


def crash() -> None:
    ctypes.string_at(0)


def fill_disk() -> None:
    raise OSError(28, "No space left on device")


LINK = int(sys.argv[1]) if len(sys.argv) > 1 else -1
_ACTS: Mapping[str, Callable[[], object]] = {
    "answer": lambda: None,
    "wait": lambda: time.sleep(0.3),
    "sleep": lambda: time.sleep(60),
    "leave": lambda: os._exit(0),
    "burn": burn,
    "refuse": refuse,
    "surprise": surprise,
    "babble": write_forever,
    "abort": abort,
    "eat": eat_memory,
    "crash": crash,
    "fill disk": fill_disk,
}

if __name__ == "__main__":
    serve({"inspect": act, "develop": act}, introduce=dict)
