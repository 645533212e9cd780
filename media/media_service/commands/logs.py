"""Logs: one structured event a line, the libraries' among them, with the request id."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    # Local variables may hold what must not be in a log.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logs(log_format: str, *processors: Processor) -> None:
    """Log to stderr: `json`, `text`, or `auto` (text on a terminal)."""
    shared = (*_SHARED, *processors)
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(as_text=as_text),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    # A line for each stranger's malformed request would let strangers fill the disk.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _renderers(*, as_text: bool) -> list[Processor]:
    if as_text:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [_TRACEBACKS, structlog.processors.JSONRenderer()]
