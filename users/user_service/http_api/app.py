"""The HTTP API as one ASGI app: FastAPI inside, and around it what every request gets.

Its id, the headers of its answer, its place in the metrics and in the logs, and an answer in the
envelope whatever fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from user_service.errors import UserError
from user_service.http_api import metrics
from user_service.http_api.asking import Addresses, Network
from user_service.http_api.auth_routes import auth_routes
from user_service.http_api.errors import (
    INTERNAL,
    METHOD_NOT_ALLOWED,
    ClientGone,
    Problem,
    problem_of,
)
from user_service.http_api.events import EventStreams
from user_service.http_api.exchange import Exchange
from user_service.http_api.media_routes import media_routes
from user_service.http_api.openapi import describe
from user_service.http_api.operations import operations_routes
from user_service.http_api.pages import page_routes
from user_service.http_api.profile_routes import profile_routes
from user_service.http_api.uploading import Uploading, UploadLimits
from user_service.service import UserService

_NO_TELEMETRY: TelemetryConfig = {
    "auto_configure": False,
    "tracing": False,
    "metrics": False,
    "logs": False,
}
"""The framework's own believes every caller's trace, and tells paths and queries."""
_REFUSALS_TOLD = frozenset({401, 403, 429})

log = structlog.get_logger()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What of the configuration HTTP needs to know."""

    media_public_url: str
    uploads: UploadLimits
    trusted_proxies: Sequence[Network] = ()


def http_app(
    service: UserService,
    settings: HttpSettings,
    *,
    checks: Mapping[str, Callable[[], Awaitable[None]]],
    is_draining: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The app. Never raises but when its task is cancelled: every failure becomes an answer."""
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY)
    describe(app)
    addresses = Addresses(settings.trusted_proxies)
    app.state.identifying = service.identifying
    uploading = Uploading(service.throttling, settings.uploads)
    routers = (
        media_routes(service, uploading, EventStreams(is_draining=is_draining)),
        auth_routes(service.accounts, addresses),
        profile_routes(service.profiles),
        operations_routes(checks, is_draining=is_draining),
        page_routes(settings.media_public_url),
    )
    for router in routers:
        app.include_router(router)
    for failure in (UserError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(failure, _passed_on)
    routes = [route for router in routers for route in router.routes]
    return HttpApp(app, routes=routes, is_draining=is_draining)


async def _passed_on(_request: Request, error: Exception) -> Response:
    """Failures are answered in one place, around the framework."""
    raise error


class HttpApp:
    """Gives every request its id, its answer and its place in the metrics."""

    def __init__(
        self, app: ASGIApp, *, routes: Sequence[BaseRoute], is_draining: Callable[[], bool]
    ) -> None:
        self._app = app
        self._routes = routes
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun = perf_counter()
        exchange = Exchange(scope, receive, send, is_last=self._is_draining())
        metrics.IN_FLIGHT.inc()
        try:
            with bound_contextvars(request_id=exchange.request_id):
                await self._answer(scope, exchange)
        finally:
            metrics.IN_FLIGHT.dec()
            metrics.observe(
                route=_route(scope),
                method=scope["method"],
                status=0 if exchange.is_cut else exchange.status,
                seconds=perf_counter() - begun,
            )

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.is_cut = True
        except Exception as error:  # noqa: BLE001 - the last resort: logged and answered
            problem = problem_of(error)
            if problem is METHOD_NOT_ALLOWED:
                problem = problem._replace(headers=((b"allow", self._allowed(scope)),))
            metrics.ERRORS.labels(problem.code).inc()
            _log(scope, error, problem)
            await exchange.answer(problem)

    def _allowed(self, scope: Scope) -> bytes:
        """The methods of all routes of this path; each route knows only its own."""
        methods = {
            method
            for route in self._routes
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
        return ", ".join(sorted(methods)).encode()


def _route(scope: Scope) -> str:
    """The path's pattern: paths themselves are the caller's words, and endless."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "other"))


def _log(scope: Scope, error: Exception, problem: Problem) -> None:
    about = {"route": _route(scope), "method": scope["method"], "code": problem.code}
    if problem is INTERNAL:
        log.error("http.bug", **about, exc_info=error)
    elif problem.status >= INTERNAL.status:
        log.warning("http.failed", **about, cause=repr(error.__cause__))
    elif problem.status in _REFUSALS_TOLD:
        log.info("http.refused", **about)
