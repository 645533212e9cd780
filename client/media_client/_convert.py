"""Between the contract's messages and the client's values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from media_proto import media_service_pb2 as pb

from media_client.errors import BadAnswer
from media_client.models import (
    DeletedBatch,
    DeleteFailure,
    Media,
    MediaBatch,
    MediaType,
    Processing,
    ProcessingOptions,
    Purpose,
    Rendition,
    SignedUrl,
    Status,
    UploadedMedia,
    Visibility,
)

WordT = TypeVar("WordT", MediaType, Purpose, Status, Visibility)
MessageT = TypeVar("MessageT", bound=Message)
ValueT = TypeVar("ValueT")
_INT32 = 2**31 - 1


def _numbers(words: Iterable[WordT], numbered: Any) -> dict[WordT, Any]:
    return {word: numbered.Value(word.name) for word in words if word.value != "unknown"}


MEDIA_TYPES: Mapping[MediaType, pb.MediaType.ValueType] = _numbers(MediaType, pb.MediaType)
PURPOSES: Mapping[Purpose, pb.MediaPurpose.ValueType] = _numbers(Purpose, pb.MediaPurpose)
STATUSES: Mapping[Status, pb.ProcessingStatus.ValueType] = _numbers(Status, pb.ProcessingStatus)
VISIBILITIES: Mapping[Visibility, pb.Visibility.ValueType] = _numbers(Visibility, pb.Visibility)
_TYPES_BY_NUMBER = {number: word for word, number in MEDIA_TYPES.items()}
_PURPOSES_BY_NUMBER = {number: word for word, number in PURPOSES.items()}
_STATUSES_BY_NUMBER = {number: word for word, number in STATUSES.items()}
_VISIBILITIES_BY_NUMBER = {number: word for word, number in VISIBILITIES.items()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is said of a file."""

    filename: str
    user_id: str
    purpose: Purpose
    content_type: str = ""
    processing_options: ProcessingOptions | None = None
    idempotency_key: str = ""
    visibility: Visibility | None = None
    expected_sha256: str = ""
    expected_size_bytes: int | None = None

    def with_key(self) -> About:
        """The same with an idempotency key, so that trying again stores nothing twice."""
        if self.idempotency_key:
            return self
        return dataclasses.replace(self, idempotency_key=str(uuid4()))

    def request(self, data: bytes) -> pb.UploadMediaRequest:
        """An upload in one message."""
        return pb.UploadMediaRequest(data=data, **self._fields())

    def metadata(self) -> pb.UploadMetadata:
        """The beginning of an upload in chunks."""
        return pb.UploadMetadata(**self._fields())

    def _fields(self) -> dict[str, Any]:
        # An empty file is refused as such, not for a size that can't be announced.
        return {
            "filename": text(self.filename),
            "content_type": text(self.content_type),
            "user_id": text(self.user_id),
            "purpose": PURPOSES.get(self.purpose, 0),
            "processing_options": options_message(self.processing_options),
            "idempotency_key": text(self.idempotency_key),
            "visibility": _visibility_number(self.visibility),
            "expected_sha256": text(self.expected_sha256),
            "expected_size_bytes": self.expected_size_bytes or None,
        }


def _visibility_number(visibility: Visibility | None) -> int:
    """The number; for a word of no meaning one that the service refuses."""
    return 0 if visibility is None else VISIBILITIES.get(visibility, _INT32)


def text(value: str) -> str:
    """The text as it can be sent: file systems give names with bytes that are no Unicode."""
    return value.encode(errors="replace").decode()


def int32(value: int) -> int:
    """The nearest number that can be sent; what is out of range the service refuses by itself."""
    return max(-_INT32, min(value, _INT32))


def options_message(options: ProcessingOptions | None) -> pb.ProcessingOptions | None:
    """The options as a message."""
    if options is None:
        return None
    return pb.ProcessingOptions(
        generate_thumbnails=options.generate_thumbnails,
        generate_blurhash=options.generate_blurhash,
        quality=int32(options.quality),
        max_width=int32(options.max_width),
        max_height=int32(options.max_height),
        normalize_loudness=options.normalize_loudness,
    )


