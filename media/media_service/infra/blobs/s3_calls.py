"""Every call to S3 goes through here: repeated if that may help, counted, and never for ever.

botocore repeats nothing itself, so that what is counted is what was sent. (aiohttp sends once more
what can't do harm by it when a connection ends before its answer begins, as idle ones do. It does
not do so with a POST, which is what deletes.)
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.loaders import create_loader
from prometheus_client import Histogram

from media_service.core.errors import MediaError, StorageUnavailable
from media_service.infra.blobs.s3_breaker import FAILURES_IN_A_ROW, REST_SECONDS, Breaker
from media_service.infra.blobs.s3_errors import Absent, Refused, Unanswered, translated

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

CALL_SECONDS = Histogram(
    "mediad_s3_call_seconds",
    "How long calls to S3 took, each attempt by itself",
    ["operation", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long S3 may take, and how often it is asked."""

    connect_seconds: float = 3.0
    silence_seconds: float = 10.0
    """How long it may say nothing in the middle of a call."""

    bytes_per_second: int = 128 * 1024
    """What it must take or give at least, on average; slower calls are given up."""

    retries: int = 3
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 2.0
    failures_in_a_row: int = FAILURES_IN_A_ROW
    rest_seconds: float = REST_SECONDS

    def of(self, size_bytes: int) -> float:
        """How long a call may take that carries so many bytes."""
        return self.connect_seconds + self.silence_seconds + size_bytes / self.bytes_per_second

    def pause(self, attempt: int) -> float:
        """How long to wait after this attempt failed: anything up to a limit that doubles."""
        limit = min(self.longest_pause_seconds, self.first_pause_seconds * 2**attempt)
        return random.uniform(0, limit)


class Calls:
    """Makes calls to S3 with one client."""

    def __init__(
        self, client: S3Client, *, patience: Patience, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.client = client
        self.patience = patience
        self._clock = clock
        self._breaker = Breaker(
            clock=clock,
            failures_in_a_row=patience.failures_in_a_row,
            rest_seconds=patience.rest_seconds,
        )

    async def make(
        self,
        operation: str,
        send: Callable[[], Awaitable[T]],
        *,
        size_bytes: int = 0,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> T:
        """What the call answers, asked up to four times.

        `on_doubt` is called whenever an attempt may have been done without our hearing of it.

        Raises Absent, Refused, StorageFull, StorageUnavailable.
        """
        for attempt in range(self.patience.retries + 1):
            try:
                return await self.attempt(operation, send, size_bytes=size_bytes)
            except Unanswered as error:
                on_doubt()
                unanswered = error
            except asyncio.CancelledError:
                on_doubt()
                raise
            if attempt < self.patience.retries:
                await asyncio.sleep(self.patience.pause(attempt))
        raise StorageUnavailable from unanswered

    async def attempt(
        self, operation: str, send: Callable[[], Awaitable[T]], *, size_bytes: int = 0
    ) -> T:
        """What the call answers, asked once. Raises Unanswered, and as `make`."""
        if not self._breaker.admits():
            raise StorageUnavailable
        begun, outcome = self._clock(), "cancelled"
        try:
            async with asyncio.timeout(self.patience.of(size_bytes)):
                answer = await send()
            outcome = "ok"
        except Exception as error:
            found = _understood(error, operation)
            outcome = _outcome(found)
            self._note(found)
            if found is error:
                raise
            raise found from found.__cause__ or error
        finally:
            CALL_SECONDS.labels(operation, outcome).observe(self._clock() - begun)
        self._note(None)
        return answer

    def _note(self, error: Exception | None) -> None:
        if isinstance(error, Unanswered):
            logger.warning("S3 did not answer: %s", error)
            if self._breaker.failed():
                logger.error("S3 is away: not asking it for a while")
        elif self._breaker.answered():
            logger.info("S3 is back")


def _understood(error: Exception, operation: str) -> Exception:
    if isinstance(error, MediaError | Unanswered | Absent | Refused):
        return error
    return translated(error, operation=operation)


def _outcome(error: Exception) -> str:
    match error:
        case Absent():
            return "absent"
        case Refused():
            return "refused"
        case Unanswered():
            return "unanswered"
        case _:
            return "failed"


@functools.cache
def _descriptions() -> Any:
    """What botocore knows of S3: ten times as long in the reading as all else of a client."""
    return create_loader()


async def to_its_end(work: Awaitable[T]) -> T:
    """What the work gives. A caller that is cancelled still waits for it, so it is over then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise


@asynccontextmanager
async def open_calls(
    *,
    region: str,
    endpoint: str = "",
    is_path_style: bool = False,
    credentials: tuple[str, str] | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Calls]:
    """Calls to a server; without credentials, those that botocore finds by itself.

    Raises OSError if it finds none.
    """
    patience = patience or Patience()
    config = AioConfig(
        signature_version="s3v4",
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.silence_seconds,
        max_pool_connections=64,
        retries={"total_max_attempts": 1},
        # We send and compare checksums ourselves, and say so call by call.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if is_path_style else "auto",
            "payload_signing_enabled": False,
        },
    )
    given: dict[str, Any] = {}
    if credentials:
        given = {"aws_access_key_id": credentials[0], "aws_secret_access_key": credentials[1]}
    session = get_session()
    session.register_component("data_loader", _descriptions())
    if not credentials and await session.get_credentials() is None:
        raise OSError(
            "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or give the machine a role"
        )
    async with session.create_client(
        "s3", region_name=region or None, endpoint_url=endpoint or None, config=config, **given
    ) as client:
        yield Calls(client, patience=patience)
