from __future__ import annotations

import json

import pytest
import structlog
from media_service.core import errors
from media_service.core.errors import Kind, MediaError
from media_service.entrypoints.http_api.errors import (
    METHOD_NOT_ALLOWED,
    PASSING,
    STATUS,
    Refused,
    encode,
    problem_of,
    range_not_satisfiable,
)
from media_service.entrypoints.http_api.exchange import Exchange
from media_service.entrypoints.http_api.headers import block
from starlette.types import Message

NOTHING = block([])
EVERY_ERROR = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, MediaError) and value is not MediaError
]


class Sent(list[Message]):
    """What an app sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self[0]["headers"])


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_the_statuses_are_those_of_the_design() -> None:
    assert {kind: int(status) for kind, status in STATUS.items()} == {
        Kind.INVALID: 400,
        Kind.BROKEN: 422,
        Kind.TOO_LARGE: 413,
        Kind.UNSUPPORTED: 415,
        Kind.UNAUTHENTICATED: 401,
        Kind.FORBIDDEN: 403,
        Kind.NOT_FOUND: 404,
        Kind.CONFLICT: 409,
        Kind.LIMITED: 429,
        Kind.UNAVAILABLE: 503,
        Kind.FULL: 507,
    }


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_is_told_in_its_own_words(error: type[MediaError]) -> None:
    problem = problem_of(error())

    assert problem.status == STATUS[error.kind]
    assert problem.code == error().code
    assert problem.message == str(error())
    assert ((b"retry-after", b"2") in problem.headers) == (error.kind in PASSING)


def test_a_bug_tells_nothing_of_itself() -> None:
    problem = problem_of(RuntimeError("password=hunter2"))

    assert problem.status == 500
    assert problem.code == "internal_error"
    assert "hunter2" not in problem.message


def test_what_http_has_a_word_for_is_told_in_it() -> None:
    assert problem_of(Refused(METHOD_NOT_ALLOWED)).headers == ((b"allow", b"GET, HEAD"),)
    assert range_not_satisfiable(10).headers == ((b"content-range", b"bytes */10"),)


def test_a_body_is_json_whatever_the_message_holds() -> None:
    body = json.loads(encode("a_code", 'quotes " and \r\n'))

    assert body == {
        "success": False,
        "error": {"code": "a_code", "message": 'quotes " and \r\n'},
    }


@pytest.mark.parametrize(
    "request_id", [b"a", b"A-z_0.9:x", b"x" * 128, b"0190a0b1-c2d3-7e4f-8a5b-6c7d8e9f0a1b"]
)
async def test_a_request_id_is_given_back(request_id: bytes) -> None:
    sent = Sent()
    exchange = Exchange(sent, request_id=request_id)

    exchange.start(200, NOTHING)
    await exchange.body()

    assert sent.headers[b"x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id",
    [None, b"", b"x" * 129, b"a b", b"a\r\nb", b"a\n", b"\xc3\xa9", b"a;b", b"<a>", b"a,a", b"a/b"],
)
async def test_a_request_id_that_is_none_is_replaced(request_id: bytes | None) -> None:
    sent, others = Sent(), Sent()
    for to in (sent, others):
        await Exchange(to, request_id=request_id).fail(ValueError(), route="x")

    new = sent.headers[b"x-request-id"]
    assert len(new) == 32
    assert int(new, 16) >= 0
    assert new != others.headers[b"x-request-id"]


async def test_an_answer_before_the_stop_says_that_it_is_the_last() -> None:
    sent = Sent()
    exchange = Exchange(sent, request_id=None, is_last=True)

    await exchange.fail(errors.MediaNotFound(), route="/media")

    assert sent.headers[b"connection"] == b"close"


async def test_a_failure_is_never_kept_nor_run() -> None:
    sent = Sent()
    await Exchange(sent, request_id=b"abc").fail(errors.DatabaseUnavailable(), route="/media")

    assert sent[0]["status"] == 503
    assert sent.headers[b"retry-after"] == b"2"
    assert sent.headers[b"cache-control"] == b"no-store"
    assert sent.headers[b"x-content-type-options"] == b"nosniff"
    assert sent.headers[b"content-length"] == str(len(sent[1]["body"])).encode()
    assert json.loads(sent[1]["body"])["error"]["code"] == "database_unavailable"


async def test_a_failure_before_the_first_byte_replaces_the_answer() -> None:
    sent = Sent()
    exchange = Exchange(sent, request_id=None)

    exchange.start(200, block([], body_bytes=10))
    await exchange.fail(errors.StorageUnavailable(), route="/media")

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 503
    assert not exchange.is_cut


async def test_a_failure_after_the_first_byte_cuts_the_answer() -> None:
    sent = Sent()
    exchange = Exchange(sent, request_id=None)

    exchange.start(200, block([], body_bytes=10))
    await exchange.body(b"12345", more=True)
    await exchange.fail(errors.MediaDamaged(), route="/media")

    assert len(sent) == 2
    assert exchange.is_cut


async def test_a_bug_is_logged_with_its_cause() -> None:
    bug = RuntimeError("what went wrong")
    with structlog.testing.capture_logs() as logs:
        await Exchange(Sent(), request_id=b"abc").fail(bug, route="/media")

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("http.bug", "error")]
    assert logs[0]["exc_info"] is bug
    assert logs[0]["request_id"] == "abc"


async def test_a_backend_that_is_away_is_logged_with_its_cause() -> None:
    error = errors.DatabaseUnavailable()
    error.__cause__ = OSError("connection refused")
    with structlog.testing.capture_logs() as logs:
        await Exchange(Sent(), request_id=b"abc").fail(error, route="/media")

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("http.failed", "warning")]
    assert "connection refused" in logs[0]["cause"]


async def test_what_callers_do_wrong_is_not_logged_but_for_what_they_may_not() -> None:
    with structlog.testing.capture_logs() as logs:
        for error in (errors.MediaNotFound(), errors.InvalidMediaId(), errors.InvalidSignature()):
            await Exchange(Sent(), request_id=b"abc").fail(error, route="/media")

    assert [(entry["event"], entry["code"]) for entry in logs] == [
        ("http.refused", "invalid_signature")
    ]
