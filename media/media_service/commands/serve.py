"""`mediad serve`: the roles of one process, attached to one open media service."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import click
import structlog

from media_service.commands.logs import configure_logs
from media_service.composition import Opened, open_media_service
from media_service.config import Settings
from media_service.core.readiness import Readiness
from media_service.entrypoints.grpc_api.server import GrpcSettings, serve_grpc
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.metrics import TellMetrics, own_metrics
from media_service.entrypoints.http_api.metrics_port import metrics_app
from media_service.entrypoints.http_api.server import serve_http
from media_service.entrypoints.worker.duties import do_duties
from media_service.entrypoints.worker.jobs import WorkerSettings, work
from media_service.entrypoints.worker.measuring import measure_queue
from media_service.entrypoints.worker.notifying import notify
from media_service.entrypoints.worker.schedule import duties
from media_service.processes.fate import stop_on_signals
from media_service.processes.membership import Membership, open_membership
from media_service.tracing import UNTRACED, Tracing, TracingRefused, open_tracing

_EXIT_SECONDS = 23
"""For the drain and the calls in flight together; closing what is open takes a moment more."""
LONE_KEY = (
    "The database may be shared with other machines, but URLs are signed with a key of this "
    "machine alone: others will refuse them. Set MEDIAD_SIGNING_KEYS, the same for all instances."
)

log = structlog.get_logger()


async def serve(settings: Settings, *, line: socket.socket | None = None) -> None:
    """Serve until a signal asks to stop; then drain. `line` leads to our supervisor, if any."""
    async with AsyncExitStack() as stack:
        tracing = _open_tracing(stack, settings)
        allow_many_files()
        stop = stop_on_signals()
        membership = await stack.enter_async_context(open_membership(line))
        await _serve(settings, tracing, membership, stop)
    log.info("serve.stopped")


def _open_tracing(stack: AsyncExitStack, settings: Settings) -> Tracing:
    """Tracing, and logs that name traces. What can't be traced is served all the same."""
    try:
        tracing = stack.enter_context(open_tracing())
    except TracingRefused as error:
        configure_logs(settings.log_format)
        log.warning("tracing.refused", cause=str(error))
        return UNTRACED
    configure_logs(settings.log_format, *tracing.log_processors)
    return tracing


async def _serve(
    settings: Settings, tracing: Tracing, membership: Membership | None, stop: asyncio.Event
) -> None:
    async with open_media_service(settings, tracing=tracing) as opened:
        process = _Process(
            settings=settings,
            opened=opened,
            tracing=tracing,
            membership=membership,
            readiness=Readiness(
                needed=opened.checks, helpful=opened.helpful, draining=stop, report=_report
            ),
        )
        async with _attached(process.entrypoints()):
            _say_ready(settings, membership)
            await stop.wait()
            log.info("serve.draining")
            await asyncio.sleep(settings.drain_seconds)


