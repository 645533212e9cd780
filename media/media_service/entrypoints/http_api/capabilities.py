"""What callers may send and will get, for those who would rather ask than read the manual."""

from __future__ import annotations

from collections.abc import Mapping

from media_service.core.access import MAX_EXPIRY
from media_service.core.archives import MAX_ENTRIES, MAX_RATIO, MAX_UNPACKED_BYTES
from media_service.core.media import MediaType, Purpose
from media_service.core.planning import ThumbnailSpec
from media_service.core.purposes import ANY_HEIGHT, Policies, Policy
from media_service.core.reading import MAX_BATCH
from media_service.core.renditions import (
    MAX_BOX_PIXELS,
    MAX_FRAME_PIXELS,
    MAX_MOVING_FRAME_PIXELS,
    MAX_SIDE,
    MAX_TOTAL_PIXELS,
)
from media_service.core.transformations import (
    DEFAULT_QUALITY,
    EXTENSIONS,
    MOST_OF_ONE_ORIGINAL,
    Offer,
    Operation,
)
from media_service.core.uploads import MAX_CHUNK_BYTES, MAX_NAME_CHARACTERS, MAX_UNARY_BYTES

LIMITS: Mapping[str, Mapping[str, int]] = {
    "pixels": {
        "most_a_frame": MAX_FRAME_PIXELS,
        "most_a_moving_frame": MAX_MOVING_FRAME_PIXELS,
        "most_a_side": MAX_SIDE,
        "most_in_all_frames": MAX_TOTAL_PIXELS,
    },
    "archives": {
        "most_entries": MAX_ENTRIES,
        "most_bytes_unpacked": MAX_UNPACKED_BYTES,
        "most_times_its_size_unpacked": MAX_RATIO,
    },
    "api": {
        "most_ids_in_a_batch": MAX_BATCH,
        "most_bytes_in_a_unary_upload": MAX_UNARY_BYTES,
        "most_bytes_in_a_chunk": MAX_CHUNK_BYTES,
        "most_characters_in_a_filename": MAX_NAME_CHARACTERS,
        "most_pixels_a_side_in_options": MAX_BOX_PIXELS,
        "longest_expiry_seconds": int(MAX_EXPIRY.total_seconds()),
    },
}


def describe_capabilities(
    policies: Policies, offer: Offer, decoders: Mapping[str, object]
) -> Mapping[str, object]:
    """Limits, purposes and transformations in plain values, with what the decoders say."""
    return {
        "limits": LIMITS,
        "policy_version": policies.version,
        "purposes": {purpose.name: _purpose(policy) for purpose, policy in _in_order(policies)},
        "transformations": _transformations(offer),
        "decoders": decoders,
    }


def _transformations(offer: Offer) -> Mapping[str, object]:
    """`sides` is None where every side up to `most_pixels_a_side_in_options` is offered."""
    return {
        "operations": [operation.value for operation in Operation],
        "extensions": list(EXTENSIONS),
        "sides": None if offer.sides is None else sorted(offer.sides),
        "default_quality": DEFAULT_QUALITY,
        "most_kept_of_one_original": MOST_OF_ONE_ORIGINAL,
    }


def _in_order(policies: Policies) -> list[tuple[Purpose, Policy]]:
    return [(purpose, policies.of[purpose]) for purpose in Purpose if purpose in policies.of]


def _purpose(policy: Policy) -> Mapping[str, object]:
    developing = policy.developing
    most = {kind.name: policy.max_bytes[kind] for kind in MediaType if kind in policy.max_bytes}
    return {
        "max_bytes": most,
        "visibility": policy.visibility.name,
        "lifetime_seconds": int(policy.lifetime.total_seconds()) if policy.lifetime else None,
        "max_duration_seconds": _max_duration_seconds(policy),
        "full": {
            "width": developing.full_width,
            "height": developing.full_height,
            "quality": developing.full_quality,
        },
        "thumbnail_quality": developing.thumbnail_quality,
        "thumbnails": [_thumbnail(spec) for spec in developing.thumbnails],
    }


def _max_duration_seconds(policy: Policy) -> int | None:
    """None for what takes nothing that plays to its end."""
    plays = {MediaType.VIDEO, MediaType.AUDIO} & policy.max_bytes.keys()
    return int(policy.max_duration.total_seconds()) if plays else None


def _thumbnail(spec: ThumbnailSpec) -> Mapping[str, object]:
    return {
        "name": spec.name,
        "shape": spec.shape.value,
        "width": spec.width,
        "height": None if spec.height == ANY_HEIGHT else spec.height,
    }
