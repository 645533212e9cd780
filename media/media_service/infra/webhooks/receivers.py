"""Posts to receivers: addresses are the operator's, all that comes back is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from media_service.core.webhooks import Reply

SECONDS = 10.0
_READ_BYTES = 1024
"""Of an answer's body: enough to use its connection again if it says no more than it should."""
_HEADERS = {"content-type": "application/json", "user-agent": "mediad"}


class HttpReceivers:
    """Keeps `core.webhook_ports.Receivers`. Open it with `open_http_receivers`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send it, once."""
        try:
            async with self._session.post(
                url, data=body, headers={**_HEADERS, **headers}, allow_redirects=False
            ) as answer:
                await answer.content.read(_READ_BYTES)
                return Reply(answer.status)
        except TimeoutError:
            return Reply(0, f"no answer within {SECONDS:.0f} seconds")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Messages may hold the whole address; what kind of error it is says enough.
            return Reply(0, type(error).__name__)


@asynccontextmanager
async def open_http_receivers(*, seconds: float = SECONDS) -> AsyncIterator[HttpReceivers]:
    """Receivers, while the context lasts. Cookies, proxies and `.netrc` are nobody's business."""
    with _Names() as names:
        connector = aiohttp.TCPConnector(resolver=names, ttl_dns_cache=30, limit=0)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield HttpReceivers(session)


class _Names(AbstractResolver):
    """Looks names up in threads of its own: a name server that is silent holds up nobody else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="webhook-names")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, _look_up, host, port, family
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=of_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for of_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing: its threads end with the context."""


def _look_up(
    host: str, port: int, family: int
) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    return list(
        socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    )
