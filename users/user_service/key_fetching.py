"""The key set of an outside issuer, read from the one URL of the configuration.

Fetched when it is needed, kept for a few minutes, and looked at again when a token names a key
that is not in it: not more often than once in a while, so that nobody can make us ask at will.
What was read is used on when the issuer is away, for a day.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

import structlog

from user_service.errors import KeysUnavailable
from user_service.keys import KeySet, KeysRefused, read_key_set

FRESH_SECONDS = 300.0
USABLE_SECONDS = 86_400.0
PAUSE_SECONDS = 30.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 256 * 1024

log = structlog.get_logger()


class FetchedKeys:
    """A key set behind a URL."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: KeySet | None = None
        self._read_at = 0.0
        self._asked_at = -PAUSE_SECONDS
        self._lock = asyncio.Lock()

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:
        """The keys of this name. Raises KeysUnavailable if none could be read for a day."""
        if self._keys is None or self._clock() - self._read_at > FRESH_SECONDS:
            await self._refresh()
        found = self._usable().pick(name, algorithm=algorithm)
        if not found and name is not None:
            await self._refresh()
            found = self._usable().pick(name, algorithm=algorithm)
        return found

    def _usable(self) -> KeySet:
        if self._keys is None or self._clock() - self._read_at > USABLE_SECONDS:
            raise KeysUnavailable
        return self._keys

    async def _refresh(self) -> None:
        """Read the set anew, unless that was tried a moment ago."""
        async with self._lock:
            if self._clock() - self._asked_at < PAUSE_SECONDS:
                return
            self._asked_at = self._clock()
            try:
                self._keys = read_key_set(await self._fetch())
                self._read_at = self._clock()
            except (OSError, KeysRefused, ValueError) as error:
                log.warning("keys.not_read", cause=repr(error))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the library's signature
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Nobody sends us elsewhere."""
        return


def fetch_from(url: str) -> Callable[[], Awaitable[bytes]]:
    """What reads this URL: http or https, no redirects, no proxies, a bounded answer.

    Raises KeysRefused for any other URL.
    """
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname:
        raise KeysRefused("the URL of a key set begins with https:// or http://")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def read() -> bytes:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise KeysRefused("the key set is too large")
        return content

    async def fetch() -> bytes:
        async with asyncio.timeout(2 * _TIMEOUT_SECONDS):
            return await asyncio.to_thread(read)

    return fetch
