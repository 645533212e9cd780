"""Webhooks: what is told to receivers, how it is signed, and when it is told again.

Signed as https://www.standardwebhooks.com says, so that receivers can check it with any of that
project's libraries.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from media_service.core.media import MediaId

TRIED_FOR: Final = timedelta(days=3)
KEPT: Final = timedelta(days=7)
"""How long what was given up can be looked at, and tried again by an operator."""
_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_MOST_DOUBLINGS: Final = 16
_PREFIX: Final = "whsec_"
_GONE: Final = 410


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one receiver. `age`: for how long it has been tried; by the database's clock.

    `id` is the event's, which the receiver knows it by if it comes twice. `failed_at` is None
    unless it was given up.
    """

    number: int
    id: str
    url: str
    media_id: MediaId
    type: str
    body: bytes
    attempts: int
    age: timedelta
    due_at: datetime
    failure: str
    failed_at: datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCounts:
    """How full the outbox is."""

    waiting: int = 0
    failed: int = 0
    oldest_waiting_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered: its HTTP status; 0, and why, if there was no answer."""

    status: int
    failure: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return 200 <= self.status < 300

    @property
    def is_unwanted(self) -> bool:
        """Whether the receiver says that it will never take it."""
        return self.status == _GONE

    def __str__(self) -> str:
        return self.failure or f"HTTP {self.status}"


class Outcome(enum.StrEnum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    FAILED = "failed"


def next_pause(attempts: int, *, age: timedelta, luck: float) -> timedelta | None:
    """How long to wait after so many failed attempts; None when it was tried for long enough.

    `luck` is 0 to 1, so that what failed together is not tried again together.
    """
    if age >= TRIED_FOR:
        return None
    doubled = _FIRST_PAUSE * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS)
    return min(doubled, _LONGEST_PAUSE) * (0.75 + luck / 2)


def signed_headers(
    delivery: Delivery, *, secrets: Sequence[bytes], now: datetime
) -> dict[str, str]:
    """The headers that go along: one signature for each secret, so that they can be changed."""
    moment = str(int(now.timestamp()))
    signed = b".".join((delivery.id.encode(), moment.encode(), delivery.body))
    digests = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return {
        "webhook-id": delivery.id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(d).decode()}" for d in digests),
    }


def secret_bytes(secrets: Mapping[str, str]) -> tuple[bytes, ...]:
    """What signs. Raises ValueError for a `whsec_…` secret that is no base64 of 16 to 64 bytes.

    `whsec_` and base64 is how the standard's libraries write secrets; others are taken as they are.
    """
    return tuple(_secret_bytes(name, secret) for name, secret in secrets.items())


def _secret_bytes(name: str, secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        decoded = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        decoded = b""
    if not 16 <= len(decoded) <= 64:
        raise ValueError(f"the secret {name} is not {_PREFIX} and base64 of 16 to 64 bytes")
    return decoded


def receiver_urls(text: str) -> tuple[str, ...]:
    """The URLs in a list separated by commas. Raises ValueError for what is no receiver's URL."""
    urls = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    for url in urls:
        _check_url(url)
    return urls


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or "#" in url:
        raise ValueError("URLs must have no user, no password and no #fragment")
    is_http = parts.scheme in ("http", "https") and bool(parts.hostname)
    if not is_http or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be http://… or https://…, several separated by commas")
    _ = parts.port  # raises ValueError for what is none


def receiver_name(url: str) -> str:
    """What a receiver is called in metrics, logs and lists: its host; paths may be secrets."""
    return urlsplit(url).netloc
