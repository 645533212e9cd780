"""Every way a call can fail, as one class each.

    MediaError
    ├── Invalid                    what was sent can't be right
    │   ├── Broken                 the file can't be decoded or is beyond limits
    │   ├── TooLarge               more bytes than allowed
    │   └── Unsupported            a type the service does not take
    ├── Unauthenticated            no valid service token
    ├── Forbidden                  not theirs to do
    ├── NotFound                   not there, or none of their business
    ├── Conflict                   at odds with what is there
    ├── Limited                    too much at once; try again
    ├── Unavailable                the service or something behind it is away; try again
    │   ├── Full                   no room left to store this
    │   └── Interrupted            the call was broken off; whether it was done is not known
    ├── DeadlineExceeded           no answer in time; whether it was done is not known
    ├── InternalError              a bug of the service
    └── BadAnswer                  an answer that makes no sense

Below these kinds stands one class for each code of the service: `FileTooLarge` is a `TooLarge`,
`MediaNotFound` a `NotFound`. Catch the class that a program can do something about. A code that
is newer than this client is raised as its kind, and keeps its `code`.

>>> from media_client import errors
>>> try:
...     await media.upload_profile_picture(b"", "me.jpg", "alice")
... except errors.TooLarge:
...     print("choose a smaller one")
... except errors.Invalid as error:
...     print(error.code, "-", error)
empty_file - The file has no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from media_client._kinds import (
    BadAnswer,
    Broken,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Full,
    InternalError,
    Interrupted,
    Invalid,
    Limited,
    MediaError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

__all__ = [
    "BadAnswer",
    "Broken",
    "BrokenFile",
    "CancelledByOperator",
    "ChecksumMismatch",
    "Conflict",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DecoderUnavailable",
    "EmptyFile",
    "FileTooLarge",
    "Forbidden",
    "Full",
    "IdempotencyKeyReused",
    "InternalError",
    "Interrupted",
    "Invalid",
    "InvalidBatch",
    "InvalidChecksum",
    "InvalidContentType",
    "InvalidExpiry",
    "InvalidFilename",
    "InvalidIdempotencyKey",
    "InvalidMediaId",
    "InvalidOptions",
    "InvalidPurpose",
    "InvalidRequest",
    "InvalidSignature",
    "InvalidSize",
    "InvalidStream",
    "InvalidTransformation",
    "InvalidUserId",
    "InvalidVisibility",
    "Limited",
    "MediaDamaged",
    "MediaError",
    "MediaFailed",
    "MediaNotFound",
    "MessageTooLarge",
    "MetadataTooLarge",
    "NotFound",
    "NotTheOwner",
    "QueueFull",
    "RenditionNotFound",
    "RenditionNotReady",
    "ServiceStopping",
    "SizeMismatch",
    "StorageFull",
    "StorageUnavailable",
    "TooComplex",
    "TooLarge",
    "TooLong",
    "TooManyPixels",
    "TooManyUploads",
    "TooManyWatchers",
    "TypeMismatch",
    "Unauthenticated",
    "Unavailable",
    "UnsafeArchive",
    "Unsupported",
    "UnsupportedCodec",
    "UnsupportedType",
    "UploadStalled",
]


class InvalidMediaId(Invalid):
    """This is not a media id."""


class InvalidUserId(Invalid):
    """user_id must be 1 to 128 visible characters."""


class InvalidFilename(Invalid):
    """filename must be at most 1024 characters."""


class InvalidContentType(Invalid):
    """content_type must look like image/jpeg."""


class InvalidPurpose(Invalid):
    """purpose must be one of those in the contract."""


class InvalidVisibility(Invalid):
    """visibility must be one of those in the contract."""


class InvalidOptions(Invalid):
    """processing_options are out of range: quality 0 to 100, max_width and max_height 0 to 4096."""


class InvalidIdempotencyKey(Invalid):
    """idempotency_key must be at most 128 visible characters."""


class InvalidChecksum(Invalid):
    """expected_sha256 must be 64 hexadecimal digits."""


class InvalidSize(Invalid):
    """expected_size_bytes must be more than 0."""


class InvalidTransformation(Invalid):
    """This transformation or its size is not offered; /capabilities lists those that are."""


class InvalidExpiry(Invalid):
    """expiry_seconds must be 1 second to 7 days (604800)."""


class InvalidBatch(Invalid):
    """media_ids must hold 1 to 100 ids."""


class InvalidStream(Invalid):
    """An upload stream is one chunk with metadata, then chunks with data of up to 4 MB."""


class InvalidRequest(Invalid):
    """The request could not be understood."""


class UploadStalled(Invalid):
    """No bytes arrived for 30 seconds."""


class EmptyFile(Invalid):
    """The file has no bytes."""


class ChecksumMismatch(Invalid):
    """The bytes that arrived do not have the SHA-256 that was announced."""


class SizeMismatch(Invalid):
    """The bytes that arrived are not as many as was announced."""


class BrokenFile(Broken):
    """The file is damaged or incomplete."""


class TooLong(Broken):
    """The recording plays longer than its purpose allows."""


class TooManyPixels(Broken):
    """The picture has over 50 megapixels, 16384 a side or, moving, 16 a frame or 250 in all."""


class TooComplex(Broken):
    """The file took too much time or memory to decode."""


class FileTooLarge(TooLarge):
    """The file has more bytes than its purpose allows."""


class MetadataTooLarge(TooLarge):
    """The file carries more metadata than is taken: 1 MB, of a recording 16 MB or 4096 texts."""


class MessageTooLarge(TooLarge):
    """A message would be larger than the limit of this client or of the service."""


class UnsupportedType(Unsupported):
    """The file is of no type that this purpose takes; /capabilities lists those that are."""


class UnsafeArchive(Unsupported):
    """The archive would unpack to too much, to too many files, or outside its folder."""


class UnsupportedCodec(Unsupported):
    """The file holds video or sound of a kind that is not taken; /capabilities lists those."""


class TypeMismatch(Unsupported):
    """The file is not what its content type or name says."""


class NotTheOwner(Forbidden):
    """Only its owner may do this."""


class InvalidSignature(Forbidden):
    """This URL's signature is not valid, or has expired."""


