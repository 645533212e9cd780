"""Inspecting a picture, in a cell: the one full decode that proves it whole."""

from __future__ import annotations

from media_service.core.formats import Format
from media_service.core.renditions import Inspection
from media_service.infra.codecs.headers.limits import MAX_DURATION_MS, Buffer
from media_service.infra.codecs.pictures.blurhash import encode_blurhash
from media_service.infra.codecs.pictures.developing import USUAL_SIDE
from media_service.infra.codecs.pictures.opening import (
    Decoded,
    Frames,
    Picture,
    decoding,
    open_picture,
)
from media_service.infra.codecs.pictures.raster import Raster

_HASHED_SIDE = 100
"""The longer side of what is hashed. Equal pictures of any size then have equal hashes."""

_IN_MEMORY_PIXELS = 16_000_000
"""Larger ones with alpha that come by lines are decoded twice: 100 ms, and a third less memory."""

_KEPT_PIXELS = 13_000_000
"""More are not kept for a development to come: 39 MB a cell."""
_QUICK_PIXELS = 4_000_000
"""A person waits for an inspection: so many are decoded at full size to be kept, no more."""


def inspect(data: Buffer, *, format: Format) -> Inspection:
    """Raises BrokenFile, TooManyPixels, TooComplex, MetadataTooLarge."""
    return inspect_and_keep(data, format=format)[0]


def inspect_and_keep(data: Buffer, *, format: Format) -> tuple[Inspection, Decoded | None]:
    """The same, with the pixels if `develop` can start from them. Raises as `inspect`."""
    picture = open_picture(data, format=format)
    with decoding():
        shrink = _shrink(picture)
        frames, still = _decode_all(picture, shrink)
        width, height = picture.upright_size
        inspection = Inspection(
            width=width,
            height=height,
            frames=picture.header.frames,
            has_transparency=frames.lowest_alpha < 255,
            blurhash=blurhash_of(still, picture),
            duration_ms=min(frames.duration_ms, MAX_DURATION_MS),
        )
    is_kept = still.is_in_memory and still.width * still.height <= _KEPT_PIXELS
    return inspection, Decoded(still, shrink) if is_kept else None


def _decode_all(picture: Picture, shrink: int) -> tuple[Frames, Raster]:
    """What all frames tell, and the first one; every frame was decoded."""
    if picture.header.frames > 1:
        return picture.look_at_frames(), picture.decode()
    still = picture.decode(shrink)
    if not still.has_alpha:
        return Frames(255, 0), still
    if not still.is_in_memory and still.width * still.height > _IN_MEMORY_PIXELS:
        return Frames(still.to_8_bits().lowest_alpha(), 0), picture.decode()
    still = still.to_8_bits().in_memory()
    return Frames(still.lowest_alpha(), 0), still


def _shrink(picture: Picture) -> int:
    """What developing would start from, if that is quick; else as little as hashing needs."""
    width, height = picture.header.width, picture.header.height
    longer = max(width, height)
    useful = _largest(picture, longer, least=USUAL_SIDE)
    if useful > 1 or width * height <= _QUICK_PIXELS:
        return useful
    return _largest(picture, longer, least=_HASHED_SIDE)


def _largest(picture: Picture, longer: int, *, least: int) -> int:
    return max(shrink for shrink in picture.shrinks if shrink == 1 or longer >= shrink * least)


def blurhash_of(still: Raster, picture: Picture) -> str:
    """The hash of a picture by what it decoded to."""
    return encode_blurhash(_small(still, picture).rgb())


def _small(still: Raster, picture: Picture) -> Raster:
    """Upright sRGB pixels without alpha, small enough to hash."""
    scale = min(1.0, _HASHED_SIDE / max(still.width, still.height))
    width, height = (max(1, round(side * scale)) for side in (still.width, still.height))
    small = still.scaled(width, height).to_srgb(picture.header.profile)
    return small.turned(picture.header.orientation).on_white()
