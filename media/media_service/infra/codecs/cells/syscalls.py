"""A seccomp filter for programs that need threads and files, and nothing else of the kernel.

Without forking, a program is one process: killing it leaves nothing behind, whatever it tried.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterator, Mapping
from typing import Final

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _IF_EQUAL, _IF_SET, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT, _FLAGS_AT = 0, 4, 16
_ALLOW, _FAIL, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_CLONE_THREAD: Final = 0x0001_0000
_X32: Final = 0x4000_0000
_CLONE3: Final = 435
_IO_URING_SETUP: Final = 425

# The machine's number, that of clone, and those of what is denied: sockets, other processes'
# memory, namespaces, mounts, keys, bpf, userfaultfd, perf events; where they exist fork and vfork.
_MACHINES: Final[Mapping[str, tuple[int, int, tuple[int, ...]]]] = {
    "x86_64": (
        0xC000_003E,
        56,
        (41, 53, 57, 58, 101, 165, 248, 250, 272, 298, 308, 310, 311, 321, 323),
    ),
    "aarch64": (
        0xC000_00B7,
        220,
        (40, 97, 117, 198, 199, 217, 219, 241, 268, 270, 271, 280, 282),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny_processes_and_sockets() -> bool:
    """Whether the kernel took the filter. It needs `no_new_privs`, and holds through exec."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    instructions = b"".join(_instructions(*machine))
    program = _Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _instructions(machine: int, clone: int, denied: tuple[int, ...]) -> Iterator[bytes]:
    yield _instruction(_LOAD, _MACHINE_AT)
    yield _instruction(_IF_EQUAL, machine, if_true=1)
    yield _instruction(_RETURN, _KILL)
    yield _instruction(_LOAD, _NUMBER_AT)
    yield from _when(_IF_AT_LEAST, _X32, error=errno.ENOSYS)
    for number in (*denied, _IO_URING_SETUP):
        yield from _when(_IF_EQUAL, number, error=errno.EPERM)
    # Its flags lie in memory, where no filter sees them: libraries fall back on clone.
    yield from _when(_IF_EQUAL, _CLONE3, error=errno.ENOSYS)
    yield _instruction(_IF_EQUAL, clone, if_false=3)
    yield _instruction(_LOAD, _FLAGS_AT)
    yield _instruction(_IF_SET, _CLONE_THREAD, if_true=1)
    yield _instruction(_RETURN, _FAIL | errno.EPERM)
    yield _instruction(_RETURN, _ALLOW)


def _when(comparison: int, value: int, *, error: int) -> Iterator[bytes]:
    yield _instruction(comparison, value, if_false=1)
    yield _instruction(_RETURN, _FAIL | error)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
