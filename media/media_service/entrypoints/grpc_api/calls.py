"""What every call goes through: a request id, errors in our words, metrics, one log line."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from prometheus_client import Counter, Gauge, Histogram

from media_service.core.errors import InvalidRequest, MediaError
from media_service.entrypoints.grpc_api.errors import STATUS, Context, abort, abort_internal

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET = frozenset({"GetMedia", "BatchGetMedia", "GetSignedUrl", "WatchMedia"})
"""Reads are counted, not logged, unless they fail."""

_SECONDS = Histogram(
    "mediad_grpc_request_seconds",
    "How long calls took, from the first of their bytes that were read to their (last) answer",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_ERRORS = Counter("mediad_grpc_errors_total", "Calls refused, by stable code", ["code"])
_IN_FLIGHT = Gauge("mediad_grpc_in_flight_requests", "Calls being served", ["method"])
_NO_METADATA: tuple[tuple[str, str | bytes], ...] = ()

log = structlog.get_logger()


class GuardedCall:
    """One method. `run` is what gRPC calls."""

    def __init__(self, name: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> None:
        self._name = name
        self._behaviour = behaviour
        self._is_quiet = name in _QUIET
        self._in_flight = 0
        self._succeeded = _SECONDS.labels(name, "OK")
        _IN_FLIGHT.labels(name).set_function(lambda: self._in_flight)

    @property
    def in_flight(self) -> int:
        """How many are being answered."""
        return self._in_flight

    async def run(self, request: Any, context: Context) -> Any:
        """Answer, or end the call with an error's status."""
        started = time.perf_counter()
        self._in_flight += 1
        request_id = self._begin(context)
        try:
            if type(request) is bytes:
                raise InvalidRequest  # they were no message
            answer = await self._behaviour(request, context)
        except MediaError as error:
            request_id = request_id or uuid.uuid4().hex
            self._count(STATUS[error.kind].name, started)
            self._log_refusal(error, request_id, started)
            await abort(context, error, request_id=request_id)
        except grpc.aio.AbortError:
            raise
        except Exception:
            request_id = request_id or uuid.uuid4().hex
            self._count("INTERNAL", started)
            log.exception("grpc.bug", method=self._name, request_id=request_id)
            await abort_internal(context, request_id=request_id)
        except BaseException:  # cancelled: the caller left, or its deadline passed
            self._count("CANCELLED", started)
            raise
        finally:
            self._in_flight -= 1
        self._succeeded.observe(time.perf_counter() - started)
        if not self._is_quiet:
            log.info("grpc.call", method=self._name, ms=_milliseconds(started))
        return answer

    def _begin(self, context: Context) -> str:
        """The id the call goes by. A read that was sent none gets one only if it fails."""
        request_id = _sent_request_id(context)
        if self._is_quiet and not request_id:
            return ""
        request_id = request_id or uuid.uuid4().hex
        context.set_trailing_metadata(((REQUEST_ID, request_id),))
        structlog.contextvars.bind_contextvars(request_id=request_id)
        return request_id

    def _count(self, status: str, started: float) -> None:
        _SECONDS.labels(self._name, status).observe(time.perf_counter() - started)

    def _log_refusal(self, error: MediaError, request_id: str, started: float) -> None:
        _ERRORS.labels(error.code).inc()
        cause = {"cause": repr(error.__cause__)} if error.__cause__ else {}
        log.info(
            "grpc.refused",
            method=self._name,
            code=error.code,
            ms=_milliseconds(started),
            **{"request_id": request_id} | cause,
        )


def _sent_request_id(context: Context) -> str:
    for name, value in context.invocation_metadata() or _NO_METADATA:
        if name == REQUEST_ID and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return ""


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
