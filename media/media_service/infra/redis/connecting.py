"""Connecting to Redis: one pool, no retries of its own, and on each connection whose it is."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

_MAX_CONNECTIONS = 8
"""A process is busy long before these are: each serves hundreds of keys at once."""


class Server:
    """The Redis process that answers; `run_id` is another whenever it was started anew.

    It is empty if we may not ask for it; then a restart that brings old values back (from a
    snapshot, or a replica that lagged behind) goes unnoticed.
    """

    def __init__(self) -> None:
        self.run_id = ""

    async def greet(self, connection: AbstractConnection) -> None:
        """Set up a new connection and see who answers."""
        try:
            await connection.on_connect()
            self.run_id = await _run_id(connection)
        except BaseException:
            # A connection that is only half set up must not go back to the pool.
            await connection.disconnect(nowait=True)
            raise


def client(url: str, server: Server) -> Redis:
    """A client that connects when first used. Raises ValueError if the URL is none."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=None,
        protocol=2,
        driver_info=None,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=server.greet,
    )
    return Redis.from_pool(pool)


async def _run_id(connection: AbstractConnection) -> str:
    await connection.send_command("INFO", "server")
    try:
        lines = (await connection.read_response()).decode().splitlines()
    except ResponseError:
        return ""
    return next((line[7:].strip() for line in lines if line.startswith("run_id:")), "")
