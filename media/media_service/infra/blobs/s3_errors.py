"""What the answers of an S3 server mean to us, and what an operator is told to do about them.

Nothing of botocore's or aiohttp's leaves this folder: `translated` turns every failure of a call
into one of four. `Absent` and `Refused` are for the callers in this folder only.
"""

from __future__ import annotations

import logging

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from media_service.core.errors import MediaError, StorageFull, StorageUnavailable

logger = logging.getLogger(__name__)


class Absent(Exception):
    """There is no such key, or no such upload."""


class Refused(Exception):
    """A condition of the call did not hold, or is one that this server does not know."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
        self.is_unknown = status == NOT_IMPLEMENTED


class Unanswered(Exception):
    """The call may succeed if it is repeated; it may also have been done."""


NOT_IMPLEMENTED = 501
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchUpload"})
_CONDITIONAL = frozenset({409, 412, 416, NOT_IMPLEMENTED})
_FULL = frozenset(
    {
        "QuotaExceeded",
        "InsufficientStorage",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
        "StorageFull",
    }
)
_REPEATABLE = frozenset(
    {
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "OperationAborted",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
    }
)
_LOST = (BotoConnectionError, HTTPClientError, aiohttp.ClientError, OSError, TimeoutError)

_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the instance's role"
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: make it, or mend the bucket in MEDIAD_STORAGE_URL",
    "AccessDenied": "these credentials may not do this: allow it in their policy (the operations "
    "manual lists the actions), or check the bucket's own policy",
    "403": "these credentials may not do this, or there is no such bucket for them",
    "AllAccessDisabled": "the bucket is disabled: ask its provider",
    "InvalidAccessKeyId": f"the server does not know this access key: {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key is wrong: {_KEYS}",
    "ExpiredToken": f"the credentials have expired: {_KEYS}",
    "InvalidToken": f"the session token is wrong: {_KEYS}",
    "RequestTimeTooSkewed": "this machine's clock and the server's differ by more than it allows: "
    "set the clock, and keep it right with NTP",
    "PermanentRedirect": "the bucket is in another region: set region= in MEDIAD_STORAGE_URL",
    "301": "the bucket is in another region: set region= in MEDIAD_STORAGE_URL",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set region= in "
    "MEDIAD_STORAGE_URL",
    "IllegalLocationConstraintException": "the bucket is in another region: set region= in "
    "MEDIAD_STORAGE_URL",
    "InvalidBucketName": "this is no name of a bucket: mend MEDIAD_STORAGE_URL",
}


class Advice(Exception):
    """What an operator can do about it: the cause of a StorageUnavailable that time won't mend."""


def translated(error: Exception, *, operation: str) -> MediaError | Absent | Refused | Unanswered:
    """What a failed call means. What only an operator can mend is logged with what to do."""
    if isinstance(error, ClientError):
        return _answer(error, operation)
    if isinstance(error, _LOST):
        return Unanswered(f"{operation}: {error!r}")
    if isinstance(error, BotoCoreError):
        return _said(operation, f"{error}: {_KEYS}")
    raise error


def _answer(error: ClientError, operation: str) -> MediaError | Absent | Refused | Unanswered:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        return Absent(code)
    if code in _FULL or status == 507:
        logger.error("S3 has no room left for %s: %s", operation, error)
        return StorageFull()
    if code in _REPEATABLE or status in (429, 500, 502, 503, 504) or status < 300:
        return Unanswered(f"{operation}: {error}")
    if status in _CONDITIONAL:
        return Refused(status)
    return _said(operation, f"{error}: {_ADVICE.get(code, 'see what its documentation says')}")


def _said(operation: str, advice: str) -> StorageUnavailable:
    logger.error("S3 refused %s: %s", operation, advice)
    unavailable = StorageUnavailable()
    unavailable.__cause__ = Advice(advice)
    return unavailable
