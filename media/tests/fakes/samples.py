"""Values that are right in every respect, for tests to change one thing of."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime
from typing import Any

from media_service.core.blobs import Blob, StoredRendition, stored
from media_service.core.formats import Format
from media_service.core.media import (
    Media,
    MediaType,
    ProcessingStatus,
    Purpose,
    Sha256,
    UserId,
    Visibility,
    new_media_id,
)
from media_service.core.planning import plan_renditions
from media_service.core.purposes import DEFAULT_POLICIES
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import Inspection, Rendition
from media_service.core.uploads import Declared

ALICE = UserId("alice")
BOB = UserId("bob")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def sha256_of(content: bytes | str) -> Sha256:
    """The hash of some content."""
    encoded = content.encode() if isinstance(content, str) else content
    return Sha256(hashlib.sha256(encoded).hexdigest())


def an_inspection(**changes: Any) -> Inspection:
    """A still picture of 1200 by 800 pixels."""
    plain = Inspection(
        width=1200, height=800, frames=1, has_transparency=False, blurhash="LEHV6nWB2yk8"
    )
    return dataclasses.replace(plain, **changes)


def a_blob(content: bytes | str = "content", **changes: Any) -> Blob:
    """A live JPEG."""
    plain = Blob(
        sha256=sha256_of(content), size_bytes=1000, format=Format.JPEG, inspection=an_inspection()
    )
    return dataclasses.replace(plain, **changes)


def a_media(blob: Blob | None = None, **changes: Any) -> Media:
    """Alice's profile picture, with the renditions its purpose plans."""
    blob = blob or a_blob()
    policy = DEFAULT_POLICIES.of[Purpose.PROFILE_PICTURE].developing
    plain = Media(
        id=new_media_id(),
        owner=ALICE,
        purpose=Purpose.PROFILE_PICTURE,
        media_type=MediaType.IMAGE,
        filename="face.jpg",
        content_type="image/jpeg",
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        width=blob.inspection.width,
        height=blob.inspection.height,
        duration_ms=0,
        blurhash=blob.inspection.blurhash,
        visibility=Visibility.PUBLIC,
        status=ProcessingStatus.PENDING,
        failure_code="",
        options=None,
        renditions=plan_renditions(
            policy, format=blob.format, options=None, inspection=blob.inspection
        ),
        policy_version=1,
        revision=1,
        idempotency_key="",
        deduplicated=False,
        created_at=NOON,
        updated_at=NOON,
    )
    return dataclasses.replace(plain, **changes)


def a_recipe(**changes: Any) -> PictureRecipe:
    """What fits in 320 by 320 pixels."""
    plain = PictureRecipe(
        shape=Shape.FIT, width=320, height=320, quality=85, encoding=Encoding.JPEG
    )
    return dataclasses.replace(plain, **changes)


def recipe_of(rendition: Rendition) -> PictureRecipe:
    """The recipe of a rendition that is a picture."""
    assert isinstance(rendition.recipe, PictureRecipe)
    return rendition.recipe


def a_stored_rendition(
    blob: Blob | None = None, recipe: PictureRecipe | None = None, *, content: str = "rendition"
) -> StoredRendition:
    """A rendition that has been made of the blob."""
    source = (blob or a_blob()).sha256
    checksum = sha256_of(content)
    return stored(
        source, recipe or a_recipe(), size_bytes=len(content), checksum=checksum, size=(320, 213)
    )


def a_declaration(**changes: Any) -> Declared:
    """Alice uploads her profile picture and says no more than she must."""
    plain = Declared(
        owner=ALICE,
        purpose=Purpose.PROFILE_PICTURE,
        filename="face.jpg",
        content_type="image/jpeg",
        options=None,
        idempotency_key="",
        visibility=None,
        sha256="",
        size_bytes=None,
    )
    return dataclasses.replace(plain, **changes)
