"""The RPCs: messages in, the core's doings, messages out. Errors are raised, not handled."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from media_proto import media_service_pb2 as pb

from media_service.core.errors import InvalidBatch, InvalidMediaId, MediaError
from media_service.core.media import MediaId, parse_media_id
from media_service.core.reading import MAX_BATCH
from media_service.core.service import MediaService
from media_service.core.uploads import parse_user_id
from media_service.entrypoints.grpc_api import convert
from media_service.entrypoints.grpc_api.answers import MediaAnswers
from media_service.entrypoints.grpc_api.chunks import ChunkReader, RequestStream, sliced
from media_service.entrypoints.grpc_api.errors import Context
from media_service.entrypoints.grpc_api.measuring import measured_upload
from media_service.entrypoints.grpc_api.watchers import Watchers


class MediaServicer:
    """The methods of `media.MediaService`, by name. An answer may be in wire format already."""

    def __init__(self, service: MediaService) -> None:
        self._service = service
        self._answers = MediaAnswers(service.links, clock=service.clock)
        self._watchers = Watchers()

    async def UploadMedia(
        self, request: pb.UploadMediaRequest, context: Context
    ) -> pb.UploadMediaResponse:
        """Store one file sent in one message."""
        declared = convert.declared_from(request)
        media = await measured_upload(self._service.uploading, declared, sliced(request.data))
        return convert.upload_response(media, self._service.links, now=self._service.clock())

    async def UploadMediaStream(
        self, request_iterator: RequestStream, context: Context
    ) -> pb.UploadMediaResponse:
        """Store one file sent in chunks."""
        stream = ChunkReader(request_iterator)
        try:
            declared = convert.declared_from(await stream.metadata())
            media = await measured_upload(self._service.uploading, declared, stream.data())
        except MediaError:
            await stream.drain()
            raise
        return convert.upload_response(media, self._service.links, now=self._service.clock())

    async def GetMedia(self, request: pb.GetMediaRequest, context: Context) -> bytes:
        """Tell what is known of one medium."""
        if request.idempotency_key and not request.media_id:
            media = await self._service.reading.get_uploaded(
                parse_user_id(request.user_id), idempotency_key=request.idempotency_key
            )
        else:
            media = await self._service.reading.get(parse_media_id(request.media_id))
        return self._answers.encoded(media)

    async def DeleteMedia(
        self, request: pb.DeleteMediaRequest, context: Context
    ) -> pb.DeleteMediaResponse:
        """Delete one medium."""
        user = parse_user_id(request.user_id)
        await self._service.deleting.delete(parse_media_id(request.media_id), user=user)
        return pb.DeleteMediaResponse()

    async def ProcessMedia(
        self, request: pb.ProcessMediaRequest, context: Context
    ) -> pb.ProcessMediaResponse:
        """Have the renditions made anew."""
        media = await self._service.processing.request(
            parse_media_id(request.media_id),
            user=parse_user_id(request.user_id),
            options=convert.options_from(request),
        )
        return pb.ProcessMediaResponse(
            media_id=media.id, status=convert.status_number(media.status)
        )

    async def GetSignedUrl(
        self, request: pb.GetSignedUrlRequest, context: Context
    ) -> pb.GetSignedUrlResponse:
        """Sign a URL."""
        url, expires_at = await self._service.signing.sign(
            parse_media_id(request.media_id),
            rendition=request.rendition,
            expiry_seconds=request.expiry_seconds,
        )
        return pb.GetSignedUrlResponse(url=url, expires_at=convert.timestamp(expires_at))

    async def BatchGetMedia(self, request: pb.BatchGetMediaRequest, context: Context) -> bytes:
        """Tell what is known of many media."""
        asked = _checked_batch(request.media_ids)
        ids = {text: media_id for text in asked if (media_id := _parsed(text))}
        found = await self._service.reading.find(list(dict.fromkeys(ids.values())))
        each = [(text, found.get(ids[text]) if text in ids else None) for text in asked]
        return self._answers.encoded_batch(
            [media for _, media in each if media],
            missing=[text for text, media in each if not media],
        )

    async def BatchDeleteMedia(
        self, request: pb.BatchDeleteMediaRequest, context: Context
    ) -> pb.BatchDeleteMediaResponse:
        """Delete many media."""
        user = parse_user_id(request.user_id)
        ids = _checked_batch(request.media_ids)
        outcomes = await self._service.deleting.delete_many(ids, user=user)
        failed = {text: error for text, error in outcomes.items() if error}
        return pb.BatchDeleteMediaResponse(
            deleted_count=len(outcomes) - len(failed),
            failed_ids=list(failed),
            failures=[_failure(text, error) for text, error in failed.items()],
        )

    async def WatchMedia(self, request: pb.WatchMediaRequest, context: Context) -> None:
        """Tell what is known of one medium, again and again until its work is over."""
        media_id = parse_media_id(request.media_id)
        with self._watchers.joined(context.peer()):
            async with aclosing(self._service.watching.watch(media_id)) as told:
                async for media in told:
                    await context.write(self._answers.encoded(media))


def _checked_batch(ids: Iterable[str]) -> list[str]:
    asked = list(ids)
    if not 1 <= len(asked) <= MAX_BATCH:
        raise InvalidBatch
    return asked


def _parsed(text: str) -> MediaId | None:
    try:
        return parse_media_id(text)
    except InvalidMediaId:
        return None


def _failure(text: str, error: MediaError) -> pb.BatchDeleteFailure:
    return pb.BatchDeleteFailure(media_id=text, code=error.code, message=str(error))