def allow_many_files() -> None:
    """As many open files and connections as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _report(backend: str, error: Exception | None) -> None:
    if error is None:
        log.info("backend.back", backend=backend)
    else:
        log.warning("backend.away", backend=backend, cause=repr(error))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """What the entrypoints of this process are made of."""

    settings: Settings
    opened: Opened
    tracing: Tracing
    membership: Membership | None
    readiness: Readiness

    def entrypoints(self) -> list[AbstractAsyncContextManager[object]]:
        """What to attach, in this order."""
        roles = self.settings.role_names
        attached: list[AbstractAsyncContextManager[object]] = []
        if "worker" in roles:
            attached.append(self._worker())
        if "http" in roles:
            attached.append(self._http())
        if "grpc" in roles:
            attached.append(self._grpc())
        if self.settings.metrics_port is not None and self.membership is None:
            attached.append(serve_metrics(self.settings, own_metrics))
        return attached

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[None]:
        service = self.opened.service
        owed = duties(service, notifying=self.opened.notifying, scrub_days=self.settings.scrub_days)
        worker = WorkerSettings(
            database_url=self.opened.database_url,
            connection_name=self.opened.connection_name,
            concurrency=self.settings.cells,
            transcodes=self.settings.transcodes,
            running=self.tracing.running,
        )
        async with (
            do_duties(owed, processes=service.processes),
            measure_queue(service.queueing),
            notify(self.opened.notifying, self.opened.changes),
            work(worker, processing=service.processing, processes=service.processes),
        ):
            yield

    def _http(self) -> AbstractAsyncContextManager[int]:
        tell: TellMetrics = self.membership.metrics if self.membership else own_metrics
        app = http_app(
            self.opened.service,
            readiness=self.readiness,
            capabilities=self.opened.decoders,
            tell_metrics=tell if self.settings.metrics_port is None else None,
            redirects=self.settings.delivery == "redirect",
        )
        return serve_http(
            self.tracing.requests(app),
            host=self.settings.host,
            port=self.settings.port,
            drain_seconds=_EXIT_SECONDS - self.settings.drain_seconds,
            is_shared=self.membership is not None,
        )

    def _grpc(self) -> AbstractAsyncContextManager[int]:
        return serve_grpc(
            self.opened.service,
            _grpc(self.settings, is_shared=self.membership is not None),
            readiness=self.readiness,
            interceptors=self.tracing.interceptors,
        )


@asynccontextmanager
async def _attached(
    entrypoints: Sequence[AbstractAsyncContextManager[object]],
) -> AsyncIterator[None]:
    """All of them: entered one after the other, left all at once, since each may take its time."""
    stacks = []
    try:
        for entrypoint in entrypoints:
            stacks.append(AsyncExitStack())
            await stacks[-1].enter_async_context(entrypoint)
        yield
    finally:
        async with asyncio.TaskGroup() as leaving:
            for stack in stacks:
                leaving.create_task(stack.aclose())


def serve_metrics(settings: Settings, tell: TellMetrics) -> AbstractAsyncContextManager[int]:
    """The metrics on their own port."""
    port = settings.metrics_port or 0
    return serve_http(metrics_app(tell), host=settings.host, port=port, drain_seconds=1)


def _grpc(settings: Settings, *, is_shared: bool) -> GrpcSettings:
    return GrpcSettings(
        host=settings.host,
        port=settings.grpc_port,
        tokens=settings.tokens,
        tls=_tls(settings),
        unary_budget_bytes=settings.unary_upload_megabytes * 1024 * 1024,
        drain_seconds=_EXIT_SECONDS - settings.drain_seconds,
        connection_age_seconds=settings.connection_age_seconds,
        is_shared=is_shared,
    )


def _tls(settings: Settings) -> tuple[bytes, bytes, bytes | None] | None:
    if not settings.tls_key_file or not settings.tls_cert_file:
        return None
    client_ca = settings.tls_client_ca_file
    return (
        settings.tls_key_file.read_bytes(),
        settings.tls_cert_file.read_bytes(),
        client_ca.read_bytes() if client_ca else None,
    )


def _say_ready(settings: Settings, membership: Membership | None) -> None:
    if membership:
        membership.say_ready()
        return
    if settings.has_key_of_its_own:
        log.warning("serve.key_is_not_shared", advice=LONE_KEY)
    greet(settings)


def greet(settings: Settings) -> None:
    """Say that the service is ready, and on a terminal where."""
    log.info("serve.ready", roles=settings.roles, data_dir=str(Path(settings.data_dir).absolute()))
    if sys.stderr.isatty():
        for line in _greeting(settings):
            click.echo(line, err=True)


def _greeting(settings: Settings) -> list[str]:
    metrics = "/metrics " if settings.metrics_port is None else ""
    where: Mapping[str, str] = {
        "grpc": f"  gRPC  {settings.host}:{settings.grpc_port}   media.MediaService",
        "http": f"  HTTP  {settings.base_url}   /healthz /readyz {metrics}/capabilities",
        "worker": f"  jobs  {settings.workers * settings.cells} decoding processes",
    }
    listed = [where[role] for role in where if role in settings.role_names]
    return ["", "mediad is ready", *listed, "  try   mediad upload docs/samples/photo.jpg", ""]
