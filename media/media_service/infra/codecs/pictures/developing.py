"""Developing a picture's renditions, in a cell: one decode, largest first, the rest from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.infra.codecs.headers.limits import Buffer
from media_service.infra.codecs.pictures.opening import Decoded, Picture, decoding, open_picture
from media_service.infra.codecs.pictures.raster import Raster

Size = tuple[int, int]
Write = Callable[[bytes], None]

_LARGE_BOX: Final = 2048
_NEARLY: Final = 0.9
"""A box this large is met by what a decoder scales to by itself, if it comes this near.

That halves the price of most photographs (4000 wide: 2000 instead of 2048) and nobody sees it.
It hangs on recipe and original only, so that a rendition has one size however it is asked for.
"""
USUAL_SIDE: Final = round(_LARGE_BOX * _NEARLY)
"""The longer side that developing starts from, for every purpose's `full`, at least."""
_MAX_WEBP_SIDE: Final = 16_383
_STUDIED_SIDE: Final = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    recipe: PictureRecipe
    size: Size
    write: Write


def develop(
    data: Buffer,
    *,
    format: Format,
    targets: Sequence[tuple[PictureRecipe, Write]],
    decoded: Decoded | None = None,
) -> list[Size]:
    """Write each rendition; their sizes. `decoded` is used if it is what is needed.

    Raises as `inspect`, and what `write` raises.
    """
    return develop_picture(open_picture(data, format=format), targets=targets, decoded=decoded)


def develop_picture(
    picture: Picture,
    *,
    targets: Sequence[tuple[PictureRecipe, Write]],
    decoded: Decoded | None = None,
) -> list[Size]:
    """The same for a picture that is open, whatever it was found in."""
    orders = [
        _Order(recipe=recipe, size=_size(recipe, picture), write=write) for recipe, write in targets
    ]
    moving = [order for order in orders if order.recipe.animated and picture.header.frames > 1]
    for order in moving:
        order.write(picture.moving_webp(order.size, quality=order.recipe.quality))
    stills = [order for order in orders if order not in moving]
    if stills:
        _develop_stills(picture, stills, decoded)
    return [order.size for order in orders]


def _size(recipe: PictureRecipe, picture: Picture) -> Size:
    width, height = size = recipe.size_of(*picture.upright_size)
    if recipe.shape is Shape.FIT and min(recipe.width, recipe.height) >= _LARGE_BOX:
        for shrink in picture.shrinks:
            shrunk = tuple(-(-side // shrink) for side in picture.upright_size)
            if _NEARLY * width <= shrunk[0] <= width and shrunk[1] <= height:
                return shrunk[0], shrunk[1]
    if recipe.encoding is Encoding.WEBP:
        return min(width, _MAX_WEBP_SIDE), min(height, _MAX_WEBP_SIDE)
    return size


def _deliver(order: _Order, raster: Raster) -> None:
    with decoding():
        encode = {
            Encoding.JPEG: raster.to_jpeg,
            Encoding.WEBP: raster.to_webp,
            Encoding.AVIF: raster.to_avif,
        }[order.recipe.encoding]
        encoded = encode(order.recipe.quality)
    order.write(encoded)


def _develop_stills(picture: Picture, orders: Sequence[_Order], decoded: Decoded | None) -> None:
    width, height = picture.upright_size

    def share(order: _Order) -> float:
        return max(order.size[0] / width, order.size[1] / height)

    largest_first = sorted(orders, key=share, reverse=True)
    with decoding():
        prints = _Prints(_decode(picture, for_order=largest_first[0], decoded=decoded))
    for order in largest_first:
        with decoding():
            raster = prints.make(order.recipe, order.size)
        _deliver(order, raster)


def _decode(picture: Picture, *, for_order: _Order, decoded: Decoded | None) -> Raster:
    """The whole picture, upright and in sRGB, just large enough for an order and all smaller ones.

    Turning and converting come after scaling: there are fewer pixels then.
    """
    header = picture.header
    upright = picture.upright_size
    share = max(for_order.size[0] / upright[0], for_order.size[1] / upright[1])
    wanted = for_order.size
    if for_order.recipe.shape is Shape.CROP:
        wanted = (
            max(wanted[0], round(upright[0] * share)),
            max(wanted[1], round(upright[1] * share)),
        )
    stored = wanted if upright == (header.width, header.height) else (wanted[1], wanted[0])
    shrink = max(
        shrink
        for shrink in picture.shrinks
        if shrink == 1
        or (-(-header.width // shrink) >= stored[0] and -(-header.height // shrink) >= stored[1])
    )
    is_there = decoded is not None and decoded.shrink == shrink
    whole = decoded.raster if decoded and is_there else picture.decode(shrink)
    raster = whole.scaled(*stored)
    return raster.to_srgb(header.profile).turned(header.orientation).in_memory()


class _Prints:
    """Makes ever smaller pictures, each from the smallest one made before that will do."""

    def __init__(self, whole: Raster) -> None:
        self._wholes = [whole]
        self._crops: dict[tuple[int, int] | None, list[Raster]] = {}

    def make(self, recipe: PictureRecipe, size: Size) -> Raster:
        """A picture of exactly this size, which none made later exceeds."""
        if recipe.shape is Shape.FIT:
            raster = self._smallest(self._wholes, size).scaled(*size).in_memory()
            self._wholes.append(raster)
            return raster
        crops = self._crops.setdefault(recipe.focus, [])
        alike = [crop for crop in crops if crop.width * size[1] == crop.height * size[0]]
        source = alike[-1] if alike else self._crop(size, recipe.focus)
        raster = source.scaled(*size).in_memory()
        crops.append(raster)
        return raster

    @staticmethod
    def _smallest(rasters: Sequence[Raster], size: Size) -> Raster:
        covering = [r for r in rasters if r.width >= size[0] and r.height >= size[1]]
        return min(covering, key=lambda raster: raster.width, default=rasters[0])

    def _crop(self, size: Size, focus: tuple[int, int] | None) -> Raster:
        """What is around the focus or draws attention, in these proportions, as large as it comes.

        Where a window around the focus would leave the picture it is moved back into it.
        """
        source = self._smallest(self._wholes, size)
        width, height = _largest_window((source.width, source.height), proportions=size)
        if (width, height) == (source.width, source.height):
            return source
        x, y = (focus[0] / 100, focus[1] / 100) if focus else self._attention(size)
        left = min(max(round(x * source.width - width / 2), 0), source.width - width)
        top = min(max(round(y * source.height - height / 2), 0), source.height - height)
        return source.cropped(left, top, width=width, height=height)

    def _attention(self, size: Size) -> tuple[float, float]:
        """Where to look; found on a small copy, as it takes no more than that."""
        smallest = self._wholes[-1]
        share = min(1.0, _STUDIED_SIDE / max(smallest.width, smallest.height))
        small = smallest.scaled(
            max(1, round(smallest.width * share)), max(1, round(smallest.height * share))
        ).in_memory()
        return small.attention(*_largest_window((small.width, small.height), proportions=size))


def _largest_window(outer: Size, *, proportions: Size) -> Size:
    width = min(outer[0], round(outer[1] * proportions[0] / proportions[1]))
    height = min(outer[1], round(outer[0] * proportions[1] / proportions[0]))
    return max(1, width), max(1, height)
