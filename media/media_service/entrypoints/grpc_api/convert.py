"""Between the contract's messages and the core's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from media_proto import media_service_pb2 as pb

from media_service.core.access import Links, split_renditions
from media_service.core.errors import InvalidPurpose, InvalidVisibility
from media_service.core.media import (
    Media,
    MediaType,
    ProcessingStatus,
    Purpose,
    UserId,
    Visibility,
)
from media_service.core.renditions import ProcessingOptions, Rendition
from media_service.core.uploads import Declared

_PURPOSES: Mapping[int, Purpose] = {
    pb.MediaPurpose.Value(purpose.name): purpose for purpose in Purpose
}
_VISIBILITIES: Mapping[int, Visibility] = {
    pb.Visibility.Value(visibility.name): visibility for visibility in Visibility
}
_PURPOSE_NUMBERS = {purpose: pb.MediaPurpose.Value(purpose.name) for purpose in Purpose}
_VISIBILITY_NUMBERS = {each: pb.Visibility.Value(each.name) for each in Visibility}
_TYPE_NUMBERS = {kind: pb.MediaType.Value(kind.name) for kind in MediaType}
_STATUS_NUMBERS = {status: pb.ProcessingStatus.Value(status.name) for status in ProcessingStatus}


def status_number(status: ProcessingStatus) -> pb.ProcessingStatus.ValueType:
    """The status as the contract numbers it."""
    return _STATUS_NUMBERS[status]


def declared_from(message: pb.UploadMediaRequest | pb.UploadMetadata) -> Declared:
    """What is said of a file. Raises InvalidPurpose, InvalidVisibility, InvalidOptions."""
    purpose = _PURPOSES.get(message.purpose)
    if purpose is None:
        raise InvalidPurpose
    if message.visibility and message.visibility not in _VISIBILITIES:
        raise InvalidVisibility
    has_size = message.HasField("expected_size_bytes")
    return Declared(
        owner=UserId(message.user_id),
        purpose=purpose,
        filename=message.filename,
        content_type=message.content_type,
        options=options_from(message),
        idempotency_key=message.idempotency_key,
        visibility=_VISIBILITIES.get(message.visibility),
        sha256=message.expected_sha256,
        size_bytes=message.expected_size_bytes if has_size else None,
    )


def options_from(
    message: pb.UploadMediaRequest | pb.UploadMetadata | pb.ProcessMediaRequest,
) -> ProcessingOptions | None:
    """The processing options sent; None if none were. Raises InvalidOptions."""
    if not message.HasField("processing_options"):
        return None
    sent = message.processing_options
    return ProcessingOptions(
        generate_thumbnails=sent.generate_thumbnails,
        generate_blurhash=sent.generate_blurhash,
        quality=sent.quality,
        max_width=sent.max_width,
        max_height=sent.max_height,
        normalize_loudness=sent.normalize_loudness,
    )


def upload_response(media: Media, links: Links, *, now: datetime) -> pb.UploadMediaResponse:
    """The answer to an upload."""
    return pb.UploadMediaResponse(**_shared_fields(media, links, now))


def media_response(media: Media, links: Links, *, now: datetime) -> pb.MediaResponse:
    """All that is known of a medium."""
    proper, _ = split_renditions(media)
    return pb.MediaResponse(
        **_shared_fields(media, links, now),
        user_id=media.owner,
        purpose=_PURPOSE_NUMBERS[media.purpose],
        filename=media.filename,
        visibility=_VISIBILITY_NUMBERS[media.visibility],
        duration_ms=media.duration_ms,
        renditions=_rendition_messages(media, proper, links, now),
        failure_code=media.failure_code,
        updated_at=timestamp(media.updated_at),
        expires_at=timestamp(media.expires_at) if media.expires_at else None,
        progress_percent=media.progress_percent,
        page_count=media.pages,
        has_audio=media.has_audio,
    )


def _shared_fields(media: Media, links: Links, now: datetime) -> dict[str, Any]:
    _, thumbnails = split_renditions(media)
    messages = _rendition_messages(media, thumbnails, links, now)
    return {
        "media_id": media.id,
        "url": links.url(media, media.renditions[0], now=now),
        "thumbnail_url": messages[0].url if messages else "",
        "width": media.width,
        "height": media.height,
        "blurhash": media.blurhash,
        "media_type": _TYPE_NUMBERS[media.media_type],
        "content_type": media.content_type,
        "size_bytes": media.size_bytes,
        "status": _STATUS_NUMBERS[media.status],
        "thumbnails": messages,
        "sha256": media.sha256,
        "deduplicated": media.deduplicated,
        "created_at": timestamp(media.created_at),
    }


def _rendition_messages(
    media: Media, renditions: Iterable[Rendition], links: Links, now: datetime
) -> list[pb.Thumbnail]:
    return [
        pb.Thumbnail(
            name=rendition.name,
            url=links.url(media, rendition, now=now),
            width=rendition.width,
            height=rendition.height,
            content_type=rendition.recipe.content_type,
            size_bytes=rendition.size_bytes,
        )
        for rendition in renditions
    ]


def timestamp(moment: datetime) -> Timestamp:
    """The moment, to the microsecond."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
