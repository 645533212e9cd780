"""A real Valkey for tests, run as a child of this process.

It keeps nothing and asks no password, so it listens on the loopback interface only.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

from embedded_servers import _process
from embedded_servers._home import usable
from embedded_servers._programs import valkey_program
from embedded_servers.errors import ServerNotStarted

_STOP_STEPS = ((SIGTERM, 3.0), (SIGKILL, 3.0))
_START_SECONDS = 10.0
_ANSWER_SECONDS = 1.0
# Between choosing a free port and listening on it another process may take it.
_ATTEMPTS = 3


@asynccontextmanager
async def open_valkey(folder: Path) -> AsyncIterator[str]:
    """Yield the URL of an empty Valkey that has its log in the folder.

    Raises EmbeddedServerError: its subclasses say what to do.
    """
    port, server = await _start(_made(folder))
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        await _process.stop(server, steps=_STOP_STEPS)


def _made(folder: Path) -> Path:
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


async def _start(folder: Path) -> tuple[int, "subprocess.Popen[bytes]"]:
    for _ in range(_ATTEMPTS - 1):
        with suppress(ServerNotStarted):
            return await _start_on(_free_port(), folder)
    return await _start_on(_free_port(), folder)


async def _start_on(port: int, folder: Path) -> tuple[int, "subprocess.Popen[bytes]"]:
    log = folder / "valkey.log"
    with usable(folder):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", folder)
    try:
        server = _process.spawn(
            (valkey_program(), *where, "--save", "", "--appendonly", "no"),
            account=_process.own_account(),
            last_signal=SIGKILL,
            log=descriptor,
        )
    finally:
        os.close(descriptor)
    try:
        await _answering(server, port, log)
    except BaseException:
        await _process.stop(server, steps=_STOP_STEPS)
        raise
    return port, server


async def _answering(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not await _is_at(port, server.pid):
        late = asyncio.get_running_loop().time() > deadline
        if server.poll() is not None or late:
            raise _process.failure(ServerNotStarted, returncode=server.returncode, log=log)
        await asyncio.sleep(_process.POLL_SECONDS)


async def _is_at(port: int, pid: int) -> bool:
    """True if the Valkey with this pid answers at the port: not one that took it before."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"INFO server\r\nQUIT\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return f"process_id:{pid}\r\n".encode() in answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
