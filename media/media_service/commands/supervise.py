"""`mediad serve --workers N`: N serving processes that share the ports, and their supervisor.

Each is a fresh process, since gRPC does not survive a fork. The supervisor serves no calls; it
keeps the ports, the embedded PostgreSQL if there is one, and what the processes count together.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from media_service.commands.logs import configure_logs
from media_service.commands.serve import LONE_KEY, allow_many_files, greet, serve_metrics
from media_service.composition import open_database_url
from media_service.config import Settings
from media_service.infra.postgres.migrations import migrate
from media_service.processes.fate import stop_on_signals
from media_service.processes.ports import reserved
from media_service.processes.team import Team

log = structlog.get_logger()


async def supervise(settings: Settings) -> None:
    """Serve with several processes until a signal asks to stop. Raises PortTaken, ProcessFailed."""
    configure_logs(settings.log_format)
    allow_many_files()
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(reserved(settings.host, _ports(settings)))
        database_url = await stack.enter_async_context(open_database_url(settings))
        await migrate(database_url)
        team = Team(
            (sys.executable, "-m", "media_service", "serve-in-team"),
            environment=_environment(settings, database_url),
            size=settings.workers,
        )
        if settings.metrics_port is not None:
            await stack.enter_async_context(serve_metrics(settings, team.metrics))
        if settings.has_key_of_its_own:
            log.warning("serve.key_is_not_shared", advice=LONE_KEY)
        greeting = asyncio.create_task(_greet_when_ready(settings, team))
        try:
            await team.run(stop)
        finally:
            greeting.cancel()
    log.info("serve.stopped")


async def _greet_when_ready(settings: Settings, team: Team) -> None:
    await team.ready.wait()
    greet(settings)


def _ports(settings: Settings) -> list[int]:
    ports = {"http": settings.port, "grpc": settings.grpc_port}
    return [port for role, port in ports.items() if role in settings.role_names]


def _environment(settings: Settings, database_url: str) -> Mapping[str, str]:
    """Ours, and what the command line or we ourselves decided."""
    decided = {
        "database_url": database_url,
        "roles": settings.roles,
        "workers": str(settings.workers),
        "cells": str(settings.cells),
    }
    return {**os.environ, **{f"MEDIAD_{name.upper()}": said for name, said in decided.items()}}
