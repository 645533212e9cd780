"""Purposes as the service knows them, and the renditions that come of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import timedelta

from media_proto import media_service_pb2 as pb

from media_client.testing._pictures import Picture

MB = 1024 * 1024
_ANY_HEIGHT = 16_384
_FULL_SIDE = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """A box that a picture is scaled down to, cropped or not."""

    name: str
    width: int
    height: int = _ANY_HEIGHT
    is_crop: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What hangs on a purpose. `announced_bytes` is the most that may be announced at all."""

    image_bytes: int
    announced_bytes: int
    sizes: tuple[Size, ...]
    visibility: pb.Visibility.ValueType = pb.PUBLIC
    lifetime: timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A rendition of a picture; equal recipes give equal versions."""

    name: str
    recipe: str
    width: int
    height: int
    content_type: str

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return hashlib.sha256(self.recipe.encode()).hexdigest()[:10]


_SQUARES = tuple(
    Size(name, side, side, True) for name, side in (("small", 150), ("medium", 300), ("large", 600))
)
_WIDTHS = tuple(Size(str(width), width) for width in (320, 640, 1080))
_FACE = Policy(image_bytes=10 * MB, announced_bytes=10 * MB, sizes=_SQUARES)

POLICIES: Mapping[int, Policy] = {
    pb.PROFILE_PICTURE: _FACE,
    pb.AVATAR: _FACE,
    pb.COVER_PHOTO: Policy(
        image_bytes=20 * MB,
        announced_bytes=20 * MB,
        sizes=(
            Size("thumb", 400, 150, True),
            Size("medium", 800, 300, True),
            Size("large", 1600, 600, True),
        ),
    ),
    pb.POST_ATTACHMENT: Policy(image_bytes=25 * MB, announced_bytes=512 * MB, sizes=_WIDTHS),
    pb.MESSAGE_ATTACHMENT: Policy(
        image_bytes=100 * MB, announced_bytes=100 * MB, sizes=_WIDTHS, visibility=pb.PRIVATE
    ),
    pb.STORY: Policy(
        image_bytes=100 * MB,
        announced_bytes=100 * MB,
        sizes=(Size("story", 1080, 1920), Size("320", 320)),
        lifetime=timedelta(hours=24),
    ),
}


def plan(
    policy: Policy, picture: Picture, options: pb.ProcessingOptions | None
) -> tuple[Made, ...]:
    """The renditions a picture will have: `full`, then the thumbnails asked for."""
    asked = options or pb.ProcessingOptions(generate_thumbnails=True)
    full = Size("full", asked.max_width or _FULL_SIDE, asked.max_height or _FULL_SIDE)
    thumbnails = policy.sizes if asked.generate_thumbnails else ()
    return (
        _made(full, picture, picture.full_type, asked.quality),
        *(_made(size, picture, picture.still_type, asked.quality) for size in thumbnails),
    )


def _made(size: Size, picture: Picture, content_type: str, quality: int) -> Made:
    width, height = _scaled(size, picture)
    recipe = f"{size.width}x{size.height} {size.is_crop} {content_type} {quality}"
    return Made(
        name=size.name, recipe=recipe, width=width, height=height, content_type=content_type
    )


def _scaled(size: Size, picture: Picture) -> tuple[int, int]:
    across, down = size.width / picture.width, size.height / picture.height
    if size.is_crop:
        scale = min(1.0, 1 / across, 1 / down)
        return max(1, round(size.width * scale)), max(1, round(size.height * scale))
    scale = min(1.0, across, down)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
