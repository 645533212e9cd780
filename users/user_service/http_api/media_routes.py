"""Pictures: in, out, and what is known of them."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from user_service.errors import Busy, FileTooLarge, InvalidIdempotencyKey, Kind
from user_service.http_api.answers import answer
from user_service.http_api.asking import User
from user_service.http_api.bodies import Pace, arriving
from user_service.http_api.documentation import refusals, takes_file
from user_service.http_api.schemas import (
    Answer,
    DeletedView,
    MediaView,
    PictureView,
    media_view,
    picture_view,
)
from user_service.pictures import Pictures
from user_service.records import Slot, UserId
from user_service.records import media_id as parsed_media_id
from user_service.spools import open_spool
from user_service.throttling import Throttling
from user_service.uploads import Expected, boundary_of, receive_file

MB = 1024 * 1024
MAX_BYTES = {Slot.PROFILE_PICTURE: 10 * MB, Slot.COVER_PHOTO: 20 * MB}
_KEY = re.compile(r"[\x21-\x7e]{1,64}")


class _MediumConvertor(StringConvertor):
    """What may be an id: not the names of our own endpoints, whose methods are theirs."""

    regex = "(?!profile-picture$|cover-photo$)[^/]+"


register_url_convertor("medium", _MediumConvertor())
_UPLOAD_REFUSALS = refusals(
    Kind.UNAUTHENTICATED,
    Kind.FORBIDDEN,
    Kind.CONFLICT,
    Kind.BROKEN,
    Kind.LIMITED,
    takes_body=True,
)
_DELETING: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.ACCEPTED): {
        "model": Answer[DeletedView],
        "description": "The profile has forgotten it; it goes when the media service is back.",
    }
}
_MediaId = Annotated[str, InPath(json_schema_extra={"format": "uuid"})]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How many uploads at once, how slowly, and where they wait."""

    folder: Path
    at_once: int = 256
    pace: Pace = dataclasses.field(default_factory=Pace)


class Uploading:
    """Takes pictures out of requests and puts them into profiles."""

    def __init__(self, pictures: Pictures, throttling: Throttling, limits: UploadLimits) -> None:
        self._pictures = pictures
        self._throttling = throttling
        self._limits = limits
        self._under_way = 0

    async def put(self, request: Request, *, slot: Slot, user: UserId) -> Response:
        """Everything that can be refused without the body is refused before it is read."""
        boundary = boundary_of(request.headers.get("content-type", ""))
        key = _idempotency_key(request)
        expected = Expected(max_bytes=MAX_BYTES[slot], user_id=user)
        _check_announced(request, expected)
        with self._counted():
            await self._throttling.before_upload(user)
            async with open_spool(self._limits.folder) as spool:
                body = arriving(request, self._limits.pace)
                file = await receive_file(body, spool, boundary=boundary, expected=expected)
                picture = await self._pictures.put(
                    file, slot=slot, user_id=user, idempotency_key=f"{slot}:{key}"
                )
        return answer(picture_view(picture))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._under_way >= self._limits.at_once:
            raise Busy
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def _check_announced(request: Request, expected: Expected) -> None:
    """A body that says it is too large is believed. Raises FileTooLarge."""
    if int(request.headers.get("content-length") or 0) > expected.max_body_bytes:
        raise FileTooLarge


def _idempotency_key(request: Request) -> str:
    """The caller's, so that a retry of a lost answer gets it; else one of its own."""
    values = request.headers.getlist("idempotency-key")
    if not values:
        return uuid.uuid4().hex
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise InvalidIdempotencyKey
    return values[0]


def media_routes(uploading: Uploading, pictures: Pictures) -> APIRouter:
    """The routes under /api/v1/media."""
    router = APIRouter(prefix="/api/v1/media", tags=["media"])
    endpoints = _Endpoints(uploading, pictures)
    router.post(
        "/profile-picture",
        response_model=Answer[PictureView],
        responses=_UPLOAD_REFUSALS,
        openapi_extra=takes_file("10 MB"),
    )(endpoints.set_profile_picture)
    router.post(
        "/cover-photo",
        response_model=Answer[PictureView],
        responses=_UPLOAD_REFUSALS,
        openapi_extra=takes_file("20 MB"),
    )(endpoints.set_cover_photo)
    router.get(
        "/{media_id:medium}",
        response_model=Answer[MediaView],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.NOT_FOUND),
    )(endpoints.read)
    router.delete(
        "/{media_id:medium}",
        response_model=Answer[DeletedView],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.NOT_FOUND) | _DELETING,
    )(endpoints.delete)
    return router


class _Endpoints:
    """Their docstrings are the documentation of the routes."""

    def __init__(self, uploading: Uploading, pictures: Pictures) -> None:
        self._uploading = uploading
        self._pictures = pictures

    async def set_profile_picture(self, request: Request, user: User) -> Response:
        """Set your profile picture; the one before is deleted."""
        return await self._uploading.put(request, slot=Slot.PROFILE_PICTURE, user=user)

    async def set_cover_photo(self, request: Request, user: User) -> Response:
        """Set your cover photo; the one before is deleted."""
        return await self._uploading.put(request, slot=Slot.COVER_PHOTO, user=user)

    async def read(self, media_id: _MediaId, user: User) -> Response:
        """What is known of a medium; private ones only to their owner."""
        details = await self._pictures.details(parsed_media_id(media_id), user_id=user)
        return answer(media_view(details, to=user))

    async def delete(self, media_id: _MediaId, user: User) -> Response:
        """Delete a medium of yours; your profile forgets it. Twice is no error."""
        parsed = parsed_media_id(media_id)
        is_gone = await self._pictures.delete(parsed, user_id=user)
        view = DeletedView(media_id=parsed, status="deleted" if is_gone else "deleting")
        return answer(view, status=HTTPStatus.OK if is_gone else HTTPStatus.ACCEPTED)
