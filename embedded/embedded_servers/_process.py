"""Child processes that cannot outlive this one, run as an account that need not be ours."""

import asyncio
import logging
import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import NamedTuple

from embedded_servers import _launch
from embedded_servers.errors import (
    EmbeddedServerError,
    NotOnMainThread,
    ProgramNotExecutable,
    RootNotDropped,
)

POLL_SECONDS = 0.005

_LOG_TAIL_BYTES = 4000
_LOG_TAIL_LINES = 15

logger = logging.getLogger(__name__)


class Account(NamedTuple):
    """A user and group by number."""

    uid: int
    gid: int


def own_account() -> Account:
    """The account this process runs as."""
    return Account(os.geteuid(), os.getegid())


def has_name(account: Account) -> bool:
    """True if the password file knows the account's user."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        return False
    return True


def environment() -> dict[str, str]:
    """The variables a server gets: none of ours, which may hold secrets or PG* settings."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def spawn(
    command: Sequence[str | Path],
    *,
    account: Account,
    last_signal: Signals,
    log: int,
    inherited: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start the command as the account, out of reach of the terminal's signals.

    The kernel sends it `last_signal` when this process ends, however it ends. Output goes to the
    file descriptor `log`; the descriptors in `inherited` keep their numbers.

    Raises NotOnMainThread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise NotOnMainThread
    launch = [sys.executable, "-I", "-S", str(_launch.__file__)]
    fate = [os.getpid(), int(last_signal), *account]
    return subprocess.Popen(
        [*launch, *map(str, fate), *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=inherited,
        cwd="/",
        env=environment(),
        start_new_session=True,
    )


async def ended(process: "subprocess.Popen[bytes]", *, within_seconds: float) -> bool:
    """Wait for the process to end and tell whether it did."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            while process.poll() is None:  # noqa: ASYNC110 - no loop's child watcher is needed
                await asyncio.sleep(POLL_SECONDS)
    return process.returncode is not None


async def stop(
    process: "subprocess.Popen[bytes]", *, steps: Sequence[tuple[Signals, float]]
) -> None:
    """Send each signal in turn, with its seconds of patience, until the process has ended."""
    for signal, patience_seconds in steps:
        process.send_signal(signal)
        if await ended(process, within_seconds=patience_seconds):
            return
        logger.warning("process %d did not end after %s", process.pid, signal.name)


def failure(
    otherwise: type[EmbeddedServerError], *, returncode: int | None, log: Path
) -> EmbeddedServerError:
    """The error that tells best why a process ended, with the end of its log."""
    by_returncode: dict[int | None, type[EmbeddedServerError]] = {
        _launch.NOT_DROPPED: RootNotDropped,
        _launch.NOT_EXECUTED: ProgramNotExecutable,
    }
    return by_returncode.get(returncode, otherwise)(f"{log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    try:
        text = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    except OSError as error:
        return f"(not readable: {error.strerror})"
    return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:]) or "(empty)"
