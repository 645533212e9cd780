"""Makes, starts and asks one PostgreSQL cluster.

Everything here needs the folder's lock but `is_ready` and `make_database`.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT, Signals

from embedded_servers import _process
from embedded_servers._home import (
    PORT,
    ROLE,
    Home,
    make_server_folder,
    make_sockets,
    open_file,
    usable,
)
from embedded_servers._process import has_name, own_account
from embedded_servers._programs import postgres_programs, postgres_programs_for
from embedded_servers.errors import (
    AccountWithoutName,
    ClusterNotMade,
    DatabaseNotMade,
    FolderBusy,
    ProgramNotExecutable,
    ServerNotStarted,
)

# Fast shutdown, then without a checkpoint, then none at all: each is safe, the later ones make
# the next start replay the log. Together they stay below what a service has for its exit.
STOP_STEPS = ((SIGINT, 10.0), (SIGQUIT, 3.0), (SIGKILL, 3.0))

# Not SIGINT: a server that gets it while it replays its log hangs for ever (seen with 18.6), and
# then neither ends nor lets another one start.
_ABORT_STEPS = STOP_STEPS[1:]
_LAST_SIGNAL = SIGQUIT

_INITDB_SECONDS = 60.0
# Long, because replaying the log after a crash belongs to the start; max_wal_size bounds it.
_START_SECONDS = 60.0
_DATABASE_SECONDS = 20.0
_RETRY_SECONDS = 0.05

_SUPERUSER = "postgres"
_PSQL_LOST_THE_SERVER = 2

_INITDB_OPTIONS = (
    f"--username={_SUPERUSER}",
    "--auth-local=trust",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--sync-method=syncfs",
    "--no-instructions",
)

# On the command line, not in the cluster's file: a new version of this package changes them.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}

# The lock makes two callers wait for each other: a template being copied admits nobody else.
_MAKE_DATABASE = rf"""
SELECT pg_advisory_lock(hashtext('make database'));
SELECT 'CREATE ROLE {ROLE} LOGIN CREATEDB'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \gexec
SELECT format('CREATE DATABASE %I OWNER {ROLE}', :'database')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
"""


def rotate_log(home: Home) -> None:
    """Begin a new log, keeping the last one.

    Raises FolderNotUsable.
    """
    with usable(home.folder):
        if home.log.exists():
            home.log.replace(home.log.with_name(f"{home.log.name}.1"))


async def make_cluster(home: Home, *, lock: int) -> None:
    """Initialise `data` unless it is there; a kill or a power cut leaves either all or nothing.

    Raises AccountWithoutName, ClusterNotMade, FolderNotUsable, the errors of finding and
    executing the programs.
    """
    if home.data.exists():
        return
    if not has_name(home.server):
        raise AccountWithoutName(f"uid {home.server.uid}")
    programs = await asyncio.to_thread(postgres_programs_for, home.server)
    partial = home.folder / "data.new"
    with usable(home.folder):
        if partial.exists():
            await asyncio.to_thread(shutil.rmtree, partial)
        make_server_folder(home, partial)
    with _seen_by_server(home, partial) as ([data], descriptors):
        command = (programs / "initdb", "-D", data, *_INITDB_OPTIONS)
        initdb = _spawn(home, command, inherited=(lock, *descriptors), last_signal=SIGKILL)
    try:
        await _process.ended(initdb, within_seconds=_INITDB_SECONDS)
        if initdb.returncode != 0:
            raise _process.failure(ClusterNotMade, returncode=initdb.returncode, log=home.log)
    finally:
        if initdb.poll() is None:
            os.killpg(initdb.pid, SIGKILL)
    with usable(home.folder):
        partial.rename(home.data)
        _sync_folder(home.folder)


async def start_server(home: Home, *, lock: int) -> "subprocess.Popen[bytes]":
    """Start the server on `data` and return it once it accepts connections.

    The server's processes keep the lock for as long as one of them lives, so that nobody starts
    another server beside what a kill has left of this one.

    Raises FolderBusy, FolderNotUsable, ServerNotStarted, the errors of finding and executing the
    programs.
    """
    programs = await asyncio.to_thread(postgres_programs_for, home.server)
    make_sockets(home)
    _forget_reused_pid(home)
    with _seen_by_server(home, home.data, home.sockets) as ([data, sockets], descriptors):
        settings = _SETTINGS | {"unix_socket_directories": sockets}
        options = [f"--{name}={value}" for name, value in settings.items()]
        server = _spawn(
            home,
            (programs / "postgres", "-D", data, *options),
            inherited=(lock, *descriptors),
            last_signal=_LAST_SIGNAL,
        )
    try:
        await _accepting(home, server)
    except BaseException:
        await _process.stop(server, steps=_ABORT_STEPS)
        raise
    return server


def is_ready(home: Home) -> bool:
    """True if the cluster's status file says that it accepts connections."""
    return _status(home)[1] == "ready"


