"""What a picture's header says, read in pure Python before any decoder sees the file.

Decoders believe headers: one of 545 bytes that claims 50 000 x 50 000 pixels costs 12 s and 7 GB,
and 59 MB of metadata segments cost 24 s. So both are bounded here first, by a walk over the file's
blocks that copies no pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from media_service.core.errors import BrokenFile
from media_service.core.formats import Format
from media_service.infra.codecs.headers.gif import read_gif
from media_service.infra.codecs.headers.jpeg import read_jpeg
from media_service.infra.codecs.headers.limits import Buffer, Header
from media_service.infra.codecs.headers.png import read_png
from media_service.infra.codecs.headers.webp import read_webp

_READERS: Mapping[Format, Callable[[Buffer], Header]] = {
    Format.JPEG: read_jpeg,
    Format.PNG: read_png,
    Format.WEBP: read_webp,
    Format.GIF: read_gif,
}


def read_header(data: Buffer, *, format: Format) -> Header:
    """The header of a JPEG, PNG, WebP or GIF file that is within the limits.

    Raises BrokenFile, TooManyPixels, TooComplex, MetadataTooLarge.
    """
    try:
        return _READERS[format](data)
    except (struct.error, IndexError) as cause:
        raise BrokenFile from cause
