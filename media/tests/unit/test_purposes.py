from __future__ import annotations

from datetime import timedelta

import pytest
from media_service.core.media import MediaType, Purpose, Visibility
from media_service.core.planning import DevelopingPolicy
from media_service.core.purposes import DEFAULT_POLICIES

MB = 1024 * 1024
IMAGE, VIDEO, AUDIO, DOCUMENT = MediaType
FACE = [("small", "crop", 150, 150), ("medium", "crop", 300, 300), ("large", "crop", 600, 600)]
WIDTHS = [("320", "fit", 320, 16384), ("640", "fit", 640, 16384), ("1080", "fit", 1080, 16384)]
COVER = [
    ("thumb", "crop", 400, 150),
    ("medium", "crop", 800, 300),
    ("large", "crop", 1600, 600),
]
STORY = [("story", "fit", 1080, 1920), ("320", "fit", 320, 16384)]


@pytest.mark.parametrize(
    ("purpose", "max_bytes", "thumbnails", "visibility", "lifetime"),
    [
        (Purpose.PROFILE_PICTURE, {IMAGE: 10 * MB}, FACE, Visibility.PUBLIC, None),
        (Purpose.AVATAR, {IMAGE: 10 * MB}, FACE, Visibility.PUBLIC, None),
        (Purpose.COVER_PHOTO, {IMAGE: 20 * MB}, COVER, Visibility.PUBLIC, None),
        (
            Purpose.POST_ATTACHMENT,
            {IMAGE: 25 * MB, VIDEO: 512 * MB, AUDIO: 100 * MB},
            WIDTHS,
            Visibility.PUBLIC,
            None,
        ),
        (
            Purpose.MESSAGE_ATTACHMENT,
            {IMAGE: 100 * MB, VIDEO: 100 * MB, AUDIO: 100 * MB, DOCUMENT: 100 * MB},
            WIDTHS,
            Visibility.PRIVATE,
            None,
        ),
        (
            Purpose.STORY,
            {IMAGE: 100 * MB, VIDEO: 100 * MB},
            STORY,
            Visibility.PUBLIC,
            timedelta(hours=24),
        ),
    ],
)
def test_each_purpose_has_the_policy_that_was_published(
    purpose: Purpose,
    max_bytes: dict[MediaType, int],
    thumbnails: list[tuple[str, str, int, int]],
    visibility: Visibility,
    lifetime: timedelta | None,
) -> None:
    policy = DEFAULT_POLICIES.of[purpose]
    specs = [(t.name, t.shape.value, t.width, t.height) for t in policy.developing.thumbnails]

    assert policy.max_bytes == max_bytes
    assert policy.most_bytes == max(max_bytes.values())
    assert specs == thumbnails
    assert (policy.visibility, policy.lifetime) == (visibility, lifetime)


def test_every_purpose_has_a_policy() -> None:
    assert set(DEFAULT_POLICIES.of) == set(Purpose)


def test_full_is_within_2048_pixels_at_quality_92_unless_a_policy_says_otherwise() -> None:
    policy = DevelopingPolicy()

    assert (policy.full_width, policy.full_height, policy.full_quality) == (2048, 2048, 92)


@pytest.mark.parametrize("purpose", Purpose)
def test_no_two_thumbnails_of_a_purpose_share_a_name(purpose: Purpose) -> None:
    names = [spec.name for spec in DEFAULT_POLICIES.of[purpose].developing.thumbnails]

    assert len(set(names)) == len(names)
    assert "full" not in names
