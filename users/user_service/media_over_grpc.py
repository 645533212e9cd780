"""The media service through `media_client`, and the one place where its errors become ours."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager

import media_client
import structlog
from media_client import MediaApi, Purpose, UploadedMedia
from structlog.contextvars import get_contextvars

from user_service import errors
from user_service.ports import MediaDetails
from user_service.records import MediaId, Picture, Rendition, Slot, Thumbnail, UserId
from user_service.spools import IN_MEMORY_BYTES, SpooledFile

PURPOSES: Mapping[Slot, Purpose] = {
    Slot.PROFILE_PICTURE: Purpose.PROFILE_PICTURE,
    Slot.COVER_PHOTO: Purpose.COVER_PHOTO,
}
OURS: Mapping[type[media_client.MediaError], type[errors.UserError]] = {
    media_client.Broken: errors.Broken,
    media_client.TooLarge: errors.TooLarge,
    media_client.Unsupported: errors.Unsupported,
    media_client.errors.EmptyFile: errors.EmptyFile,
    media_client.errors.InvalidFilename: errors.Invalid,
    media_client.errors.InvalidContentType: errors.Invalid,
    media_client.errors.InvalidMediaId: errors.InvalidMediaId,
    media_client.errors.InvalidUserId: errors.InvalidUserId,
    media_client.Forbidden: errors.NotTheOwner,
    media_client.NotFound: errors.MediaNotFound,
    media_client.errors.IdempotencyKeyReused: errors.IdempotencyKeyReused,
    media_client.Conflict: errors.Conflict,
    media_client.Limited: errors.Limited,
    media_client.Full: errors.StorageFull,
}
"""What a user can do something about, or should know. All else is the media service being away:
it is down, slow, makes no sense, or we asked it for what no user did."""
_BYTES_PER_SECOND = 4 * 1024 * 1024
"""What an upload may count on: a film of 512 MB has two minutes more than a small picture."""

log = structlog.get_logger()


class MediaOverGrpc:
    """The media service, through an open client."""

    def __init__(self, client: MediaApi, *, upload_seconds: float = 60) -> None:
        self._client = client
        self._upload_seconds = upload_seconds

    async def upload(
        self, file: SpooledFile, *, slot: Slot, user_id: UserId, idempotency_key: str
    ) -> Picture:
        """Store a file for a slot. The same key and bytes again answer the same medium."""
        with _translated():
            return _picture(await self._send(file, PURPOSES[slot], user_id, idempotency_key))

    async def attach(
        self, file: SpooledFile, *, user_id: UserId, idempotency_key: str
    ) -> MediaDetails:
        """Store a file for a post. As `upload`, with all that is known of it."""
        with _translated():
            stored = await self._send(file, Purpose.POST_ATTACHMENT, user_id, idempotency_key)
            return _details(await self._client.get_media(stored.media_id))

    async def _send(
        self, file: SpooledFile, purpose: Purpose, user_id: UserId, idempotency_key: str
    ) -> UploadedMedia:
        """One message for what is small; the rest in chunks, and with the time that it takes."""
        if file.size_bytes <= IN_MEMORY_BYTES:
            return await self._client.upload_media(
                file.content.read(),
                filename=file.filename,
                content_type=file.content_type,
                user_id=user_id,
                purpose=purpose,
                idempotency_key=idempotency_key,
            )
        return await self._client.upload_media_stream(
            file.content,
            filename=file.filename,
            content_type=file.content_type,
            user_id=user_id,
            purpose=purpose,
            idempotency_key=idempotency_key,
            expected_size_bytes=file.size_bytes,
            timeout=self._upload_seconds + file.size_bytes / _BYTES_PER_SECOND,
        )

    async def get(self, media_id: MediaId) -> MediaDetails:
        """What is known of a medium. Raises MediaNotFound."""
        with _translated():
            return _details(await self._client.get_media(media_id))

    async def watch(self, media_id: MediaId) -> AsyncIterator[MediaDetails]:
        """What is known of it now, and again when that has changed; over when its processing is."""
        async with aclosing(self._client.watch(media_id)) as states:
            while True:
                with _translated():  # once for each: the next may be asked for by another task
                    known = await anext(states, None)
                    details = _details(known) if known else None
                if details is None:
                    return
                yield details

    async def find_uploaded(self, user_id: UserId, *, idempotency_key: str) -> MediaId:
        """What this user uploaded under this key. Raises MediaNotFound."""
        with _translated():
            found = await self._client.get_uploaded_media(idempotency_key, user_id=user_id)
            return _media_id(found.media_id)

    async def delete(self, media_id: MediaId, *, user_id: UserId) -> None:
        """Delete a medium of this user; twice is no error. Raises MediaNotFound, NotTheOwner."""
        with _translated():
            await self._client.delete_media(media_id, user_id=user_id)

    async def check(self) -> None:
        """Return if the media service answers, and lets us ask."""
        try:
            await self.get(MediaId(str(uuid.uuid4())))
        except errors.MediaNotFound:
            return


@contextmanager
def _translated() -> Iterator[None]:
    """Send our request id along; raise our errors for what the client raises."""
    try:
        with media_client.request_id(get_contextvars().get("request_id", uuid.uuid4().hex)):
            yield
    except media_client.MediaError as error:
        raise translation(error) from error
    except ValueError as error:  # an answer with, for instance, no media id
        raise errors.MediaUnavailable from error


def translation(error: media_client.MediaError) -> errors.UserError:
    """Our error for one of the client's: that of the nearest class in the table."""
    for cls in type(error).__mro__:
        if issubclass(cls, media_client.MediaError) and cls in OURS:
            return OURS[cls](error.message, code=error.code, retry_after_seconds=_patience(error))
    log.warning("media.unavailable", code=error.code, cause=repr(error))
    return errors.MediaUnavailable(retry_after_seconds=_patience(error))


