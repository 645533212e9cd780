"""Spans of the core's steps, from outside: an adapter whose methods run in spans."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from media_service.core.errors import Kind, MediaError
from media_service.core.media import Media

T = TypeVar("T")
_FAULTS = frozenset({Kind.UNAVAILABLE, Kind.FULL})
"""Refusals of these kinds are ours; the others are the caller's, and no errors of a span."""

tracer = trace.get_tracer("mediad")


def traced(adapter: T, **spans: str) -> T:
    """The adapter, with these of its methods in spans of these names."""
    return cast("T", _Traced(adapter, spans))


@contextmanager
def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str] | None = None
) -> Iterator[Span]:
    """A span that ends with the context. What is raised there leaves its code, and no words."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except MediaError as error:
            tell_code(begun, error.code, is_fault=error.kind in _FAULTS)
            raise
        except Exception as error:
            tell_code(begun, type(error).__name__, is_fault=True)
            raise


def tell_code(span: Span, code: str, *, is_fault: bool) -> None:
    """Say why it did not do what it was for."""
    span.set_attribute("error.type", code)
    if is_fault:
        span.set_status(Status(StatusCode.ERROR))


class _Traced:
    """Stands before an adapter. What is not traced is the adapter's own."""

    def __init__(self, adapter: Any, spans: Mapping[str, str]) -> None:
        self._adapter = adapter
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if name not in self._spans:
            return found
        wrap = _around_call if inspect.iscoroutinefunction(found) else _around_context
        return wrap(found, functools.partial(span, self._spans[name]))


def _around_call(method: Callable[..., Any], begin: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with begin() as begun:
            result = await method(*args, **kwargs)
            if isinstance(result, Media):
                begun.set_attributes(_about(result))
            return result

    return call


def _around_context(
    method: Callable[..., AbstractAsyncContextManager[Any]], begin: Callable[..., Any]
) -> Callable[..., Any]:
    @asynccontextmanager
    async def context(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with begin():
            async with method(*args, **kwargs) as entered:
                yield entered

    return context


def _about(media: Media) -> Mapping[str, str | bool]:
    """What a trace may say of a medium: nothing that its owner wrote."""
    return {
        "media.id": media.id,
        "media.purpose": media.purpose.name,
        "media.type": media.media_type.name,
        "media.status": media.status.name,
        "media.deduplicated": media.deduplicated,
    }
