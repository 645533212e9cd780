"""A double of the media service for tests of what calls it: no server, no ports, no files.

    async with FakeMediaClient() as media:
        await set_profile_picture(media, user, sample_picture())
        assert media.service.ids_of("alice")

`FakeMediaClient` is the real client but for the wire: conversion, errors, idempotency keys,
retries and timeouts are the same code. Behind it stands `InMemoryMedia`, which answers the
contract's messages as the service does: limits and thumbnails by purpose, deduplication,
ownership, private media, idempotency keys, expiry. Both pass one contract suite. It takes
pictures, as the service does; it looks at their headers only, so its BlurHash is always the same.
Faults are switched on through `media.service.faults`.
"""

from media_client.testing._client import FakeMediaClient
from media_client.testing._faults import Faults
from media_client.testing._samples import sample_picture
from media_client.testing._service import InMemoryMedia, ReceivedCall

__all__ = ["FakeMediaClient", "Faults", "InMemoryMedia", "ReceivedCall", "sample_picture"]
