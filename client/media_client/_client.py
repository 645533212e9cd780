"""The client that callers open."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from media_client._api import MediaApi
from media_client._channel import TLS, GrpcTransport, channel_options, open_channel, targets
from media_client._retrying import Retries
from media_client._transport import Transport

MAX_MESSAGE_BYTES = 100 * 1024 * 1024 + 64 * 1024
"""A file of 100 MB and what is said about it: the service's own limit."""
_RETRIES = Retries()


class MediaClient(MediaApi):
    """The media service at an address, over gRPC; open it with `async with`, once per process.

    `address` is `host:port`, or several of them (`one:50051,other:50051`); calls are spread over
    all of them, and over all hosts of a DNS name. `channels` opens as many connections to each.
    `token` is this service's token, `tls` how to encrypt. `timeout` and `upload_timeout` are
    seconds for a call as a whole, all attempts included. Raises ValueError for numbers that can't
    be right.

    >>> async with MediaClient("localhost:50051", token="...", channels=4) as client:
    ...     pass  # await client.upload_profile_picture(...)
    """

    def __init__(  # noqa: PLR0913 - keywords, each with a default that is right
        self,
        address: str,
        *,
        token: str | None = None,
        tls: TLS | None = None,
        channels: int = 1,
        timeout: float = 10.0,
        upload_timeout: float = 60.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        retries: Retries = _RETRIES,
    ) -> None:
        super().__init__(timeout=timeout, upload_timeout=upload_timeout, retries=retries)
        if channels < 1 or max_message_bytes < 1:
            raise ValueError("channels and max_message_bytes must be at least 1")
        self._address = address
        self._token = token
        self._tls = tls
        self._channels = channels
        self._options = channel_options(max_message_bytes)
        self._open: GrpcTransport | None = None

    def __repr__(self) -> str:
        return f"MediaClient({self._address!r})"

    @property
    def _transport(self) -> Transport:
        if self._open is None:
            raise RuntimeError("open the client first: async with MediaClient(...) as client")
        return self._open

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("the client is open already")
        opened = [
            (target, open_channel(target, self._tls, self._options))
            for _ in range(self._channels)
            for target in targets(self._address)
        ]
        self._open = GrpcTransport(opened, token=self._token)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        closing, self._open = self._open, None
        if closing is not None:
            await closing.close()
