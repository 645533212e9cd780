"""What operators and their programs ask: is it alive, can it serve, how does it do, what can it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from media_service.core.errors import InvalidSignature, NotFound
from media_service.core.purposes import Policies
from media_service.entrypoints.http_api.capabilities import describe_capabilities
from media_service.entrypoints.http_api.errors import METHOD_NOT_ALLOWED, Refused
from media_service.entrypoints.http_api.targets import seems_signed

Check = Callable[[], Awaitable[None]]
CHECK_SECONDS = 2.0
READ_METHODS = frozenset({"GET", "HEAD"})
PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/capabilities"})

log = structlog.get_logger()


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
        checks: Mapping[str, Check],
        capabilities: Callable[[], Mapping[str, object]],
        is_draining: Callable[[], bool],
    ) -> None:
        self._policies = policies
        self._checks = checks
        self._capabilities = capabilities
        self._is_draining = is_draining
        answers = (self._alive, self._ready, self._metrics, self._describe)
        names = ("/healthz", "/readyz", "/metrics", "/capabilities")
        self._router = Router(
            [Route(path, _Read(answer)) for path, answer in zip(names, answers, strict=True)],
            redirect_slashes=False,
            default=_nothing_here,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request. Raises NotFound, InvalidSignature, Refused."""
        await self._router(scope, receive, send)

    async def _alive(self, _request: Request) -> Response:
        return _json({"success": True, "data": {"status": "alive"}})

    async def _ready(self, _request: Request) -> Response:
        results = await asyncio.gather(*(_is_ready(n, c) for n, c in self._checks.items()))
        backends = {
            name: "ready" if is_ready else "not ready"
            for name, is_ready in zip(self._checks, results, strict=True)
        }
        missing = [name for name, state in backends.items() if state != "ready"]
        if self._is_draining():
            return _not_ready("draining", "The service is stopping.", backends)
        if missing:
            return _not_ready("not_ready", f"Not ready: {', '.join(missing)}.", backends)
        return _json({"success": True, "data": {"status": "ready", "backends": backends}})

    async def _metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    async def _describe(self, _request: Request) -> Response:
        described = describe_capabilities(self._policies, self._capabilities())
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


async def _is_ready(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the backend is not ready
        log.warning("http.not_ready", backend=name, cause=repr(error))
        return False
    return True


def _not_ready(code: str, message: str, backends: Mapping[str, str]) -> Response:
    error = {"code": code, "message": message}
    content = {"success": False, "error": error, "data": {"backends": backends}}
    return _json(content, status=503)


def _json(content: Mapping[str, object], *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
