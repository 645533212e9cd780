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


class Format(enum.StrEnum):
    """A format we know by its first bytes; the value is its content type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    GIF = "image/gif"
    AVIF = "image/avif"
    HEIC = "image/heic"
    MP4 = "video/mp4"
    MOV = "video/quicktime"
    WEBM = "video/webm"
    MKV = "video/x-matroska"
    MP3 = "audio/mpeg"
    M4A = "audio/mp4"
    AAC = "audio/aac"
    OGG = "audio/ogg"
    WEBA = "audio/webm"
    WAV = "audio/wav"
    FLAC = "audio/flac"
    PDF = "application/pdf"
    TXT = "text/plain"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    ODT = "application/vnd.oasis.opendocument.text"
    ODS = "application/vnd.oasis.opendocument.spreadsheet"
    ODP = "application/vnd.oasis.opendocument.presentation"
    ZIP = "application/zip"

    @property
    def media_type(self) -> MediaType:
        """What kind of thing files of this format are."""
        return _MEDIA_TYPES.get(self.value.split("/")[0], MediaType.DOCUMENT)

    @property
    def extension(self) -> str:
        """The usual file name extension, with its dot."""
        return "." + self.name.lower().replace("jpeg", "jpg")


_MEDIA_TYPES: Mapping[str, MediaType] = {
    kind.value: kind for kind in MediaType if kind is not MediaType.DOCUMENT
}


_CONTENT_TYPE = re.compile(r"[a-zA-Z0-9][\w!#$&^.+-]{0,63}/[a-zA-Z0-9][\w!#$&^.+-]{0,63}", re.ASCII)
_ANYTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_EXTENSIONS: Mapping[str, str] = {
    extension: kind
    for kind, extensions in {
        "image": "jpg jpeg jpe jfif png apng webp gif avif heic heif hif",
        "other image": "bmp tif tiff ico svg svgz psd jp2 jxl eps ai",
        "video": "mp4 m4v mov webm mkv 3gp qt",
        "other video": "avi mpg mpeg ts m3u m3u8 pls mpd sdp srt vtt ffconcat concat wmv flv",
        "audio": "mp3 m4a aac ogg oga opus wav flac weba",
        "other audio": "wma amr aiff mid",
        "document": "pdf docx xlsx pptx odt ods odp txt csv md log zip",
        "other document": "doc xls ppt rtf docm dotm xlsm xlsb pptm mht mhtml",
        "archive": "gz tar 7z rar bz2 xz jar apk iso dmg",
        "script": "html htm xhtml shtml xml xsl js mjs css php phtml jsp asp aspx hta wsf",
        "program": "exe dll bat cmd com msi scr sh ps1 vbs elf so py pl url lnk desktop reg",
    }.items()
    for extension in extensions.split()
}


def parse_content_type(text: str) -> str:
    """The declared content type in lower case, without parameters; empty when nothing was said.

    Raises InvalidContentType for what is none.
    """
    essence = text.split(";", 1)[0].strip().lower()
    if not text.isprintable() or (essence and not _CONTENT_TYPE.fullmatch(essence)):
        raise InvalidContentType
    return essence


_CONTAINERS = frozenset(
    {Format.MP4, Format.MOV, Format.WEBM, Format.MKV, Format.M4A, Format.WEBA, Format.OGG}
)
"""What holds a film or only sound, and is called either by who recorded it."""
_DOCUMENT_TYPES = frozenset(
    {
        *(format.value for format in Format if format.media_type is MediaType.DOCUMENT),
        "text/csv",
        "application/vnd.ms-excel",  # what Windows calls CSV
        "text/markdown",
        "application/x-zip-compressed",
    }
)


def check_declared(actual: Format, *, content_type: str, filename: str) -> None:
    """Raise TypeMismatch if the declared type or the name's extension is of another kind."""
    kinds = {"audio", "video"} if actual in _CONTAINERS else {actual.media_type.value}
    if content_type not in _ANYTHING and _kind_of(content_type) not in kinds:
        raise TypeMismatch
    extension = filename.rsplit(".", 1)[-1].lower() if "." in filename else ""
    if extension in _EXTENSIONS and _EXTENSIONS[extension] not in kinds:
        raise TypeMismatch


def _kind_of(content_type: str) -> str:
    """The media type of files of this type, or a word that is none."""
    if content_type in _DOCUMENT_TYPES:
        return "document"
    return "other" if content_type == "image/svg+xml" else content_type.split("/", maxsplit=1)[0]
