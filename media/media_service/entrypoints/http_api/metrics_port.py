"""An app for a port of its own that tells the metrics and nothing else."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from media_service.entrypoints.http_api.metrics import TellMetrics


def metrics_app(tell: TellMetrics) -> ASGIApp:
    """The app: GET /metrics; anything else is not there."""

    async def answer(request: Request) -> Response:
        content, content_type = await tell(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    return Router([Route("/metrics", answer)], redirect_slashes=False)
