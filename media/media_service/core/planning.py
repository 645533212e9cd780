"""Planning: which renditions a medium will have, by what it is and what its purpose says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import (
    Encoding,
    FilmRecipe,
    PictureRecipe,
    Recipe,
    Shape,
    SoundEncoding,
    SoundRecipe,
    StreamPart,
    StreamRecipe,
    VerbatimRecipe,
    WaveformRecipe,
    stream_name,
)
from media_service.core.renditions import (
    FULL,
    Inspection,
    ProcessingOptions,
    Rendition,
    Role,
    Stage,
)

RUNGS: Final = (360, 540, 720, 1080)
"""The shorter sides of a stream's rungs in pixels."""

_PREVIEW_WIDTH, _PREVIEW_QUALITY = 320, 60
_MOTION_FRAMES: Final = 10
"""Fewer are not worth a film: of so many it has a quarter of the WebP's bytes, or less."""
_WAVE_BOX = (640, 160)
_WAVEFORM_POINTS: Final = 200
_AAC_KILOBITS, _OPUS_KILOBITS = 128, 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailSpec:
    """One thumbnail a purpose's policy asks for."""

    name: str
    shape: Shape
    width: int
    height: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DevelopingPolicy:
    """What a purpose says of renditions.

    The box and quality of `full` and of posters, the thumbnails, and of films the most pixels of
    their shorter side and the most frames a second.
    """

    full_width: int = 2048
    full_height: int = 2048
    full_quality: int = 92
    thumbnail_quality: int = 85
    thumbnails: tuple[ThumbnailSpec, ...] = ()
    film_short_side: int = 720
    film_frame_rate: int = 60
    stream_rungs: tuple[int, ...] = RUNGS


def plan_renditions(
    policy: DevelopingPolicy,
    *,
    format: Format,
    options: ProcessingOptions | None,
    inspection: Inspection,
) -> tuple[Rendition, ...]:
    """The renditions a medium will have: `full` first."""
    plan = _Plan(policy, options, inspection)
    match format.media_type:
        case MediaType.IMAGE:
            return tuple(plan.of_picture())
        case MediaType.VIDEO:
            return tuple(plan.of_video())
        case MediaType.AUDIO:
            return tuple(plan.of_audio())
        case MediaType.DOCUMENT:
            return tuple(plan.of_document(format))