async def make_database(home: Home, database: str) -> None:
    """Create the database, and the role that owns it, unless they are there.

    Waits while the server restarts.

    Raises DatabaseNotMade, the errors of finding and executing the programs.
    """
    deadline = asyncio.get_running_loop().time() + _DATABASE_SECONDS
    while True:
        returncode, answer = await _run_psql(home, _MAKE_DATABASE, database)
        if returncode == 0:
            return
        late = asyncio.get_running_loop().time() > deadline
        if returncode != _PSQL_LOST_THE_SERVER or late:
            raise DatabaseNotMade(answer)
        await asyncio.sleep(_RETRY_SECONDS)


async def _run_psql(home: Home, script: str, database: str) -> tuple[int, str]:
    options = {
        "host": home.sockets,
        "port": PORT,
        "username": _SUPERUSER,
        "dbname": "postgres",
        "set": "ON_ERROR_STOP=1",
    }
    program = postgres_programs() / "psql"
    try:
        psql = await asyncio.create_subprocess_exec(
            *(program, "--no-psqlrc", "--quiet", f"--set=database={database}"),
            *(f"--{name}={value}" for name, value in options.items()),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_process.environment(),
        )
    except PermissionError as error:
        raise ProgramNotExecutable(str(program)) from error
    try:
        _, errors = await psql.communicate(script.encode())
    finally:
        if psql.returncode is None:
            psql.kill()
    return await psql.wait(), errors.decode(errors="replace").strip()


async def _accepting(home: Home, server: "subprocess.Popen[bytes]") -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while _status(home) != (server.pid, "ready"):
        late = asyncio.get_running_loop().time() > deadline
        if server.poll() is not None or late:
            raise _process.failure(ServerNotStarted, returncode=server.returncode, log=home.log)
        await asyncio.sleep(_process.POLL_SECONDS)


def _spawn(
    home: Home, command: Sequence[str | Path], *, inherited: Sequence[int], last_signal: Signals
) -> "subprocess.Popen[bytes]":
    with usable(home.folder):
        log = open_file(home, home.log, os.O_WRONLY | os.O_APPEND)
    try:
        return _process.spawn(
            command, account=home.server, last_signal=last_signal, log=log, inherited=inherited
        )
    finally:
        os.close(log)


@contextmanager
def _seen_by_server(home: Home, *folders: Path) -> Iterator[tuple[list[str], list[int]]]:
    """The folders' names for the server, and the descriptors it has to inherit to use them."""
    if home.server == own_account():
        yield [str(folder) for folder in folders], []
        return
    with ExitStack() as stack:
        descriptors = []
        for folder in folders:
            with usable(folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
        yield [f"/proc/self/fd/{descriptor}" for descriptor in descriptors], descriptors


def _status(home: Home) -> tuple[int, str]:
    """The pid and the status in `postmaster.pid`; zero and nothing where there is none yet."""
    with usable(home.folder):
        try:
            lines = (home.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return 0, ""
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    return pid, lines[7].strip() if len(lines) > 7 else ""


def _forget_reused_pid(home: Home) -> None:
    """Remove a killed server's `postmaster.pid` if its pid has gone to some other process.

    The server itself copes with a pid that is gone, but would take the other process for a server.
    In containers, where pids start from one again, that is the usual case. Should it be a server
    that we cannot tell, their shared memory still keeps two of them apart.
    """
    pid, _ = _status(home)
    if not pid or not Path(f"/proc/{pid}").exists():
        return
    try:
        is_server = Path(f"/proc/{pid}/cwd").samefile(home.data)
    except OSError:
        is_server = False
    if is_server:
        raise FolderBusy(f"process {pid}, started by someone else")
    with usable(home.folder):
        (home.data / "postmaster.pid").unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