class MediaNotFound(NotFound):
    """No such media."""


class RenditionNotFound(NotFound):
    """This media has no such rendition."""


class IdempotencyKeyReused(Conflict):
    """This idempotency_key was used for another file."""


class MediaFailed(Conflict):
    """The renditions of this media could not be made."""


class CancelledByOperator(Conflict):
    """An operator cancelled the work on this media; ProcessMedia begins it anew."""


class TooManyUploads(Limited):
    """Too many bytes are being uploaded at once; try again in a moment, or stream."""


class QueueFull(Limited):
    """Too many media are waiting to be worked on; try again later."""


class TooManyWatchers(Limited):
    """Too many media are being watched at once; try again in a moment, or ask now and then."""


class DatabaseUnavailable(Unavailable):
    """The database can't be reached right now; try again in a moment."""


class StorageUnavailable(Unavailable):
    """The storage can't be reached right now; try again in a moment."""


class DecoderUnavailable(Unavailable):
    """The decoders are busy or away; try again in a moment."""


class ServiceStopping(Unavailable):
    """This instance of the service is about to stop; ask again, another one answers."""


class RenditionNotReady(Unavailable):
    """This is being made; try again in a moment, or watch the media."""


class MediaDamaged(Unavailable):
    """The stored bytes of this media are damaged; uploading the same file again heals it."""


class StorageFull(Full):
    """The storage is full; try again later."""


def _all_below(cls: type[MediaError]) -> Iterator[type[MediaError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _all_below(child)


BY_CODE = {cls.code: cls for cls in _all_below(MediaError)}
"""The class of each code that this client knows."""