class _Plan:
    """What is asked for, and of what."""

    def __init__(
        self, policy: DevelopingPolicy, options: ProcessingOptions | None, told: Inspection
    ) -> None:
        self._policy = policy
        self._options = options
        self._told = told
        self._quality = options.quality if options else 0

    def of_picture(self) -> Iterator[Rendition]:
        """Animation is kept in `full`; thumbnails show the first frame.

        What has transparency or moves is saved as WebP, the rest as JPEG. What moves for long is a
        silent film as well, `motion`, at a fraction of the bytes; a film can't be transparent.
        """
        moving = self._told.frames > 1
        still = Encoding.WEBP if self._told.has_transparency else Encoding.JPEG
        yield self._planned(FULL, self._full(Encoding.WEBP if moving else still, animated=moving))
        yield from self._thumbnails(still)
        if self._told.frames >= _MOTION_FRAMES and not self._told.has_transparency:
            film = dataclasses.replace(self._film(), silent=True)
            yield self._planned("motion", film, stage=Stage.COMPLETE)

    def of_video(self) -> Iterator[Rendition]:
        """`full` plays everywhere, `poster` is its picture, `preview` moves, `hls` adapts."""
        yield self._planned(FULL, self._film(), stage=Stage.PLAYABLE)
        yield self._planned("poster", self._full(Encoding.JPEG))
        yield from self._thumbnails(Encoding.JPEG)
        yield from self._stream()
        yield self._planned("preview", _moving_preview(), stage=Stage.COMPLETE)

    def of_audio(self) -> Iterator[Rendition]:
        """`full` is AAC, `opus` smaller; `waveform` holds the peaks, `wave` is their picture."""
        normalized = bool(self._options and self._options.normalize_loudness)
        aac = SoundRecipe(encoding=SoundEncoding.AAC, kilobits=_AAC_KILOBITS, normalized=normalized)
        opus = SoundRecipe(
            encoding=SoundEncoding.OPUS, kilobits=_OPUS_KILOBITS, normalized=normalized
        )
        yield self._planned(FULL, aac, stage=Stage.PLAYABLE)
        yield self._planned("waveform", WaveformRecipe(points=_WAVEFORM_POINTS))
        if self._wants_thumbnails:
            yield _wave()
        yield self._planned("opus", opus, stage=Stage.COMPLETE)

    def of_document(self, format: Format) -> Iterator[Rendition]:
        """`full` is the file as it came; what has pages shows the first of them."""
        yield self._planned(FULL, VerbatimRecipe(content_type=format.value))
        if self._told.pages:
            yield self._planned("page", self._full(Encoding.JPEG))
            yield from self._thumbnails(Encoding.JPEG)

    def _film(self) -> FilmRecipe:
        policy = self._policy
        return FilmRecipe(short_side=policy.film_short_side, frame_rate=policy.film_frame_rate)

    def _stream(self) -> Iterator[Rendition]:
        rungs = _rungs(self._policy.stream_rungs, min(self._told.width, self._told.height))
        parts = [(StreamPart.MASTER, 0)]
        for rung in rungs:
            parts += [(StreamPart.PLAYLIST, rung), (StreamPart.SEGMENTS, rung)]
        for part, rung in parts:
            recipe = StreamRecipe(
                part=part, short_side=rung, rungs=rungs, frame_rate=self._policy.film_frame_rate
            )
            role = Role.RENDITION if part is StreamPart.MASTER else Role.PART
            yield self._planned(stream_name(part, rung), recipe, stage=Stage.COMPLETE, role=role)

    def _full(self, encoding: Encoding, *, animated: bool = False) -> PictureRecipe:
        options, policy = self._options, self._policy
        return PictureRecipe(
            shape=Shape.FIT,
            width=(options.max_width if options else 0) or policy.full_width,
            height=(options.max_height if options else 0) or policy.full_height,
            quality=self._quality or policy.full_quality,
            encoding=encoding,
            animated=animated,
        )

    @property
    def _wants_thumbnails(self) -> bool:
        return self._options is None or self._options.generate_thumbnails

    def _thumbnails(self, encoding: Encoding) -> Iterator[Rendition]:
        for spec in self._policy.thumbnails if self._wants_thumbnails else ():
            recipe = PictureRecipe(
                shape=spec.shape,
                width=spec.width,
                height=spec.height,
                quality=self._quality or self._policy.thumbnail_quality,
                encoding=encoding,
            )
            yield self._planned(spec.name, recipe, role=Role.THUMBNAIL)

    def _planned(
        self,
        name: str,
        recipe: Recipe,
        *,
        stage: Stage = Stage.PREVIEW,
        role: Role = Role.RENDITION,
    ) -> Rendition:
        width, height = recipe.size_of(self._told.width, self._told.height)
        return Rendition(
            name=name, recipe=recipe, width=width, height=height, stage=stage, role=role
        )


def _moving_preview() -> PictureRecipe:
    return PictureRecipe(
        shape=Shape.FIT,
        width=_PREVIEW_WIDTH,
        height=_PREVIEW_WIDTH,
        quality=_PREVIEW_QUALITY,
        encoding=Encoding.WEBP,
        animated=True,
    )


def _wave() -> Rendition:
    """A sound's wave as a picture, drawn to fill its box."""
    width, height = _WAVE_BOX
    recipe = PictureRecipe(
        shape=Shape.FIT, width=width, height=height, quality=80, encoding=Encoding.WEBP
    )
    return Rendition(name="wave", recipe=recipe, width=width, height=height, role=Role.THUMBNAIL)


def _rungs(wanted: tuple[int, ...], short_side: int) -> tuple[int, ...]:
    """Those that are not larger than the original; its own size, made even, if all are."""
    return tuple(rung for rung in wanted if rung <= short_side) or (max(2, short_side // 2 * 2),)
