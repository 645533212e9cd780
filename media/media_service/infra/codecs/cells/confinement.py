"""What a cell gives up before it sees a byte from outside.

Order matters, and each step is best effort: what a kernel or container doesn't offer is left out
and not reported. Landlock and `no_new_privs` bind the calling thread and those it starts later, so
`confine` must run before any decoder has started a thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NICENESS: Final = 10
NOBODY: Final = 65_534
MEMORY_BYTES: Final = 1536 * 1024**2
"""Address space beyond what the loaded libraries take.

50 megapixels of WebP with alpha ask for 1.25 GB, though they touch no more than 450 MB.
"""
FILE_BYTES: Final = 256 * 1024**2
OPEN_FILES: Final = 64
PROCESSES: Final = 4096
"""Threads of this user in all, other cells' too: stops a fork bomb, not a decoder's helpers."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_CAPABILITIES_VERSION = 0x2008_0522
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
_SYS_LANDLOCK_ADD_RULE, _LANDLOCK_PATH_BENEATH = 445, 1
_LANDLOCK_VERSION = 1
_EXECUTE, _WRITE, _READ, _LIST, _REMOVE_FILE, _MAKE_FILE, _TRUNCATE = (
    1 << place for place in (0, 1, 2, 3, 5, 8, 14)
)
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE
READ: Final = _READ
READ_AND_EXECUTE: Final = _READ | _EXECUTE
USE_FOLDER: Final = _READ | _WRITE | _LIST | _MAKE_FILE | _REMOVE_FILE | _TRUNCATE
"""To make, write, read, rename and remove files in it."""
# The rights each version of Landlock (index = version) can take away.
_FILE_RIGHTS: Final = (0, 13, 14, 15, 15, 16)
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT = 0b11
_SIGNALS_AND_ABSTRACT_SOCKETS = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a process may use; `memory_bytes` beyond what it has when it is confined."""

    niceness: int = NICENESS
    memory_bytes: int = MEMORY_BYTES
    file_bytes: int = FILE_BYTES


CELL_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Allowed:
    """A file or a folder, open, that may be used in some ways; with all that lies beneath."""

    descriptor: int
    rights: int


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends, or end now if it has."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def confine(
    parent: int, *, limits: Limits = CELL_LIMITS, allowed: Sequence[Allowed] = ()
) -> list[str]:
    """Give up what decoding doesn't need; the names of what took hold."""
    os.nice(limits.niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    _limit_resources(limits)
    active = ["rlimits"]
    is_root = os.geteuid() == 0
    # Landlock knows TCP only; without network devices there is no UDP either.
    if _libc.unshare(_CLONE_NEWNET if is_root else _CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        active.append("no-network")
    if is_root:
        with contextlib.suppress(OSError):  # a container may have taken the right to
            _become_nobody()
            active.append("nobody")
    _drop_capabilities()
    die_with_parent(parent)  # changing user has made the kernel forget it
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        active.append("no-new-privileges")
    version = _landlock(allowed)
    if version:
        active.append(f"landlock-{version}")
    return active


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # Only now: as root it would not count, and an ordinary user's own programs may be many.
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def _drop_capabilities() -> None:
    """Those of a root that couldn't become nobody, or that its own user namespace gave."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())


def _landlock(allowed: Sequence[Allowed]) -> int:
    """Deny every other path, TCP port and foreign process; the version used, 0 if there is none."""
    version = _libc.syscall(
        _SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION)
    )
    if version < 1 or not _is_single_threaded():
        return 0
    rights = _FILE_RIGHTS[min(version, len(_FILE_RIGHTS) - 1)]
    rules = _Ruleset(
        (1 << rights) - 1,
        _BIND_AND_CONNECT if version >= _TCP_SINCE else 0,
        _SIGNALS_AND_ABSTRACT_SOCKETS if version >= _SCOPES_SINCE else 0,
    )
    # Older kernels take a longer structure as long as the rest of it is zero.
    ruleset = _libc.syscall(
        _SYS_LANDLOCK_CREATE_RULESET,
        ctypes.byref(rules),
        ctypes.c_size_t(ctypes.sizeof(rules)),
        ctypes.c_uint32(0),
    )
    if ruleset < 0:
        return 0
    try:
        for one in allowed:
            _allow(ruleset, one, handled=rules.handled_access_fs)
        denied = _libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)
    return int(version) if denied else 0


def _allow(ruleset: int, allowed: Allowed, *, handled: int) -> None:
    is_folder = stat.S_ISDIR(os.fstat(allowed.descriptor).st_mode)
    rights = allowed.rights & handled & (~0 if is_folder else _OF_FILES)
    rule = _PathBeneath(rights, allowed.descriptor)
    _libc.syscall(
        _SYS_LANDLOCK_ADD_RULE,
        ruleset,
        _LANDLOCK_PATH_BENEATH,
        ctypes.byref(rule),
        ctypes.c_uint32(0),
    )


def _is_single_threaded() -> bool:
    with contextlib.suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir())) == 1
    return True


def _limit_resources(limits: Limits) -> None:
    """Bound memory, open files and what is written."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, address_space + limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def allow_cpu(seconds: float, *, is_final: bool = False) -> None:
    """Be killed by SIGXCPU once this much more processor time is used.

    `is_final`: by SIGKILL, which no program can catch, and without any more time ever after.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft if is_final else hard))
