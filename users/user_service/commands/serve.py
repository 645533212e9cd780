"""`userd serve`: the HTTP API, attached to an open user service."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import click
import structlog

from user_service.commands.logs import configure_logs
from user_service.composition import Opened, open_user_service
from user_service.config import Settings
from user_service.http_api.app import HttpSettings, http_app
from user_service.http_api.bodies import Pace
from user_service.http_api.server import serve_http
from user_service.http_api.uploading import UploadLimits
from user_service.tracing import UNTRACED, Tracing, TracingRefused, open_tracing

_M_ARENA_MAX = -8  # of malloc.h

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop; then drain."""
    with ExitStack() as stack:
        tracing = _open_tracing(stack, settings)
        _bound_heaps()
        await _serve(settings, tracing)
    log.info("serve.stopped")


def _open_tracing(stack: ExitStack, settings: Settings) -> Tracing:
    """Tracing, and logs that name traces. What can't be traced is served all the same."""
    try:
        tracing = stack.enter_context(open_tracing(trusted_proxies=settings.proxies))
    except TracingRefused as error:
        configure_logs(settings.log_format)
        log.warning("tracing.refused", cause=str(error))
        return UNTRACED
    configure_logs(settings.log_format, *tracing.log_processors)
    return tracing


async def _serve(settings: Settings, tracing: Tracing) -> None:
    stop = _stop_on_signals()
    async with open_user_service(settings) as opened:
        app = http_app(
            opened.service,
            _http(settings, opened),
            checks=opened.checks,
            is_draining=stop.is_set,
        )
        traced = tracing.requests(app)
        async with serve_http(traced, host=settings.host, port=settings.port):
            _say_ready(settings)
            await stop.wait()
            log.info("serve.draining")


def _bound_heaps() -> None:
    """Two heaps for all threads: with one for each, memory grows with every burst of uploads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's only
    if mallopt:
        mallopt(_M_ARENA_MAX, 2)


def _http(settings: Settings, opened: Opened) -> HttpSettings:
    pace = Pace(
        idle_seconds=settings.upload_idle_seconds,
        least_bytes_per_second=settings.upload_least_bytes_per_second,
        measured_after_seconds=settings.upload_idle_seconds,
        wanted_bytes_per_second=settings.upload_wanted_bytes_per_second,
    )
    uploads = UploadLimits(
        folder=opened.spool_folder,
        at_once=settings.uploads_at_once,
        attachments_at_once=settings.attachments_at_once,
        pace=pace,
    )
    return HttpSettings(
        media_public_url=settings.media_public_url,
        uploads=uploads,
        trusted_proxies=settings.proxies,
    )


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


def _say_ready(settings: Settings) -> None:
    log.info("serve.ready", url=settings.base_url, data_dir=str(Path(settings.data_dir).absolute()))
    if sys.stderr.isatty():
        for line in _greeting(settings):
            click.echo(line, err=True)


def _greeting(settings: Settings) -> list[str]:
    return [
        "",
        "userd is ready",
        f"  page  {settings.base_url}/",
        f"  docs  {settings.base_url}/docs",
        f"  media service at {settings.media_address}",
        "",
    ]
