"""What the tests of films share: a room to make them in, and how to look at what came out."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.formats import Format
from media_service.core.recipes import (
    Encoding,
    FilmRecipe,
    PictureRecipe,
    Recipe,
    Shape,
    StreamPart,
    StreamRecipe,
)
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS
from media_service.infra.codecs.films.making import FilmMaker
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg

FFMPEG = Ffmpeg(path=Path(imageio_ffmpeg.get_ffmpeg_exe()), version="")
FULL = FilmRecipe(short_side=720, frame_rate=60)
PREVIEW = PictureRecipe(
    shape=Shape.FIT, width=320, height=320, quality=60, encoding=Encoding.WEBP, animated=True
)


def stream_of(*rungs: int) -> list[StreamRecipe]:
    """All parts of a stream."""
    parts = [(StreamPart.MASTER, 0)]
    for rung in rungs:
        parts += [(StreamPart.PLAYLIST, rung), (StreamPart.SEGMENTS, rung)]
    return [
        StreamRecipe(part=part, short_side=rung, rungs=rungs, frame_rate=60) for part, rung in parts
    ]


class CuttingRoom:
    """Puts films into files, and what is made of them into others."""

    def __init__(self, cells: Cells, folder: Path) -> None:
        self.folder = folder
        self.maker = FilmMaker(FFMPEG, cells)
        self.source = folder / "source"

    async def make(
        self,
        content: bytes,
        *recipes: Recipe,
        format: Format = Format.MP4,
        on_progress: OnProgress = no_progress,
    ) -> list[bytes]:
        self.source.write_bytes(content)
        targets = [(recipe, self.folder / str(i)) for i, recipe in enumerate(recipes)]
        self.sizes = await self.maker.develop(
            self.source, format=format, targets=targets, on_progress=on_progress
        )
        return [path.read_bytes() for _, path in targets]

    async def film(
        self, content: bytes, recipe: FilmRecipe = FULL, *, format: Format = Format.MP4
    ) -> Made:
        (content,) = await self.make(content, recipe, format=format)
        made = shown(content)
        assert self.sizes == [made.size]
        return made


@asynccontextmanager
async def open_room(folder: Path) -> AsyncIterator[CuttingRoom]:
    """A room with a cell; when it closes, no program has left anything behind."""
    async with Cells(AV_CELL, size=1, time_limits=AV_TIME_LIMITS) as cells:
        yield CuttingRoom(cells, folder)
    assert not list(folder.glob("job-*"))


@dataclasses.dataclass(frozen=True)
class Made:
    """A film, every frame of it decoded."""

    content: bytes
    size: tuple[int, int]
    pixel_format: str
    video: str
    audio: str
    tags: dict[str, str]
    times: list[float]
    seconds: float
    first: npt.NDArray[np.uint8]
    streams: int
    colours: tuple[int, int, int]
    profile: str

    def corner(self, *, bottom_right: bool = False) -> tuple[int, ...]:
        height, width, _ = self.first.shape
        at = (height - height // 10, width - width // 10)
        y, x = at if bottom_right else (height // 10, width // 10)
        return tuple(int(value) for value in self.first[y, x])


def shown(content: bytes) -> Made:
    """The film as a player shows it: upright."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first = frames[0]
        pixels = first.to_ndarray(format="rgb24").astype(np.uint8)
        turned = np.rot90(pixels, k=round(first.rotation / 90))
        audio = container.streams.audio
        told: list[Any] = [container, *container.streams]
        context = stream.codec_context
        return Made(
            content=content,
            size=(turned.shape[1], turned.shape[0]),
            pixel_format=first.format.name,
            video=context.name,
            audio=audio[0].codec_context.name if audio else "",
            tags={key: value for one in told for key, value in one.metadata.items()},
            times=[float(frame.time or 0) for frame in frames],
            seconds=(container.duration or 0) / av.time_base,
            first=turned,
            streams=len(container.streams),
            colours=(context.color_primaries, context.color_trc, context.colorspace),
            profile=str(context.profile),
        )


def seconds_in_header(mp4: bytes) -> float:
    """How many seconds the header of the whole says, which players of Apple's believe."""
    header = mp4.index(b"mvhd") + 16  # version 0: name, flags and two dates come before
    scale, duration = struct.unpack(">II", mp4[header : header + 8])
    return float(duration / scale)


def order_of_boxes(content: bytes) -> list[bytes]:
    """The types of an MP4's outermost boxes."""
    at, types = 0, []
    while at + 8 <= len(content):
        types.append(content[at + 4 : at + 8])
        at += int.from_bytes(content[at : at + 4], "big") or len(content)
    return types


def is_near(colour: Sequence[int], wanted: Sequence[int], *, by: int = 45) -> bool:
    return all(abs(a - b) <= by for a, b in zip(colour, wanted, strict=True))
