"""File formats: what bytes are, by their own first bytes, and what may be claimed of them.

The first bytes decide. A declared content type or a file name's extension may be missing or
name another format of the same kind (phones send HEIC as `.JPG`); one of another kind is refused.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

from media_service.core.errors import InvalidContentType, TypeMismatch
from media_service.core.media import MediaType

SNIFF_BYTES = 4096
"""How many first bytes `sniff` wants to see."""


class Format(enum.StrEnum):
    """A format we know by its first bytes; the value is its content type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    GIF = "image/gif"
    AVIF = "image/avif"
    HEIC = "image/heic"

    @property
    def media_type(self) -> MediaType:
        """What kind of thing files of this format are."""
        return MediaType(self.value.split("/")[0])

    @property
    def extension(self) -> str:
        """The usual file name extension, with its dot."""
        return "." + self.name.lower().replace("jpeg", "jpg")


_BRANDS: Mapping[bytes, Format] = {
    b"avif": Format.AVIF,
    b"avis": Format.AVIF,
    b"heic": Format.HEIC,
    b"heix": Format.HEIC,
    b"heim": Format.HEIC,
    b"heis": Format.HEIC,
    b"hevc": Format.HEIC,
    b"hevx": Format.HEIC,
}
_GIF_BLOCKS = b"\x21\x2c\x3b"


def sniff(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes, or None for one we don't know."""
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF if _is_gif(head) else None
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    return None


def _is_gif(head: bytes) -> bool:
    """Whether a block follows the header, where text that only begins like a GIF has none."""
    if len(head) < 13:
        return True
    has_palette, palette_bits = head[10] & 0x80, head[10] & 0x07
    first_block = 13 + (3 << (palette_bits + 1) if has_palette else 0)
    return first_block >= len(head) or head[first_block] in _GIF_BLOCKS


def _sniff_brands(head: bytes) -> Format | None:
    """The format that an ISO base media file (ISO 14496-12) names in its `ftyp` box."""
    box = head[: min(int.from_bytes(head[:4], "big"), 256)]
    brands = [box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


_CONTENT_TYPE = re.compile(r"[a-zA-Z0-9][\w!#$&^.+-]{0,63}/[a-zA-Z0-9][\w!#$&^.+-]{0,63}", re.ASCII)
_ANYTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_EXTENSIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ["jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "avif", "heic", "heif", "hif"],
        "image",
    ),
    **dict.fromkeys(
        ["bmp", "tif", "tiff", "ico", "svg", "svgz", "psd", "jp2", "jxl", "eps", "ai"],
        "other image",
    ),
    **dict.fromkeys(
        ["mp4", "m4v", "mov", "webm", "mkv", "avi", "3gp", "mpg", "mpeg", "ts", "m3u8"], "video"
    ),
    **dict.fromkeys(
        ["mp3", "m4a", "aac", "ogg", "oga", "opus", "wav", "flac", "wma", "amr"], "audio"
    ),
    **dict.fromkeys(
        ["pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "txt", "csv", "rtf"],
        "document",
    ),
    **dict.fromkeys(
        ["zip", "gz", "tar", "7z", "rar", "bz2", "xz", "jar", "apk", "iso", "dmg"], "archive"
    ),
    **dict.fromkeys(
        ["html", "htm", "xhtml", "xml", "js", "mjs", "css", "php", "phtml", "jsp", "asp", "aspx"],
        "script",
    ),
    **dict.fromkeys(
        [
            "exe",
            "dll",
            "bat",
            "cmd",
            "com",
            "msi",
            "scr",
            "sh",
            "ps1",
            "vbs",
            "elf",
            "so",
            "py",
            "pl",
        ],
        "program",
    ),
}


def parse_content_type(text: str) -> str:
    """The declared content type in lower case, without parameters; empty when nothing was said.

    Raises InvalidContentType for what is none.
    """
    essence = text.split(";", 1)[0].strip().lower()
    if not text.isprintable() or (essence and not _CONTENT_TYPE.fullmatch(essence)):
        raise InvalidContentType
    return essence


def check_declared(actual: Format, *, content_type: str, filename: str) -> None:
    """Raise TypeMismatch if the declared type or the name's extension is of another kind."""
    kind = actual.media_type.value
    if content_type not in _ANYTHING and content_type.split("/", maxsplit=1)[0] != kind:
        raise TypeMismatch
    if content_type == "image/svg+xml":
        raise TypeMismatch
    extension = filename.rsplit(".", 1)[-1].lower() if "." in filename else ""
    if _EXTENSIONS.get(extension, kind) != kind:
        raise TypeMismatch
