"""A real PostgreSQL in a folder, run as a child of this process.

Who may connect: the server listens on a unix socket only and trusts whoever reaches it; the
socket's folder (0700) and the folder around it (0700) let in this user and root. No password,
because it would lie in the same folder as the data it guards, and would make URLs secret. `peer`
authentication would not do, because root runs its server as another account. Clients get a role
that owns the database but is no superuser. Under root, other processes of the account 65534 could
still look in through /proc: give the folder to an account of its own to rule that out.

Who runs it: the first process that opens the folder owns the server; those that come later attach
to it and leave it running. When the owner leaves, it stops the server, clients lose their
connections, and within about half a second one of the attached processes owns a new server at the
same URL. The same happens when the server or its owner is killed. With nobody attached, nothing
stays behind: the kernel ends the server when its owner dies, even by kill -9; nothing committed
is lost, the next start replays the log.
"""

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from embedded_servers import _process
from embedded_servers._cluster import (
    STOP_STEPS,
    is_ready,
    make_cluster,
    make_database,
    rotate_log,
    start_server,
)
from embedded_servers._home import Home, prepare_home, remove_sockets, take_lock
from embedded_servers.errors import EmbeddedServerError, FolderBusy

# More than an owner needs to stop, or to replay the log after a crash.
_TAKE_SEAT_SECONDS = 75.0
_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_postgres(folder: Path, *, database: str = "mediad") -> AsyncIterator[str]:
    """Yield the URL of a database, made if missing, in the server of the folder.

    The folder belongs to the server alone and is made private. Root gives the server to the
    folder's owner if that is not root, else to the account 65534. Connections should be made anew
    when they break: the server may restart, always at the same URL.

    Raises EmbeddedServerError: its subclasses say what to do.
    """
    seat = _Seat(prepare_home(folder))
    try:
        await seat.take()
        keeping = asyncio.create_task(seat.keep())
        try:
            await make_database(seat.home, database)
            yield seat.home.dsn(database)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()
    finally:
        await seat.leave()


class _Seat:
    """A place at the server: its owner's as long as this process holds the lock, else a guest's."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None

    async def take(self) -> None:
        """Return when the server is ready, started here or by another process."""
        deadline = asyncio.get_running_loop().time() + _TAKE_SEAT_SECONDS
        while (lock := take_lock(self.home)) is None:
            if is_ready(self.home):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise FolderBusy(str(self.home.folder))
            await asyncio.sleep(_process.POLL_SECONDS)
        with self._owning(lock):
            await make_cluster(self.home, lock=lock)
            self._server = await start_server(self.home, lock=lock)

    async def keep(self) -> None:
        """Start the server again, here or in the process that is quicker, whenever it has ended."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._server is not None:
                if self._server.poll() is None:
                    continue
                logger.warning("PostgreSQL ended with status %d", self._server.returncode)
                self._release()
            try:
                await self._take_over()
            except EmbeddedServerError as error:
                logger.error("PostgreSQL does not start again: %s", error)  # noqa: TRY400 - says it all
                await asyncio.sleep(_RETRY_SECONDS)

    async def leave(self) -> None:
        """Stop the server if it is ours."""
        if self._server is not None:
            await _process.stop(self._server, steps=STOP_STEPS)
            remove_sockets(self.home)
        self._release()

    async def _take_over(self) -> None:
        """Start the server if no process holds the lock. A cluster that is gone is not remade."""
        lock = take_lock(self.home)
        if lock is None:
            return
        with self._owning(lock):
            self._server = await start_server(self.home, lock=lock)
        logger.info("PostgreSQL is kept by this process from now on")

    @contextmanager
    def _owning(self, lock: int) -> Iterator[None]:
        """Own the folder from now on, unless the body fails."""
        self._lock = lock
        try:
            rotate_log(self.home)
            yield
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
