"""Becomes a server: gives up root, ties its life to its parent's, executes the program.

Runs as a script in a fresh interpreter, because no Python code is safe between fork and exec in
a process that has threads. Arguments: parent's pid, last signal, uid, gid, program, its arguments.
"""

import ctypes
import os
import sys

NOT_DROPPED = 125
NOT_EXECUTED = 126

_PR_SET_PDEATHSIG = 1


def _drop(uid: int, gid: int) -> None:
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        sys.stderr.write(f"cannot become user {uid}: {error.strerror}\n")
        sys.exit(NOT_DROPPED)


def main(arguments: list[str]) -> None:
    parent, last_signal, uid, gid = map(int, arguments[:4])
    command = arguments[4:]
    # Loaded before root is given up: afterwards the interpreter's files may be out of reach.
    libc = ctypes.CDLL(None)
    os.umask(0o077)
    if uid != os.geteuid():
        _drop(uid, gid)
    # After the change of user, because that clears the signal.
    libc.prctl(_PR_SET_PDEATHSIG, last_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before the server began")
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"cannot execute {command[0]}: {error.strerror}\n")
        sys.exit(NOT_EXECUTED)


if __name__ == "__main__":
    main(sys.argv[1:])
