"""Every way a request can fail, as one class each.

    UserError
    ├── Invalid            what was sent can't be right (400)
    ├── Unauthenticated    no valid credentials (401)
    ├── Forbidden          not theirs to do (403)
    ├── NotFound           not there, or none of their business (404)
    ├── TimedOut           it took too long to arrive (408)
    ├── Conflict           at odds with what is there (409)
    ├── TooLarge           more bytes than allowed (413)
    ├── Unsupported        a type we don't take (415)
    ├── Broken             the picture can't be decoded or is beyond limits (422)
    ├── Limited            too much at once (429)
    ├── Unavailable        a backend is away; try again (503)
    └── Full               no room left on disk (507)

A class's docstring is the sentence its caller reads; `code` is what programs match on.
`str(error)` is always safe to show: private causes travel as `raise ... from cause` and reach the
log only.
"""

from __future__ import annotations

import enum
import inspect
import re
from typing import ClassVar


class Kind(enum.Enum):
    """What a transport needs to know of a failure to pick its status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    BROKEN = "broken"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    FULL = "full"


RETRY_AFTER_SECONDS = 2
"""What callers are told to wait before they retry, where nothing better is known."""


class UserError(Exception):
    """The user service could not do this."""

    kind: ClassVar[Kind]

    def __init__(
        self, message: str = "", *, code: str = "", retry_after_seconds: int = RETRY_AFTER_SECONDS
    ) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").replace("\n", " "))
        self._code = code
        self.retry_after_seconds = retry_after_seconds

    @property
    def code(self) -> str:
        """The stable name of this failure: `UsernameTaken` is `username_taken`.

        What the media service refused keeps the code that it was given there.
        """
        return self._code or re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class Invalid(UserError):
    """The request can't be right."""

    kind = Kind.INVALID


class InvalidRequest(Invalid):
    """The request could not be understood."""


class InvalidBody(Invalid):
    """Send one JSON object with the fields that the documentation lists."""


class InvalidUsername(Invalid):
    """A username has 3 to 32 characters: letters a to z, digits, and . _ - between them."""


class InvalidPassword(Invalid):
    """A password has 8 to 128 characters."""


class PasswordTooCommon(Invalid):
    """This password is among the first that anyone would try; choose another."""


class InvalidUserId(Invalid):
    """This is not a user id."""


class InvalidMediaId(Invalid):
    """This is not a media id."""


class InvalidDisplayName(Invalid):
    """A display name has at most 64 characters, none of them a control character."""


class InvalidBio(Invalid):
    """A bio has at most 500 characters, none of them a control character but line breaks."""


class InvalidIdempotencyKey(Invalid):
    """Idempotency-Key must be 1 to 64 visible characters."""


class InvalidMultipart(Invalid):
    """The form is damaged, incomplete or not as RFC 7578 has it."""


class MissingFile(Invalid):
    """The form has no file; send one in the field `file`."""


class TooManyFiles(Invalid):
    """The form has more than one file; send one in the field `file`."""


class UnexpectedField(Invalid):
    """The form has a field that is not taken; send one file in the field `file`."""


class EmptyFile(Invalid):
    """The file has no bytes."""


class Unauthenticated(UserError):
    """Send a valid access token."""

    kind = Kind.UNAUTHENTICATED


class InvalidCredentials(Unauthenticated):
    """The username or the password is wrong."""


class InvalidRefreshToken(Unauthenticated):
    """This refresh token is not valid, or was used before; log in again."""


class Forbidden(UserError):
    """This is not allowed."""

    kind = Kind.FORBIDDEN


class NotTheOwner(Forbidden):
    """Only its owner may do this."""


class NotYou(Forbidden):
    """The user_id that was sent is not yours; leave it out."""


class NotFound(UserError):
    """There is nothing here."""

    kind = Kind.NOT_FOUND


class MediaNotFound(NotFound):
    """No such media."""


class UserNotFound(NotFound):
    """No such user."""


class TimedOut(UserError):
    """The request took too long to arrive."""

    kind = Kind.TIMED_OUT


class UploadStalled(TimedOut):
    """The upload stood still, or came too slowly."""


class Conflict(UserError):
    """This is at odds with what is there."""

    kind = Kind.CONFLICT


class UsernameTaken(Conflict):
    """Somebody has this username already."""


class AttachmentDiscarded(Conflict):
    """This upload was begun long ago and given up since; send the file under another key."""


class PictureSuperseded(Conflict):
    """This upload was made before, and another picture has replaced it since."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for another file."""


class TooLarge(UserError):
    """This is too large."""

    kind = Kind.TOO_LARGE


class BodyTooLarge(TooLarge):
    """The request's body is too large."""


class FileTooLarge(TooLarge):
    """The file has too many bytes for what it is; the documentation has the limits."""


class Unsupported(UserError):
    """This type is not taken."""

    kind = Kind.UNSUPPORTED


class NotAForm(Unsupported):
    """Send the file as multipart/form-data, in the field `file`."""


class NotJson(Unsupported):
    """Send application/json."""


class UnsupportedType(Unsupported):
    """Only pictures are taken: JPEG, PNG, WebP, GIF, AVIF or HEIC."""


class Broken(UserError):
    """The file is damaged or incomplete."""

    kind = Kind.BROKEN


class Limited(UserError):
    """Too much at once; try again in a moment."""

    kind = Kind.LIMITED


class TooManyAttempts(Limited):
    """Too many attempts; try again later."""


class TooManyRegistrations(Limited):
    """Too many accounts were made from here; try again later."""


class TooManyUploads(Limited):
    """Too many uploads; try again in a moment."""


class TooManyListeners(Limited):
    """Too many streams of events are open; close some of them."""


class Unavailable(UserError):
    """The service can't do this right now; try again in a moment."""

    kind = Kind.UNAVAILABLE


class DatabaseUnavailable(Unavailable):
    """The database can't be reached right now; try again in a moment."""


class MediaUnavailable(Unavailable):
    """The media service can't be reached right now; try again in a moment."""


class KeysUnavailable(Unavailable):
    """The keys that check this token can't be read right now; try again in a moment."""


class Busy(Unavailable):
    """Too much is going on right now; try again in a moment."""


class UploadGaveWay(Unavailable):
    """Others wait, and this upload was slow or one of several; send it again in a moment."""


class Full(UserError):
    """There is no room left to store this."""

    kind = Kind.FULL


class StorageFull(Full):
    """The storage is full; try again later."""