def _patience(error: media_client.MediaError) -> int:
    return max(1, round(error.retry_after)) if error.retry_after else errors.RETRY_AFTER_SECONDS


def _picture(stored: UploadedMedia) -> Picture:
    return Picture(
        media_id=_media_id(stored.media_id),
        url=stored.url,
        thumbnail_url=stored.thumbnail_url,
        width=stored.width,
        height=stored.height,
        blurhash=stored.blurhash,
        thumbnails=tuple(_thumbnail(thumbnail) for thumbnail in stored.thumbnails),
    )


def _media_id(text: str) -> MediaId:
    """Raises ValueError: what is no id here is no id anywhere."""
    return MediaId(str(uuid.UUID(text)))


def _thumbnail(stored: media_client.Rendition) -> Thumbnail:
    return Thumbnail(name=stored.name, url=stored.url, width=stored.width, height=stored.height)


def _rendition(stored: media_client.Rendition) -> Rendition:
    return Rendition(
        name=stored.name,
        url=stored.url,
        width=stored.width,
        height=stored.height,
        content_type=stored.content_type,
        size_bytes=stored.size_bytes,
    )


def _details(media: media_client.Media) -> MediaDetails:
    return MediaDetails(
        picture=_picture(media),
        user_id=UserId(media.user_id),
        is_private=media.visibility is not media_client.Visibility.PUBLIC,
        purpose=media.purpose.value,
        media_type=media.media_type.value,
        content_type=media.content_type,
        filename=media.filename,
        size_bytes=media.size_bytes,
        status=media.status.value,
        visibility=media.visibility.value,
        duration_ms=media.duration_ms,
        failure_code=media.failure_code,
        created_at=media.created_at,
        updated_at=media.updated_at,
        expires_at=media.expires_at,
        progress_percent=media.progress_percent,
        page_count=media.page_count,
        has_audio=media.has_audio,
        renditions=tuple(_rendition(rendition) for rendition in media.renditions),
    )
