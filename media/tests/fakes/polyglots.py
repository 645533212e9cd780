"""Files that are two things at once: a picture to us, and something that runs to who is told so.

Whatever is not the picture has `CANARY` in it.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Final

from fakes import documents, pictures
from media_service.core.formats import Format

CANARY: Final = b"canary-of-the-other-file"
_PAGE: Final = b"<script>alert('" + CANARY + b"')</script>"
_SCRIPT: Final = b"*/=1;alert('" + CANARY + b"')//"
_PHP: Final = b"<?php system($_GET['" + CANARY + b"']); ?>"


def gif_that_is_a_script() -> bytes:
    """A sound GIF whose width opens a comment, which ends in the comment of the GIF."""
    width = int.from_bytes(b"/*", "little")
    gif = pictures.gif_of_frames(1, canvas=(width, 1))
    said = b"\x21\xfe" + bytes([len(_SCRIPT)]) + _SCRIPT + b"\0"
    return gif[:-1] + said + gif[-1:]


def bmp_that_is_a_script() -> bytes:
    """The same of a BMP, whose stated size opens it."""
    size = int.from_bytes(b"/*\0\0", "little")
    head = b"BM" + struct.pack("<IHHI", size, 0, 0, 54)
    return (
        head + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4) + _SCRIPT
    )


def _archive() -> bytes:
    """A program of Java, if it is called .jar."""
    return documents.zip_of({"Run.class": CANARY}, method=zipfile.ZIP_STORED)


def _jpeg_with_php() -> bytes:
    """In its description and after the directory, as image tools show and file tools find it."""
    entry = struct.pack("<HHII", 0x010E, 2, len(_PHP), 26)
    return pictures.jpeg_with_exif(b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + _PHP)


POLYGLOTS: Final[Mapping[str, tuple[Callable[[], bytes], Format, str]]] = {
    "a program behind a GIF": (
        lambda: pictures.gif_of_frames(1) + _archive(),
        Format.GIF,
        "face.jar",
    ),
    "a GIF that is a script": (gif_that_is_a_script, Format.GIF, "face.js"),
    "a page in a JPEG's comment": (
        lambda: pictures.with_segment(pictures.picture(), marker=0xFE, payload=_PAGE),
        Format.JPEG,
        "face.html",
    ),
    "a page in a PNG's text": (
        lambda: pictures.png(
            pictures.chunk(b"tEXt", b"Comment\0" + _PAGE),
            pictures.png_pixels(),
            pictures.chunk(b"IEND"),
        ),
        Format.PNG,
        "face.htm",
    ),
    "a letter behind a JPEG": (
        lambda: pictures.picture() + documents.pdf(drawing=b"% " + CANARY),
        Format.JPEG,
        "face.pdf",
    ),
    "an archive behind a JPEG": (
        lambda: pictures.picture() + _archive(),
        Format.JPEG,
        "face.zip",
    ),
    "PHP in a JPEG's EXIF": (_jpeg_with_php, Format.JPEG, "face.php"),
    "an archive behind a PNG": (
        lambda: pictures.picture(format=Format.PNG) + _archive(),
        Format.PNG,
        "face.docx",
    ),
}
"""How to make each, what it is, and a name under which it would be the other thing."""
