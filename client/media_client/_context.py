"""What goes along with every call from its surroundings: request id, trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_propagate: Any
try:
    from opentelemetry import propagate as _propagate
except ImportError:
    _propagate = None

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_current: ContextVar[str] = ContextVar("media_client_request_id", default="")


@contextmanager
def request_id(value: str) -> Iterator[None]:
    """Send this request id with every call in the block, so that the service logs it.

    Outside such blocks each call has an id of its own. Raises ValueError unless it is 1 to 128
    letters, digits and `._:-`.

    >>> with request_id("req-7f3a"):
    ...     try:
    ...         await media.get_media("42")
    ...     except MediaError as error:
    ...         print(error.request_id)
    req-7f3a
    """
    if not _REQUEST_ID.fullmatch(value):
        raise ValueError("a request id is 1 to 128 letters, digits and ._:-")
    token = _current.set(value)
    try:
        yield
    finally:
        _current.reset(token)


def current_request_id() -> str:
    """The request id of the block we are in, or else a new one."""
    return _current.get() or uuid.uuid4().hex


def trace_headers() -> dict[str, str]:
    """What OpenTelemetry, if it is installed, wants to be passed on: `traceparent` and others."""
    headers: dict[str, str] = {}
    if _propagate is not None:
        _propagate.inject(headers)
    return headers
