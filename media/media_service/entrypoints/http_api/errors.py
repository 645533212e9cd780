"""The one place where the core's errors become HTTP answers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import orjson

from media_service.core.errors import RETRY_AFTER_SECONDS, Kind, MediaError
from media_service.entrypoints.http_api.headers import Header

STATUS: Mapping[Kind, HTTPStatus] = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.BROKEN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}
PASSING = frozenset({Kind.LIMITED, Kind.UNAVAILABLE, Kind.FULL})
"""What may well be over when the caller tries again."""

RETRY_AFTER: Header = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)


class Problem(NamedTuple):
    """What a caller is told when a request can't be answered as it was meant."""

    status: int
    code: str
    message: str
    headers: tuple[Header, ...] = ()


INTERNAL = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something went wrong on our side; the request id finds it in the logs.",
)
METHOD_NOT_ALLOWED = Problem(
    HTTPStatus.METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "Only GET and HEAD are allowed here.",
    ((b"allow", b"GET, HEAD"),),
)
URI_TOO_LONG = Problem(
    HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long", "The request's URL is too long."
)
HEADERS_TOO_LARGE = Problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers_too_large",
    "The request's headers are too large.",
)
MALFORMED = Problem(
    HTTPStatus.BAD_REQUEST, "invalid_request", "The request could not be understood."
)
TOO_MANY_CONNECTIONS = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    "Too many connections at once; try again in a moment.",
    (RETRY_AFTER,),
)


class Refused(Exception):
    """A request that HTTP itself has a word for, so that the core knows nothing of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def range_not_satisfiable(size_bytes: int) -> Problem:
    """The answer to a request for a part that a content of this size does not have."""
    return Problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        f"There are only {size_bytes} bytes.",
        ((b"content-range", b"bytes */%d" % size_bytes),),
    )


def problem_of(error: Exception) -> Problem:
    """What to tell the caller. Whatever is neither of the core nor of HTTP is a bug of ours."""
    if isinstance(error, Refused):
        return error.problem
    if not isinstance(error, MediaError):
        return INTERNAL
    headers = (RETRY_AFTER,) if error.kind in PASSING else ()
    return Problem(STATUS[error.kind], error.code, str(error), headers)


def encode(code: str, message: str) -> bytes:
    """The body that tells of a failure."""
    return orjson.dumps({"success": False, "error": {"code": code, "message": message}})
