"""Answers in the envelope."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from pydantic import BaseModel
from starlette.responses import Response


def answer(data: BaseModel, *, status: int = HTTPStatus.OK) -> Response:
    """What worked, in its envelope."""
    content = orjson.dumps({"success": True, "data": data.model_dump()})
    return Response(content, status_code=status, media_type="application/json")
