"""The HTTP API as one ASGI app: delivery on a path of its own, and everything else.

GET|HEAD /media/{media_id}/{rendition}    the bytes; OPTIONS for pages of other origins.
                                          A transformation instead of a rendition is signed
GET|HEAD /healthz                         alive
GET|HEAD /readyz                          can serve; says which backend is not ready
GET|HEAD /metrics                         for Prometheus
GET|HEAD /capabilities                    what is taken, and its limits
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from media_service.core.readiness import Readiness
from media_service.core.service import MediaService
from media_service.entrypoints.http_api.cycles import BLOCKS
from media_service.entrypoints.http_api.delivery import (
    DeliveryRoute,
    answer_preflight,
    is_preflight,
)
from media_service.entrypoints.http_api.errors import METHOD_NOT_ALLOWED, Refused
from media_service.entrypoints.http_api.exchange import REQUEST_ID, Exchange
from media_service.entrypoints.http_api.metrics import METRICS, TellMetrics, own_metrics
from media_service.entrypoints.http_api.operations import (
    PATHS,
    READ_METHODS,
    Operations,
    refusal,
)
from media_service.entrypoints.http_api.targets import PREFIX

_DELIVERY = "/media"


def http_app(
    service: MediaService,
    *,
    readiness: Readiness,
    capabilities: Callable[[], Mapping[str, object]],
    tell_metrics: TellMetrics | None = own_metrics,
    redirects: bool = False,
) -> ASGIApp:
    """The app. Never raises but when its task is cancelled: every failure becomes an answer.

    With `redirects`, readers are sent to the store where they can be.
    """
    operations = Operations(
        service.policies,
        offer=service.offer,
        readiness=readiness,
        capabilities=capabilities,
        tell_metrics=tell_metrics,
    )
    return HttpApp(
        DeliveryRoute(service.delivering, service.transforming, redirects=redirects),
        operations=operations,
        is_draining=readiness.draining.is_set,
    )


class HttpApp:
    """Gives every request its id, its answer and its place in the metrics."""

    def __init__(
        self,
        delivery: DeliveryRoute,
        *,
        operations: Operations,
        is_draining: Callable[[], bool],
    ) -> None:
        self._delivery = delivery
        self._operations = operations
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._operations(scope, receive, send)
            return
        begun = perf_counter()
        headers = dict(scope["headers"])  # of a header that comes twice, the last one counts
        is_delivery = scope["raw_path"].startswith(PREFIX)
        exchange = Exchange(
            send,
            request_id=headers.get(REQUEST_ID),
            is_last=self._is_draining(),
            is_readable=is_delivery,
            takes_blocks=BLOCKS in scope.get("extensions", ()),
        )
        route = _DELIVERY if is_delivery else _route(scope["path"])
        METRICS.begin()
        try:
            if not is_delivery:
                await self._operate(scope, receive, exchange)
            elif scope["method"] in READ_METHODS:
                await self._delivery.answer(scope, receive, exchange=exchange, headers=headers)
            elif is_preflight(scope["method"], headers):
                await answer_preflight(exchange)
            else:
                raise refusal(scope, Refused(METHOD_NOT_ALLOWED))
        except Exception as error:  # noqa: BLE001 - the last resort: logged and answered
            await exchange.fail(error, route=route)
        finally:
            METRICS.end(
                (route, scope["method"], 0 if exchange.is_cut else exchange.status),
                seconds=perf_counter() - begun,
                body_bytes=exchange.body_bytes,
            )

    async def _operate(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        with bound_contextvars(request_id=exchange.request_id.decode()):
            await self._operations(scope, receive, exchange.forward)


def _route(path: str) -> str:
    return path if path in PATHS else "other"
