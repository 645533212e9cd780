"""What operators and their programs ask: is it alive, can it serve, how does it do, what can it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from media_service.core.errors import InvalidSignature, NotFound
from media_service.core.purposes import Policies
from media_service.core.readiness import Readiness, State
from media_service.core.transformations import Offer
from media_service.entrypoints.http_api.capabilities import describe_capabilities
from media_service.entrypoints.http_api.errors import METHOD_NOT_ALLOWED, Refused
from media_service.entrypoints.http_api.metrics import TellMetrics
from media_service.entrypoints.http_api.targets import seems_signed

READ_METHODS = frozenset({"GET", "HEAD"})
PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/capabilities"})


def refusal(scope: Scope, otherwise: Exception) -> Exception:
    """Why a request is refused that is none of those we answer.

    Whoever presents a signature learns that it is not valid for this, and nothing else.
    """
    is_signed = seems_signed(scope["raw_path"], scope["query_string"])
    return InvalidSignature() if is_signed else otherwise


class Operations:
    """Answers everything but delivery."""

    def __init__(
        self,
        policies: Policies,
        *,
        offer: Offer,
        readiness: Readiness,
        capabilities: Callable[[], Mapping[str, object]],
        tell_metrics: TellMetrics | None,
    ) -> None:
        self._policies = policies
        self._offer = offer
        self._readiness = readiness
        self._capabilities = capabilities
        self._tell_metrics = tell_metrics
        answers = {
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/capabilities": self._describe,
        }
        self._router = Router(
            [Route(path, _Read(answer)) for path, answer in answers.items()],
            redirect_slashes=False,
            default=_nothing_here,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request. Raises NotFound, InvalidSignature, Refused."""
        await self._router(scope, receive, send)

    async def _alive(self, _request: Request) -> Response:
        return _json({"success": True, "data": {"status": "alive"}})

    async def _ready(self, _request: Request) -> Response:
        state = await self._readiness.look()
        backends = {name: _word(state, name) for name in state.names}
        if state.is_draining:
            return _not_ready("draining", "The service is stopping.", backends)
        if state.missing:
            names = ", ".join(state.missing)
            return _not_ready("not_ready", f"Not ready: {names}.", backends)
        return _json({"success": True, "data": {"status": "ready", "backends": backends}})

    async def _metrics(self, request: Request) -> Response:
        if self._tell_metrics is None:
            raise NotFound  # they have a port of their own
        content, content_type = await self._tell_metrics(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    async def _describe(self, _request: Request) -> Response:
        described = describe_capabilities(self._policies, self._offer, self._capabilities())
        return _json({"success": True, "data": described})


class _Read:
    """An endpoint that answers GET and HEAD."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in READ_METHODS:
            raise refusal(scope, Refused(METHOD_NOT_ALLOWED))
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


async def _nothing_here(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise refusal(scope, NotFound())


def _word(state: State, name: str) -> str:
    if name in state.missing:
        return "not ready"
    return "degraded" if name in state.degraded else "ready"


def _not_ready(code: str, message: str, backends: Mapping[str, str]) -> Response:
    error = {"code": code, "message": message}
    content = {"success": False, "error": error, "data": {"backends": backends}}
    return _json(content, status=503)


def _json(content: Mapping[str, object], *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
