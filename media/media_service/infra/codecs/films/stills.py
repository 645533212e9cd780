"""What a cell does with films: measures them and finds their poster, which pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence

from media_service.core.errors import UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import PictureRecipe
from media_service.core.renditions import Inspection
from media_service.infra.codecs.containers import (
    audio_stream,
    nothing_to_play,
    open_container,
    video_stream,
)
from media_service.infra.codecs.durations import duration_ms
from media_service.infra.codecs.films.posters import Poster, check_size, find_poster
from media_service.infra.codecs.pictures.developing import Size, Write, develop_picture
from media_service.infra.codecs.pictures.inspecting import blurhash_of
from media_service.infra.codecs.pictures.opening import decoding

_HASHED_SHRINK = 8


def inspect(source: int, *, format: Format) -> Inspection:
    """Raises BrokenFile, UnsupportedCodec, TooManyPixels, TooComplex."""
    return inspect_and_keep(source, format=format)[0]


def inspect_and_keep(source: int, *, format: Format) -> tuple[Inspection, Poster | None]:
    """The same, with the poster; None for a container that holds only sound."""
    with open_container(source, format) as container:
        pictures, sound = video_stream(container), audio_stream(container)
        streams = [stream for stream in (pictures, sound) if stream]
        if not streams:
            raise nothing_to_play(container)
        if pictures:
            check_size(pictures)
        length = duration_ms(container, streams)
        poster = find_poster(container, pictures, duration_ms=length) if pictures else None
    width, height = poster.upright_size if poster else (0, 0)
    inspection = Inspection(
        width=width,
        height=height,
        frames=1,
        has_transparency=False,
        blurhash=_blurhash(poster) if poster else "",
        duration_ms=length,
        has_video=pictures is not None,
        has_audio=sound is not None,
    )
    return inspection, poster


def develop(
    source: int,
    *,
    format: Format,
    targets: Sequence[tuple[PictureRecipe, Write]],
    poster: Poster | None = None,
) -> list[Size]:
    """Write pictures of the poster; their sizes. Raises as `inspect`, and what `write` raises."""
    poster = poster or inspect_and_keep(source, format=format)[1]
    if poster is None:
        raise UnsupportedCodec
    return develop_picture(poster, targets=targets)


def _blurhash(poster: Poster) -> str:
    with decoding():
        is_large = max(poster.header.width, poster.header.height) >= 100 * _HASHED_SHRINK
        return blurhash_of(poster.decode(_HASHED_SHRINK if is_large else 1), poster)
