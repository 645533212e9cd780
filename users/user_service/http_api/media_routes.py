"""Pictures and attachments: in, out, and what is known of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from user_service.attachments import Attachments
from user_service.errors import Kind
from user_service.http_api.answers import answer
from user_service.http_api.asking import User
from user_service.http_api.documentation import PICTURES, refusals, takes_file
from user_service.http_api.events import EventStreams
from user_service.http_api.schemas import (
    Answer,
    DeletedView,
    MediaView,
    PictureView,
    media_view,
    picture_view,
)
from user_service.http_api.uploading import Uploading
from user_service.pictures import Pictures
from user_service.records import MediaId, Slot, UserId
from user_service.records import media_id as parsed_media_id
from user_service.service import UserService
from user_service.viewing import Viewing


class _MediumConvertor(StringConvertor):
    """What may be an id: not the names of our own endpoints, whose methods are theirs."""

    regex = "(?!profile-picture$|cover-photo$|attachments$)[^/]+"


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


_EVENTS: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.OK): {
        "description": "One `data:` with what GET answers as `data`, at once and at each change, "
        "until the work on the medium is over; then the stream ends. `event: error` with `code` "
        "and `message` if it can't go on. After ten minutes, or when the service stops, it ends "
        "early: ask again.",
        "content": {"text/event-stream": {"schema": {"type": "object"}}},
    }
}
_ATTACHMENT = (
    f"A picture, up to 25 MB: {PICTURES}. A film, up to 512 MB and 30 minutes: MP4, MOV, WebM or "
    "MKV. A sound, up to 100 MB and 30 minutes: MP3, M4A, AAC, Ogg, WebM, WAV or FLAC."
)


def media_routes(service: UserService, uploading: Uploading, streams: EventStreams) -> APIRouter:
    """The routes under /api/v1/media."""
    router = APIRouter(prefix="/api/v1/media", tags=["media"])
    _add_uploads(router, _Uploads(uploading, service.pictures, service.attachments))
    _add_media(router, _Media(service.pictures, service.viewing, streams))
    return router


def _add_uploads(router: APIRouter, endpoints: _Uploads) -> None:
    router.post(
        "/profile-picture",
        response_model=Answer[PictureView],
        responses=_UPLOAD_REFUSALS,
        openapi_extra=takes_file(f"A picture, up to 10 MB: {PICTURES}."),
    )(endpoints.set_profile_picture)
    router.post(
        "/cover-photo",
        response_model=Answer[PictureView],
        responses=_UPLOAD_REFUSALS,
        openapi_extra=takes_file(f"A picture, up to 20 MB: {PICTURES}."),
    )(endpoints.set_cover_photo)
    router.post(
        "/attachments",
        response_model=Answer[MediaView],
        responses=_UPLOAD_REFUSALS,
        openapi_extra=takes_file(_ATTACHMENT),
    )(endpoints.add_attachment)


def _add_media(router: APIRouter, endpoints: _Media) -> None:
    router.get(
        "/{media_id:medium}",
        response_model=Answer[MediaView],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.NOT_FOUND),
    )(endpoints.read)
    router.get(
        "/{media_id:medium}/events",
        response_class=Response,
        responses=refusals(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.LIMITED) | _EVENTS,
    )(endpoints.listen)
    router.delete(
        "/{media_id:medium}",
        response_model=Answer[DeletedView],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.NOT_FOUND) | _DELETING,
    )(endpoints.delete)


# The docstrings of endpoints are the documentation of their routes.


class _Uploads:
    """What takes a file."""

    def __init__(self, uploading: Uploading, pictures: Pictures, attachments: Attachments) -> None:
        self._uploading = uploading
        self._pictures = pictures
        self._attachments = attachments

    async def set_profile_picture(self, request: Request, user: User) -> Response:
        """Set your profile picture; the one before is deleted."""
        return await self._set(request, Slot.PROFILE_PICTURE, user)

    async def set_cover_photo(self, request: Request, user: User) -> Response:
        """Set your cover photo; the one before is deleted."""
        return await self._set(request, Slot.COVER_PHOTO, user)

    async def _set(self, request: Request, slot: Slot, user: UserId) -> Response:
        async with self._uploading.picture(request, slot=slot, user=user) as (file, key):
            picture = await self._pictures.put(file, slot=slot, user_id=user, idempotency_key=key)
        return answer(picture_view(picture))

    async def add_attachment(self, request: Request, user: User) -> Response:
        """Store a picture, a film or a sound for a post; it is yours until you delete it.

        A picture and a poster can be shown at once; what plays is among the `renditions` when it
        is there: `progress_percent` and the events tell when.
        """
        async with self._uploading.attachment(request, user=user) as (file, key):
            stored = await self._attachments.add(file, user_id=user, idempotency_key=key)
        return answer(media_view(stored, to=user))


class _Media:
    """What tells of a medium, and ends one."""

    def __init__(self, pictures: Pictures, viewing: Viewing, streams: EventStreams) -> None:
        self._pictures = pictures
        self._viewing = viewing
        self._streams = streams

    async def read(self, media_id: _MediaId, user: User) -> Response:
        """What is known of a medium; private ones only to their owner."""
        details = await self._viewing.details(parsed_media_id(media_id), user_id=user)
        return answer(media_view(details, to=user))

    async def listen(self, media_id: _MediaId, user: User) -> Response:
        """What is known of a medium, and again whenever that has changed, as server-sent events."""
        views = self._views(parsed_media_id(media_id), user)
        return await self._streams.answer(views, user=user)

    async def _views(self, media_id: MediaId, user: UserId) -> AsyncIterator[MediaView]:
        async for details in self._viewing.changes(media_id, user_id=user):
            yield media_view(details, to=user)

    async def delete(self, media_id: _MediaId, user: User) -> Response:
        """Delete a medium of yours; your profile forgets it. Twice is no error."""
        parsed = parsed_media_id(media_id)
        is_gone = await self._pictures.delete(parsed, user_id=user)
        view = DeletedView(media_id=parsed, status="deleted" if is_gone else "deleting")
        return answer(view, status=HTTPStatus.OK if is_gone else HTTPStatus.ACCEPTED)
