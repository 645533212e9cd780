"""What operators and their programs ask: is it alive, can it serve, how does it do."""

# No postponed annotations here: FastAPI could not resolve those of functions in functions.

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog
from fastapi import APIRouter, Request
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

Check = Callable[[], Awaitable[None]]
CHECK_SECONDS = 2.0

log = structlog.get_logger()


def operations_routes(checks: Mapping[str, Check], *, is_draining: Callable[[], bool]) -> APIRouter:
    """/healthz, /readyz, /metrics."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def alive() -> Response:
        return _json({"success": True, "data": {"status": "alive"}})

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def ready() -> Response:
        results = await asyncio.gather(*(_is_ready(n, c) for n, c in checks.items()))
        backends = {
            name: "ready" if is_ready else "not ready"
            for name, is_ready in zip(checks, results, strict=True)
        }
        missing = [name for name, state in backends.items() if state != "ready"]
        if is_draining():
            return _not_ready("draining", "The service is stopping.", backends)
        if missing:
            return _not_ready("not_ready", f"Not ready: {', '.join(missing)}.", backends)
        return _json({"success": True, "data": {"status": "ready", "backends": backends}})

    @router.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    return router


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
