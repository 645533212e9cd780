"""Purposes are data: what each takes, how long it keeps it, what it makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from media_service.core.media import MediaType, Purpose, Visibility
from media_service.core.planning import DevelopingPolicy, ThumbnailSpec
from media_service.core.recipes import Shape

MB = 1024 * 1024
ANY_HEIGHT = 16_384
"""As high as a picture may be at all: a box of this height limits the width only."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that hangs on a purpose. `max_bytes` names the media types it takes."""

    max_bytes: Mapping[MediaType, int]
    developing: DevelopingPolicy
    visibility: Visibility = Visibility.PUBLIC
    lifetime: timedelta | None = None
    max_duration: timedelta = timedelta(hours=3)
    """How long what plays may play."""

    @property
    def most_bytes(self) -> int:
        """The most bytes a file of any type it takes may have."""
        return max(self.max_bytes.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policy of every purpose, and the version an operator gave them."""

    version: int
    of: Mapping[Purpose, Policy]


def _crop(name: str, width: int, height: int) -> ThumbnailSpec:
    return ThumbnailSpec(name=name, shape=Shape.CROP, width=width, height=height)


def _fit(name: str, width: int, height: int = ANY_HEIGHT) -> ThumbnailSpec:
    return ThumbnailSpec(name=name, shape=Shape.FIT, width=width, height=height)


_FACE = Policy(
    max_bytes={MediaType.IMAGE: 10 * MB},
    developing=DevelopingPolicy(
        thumbnails=(
            _crop("small", 150, 150),
            _crop("medium", 300, 300),
            _crop("large", 600, 600),
        )
    ),
)
_ATTACHMENT = DevelopingPolicy(thumbnails=(_fit("320", 320), _fit("640", 640), _fit("1080", 1080)))

DEFAULT_POLICIES = Policies(
    version=1,
    of={
        Purpose.PROFILE_PICTURE: _FACE,
        Purpose.AVATAR: _FACE,
        Purpose.COVER_PHOTO: Policy(
            max_bytes={MediaType.IMAGE: 20 * MB},
            developing=DevelopingPolicy(
                thumbnails=(
                    _crop("thumb", 400, 150),
                    _crop("medium", 800, 300),
                    _crop("large", 1600, 600),
                )
            ),
        ),
        Purpose.POST_ATTACHMENT: Policy(
            max_bytes={
                MediaType.IMAGE: 25 * MB,
                MediaType.VIDEO: 512 * MB,
                MediaType.AUDIO: 100 * MB,
            },
            developing=_ATTACHMENT,
            max_duration=timedelta(minutes=30),
        ),
        Purpose.MESSAGE_ATTACHMENT: Policy(
            max_bytes=dict.fromkeys(MediaType, 100 * MB),
            developing=_ATTACHMENT,
            visibility=Visibility.PRIVATE,
        ),
        Purpose.STORY: Policy(
            max_bytes={MediaType.IMAGE: 100 * MB, MediaType.VIDEO: 100 * MB},
            developing=DevelopingPolicy(thumbnails=(_fit("story", 1080, 1920), _fit("320", 320))),
            lifetime=timedelta(hours=24),
            max_duration=timedelta(seconds=60),
        ),
    },
)
