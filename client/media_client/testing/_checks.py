"""What the service refuses before it looks at a file."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import unicodedata
import uuid
from collections.abc import Iterable

from media_proto import media_service_pb2 as pb

from media_client import errors
from media_client.testing._pictures import sniff
from media_client.testing._policies import POLICIES, Policy

SNIFFED_BYTES = 4096
"""How many first bytes decide what a file is."""

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_CONTENT_TYPE = re.compile(r"[a-zA-Z0-9][\w!#$&^.+-]{0,63}/[a-zA-Z0-9][\w!#$&^.+-]{0,63}", re.ASCII)
_ANYTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_TYPES = mimetypes.MimeTypes(filenames=())
_TAKEN = frozenset({
    None, "image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/heic",
    "image/heif", "image/apng",
})  # fmt: skip
_MOST_NAME_CHARACTERS = 1024
_MOST_SIDE = 4096
_MOST_BATCH = 100
_MOST_EXPIRY_SECONDS = 604_800


def checked(request: pb.UploadMediaRequest) -> Policy:
    """The policy of an upload's purpose. Raises the error of the first field that is wrong."""
    policy = POLICIES.get(request.purpose)
    if policy is None:
        raise errors.InvalidPurpose
    if request.visibility not in pb.Visibility.values():
        raise errors.InvalidVisibility
    check_options(request.processing_options)
    if request.idempotency_key and not _VISIBLE.fullmatch(request.idempotency_key):
        raise errors.InvalidIdempotencyKey
    if request.expected_sha256 and not _SHA256.fullmatch(request.expected_sha256):
        raise errors.InvalidChecksum
    if request.HasField("expected_size_bytes") and request.expected_size_bytes <= 0:
        raise errors.InvalidSize
    check_user(request.user_id)
    if len(request.filename) > _MOST_NAME_CHARACTERS:
        raise errors.InvalidFilename
    _check_content_type(request.content_type)
    if request.expected_size_bytes > policy.announced_bytes:
        raise errors.FileTooLarge
    return policy


def check_options(options: pb.ProcessingOptions) -> None:
    """Raise InvalidOptions for what is out of range."""
    sides = (options.max_width, options.max_height)
    if not 0 <= options.quality <= 100 or any(not 0 <= side <= _MOST_SIDE for side in sides):
        raise errors.InvalidOptions


def check_user(user_id: str) -> None:
    """Raise InvalidUserId for what is no user id."""
    if not _VISIBLE.fullmatch(user_id):
        raise errors.InvalidUserId


def check_expiry(seconds: int) -> None:
    """Raise InvalidExpiry outside 1 second to 7 days."""
    if not 1 <= seconds <= _MOST_EXPIRY_SECONDS:
        raise errors.InvalidExpiry


def checked_batch(ids: Iterable[str]) -> list[str]:
    """The ids. Raises InvalidBatch unless there are 1 to 100."""
    asked = list(ids)
    if not 1 <= len(asked) <= _MOST_BATCH:
        raise errors.InvalidBatch
    return asked


def parsed_id(text: str) -> str:
    """The media id in its one spelling. Raises InvalidMediaId."""
    try:
        value = str(uuid.UUID(text))
    except ValueError:
        raise errors.InvalidMediaId from None
    if value != text.lower():
        raise errors.InvalidMediaId
    return value


def _check_content_type(text: str) -> None:
    essence = _essence(text)
    if not text.isprintable() or (essence and not _CONTENT_TYPE.fullmatch(essence)):
        raise errors.InvalidContentType


def _essence(text: str) -> str:
    return text.split(";", 1)[0].strip().lower()


def check_claims(request: pb.UploadMediaRequest) -> None:
    """Raise TypeMismatch where the declared type or the name says that it is no picture."""
    declared = _essence(request.content_type)
    if declared not in _ANYTHING and not declared.startswith("image/"):
        raise errors.TypeMismatch
    if declared == "image/svg+xml":
        raise errors.TypeMismatch
    if _TYPES.guess_type(safe_filename(request.filename))[0] not in _TAKEN:
        raise errors.TypeMismatch


def check_arriving(request: pb.UploadMediaRequest, data: bytes | bytearray, policy: Policy) -> None:
    """Raise what is known as soon as these bytes are there, whatever may follow."""
    if len(data) >= SNIFFED_BYTES:
        sniff(bytes(data[:SNIFFED_BYTES]))
        check_claims(request)
    if len(data) > policy.image_bytes:
        raise errors.FileTooLarge


def check_whole(request: pb.UploadMediaRequest) -> None:
    """Raise EmptyFile, SizeMismatch, ChecksumMismatch."""
    if not request.data:
        raise errors.EmptyFile
    if request.HasField("expected_size_bytes") and request.expected_size_bytes != len(request.data):
        raise errors.SizeMismatch
    if request.expected_sha256.lower() not in ("", hashlib.sha256(request.data).hexdigest()):
        raise errors.ChecksumMismatch


def safe_filename(text: str) -> str:
    """The last part of a name, without what could hide or escape."""
    visible = "".join(c for c in text if unicodedata.category(c)[0] not in "CZ" or c == " ")
    return re.split(r"[/\\:]", visible)[-1].strip(" .")[:200] or "file"
