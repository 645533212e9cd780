"""Where one PostgreSQL cluster lives, who owns which part, and which process may run it.

    <folder>/               0700, this service's user
        lock                held by the owning process and by every process of its server
        postgres.log(.1)    since the last start, and from the one before
        data/               0700, the server's account
        run/                0700, the server's account: the socket

A server that gave up root gets `data` and `run` as open descriptors, so that it needs no right to
enter the folder or its parents, and no other process of its account gets in by their paths.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from embedded_servers._process import Account, own_account
from embedded_servers.errors import FolderNotUsable, RootNotDropped

ROLE = "mediad"
PORT = 5432

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_SOCKET_PATH_BYTES = 107
_SHORT_FOLDER = Path("/tmp")  # noqa: S108 - what is there but not this user's is refused

# Who runs the server when root does not say otherwise by giving the folder to someone: "nobody".
_UNPRIVILEGED = Account(65534, 65534)


@dataclass(frozen=True)
class Home:
    """The paths and accounts of one cluster."""

    folder: Path
    owner: Account
    server: Account

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def sockets(self) -> Path:
        """The folder of the socket: in the folder if its path is short and plain enough.

        Else one whose name every process derives alike from the folder, whatever its TMPDIR.
        """
        inside = self.folder / "run"
        path = os.fsencode(inside / _SOCKET_NAME)
        # Clients take a comma in a host for the start of another host.
        if len(path) <= _SOCKET_PATH_BYTES and b"," not in path:
            return inside
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()
        return _SHORT_FOLDER / f"mediad-{digest[:16]}" / "run"

    def dsn(self, database: str) -> str:
        """The URL of a database; asyncpg, psycopg and libpq read it alike."""
        # The port is given because clients would else take it from PGPORT.
        host = quote(str(self.sockets), safe="/")
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port={PORT}"


def prepare_home(folder: Path) -> Home:
    """Make the folder if it is missing, make it private, and see whose it is.

    Raises FolderNotUsable.
    """
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve(strict=True)
        found = folder.stat()
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
        owner = Account(found.st_uid, found.st_gid)
        return Home(folder, owner, _server_account(owner))


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside into FolderNotUsable."""
    try:
        yield
    except OSError as error:
        raise FolderNotUsable(f"{error.filename or folder}: {error.strerror}") from error


def take_lock(home: Home) -> int | None:
    """Lock the folder; None if another process, or what is left of its server, holds it.

    The lock lasts until the returned descriptor and all inherited copies of it are closed.

    Raises FolderNotUsable.
    """
    with usable(home.folder):
        lock = open_file(home, home.folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock


def open_file(home: Home, path: Path, flags: int) -> int:
    """Open, or create for the folder's owner, a file at the top of the folder."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.fstat(descriptor).st_uid != home.owner.uid:
        os.fchown(descriptor, *home.owner)
    return descriptor


def make_server_folder(home: Home, path: Path) -> None:
    """Make a private folder of the server's account, or give it one that is there.

    Raises RootNotDropped.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    if path.lstat().st_uid != home.server.uid:
        try:
            os.chown(path, *home.server, follow_symlinks=False)
        except OSError as error:
            raise RootNotDropped(f"{path}: {error.strerror}") from error


def make_sockets(home: Home) -> None:
    """Make the socket's folder, empty of what a killed server left.

    Raises FolderNotUsable.
    """
    parent = home.sockets.parent
    with usable(parent):
        if parent != home.folder:
            _make_outside(home, parent)
        make_server_folder(home, home.sockets)
        for name in (_SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
            (home.sockets / name).unlink(missing_ok=True)


def remove_sockets(home: Home) -> None:
    """Remove the socket's folder if it is outside the folder; what stays in it keeps it."""
    if home.sockets.parent != home.folder:
        try:
            home.sockets.rmdir()
            home.sockets.parent.rmdir()
        except OSError:
            return


def _make_outside(home: Home, parent: Path) -> None:
    try:
        parent.mkdir(mode=0o700)
        os.chown(parent, *home.owner)
    except FileExistsError:
        found = parent.lstat()
        if found.st_uid != home.owner.uid or stat.S_IMODE(found.st_mode) != 0o700:
            raise PermissionError(1, "exists and belongs to someone else", str(parent)) from None


def _server_account(owner: Account) -> Account:
    if os.geteuid() != 0:
        return own_account()
    return _UNPRIVILEGED if owner.uid == 0 else owner
