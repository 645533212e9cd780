"""Every way a call can fail, as one class each.

    MediaError
    ├── Invalid            what was sent can't be right (400)
    ├── Broken             the file can't be decoded or is beyond limits (422)
    ├── TooLarge           more bytes than allowed (413)
    ├── Unsupported        a type we don't take (415)
    ├── Unauthenticated    no valid credentials (401)
    ├── Forbidden          not theirs to do (403)
    ├── NotFound           not there, or none of their business (404)
    ├── Conflict           at odds with what is there (409)
    ├── Limited            too much at once (429)
    ├── Unavailable        a backend is away; try again (503)
    └── Full               no room left on disk (507)

A class's docstring is the sentence its caller reads; `code` is what programs match on. Both
are the same over gRPC and HTTP. `str(error)` is always safe to show: private causes travel as
`raise ... from cause` and reach the log only.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import ClassVar


class Kind(enum.Enum):
    """What a transport needs to know of a failure to pick its status."""

    INVALID = "invalid"
    BROKEN = "broken"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    FULL = "full"


RETRY_AFTER_SECONDS = 2
"""What callers are told to wait before they retry what was limited or unavailable."""


class MediaError(Exception):
    """The media service could not do this."""

    kind: ClassVar[Kind]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").replace("\n", " "))

    @property
    def code(self) -> str:
        """The stable name of this failure: `MediaNotFound` is `media_not_found`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()


class Invalid(MediaError):
    """The request can't be right."""

    kind = Kind.INVALID


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


class Broken(MediaError):
    """The file can't be read."""

    kind = Kind.BROKEN


class BrokenFile(Broken):
    """The file is damaged or incomplete."""


class TooLong(Broken):
    """The recording plays longer than its purpose allows."""


class TooManyPixels(Broken):
    """The picture has over 50 megapixels, 16384 a side or, moving, 16 a frame or 250 in all."""


class TooComplex(Broken):
    """The file took too much time or memory to decode."""


class TooLarge(MediaError):
    """This is too large."""

    kind = Kind.TOO_LARGE


class FileTooLarge(TooLarge):
    """The file has more bytes than its purpose allows."""


class MetadataTooLarge(TooLarge):
    """The file carries more metadata than is taken: 1 MB, of a recording 16 MB or 4096 texts."""


class Unsupported(MediaError):
    """This type is not taken."""

    kind = Kind.UNSUPPORTED


class UnsupportedType(Unsupported):
    """The file is of no type that this purpose takes; /capabilities lists those that are."""


class UnsupportedCodec(Unsupported):
    """The file holds video or sound of a kind that is not taken; /capabilities lists those."""


class UnsafeArchive(Unsupported):
    """The archive would unpack to too much, to too many files, or outside its folder."""


class TypeMismatch(Unsupported):
    """The file is not what its content type or name says."""


class Unauthenticated(MediaError):
    """Send a valid service token."""

    kind = Kind.UNAUTHENTICATED


class Forbidden(MediaError):
    """This is not allowed."""

    kind = Kind.FORBIDDEN


class NotTheOwner(Forbidden):
    """Only its owner may do this."""


class InvalidSignature(Forbidden):
    """This URL's signature is not valid, or has expired."""


class NotFound(MediaError):
    """There is nothing here."""

    kind = Kind.NOT_FOUND


class MediaNotFound(NotFound):
    """No such media."""


class RenditionNotFound(NotFound):
    """This media has no such rendition."""


class Conflict(MediaError):
    """This is at odds with what is there."""

    kind = Kind.CONFLICT


class IdempotencyKeyReused(Conflict):
    """This idempotency_key was used for another file."""


class MediaFailed(Conflict):
    """The renditions of this media could not be made."""


class CancelledByOperator(Conflict):
    """An operator cancelled the work on this media; ProcessMedia begins it anew."""


class Limited(MediaError):
    """Too much at once; try again in a moment."""

    kind = Kind.LIMITED


class TooManyUploads(Limited):
    """Too many bytes are being uploaded at once; try again in a moment, or stream."""


class QueueFull(Limited):
    """Too many media are waiting to be worked on; try again later."""


class TooManyWatchers(Limited):
    """Too many media are being watched at once; try again in a moment, or ask now and then."""


class Unavailable(MediaError):
    """The service can't do this right now; try again in a moment."""

    kind = Kind.UNAVAILABLE


class DatabaseUnavailable(Unavailable):
    """The database can't be reached right now; try again in a moment."""


class StorageUnavailable(Unavailable):
    """The storage can't be reached right now; try again in a moment."""


class DecoderUnavailable(Unavailable):
    """The decoders are busy or away; try again in a moment."""

    def __init__(self, message: str | None = None, *, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed
        """From outside, while it was at this file: that may be why."""


class ServiceStopping(Unavailable):
    """This instance of the service is about to stop; ask again, another one answers."""


class RenditionNotReady(Unavailable):
    """This is being made; try again in a moment, or watch the media."""


class MediaDamaged(Unavailable):
    """The stored bytes of this media are damaged; uploading the same file again heals it."""


class Full(MediaError):
    """There is no room left to store this."""

    kind = Kind.FULL


class StorageFull(Full):
    """The storage is full; try again later."""


_PASSING = frozenset({Kind.UNAVAILABLE, Kind.LIMITED, Kind.FULL})


def is_passing(error: BaseException) -> bool:
    """Whether this is a failure that another attempt may not meet."""
    return isinstance(error, MediaError) and error.kind in _PASSING


def _kinds_below(cls: type[MediaError]) -> Iterator[type[MediaError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _kinds_below(below)


_FINAL = frozenset(
    cls().code
    for above in (Broken, TooLarge, Unsupported, CancelledByOperator)
    for cls in _kinds_below(above)
)


def is_final(code: str) -> bool:
    """Whether what failed with this code fails again whoever tries, or nobody is to try.

    That is so when the file itself is at fault, or an operator has cancelled the work on it.
    """
    return code in _FINAL