def understood(
    answer: MessageT, convert: Callable[[MessageT], ValueT], *, request_id: str
) -> ValueT:
    """The answer as a value. Raises BadAnswer if it makes no sense."""
    try:
        return convert(answer)
    except (ValueError, OverflowError) as error:
        raise BadAnswer(request_id=request_id) from error


# From answers. All raise ValueError or OverflowError for what makes no sense.


def uploaded_media(message: pb.UploadMediaResponse) -> UploadedMedia:
    """The answer to an upload."""
    return UploadedMedia(**_shared(message))


def media(message: pb.MediaResponse) -> Media:
    """All that is known of a medium."""
    return Media(
        **_shared(message),
        user_id=message.user_id,
        purpose=_PURPOSES_BY_NUMBER.get(message.purpose, Purpose.UNKNOWN),
        filename=message.filename,
        visibility=_VISIBILITIES_BY_NUMBER.get(message.visibility, Visibility.UNKNOWN),
        duration_ms=message.duration_ms,
        renditions=_renditions(message.renditions),
        failure_code=message.failure_code,
        updated_at=_moment(message.updated_at),
        expires_at=_moment(message.expires_at) if message.HasField("expires_at") else None,
        progress_percent=message.progress_percent,
        page_count=message.page_count,
        has_audio=message.has_audio,
    )


def processing(message: pb.ProcessMediaResponse) -> Processing:
    """How far the work has come."""
    return Processing(media_id=_present(message.media_id), status=_status(message.status))


def signed_url(message: pb.GetSignedUrlResponse) -> SignedUrl:
    """A signed URL."""
    return SignedUrl(url=_present(message.url), expires_at=_moment(message.expires_at))


def media_batch(message: pb.BatchGetMediaResponse) -> MediaBatch:
    """Many media."""
    found = tuple(media(each) for each in message.media)
    return MediaBatch(media=found, missing_ids=tuple(message.missing_ids))


def deleted_batch(message: pb.BatchDeleteMediaResponse) -> DeletedBatch:
    """What became of many media; a failed id without a reason stays a failed id."""
    reasons = {each.media_id: each for each in message.failures}
    return DeletedBatch(
        deleted_count=message.deleted_count,
        failures=tuple(_failure(failed, reasons.get(failed)) for failed in message.failed_ids),
    )


def nothing(_message: pb.DeleteMediaResponse) -> None:
    """An answer that says no more than that it was done."""


def _shared(message: pb.UploadMediaResponse | pb.MediaResponse) -> dict[str, Any]:
    return {
        "media_id": _present(message.media_id),
        "url": message.url,
        "thumbnail_url": message.thumbnail_url,
        "width": message.width,
        "height": message.height,
        "blurhash": message.blurhash,
        "media_type": _TYPES_BY_NUMBER.get(message.media_type, MediaType.UNKNOWN),
        "content_type": message.content_type,
        "size_bytes": message.size_bytes,
        "status": _status(message.status),
        "thumbnails": _renditions(message.thumbnails),
        "sha256": message.sha256,
        "deduplicated": message.deduplicated,
        "created_at": _moment(message.created_at),
    }


def _renditions(messages: Iterable[pb.Thumbnail]) -> tuple[Rendition, ...]:
    return tuple(
        Rendition(
            name=each.name,
            url=each.url,
            width=each.width,
            height=each.height,
            content_type=each.content_type,
            size_bytes=each.size_bytes,
        )
        for each in messages
    )


def _failure(media_id: str, reason: pb.BatchDeleteFailure | None) -> DeleteFailure:
    code, message = (reason.code, reason.message) if reason else ("", "")
    return DeleteFailure(media_id=media_id, code=code, message=message)


def _status(number: pb.ProcessingStatus.ValueType) -> Status:
    return _STATUSES_BY_NUMBER.get(number, Status.UNKNOWN)


def _present(value: str) -> str:
    if not value:
        raise ValueError("a field is missing that every answer has")
    return value


def _moment(stamp: Timestamp) -> datetime:
    if not stamp.seconds:
        raise ValueError("a time is missing that every answer has")
    return stamp.ToDatetime(tzinfo=UTC)
