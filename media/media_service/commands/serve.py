"""`mediad serve`: the roles of this process, attached to one open media service."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import click
import structlog

from media_service.commands.logs import configure_logs
from media_service.composition import Opened, open_media_service
from media_service.config import Settings
from media_service.entrypoints.grpc_api.server import GrpcSettings, serve_grpc
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.server import serve_http
from media_service.entrypoints.worker.duties import do_duties
from media_service.entrypoints.worker.jobs import WorkerSettings, work
from media_service.entrypoints.worker.measuring import measure_queue
from media_service.entrypoints.worker.sweeping import duties
from media_service.tracing import UNTRACED, Tracing, TracingRefused, open_tracing

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop; then drain."""
    async with AsyncExitStack() as stack:
        tracing = _open_tracing(stack, settings)
        _allow_many_files()
        await _serve(settings, tracing)
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


async def _serve(settings: Settings, tracing: Tracing) -> None:
    stop = _stop_on_signals()
    async with (
        open_media_service(settings, tracing=tracing) as opened,
        AsyncExitStack() as stack,
    ):
        if "worker" in settings.role_names:
            await _attach_worker(stack, settings, opened, tracing)
        if "http" in settings.role_names:
            app = http_app(
                opened.service,
                checks=opened.checks,
                capabilities=opened.decoders,
                is_draining=stop.is_set,
                redirects=settings.delivery == "redirect",
            )
            traced = tracing.requests(app)
            await stack.enter_async_context(
                serve_http(traced, host=settings.host, port=settings.port)
            )
        if "grpc" in settings.role_names:
            calls = serve_grpc(opened.service, _grpc(settings), interceptors=tracing.interceptors)
            await stack.enter_async_context(calls)
        _say_ready(settings)
        await stop.wait()
        log.info("serve.draining")


def _allow_many_files() -> None:
    """As many open files and connections as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or Ctrl-C; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def _attach_worker(
    stack: AsyncExitStack, settings: Settings, opened: Opened, tracing: Tracing
) -> None:
    service = opened.service
    owed = duties(service, scrub_days=settings.scrub_days)
    await stack.enter_async_context(do_duties(owed, processes=service.processes))
    await stack.enter_async_context(measure_queue(service.queueing))
    worker = WorkerSettings(
        database_url=opened.database_url,
        connection_name=opened.connection_name,
        concurrency=settings.cells,
        running=tracing.running,
    )
    await stack.enter_async_context(
        work(worker, processing=service.processing, processes=service.processes)
    )


def _grpc(settings: Settings) -> GrpcSettings:
    return GrpcSettings(
        host=settings.host,
        port=settings.grpc_port,
        tokens=settings.tokens,
        tls=_tls(settings),
        unary_budget_bytes=settings.unary_upload_megabytes * 1024 * 1024,
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


def _say_ready(settings: Settings) -> None:
    log.info("serve.ready", roles=settings.roles, data_dir=str(Path(settings.data_dir).absolute()))
    if sys.stderr.isatty():
        for line in _greeting(settings):
            click.echo(line, err=True)


def _greeting(settings: Settings) -> list[str]:
    where: Mapping[str, str] = {
        "grpc": f"  gRPC  {settings.host}:{settings.grpc_port}   media.MediaService",
        "http": f"  HTTP  {settings.base_url}   /healthz /readyz /metrics /capabilities",
        "worker": f"  jobs  {settings.cells} decoding processes",
    }
    listed = [where[role] for role in where if role in settings.role_names]
    return ["", "mediad is ready", *listed, "  try   mediad upload docs/samples/photo.jpg", ""]
