"""The inside of a cell: takes a job, does it, answers, for as long as its parent lives."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from media_service.core.errors import MediaError
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.confinement import (
    CELL_LIMITS,
    Limits,
    allow_cpu,
    confine,
    die_with_parent,
)

Work = Callable[[Mapping[str, Any], int, Sequence[int]], wire.Message]
"""Does one kind of job, given its request, the source file and the target files."""

_MAX_DETAIL: Final = 2000
_MUCH_MEMORY_BYTES: Final = 160 * 1024**2
"""Giving back less would cost more than it brings: 4 ms for a photograph of 12 megapixels."""
_STATM: Final = os.open("/proc/self/statm", os.O_RDONLY)
_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

_give_back_memory: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)


def serve(
    works: Mapping[str, Work],
    *,
    introduce: Callable[[], wire.Message],
    limits: Limits = CELL_LIMITS,
) -> None:
    """Be a cell, on the socket and for the parent process named in the arguments.

    Everything the work needs is imported by now; no file can be opened from here on.
    """
    link = socket.socket(fileno=int(sys.argv[1]))
    parent = int(sys.argv[2])
    die_with_parent(parent)
    silence = os.open(os.devnull, os.O_RDWR)
    sandbox = confine(parent, limits=limits)
    link.sendall(wire.pack({"sandbox": sandbox, **introduce()}))
    # Until here complaints reach the log; decoders' about strangers' files don't.
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    while received := wire.receive(link):
        request, files = received
        try:
            answer = _answer(works, request, files)
        finally:
            wire.close_all(files)
        link.sendall(wire.pack(answer))
        if _resident_bytes() > _MUCH_MEMORY_BYTES:
            # Large pictures leave holes in the heap that would otherwise never be given back.
            _give_back_memory(0)


def _resident_bytes() -> int:
    return int(os.pread(_STATM, 64, 0).split()[1]) * _PAGE_BYTES


def _answer(works: Mapping[str, Work], request: wire.Message, files: list[int]) -> wire.Message:
    """What the work says, or the name of the error that stopped it."""
    allow_cpu(request["cpu_seconds"])
    source, *targets = files
    try:
        return works[request["kind"]](request, source, targets)
    except MediaError as error:
        return _refusal(type(error).__name__, error.__cause__)
    except MemoryError as error:
        return _refusal("TooComplex", error)
    except OSError as error:
        return _refusal(_writing_failed(error), error)
    except Exception as error:  # noqa: BLE001 - hostile bytes find ones nobody thought of
        return _refusal("BrokenFile", error, is_expected=False)


def _writing_failed(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "StorageFull"
    return "TooComplex" if error.errno == errno.EFBIG else "StorageUnavailable"


def _refusal(name: str, cause: BaseException | None, *, is_expected: bool = True) -> wire.Message:
    lines = traceback.format_exception(cause) if cause else []
    return {
        "error": name,
        "detail": "".join(lines)[-_MAX_DETAIL:],
        "is_expected": is_expected,
    }
