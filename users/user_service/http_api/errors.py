"""The one place where our errors become HTTP answers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from user_service.errors import InvalidRequest, Kind, NotFound, UserError

Header = tuple[bytes, bytes]

STATUS: Mapping[Kind, HTTPStatus] = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.TIMED_OUT: HTTPStatus.REQUEST_TIMEOUT,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.BROKEN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}
PASSING = frozenset({Kind.LIMITED, Kind.UNAVAILABLE, Kind.FULL})
"""What may well be over when the caller tries again."""


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
    HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not allowed here."
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
    ((b"retry-after", b"2"),),
)


class ClientGone(Exception):
    """The client left before its request was whole: there is nobody to answer."""


def problem_of(error: Exception) -> Problem:
    """What to tell the caller. Whatever is neither ours nor of HTTP is a bug of ours."""
    if isinstance(error, HTTPException):
        return _problem_of_http(error)
    if isinstance(error, RequestValidationError):
        error = InvalidRequest()
    if not isinstance(error, UserError):
        return INTERNAL
    return Problem(STATUS[error.kind], error.code, str(error), _headers(error))


def _problem_of_http(error: HTTPException) -> Problem:
    """What the framework itself refuses: no such path, or not with this method."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return METHOD_NOT_ALLOWED
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem_of(NotFound())
    return MALFORMED


def _headers(error: UserError) -> tuple[Header, ...]:
    if error.kind in PASSING:
        return ((b"retry-after", b"%d" % error.retry_after_seconds),)
    if error.kind is Kind.UNAUTHENTICATED:
        return ((b"www-authenticate", b"Bearer"),)
    return ()


def encode(problem: Problem) -> bytes:
    """The body that tells of a failure."""
    error = {"code": problem.code, "message": problem.message}
    return orjson.dumps({"success": False, "error": error})
