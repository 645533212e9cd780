"""What the documentation says of answers and bodies, in one place for all routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from user_service.errors import Kind
from user_service.http_api.errors import PASSING, STATUS
from user_service.http_api.schemas import Refusal

_ALWAYS = (Kind.INVALID, Kind.UNAVAILABLE, Kind.FULL)
_WITH_BODY = (Kind.TIMED_OUT, Kind.TOO_LARGE, Kind.UNSUPPORTED)
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: the same key and file again answer the same medium.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
}
_MEANINGS = {
    Kind.INVALID: "What was sent can't be right.",
    Kind.UNAUTHENTICATED: "No valid credentials.",
    Kind.FORBIDDEN: "Not yours to do.",
    Kind.NOT_FOUND: "Not there, or none of your business.",
    Kind.TIMED_OUT: "It stood still, or came too slowly.",
    Kind.CONFLICT: "At odds with what is there.",
    Kind.TOO_LARGE: "More bytes than allowed.",
    Kind.UNSUPPORTED: "A type that is not taken.",
    Kind.BROKEN: "A file that is damaged, or beyond the limits.",
    Kind.LIMITED: "Too much at once.",
    Kind.UNAVAILABLE: "Something is away for a moment; nothing was changed.",
    Kind.FULL: "No room left.",
}


def refusals(*kinds: Kind, takes_body: bool = False) -> dict[int | str, dict[str, Any]]:
    """How a route may refuse: these ways, and those that every route has."""
    every = {*kinds, *_ALWAYS, *(_WITH_BODY if takes_body else ())}
    bug: dict[str, Any] = {"model": Refusal, "description": "A bug."}
    told: dict[int | str, dict[str, Any]] = {int(HTTPStatus.INTERNAL_SERVER_ERROR): bug}
    for kind in sorted(every, key=lambda kind: STATUS[kind]):
        described = told[int(STATUS[kind])] = {"model": Refusal, "description": _MEANINGS[kind]}
        if kind in PASSING:
            described["headers"] = _RETRY_AFTER
    return told


def takes_json(model: type[BaseModel]) -> dict[str, Any]:
    """A route that reads this model itself, after it knows who asks."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


PICTURES = "JPEG, PNG, WebP, GIF, AVIF or HEIC"


def takes_file(description: str) -> dict[str, Any]:
    """A route that reads a form with one file."""
    file = {"type": "string", "format": "binary", "description": description}
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": file},
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": content},
    }
