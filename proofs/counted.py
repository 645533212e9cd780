"""`mediad` with one named thread for each of its disks, so that a tracer can count their calls.

strace counts the calls of each thread by itself: with four threads to a disk, "the third fsync"
would be another one every time.
"""

from __future__ import annotations

import ctypes
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from media_service.__main__ import main
from media_service.infra.blobs import disk

_PR_SET_NAME = 15
_numbers = itertools.count()


def _one_named_thread(*_: Any, **__: Any) -> ThreadPoolExecutor:
    name = f"disk{next(_numbers)}".encode()
    libc = ctypes.CDLL(None)
    return ThreadPoolExecutor(1, initializer=lambda: libc.prctl(_PR_SET_NAME, name, 0, 0, 0))


if __name__ == "__main__":
    vars(disk)["ThreadPoolExecutor"] = _one_named_thread
    main(prog_name="mediad")
