"""The description of the API: what it says is what the service does."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_ABOUT = """
Accounts, profiles and the pictures in them, and what will be attached to posts.

Every answer is `{"success": true, "data": …}` or
`{"success": false, "error": {"code", "message"}}`. Programs match on `code`; `message` is one
sentence that is safe to show. `X-Request-Id` finds the request in the logs; send one to have your
own there. MB means 1,048,576 bytes.

Send `Idempotency-Key` (1 to 64 visible characters) with an upload to make its retry safe: the
same key and file again answer the same medium.
"""


def describe(app: FastAPI) -> None:
    """Have the app answer /openapi.json with what is true."""
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title="userd",
            version=_version(),
            summary="Accounts, profiles and their pictures",
            description=_ABOUT.strip(),
            routes=app.routes,
        )
        _correct(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _version() -> str:
    try:
        return metadata.version("mediad-users")
    except metadata.PackageNotFoundError:
        return "0"


def _correct(schema: dict[str, Any]) -> None:
    """Take out what the framework adds of itself: a 422 in a form that nobody answers with."""
    framework = {"HTTPValidationError", "ValidationError"}
    components = schema["components"]["schemas"]
    for name in framework & set(components):
        del components[name]
    for path in schema["paths"].values():
        for operation in path.values():
            described = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(described):
                del operation["responses"]["422"]
