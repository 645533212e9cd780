"""Uploads of every kind: out of a request into a spool, for whoever asks for the file."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request

from user_service.errors import FileTooLarge, InvalidIdempotencyKey
from user_service.http_api.bodies import Pace
from user_service.http_api.places import Places
from user_service.records import Slot, UserId
from user_service.spools import SpooledFile, open_spool
from user_service.throttling import Throttling
from user_service.uploads import Expected, boundary_of, receive_file

MB = 1024 * 1024
SLOT_BYTES: Mapping[Slot, int] = {Slot.PROFILE_PICTURE: 10 * MB, Slot.COVER_PHOTO: 20 * MB}
ATTACHMENT_BYTES: Mapping[str, int] = {"image": 25 * MB, "video": 512 * MB, "audio": 100 * MB}
ATTACHMENTS_OF_ONE = 4
"""How many one person may send at a time."""
_NO_ATTACHMENT = (
    "Only pictures, films and sounds are taken: JPEG, PNG, WebP, GIF, AVIF, HEIC; MP4, MOV, WebM, "
    "MKV; MP3, M4A, AAC, Ogg, WAV, FLAC."
)
_KEY = re.compile(r"[\x21-\x7e]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How many uploads at once, how slowly, and where they wait."""

    folder: Path
    at_once: int = 256
    attachments_at_once: int = 24
    pace: Pace = dataclasses.field(default_factory=Pace)


class Uploading:
    """Takes files out of requests. What can be refused without the body is, before it is read."""

    def __init__(self, throttling: Throttling, limits: UploadLimits) -> None:
        self._throttling = throttling
        self._folder = limits.folder
        self._pictures = Places(limits.at_once, of_one=limits.at_once, pace=limits.pace)
        self._attachments = Places(
            limits.attachments_at_once, of_one=ATTACHMENTS_OF_ONE, pace=limits.pace
        )

    @asynccontextmanager
    async def picture(
        self, request: Request, *, slot: Slot, user: UserId
    ) -> AsyncIterator[tuple[SpooledFile, str]]:
        """The file for a slot, as long as this lasts, and the key its upload goes by."""
        expected = Expected(limits={"image": SLOT_BYTES[slot]}, user_id=user)
        boundary, key = _boundary_and_key(request, expected)
        self._pictures.check(user)
        await self._throttling.before_upload(user)
        with self._pictures.taken(user) as arrival:
            async with self._received(arrival.pieces(request), boundary, expected) as file:
                yield file, f"{slot}:{key}"

    @asynccontextmanager
    async def attachment(
        self, request: Request, *, user: UserId
    ) -> AsyncIterator[tuple[SpooledFile, str]]:
        """The file for a post, as long as this lasts, and the key its upload goes by."""
        expected = Expected(limits=ATTACHMENT_BYTES, user_id=user, refusal=_NO_ATTACHMENT)
        boundary, key = _boundary_and_key(request, expected)
        self._attachments.check(user)
        await self._throttling.before_attachment(user)
        with self._attachments.taken(user) as arrival:
            async with self._received(arrival.pieces(request), boundary, expected) as file:
                yield file, f"attachment:{key}"

    @asynccontextmanager
    async def _received(
        self, body: AsyncIterator[bytes], boundary: bytes, expected: Expected
    ) -> AsyncIterator[SpooledFile]:
        async with open_spool(self._folder) as spool:
            yield await receive_file(body, spool, boundary=boundary, expected=expected)


def _boundary_and_key(request: Request, expected: Expected) -> tuple[bytes, str]:
    """A body that says it is too large is believed. Raises FileTooLarge, and what these raise."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    key = _idempotency_key(request)
    if int(request.headers.get("content-length") or 0) > expected.max_body_bytes:
        raise FileTooLarge
    return boundary, key


def _idempotency_key(request: Request) -> str:
    """The caller's, so that a retry of a lost answer gets it; else one of its own."""
    values = request.headers.getlist("idempotency-key")
    if not values:
        return uuid.uuid4().hex
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise InvalidIdempotencyKey
    return values[0]
