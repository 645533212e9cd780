"""Typed async client of mediad's media service.

    async with MediaClient("localhost:50051", token="...") as media:
        stored = await media.upload_profile_picture(data, "me.jpg", user_id)
        print(stored.url)

In the examples of this package, as in `python -m asyncio`, `await` needs no function around it;
`media` is an open client, `picture` the bytes of a PNG of 64×48 pixels. What can go wrong is in
`media_client.errors`, a double for tests in `media_client.testing`.
"""

from media_client import errors, transformations
from media_client._api import MediaApi
from media_client._channel import TLS
from media_client._chunks import BinaryFile, Progress, Source
from media_client._client import MediaClient
from media_client._context import request_id
from media_client._retrying import Retries
from media_client.errors import (
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

__all__ = [
    "TLS",
    "BadAnswer",
    "BinaryFile",
    "Broken",
    "Conflict",
    "DeadlineExceeded",
    "DeleteFailure",
    "DeletedBatch",
    "Forbidden",
    "Full",
    "InternalError",
    "Interrupted",
    "Invalid",
    "Limited",
    "Media",
    "MediaApi",
    "MediaBatch",
    "MediaClient",
    "MediaError",
    "MediaType",
    "NotFound",
    "Processing",
    "ProcessingOptions",
    "Progress",
    "Purpose",
    "Rendition",
    "Retries",
    "SignedUrl",
    "Source",
    "Status",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "UploadedMedia",
    "Visibility",
    "errors",
    "request_id",
    "transformations",
]
