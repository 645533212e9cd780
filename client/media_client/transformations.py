"""How to spell pictures that are made when their URL is read.

What these functions answer goes into `get_signed_url` as `rendition`. The service offers certain
sides; its /capabilities lists them. Without `format` readers get AVIF, WebP or JPEG, as they take.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Format", "crop", "fill", "fit"]

Format: TypeAlias = Literal["jpg", "webp", "avif"]
_DEFAULT_QUALITY = 85


def fit(width: int, height: int, *, quality: int = 85, format: Format | None = None) -> str:
    """Scaled down to fit within a box.

    >>> from media_client import transformations
    >>> transformations.fit(640, 480)
    'fit:640:480'
    >>> transformations.fit(640, 480, quality=70, format="webp")
    'fit:640:480,q:70.webp'
    """
    return _spelled(f"fit:{width}:{height}", quality, format)


def fill(width: int, height: int, *, quality: int = 85, format: Format | None = None) -> str:
    """Cut to a box's proportions around what draws attention, then scaled down to it.

    >>> from media_client import transformations
    >>> transformations.fill(320, 320)
    'fill:320:320'
    """
    return _spelled(f"fill:{width}:{height}", quality, format)


def crop(
    width: int,
    height: int,
    *,
    focus: tuple[float, float] = (0.5, 0.5),
    quality: int = 85,
    format: Format | None = None,
) -> str:
    """The same around a point, in shares of width and height, to the hundredth.

    >>> from media_client import transformations
    >>> transformations.crop(320, 320, focus=(0.25, 1))
    'crop:320:320,focus:0.25:1'
    """
    shares = [f"{round(share, 2) + 0:.4g}" for share in focus]
    point = "" if shares == ["0.5", "0.5"] else f",focus:{shares[0]}:{shares[1]}"
    return _spelled(f"crop:{width}:{height}{point}", quality, format)


def _spelled(box: str, quality: int, format: Format | None) -> str:
    said = "" if quality == _DEFAULT_QUALITY else f",q:{quality}"
    return f"{box}{said}" + (f".{format}" if format else "")
