"""What can be asked of the media service, whatever carries the calls there."""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from media_proto import media_service_pb2 as pb

from media_client import _convert, _transport
from media_client._chunks import Content, Progress, Source, content_of, messages, sha256_of
from media_client._convert import About
from media_client._retrying import ONCE, Retries, attempting
from media_client._transport import AnswerT, Call, RequestT, Rpc, Transport
from media_client._watching import Watch
from media_client.models import (
    DeletedBatch,
    Media,
    MediaBatch,
    Processing,
    ProcessingOptions,
    Purpose,
    SignedUrl,
    UploadedMedia,
    Visibility,
)

MB = 1024 * 1024
MOST_UNARY_BYTES = 1 * MB
"""What `upload_media` sends in one message; more than this it streams."""
T = TypeVar("T")


class MediaApi(abc.ABC):
    """The calls of the media service; `MediaClient` makes them, so does the test double.

    Annotate what needs the media service with this class, and hand it either.

    Every call raises `MediaError`s and nothing else of the way there: what it says under "Raises",
    `Unavailable` or `Limited` when trying again did not help, `DeadlineExceeded`,
    `Unauthenticated`, `InternalError`, `BadAnswer`; and RuntimeError outside the client's
    `async with`.

    >>> async def forget_user(media: MediaApi, ids: list[str], user_id: str) -> None:
    ...     await media.batch_delete_media(ids, user_id=user_id)
    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> await forget_user(media, [stored.media_id], "alice")
    """

    def __init__(self, *, timeout: float, upload_timeout: float, retries: Retries) -> None:
        if timeout <= 0 or upload_timeout <= 0:
            raise ValueError("timeouts must be more than 0 seconds")
        self._timeout = timeout
        self._upload_timeout = upload_timeout
        self._retries = retries

    @property
    @abc.abstractmethod
    def _transport(self) -> Transport:
        """What carries the calls. Raises RuntimeError unless the client is open."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Open the client."""

    @abc.abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; calls that still run end `Interrupted`."""

    async def upload_media(  # noqa: PLR0913 - keywords, and the contract has as many
        self,
        data: bytes,
        *,
        filename: str,
        user_id: str,
        purpose: Purpose,
        content_type: str = "",
        processing_options: ProcessingOptions | None = None,
        idempotency_key: str | None = None,
        visibility: Visibility | None = None,
        expected_sha256: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - goes to the service, too
    ) -> UploadedMedia:
        """Store a file: when this answers, it is stored for good, checked, and its URLs work.

        Above 1 MB it goes in chunks by itself. Without an `idempotency_key` one is made, so that
        it can be tried again safely.

        Raises Invalid (Broken, TooLarge, Unsupported), IdempotencyKeyReused, Full.

        >>> stored = await media.upload_media(
        ...     picture, filename="cat.png", user_id="alice", purpose=Purpose.POST_ATTACHMENT
        ... )
        >>> stored.media_type.value, stored.width, stored.height
        ('image', 64, 48)
        """
        about = About(
            filename=filename,
            user_id=user_id,
            purpose=purpose,
            content_type=content_type,
            processing_options=processing_options,
            idempotency_key=idempotency_key or "",
            visibility=visibility,
            expected_sha256=expected_sha256,
        )
        if len(data) > MOST_UNARY_BYTES:
            return await self._stream(about, content_of(data), seconds=timeout)
        request = about.with_key().request(bytes(data))
        return await self._ask(
            _transport.UPLOAD_MEDIA,
            request,
            _convert.uploaded_media,
            seconds=timeout or self._upload_timeout,
        )

    async def upload_media_stream(  # noqa: PLR0913 - keywords, and the contract has as many
        self,
        source: Source,
        *,
        filename: str,
        user_id: str,
        purpose: Purpose,
        content_type: str = "",
        processing_options: ProcessingOptions | None = None,
        idempotency_key: str | None = None,
        visibility: Visibility | None = None,
        expected_sha256: str = "",
        expected_size_bytes: int | None = None,
        on_progress: Progress | None = None,
        hash_first: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - goes to the service, too
    ) -> UploadedMedia:
        """Store a file of any size in bounded memory, from bytes, a path, a file or an iterator.

        `on_progress` is told the bytes sent so far and the total, None if that is not known; it
        begins again when the upload is tried again. That is done only with what can be read
        twice: not with an async iterator, nor a file that can't be sought. `hash_first` reads the
        source once more before, so that the service refuses anything but these very bytes. An
        async generator is closed at the end, a file stays open.

        Raises what `upload_media` raises; what reading the source raises; ValueError for
        `hash_first` with what can't be read twice.

        >>> async def from_elsewhere():
        ...     yield picture[:50]
        ...     yield picture[50:]
        >>> stored = await media.upload_media_stream(
        ...     from_elsewhere(),
        ...     filename="cat.png",
        ...     user_id="alice",
        ...     purpose=Purpose.POST_ATTACHMENT,
        ...     on_progress=lambda sent, total: print(sent == len(picture), total),
        ... )
        True None
        """
        content = content_of(source)
        size_bytes = expected_size_bytes or await content.size_bytes()
        about = About(
            filename=filename,
            user_id=user_id,
            purpose=purpose,
            content_type=content_type,
            processing_options=processing_options,
            idempotency_key=idempotency_key or "",
            visibility=visibility,
            expected_sha256=expected_sha256 or (await _hashed(content) if hash_first else ""),
            expected_size_bytes=size_bytes,
        )
        return await self._stream(about, content, on_progress=on_progress, seconds=timeout)

    async def upload_profile_picture(
        self, data: bytes, filename: str, user_id: str
    ) -> UploadedMedia:
        """Store a person's picture: an image of up to 10 MB. Raises what `upload_media` raises.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> [(each.name, each.width) for each in stored.thumbnails][:1]
        [('small', 48)]
        """
        return await self.upload_media(
            data, filename=filename, user_id=user_id, purpose=Purpose.PROFILE_PICTURE
        )

    async def upload_cover_photo(self, data: bytes, filename: str, user_id: str) -> UploadedMedia:
        """Store a profile's banner: an image of up to 20 MB. Raises what `upload_media` raises.

        >>> stored = await media.upload_cover_photo(picture, "lake.png", "alice")
        >>> [each.name for each in stored.thumbnails]
        ['thumb', 'medium', 'large']
        """
        return await self.upload_media(
            data, filename=filename, user_id=user_id, purpose=Purpose.COVER_PHOTO
        )

    async def get_media(self, media_id: str) -> Media:
        """All that is known of a medium. Raises MediaNotFound, InvalidMediaId.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> (await media.get_media(stored.media_id)).user_id
        'alice'
        """
        request = pb.GetMediaRequest(media_id=_convert.text(media_id))
        return await self._ask(_transport.GET_MEDIA, request, _convert.media)

    async def get_uploaded_media(self, idempotency_key: str, *, user_id: str) -> Media:
        """What the user uploaded under this key, if the answer never arrived.

        Raises MediaNotFound, InvalidUserId.

        >>> stored = await media.upload_media(
        ...     picture, filename="a.png", user_id="alice", purpose=Purpose.STORY,
        ...     idempotency_key="one",
        ... )
        >>> found = await media.get_uploaded_media("one", user_id="alice")
        >>> found.media_id == stored.media_id
        True
        """
        if not idempotency_key:
            raise ValueError("without a key there is nothing to find")
        request = pb.GetMediaRequest(
            user_id=_convert.text(user_id), idempotency_key=idempotency_key
        )
        return await self._ask(_transport.GET_MEDIA, request, _convert.media)

    def watch(
        self,
        media_id: str,
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[Media, None]:
        """The medium as it is now, and again whenever it changed, until its processing is over.

        The last one is COMPLETED or FAILED. Connections that break are made anew. Raises
        MediaNotFound, also when it is deleted meanwhile, of which CANCELLED tells before;
        InvalidMediaId; DeadlineExceeded after `timeout` seconds (None: never); Unavailable when
        the service can't be reached for a minute.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> async for known in media.watch(stored.media_id):
        ...     last = known
        >>> last.status.value, last.progress_percent
        ('completed', 100)
        """
        watch = Watch(self._transport, media_id, seconds=timeout, retries=self._retries)
        return watch.states()

    async def wait_until_done(
        self,
        media_id: str,
        timeout: float,  # noqa: ASYNC109 - goes to the service, too
    ) -> Media:
        """The medium when its processing is over: COMPLETED, or FAILED with its `failure_code`.

        Raises what `watch` raises.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> (await media.wait_until_done(stored.media_id, timeout=60)).status.value
        'completed'
        """
        known = [each async for each in self.watch(media_id, timeout=timeout)]
        return known[-1]

    async def delete_media(self, media_id: str, *, user_id: str) -> None:
        """Delete a medium for good; deleting twice is no error to its owner.

        Raises NotTheOwner for public media of others, MediaNotFound for private ones and where
        there is none, InvalidMediaId, InvalidUserId.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> await media.delete_media(stored.media_id, user_id="alice")
        """
        request = pb.DeleteMediaRequest(
            media_id=_convert.text(media_id), user_id=_convert.text(user_id)
        )
        await self._ask(_transport.DELETE_MEDIA, request, _convert.nothing)

    async def process_media(
        self, media_id: str, *, user_id: str, processing_options: ProcessingOptions | None = None
    ) -> Processing:
        """Have the renditions made anew; equal options change nothing, unless it had FAILED.

        Raises MediaNotFound, NotTheOwner, InvalidOptions, InvalidMediaId, InvalidUserId.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> grey = ProcessingOptions(quality=40)
        >>> state = await media.process_media(
        ...     stored.media_id, user_id="alice", processing_options=grey
        ... )
        >>> state.status.value
        'pending'
        """
        request = pb.ProcessMediaRequest(
            media_id=_convert.text(media_id),
            user_id=_convert.text(user_id),
            processing_options=_convert.options_message(processing_options),
        )
        return await self._ask(_transport.PROCESS_MEDIA, request, _convert.processing)

    async def get_signed_url(
        self, media_id: str, *, expiry_seconds: int = 3600, rendition: str = "full"
    ) -> SignedUrl:
        """A URL that lets whoever has it read a rendition, for 1 second to 7 days.

        It works for at least as long as asked, and up to a quarter longer, so that equal
        requests get equal URLs. A `rendition` that is spelled by `media_client.transformations`
        is made when the URL is read; for public media that URL is always the same, and does not
        end. Raises MediaNotFound, RenditionNotFound, InvalidTransformation, InvalidExpiry,
        InvalidMediaId.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> link = await media.get_signed_url(stored.media_id, rendition="small")
        >>> "sig=" in link.url
        True
        """
        request = pb.GetSignedUrlRequest(
            media_id=_convert.text(media_id),
            expiry_seconds=_convert.int32(expiry_seconds),
            rendition=_convert.text(rendition),
        )
        return await self._ask(_transport.GET_SIGNED_URL, request, _convert.signed_url)

    async def batch_get_media(self, media_ids: Iterable[str]) -> MediaBatch:
        """What is known of 1 to 100 media, in the order asked for. Raises InvalidBatch.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> batch = await media.batch_get_media([stored.media_id, stored.media_id])
        >>> [each.filename for each in batch.media]
        ['me.png', 'me.png']
        """
        request = pb.BatchGetMediaRequest(media_ids=[_convert.text(each) for each in media_ids])
        return await self._ask(_transport.BATCH_GET_MEDIA, request, _convert.media_batch)

    async def batch_delete_media(self, media_ids: Iterable[str], *, user_id: str) -> DeletedBatch:
        """Delete 1 to 100 media; one that can't be deleted spoils nothing else.

        Raises InvalidBatch, InvalidUserId.

        >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
        >>> outcome = await media.batch_delete_media([stored.media_id], user_id="bob")
        >>> [failure.code for failure in outcome.failures]
        ['not_the_owner']
        """
        request = pb.BatchDeleteMediaRequest(
            media_ids=[_convert.text(each) for each in media_ids], user_id=_convert.text(user_id)
        )
        return await self._ask(_transport.BATCH_DELETE_MEDIA, request, _convert.deleted_batch)

    async def _ask(
        self,
        rpc: Rpc[RequestT, AnswerT],
        request: RequestT,
        convert: Callable[[AnswerT], T],
        *,
        seconds: float | None = None,
    ) -> T:
        transport = self._transport

        async def once(call: Call) -> T:
            answer = await transport.unary(rpc, request, call)
            return _convert.understood(answer, convert, request_id=call.request_id)

        return await attempting(once, seconds=seconds or self._timeout, retries=self._retries)

    async def _stream(
        self,
        about: About,
        content: Content,
        *,
        on_progress: Progress | None = None,
        seconds: float | None,
    ) -> UploadedMedia:
        transport = self._transport
        metadata = (about.with_key() if content.is_replayable else about).metadata()
        total = about.expected_size_bytes

        async def once(call: Call) -> UploadedMedia:
            chunks = messages(metadata, content, total=total, on_progress=on_progress)
            answer = await transport.stream(chunks, call)
            to_value = _convert.uploaded_media
            return _convert.understood(answer, to_value, request_id=call.request_id)

        return await attempting(
            once,
            seconds=seconds or self._upload_timeout,
            retries=self._retries if content.is_replayable else ONCE,
        )


async def _hashed(content: Content) -> str:
    if not content.is_replayable:
        raise ValueError("hash_first needs a source that can be read twice")
    return await sha256_of(content)
