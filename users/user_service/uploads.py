"""Uploads over HTTP: one file out of a multipart form, checked and bounded while it streams.

Nothing is believed that is said before it is seen: neither the length in the head nor the parts
to come. Whatever is wrong is raised at the byte where it shows, and no more is read.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from user_service.errors import (
    BodyTooLarge,
    EmptyFile,
    FileTooLarge,
    InvalidMultipart,
    MissingFile,
    NotAForm,
    NotYou,
    TooManyFiles,
    UnexpectedField,
    UnsupportedType,
)
from user_service.records import UserId
from user_service.spools import Spool, SpooledFile

if TYPE_CHECKING:  # it exists for type checkers only
    from python_multipart.multipart import MultipartCallbacks

SLACK_BYTES = 64 * 1024
"""How much a body may have beside its file: boundaries, part headers, a small field."""
_FILE = "file"
_USER_ID = "user_id"
_MAX_PARTS = 8
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096
_MAX_FIELD_BYTES = 128
_MAX_NAME_CHARACTERS = 255
_PARSED_AT_ONCE = 64 * 1024
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PLAIN_ENCODINGS = frozenset({b"", b"7bit", b"8bit", b"binary"})
_ANY_TYPE = "application/octet-stream"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an upload may be: so many bytes of each kind, `image` or another."""

    limits: Mapping[str, int]
    user_id: UserId
    refusal: str = ""
    """What is said of a type that is not taken, where that is not the usual."""

    @property
    def max_bytes(self) -> int:
        """The most bytes that a file of any kind may have."""
        return max(self.limits.values())

    @property
    def max_body_bytes(self) -> int:
        """The file and what is around it."""
        return self.max_bytes + SLACK_BYTES


def boundary_of(content_type: str) -> bytes:
    """What separates the parts. Raises NotAForm, InvalidMultipart."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise NotAForm
    boundary = options.get(b"boundary", b"")
    if content_type.lower().count("boundary=") != 1 or not _BOUNDARY.fullmatch(boundary):
        raise InvalidMultipart
    return boundary


async def receive_file(
    body: AsyncIterator[bytes], spool: Spool, *, boundary: bytes, expected: Expected
) -> SpooledFile:
    """The one file of the form.

    Raises FileTooLarge and BodyTooLarge at the first byte too many; InvalidMultipart, MissingFile,
    TooManyFiles, UnexpectedField, EmptyFile, UnsupportedType, NotYou, StorageFull.
    """
    form = _Form(boundary, expected)
    received = 0
    async for chunk in body:
        received += len(chunk)
        if received > expected.max_body_bytes:
            raise FileTooLarge if form.is_in_file else BodyTooLarge
        for start in range(0, len(chunk), _PARSED_AT_ONCE):
            for piece in form.feed(chunk[start : start + _PARSED_AT_ONCE]):
                await spool.write(piece)
    filename, content_type = form.finish()
    return SpooledFile(
        filename=filename,
        content_type=content_type,
        size_bytes=spool.size_bytes,
        content=await spool.content(),
    )


class _Form:
    """Follows the parser, and stops at the first thing that is not as it should be."""

    def __init__(self, boundary: bytes, expected: Expected) -> None:
        self._expected = expected
        self._parser = MultipartParser(
            boundary,
            self._callbacks(),
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )
        self._part = _Part()
        self._parts = 0
        self._file: _Part | None = None
        self._file_bytes = 0
        self._max_bytes = expected.max_bytes
        self._pieces: list[bytes] = []
        self._is_complete = False

    @property
    def is_in_file(self) -> bool:
        """Whether the bytes that come now are the file's."""
        return self._file is not None and self._part is self._file

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes of the body; what of them is the file's."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidMultipart from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> tuple[str, str]:
        """The body is over: name and type of the file."""
        if not self._is_complete:
            raise InvalidMultipart
        if self._file is None:
            raise MissingFile
        if not self._file_bytes:
            raise EmptyFile
        return self._file.filename, self._file.content_type

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._part.name_header(data[start:end]),
            "on_header_value": lambda data, start, end: self._part.fill_header(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._complete,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise UnexpectedField
        self._part = _Part()

    def _end_header(self) -> None:
        self._part.end_header()

    def _begin_content(self) -> None:
        self._part.check()
        self._check_type(self._part.content_type if self._part.is_file else "")
        if self._part.name == _USER_ID and not self._part.is_file:
            return
        if self._part.name != _FILE:
            raise TooManyFiles if self._file and self._part.is_file else UnexpectedField
        if not self._part.is_file:
            raise MissingFile
        if self._file is not None:
            raise TooManyFiles
        self._file = self._part

    def _check_type(self, content_type: str) -> None:
        """What a part says it is narrows what it may be; what it is, its bytes decide later."""
        kind = content_type.partition("/")[0]
        if kind and kind not in self._expected.limits:
            raise UnsupportedType(self._expected.refusal)
        self._max_bytes = self._expected.limits.get(kind, self._expected.max_bytes)

    def _take(self, data: bytes) -> None:
        if not self.is_in_file:
            self._part.content += data
            if len(self._part.content) > _MAX_FIELD_BYTES:
                raise UnexpectedField
            return
        self._file_bytes += len(data)
        if self._file_bytes > self._max_bytes:
            raise FileTooLarge
        self._pieces.append(data)

    def _end_part(self) -> None:
        is_claim = not self.is_in_file and self._part.name == _USER_ID
        if is_claim and self._part.content.decode("utf-8", "replace") != self._expected.user_id:
            raise NotYou

    def _complete(self) -> None:
        self._is_complete = True


class _Part:
    """The head of one part, and the content of what is not the file."""

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self.name = ""
        self.filename = ""
        self.is_file = False
        self.content_type = ""
        self.content = bytearray()

    def name_header(self, data: bytes) -> None:
        self._name += data

    def fill_header(self, data: bytes) -> None:
        self._value += data

    def end_header(self) -> None:
        """One header is whole. None may come twice."""
        name = bytes(self._name).lower()
        if name in self._headers:
            raise InvalidMultipart
        self._headers[name] = bytes(self._value).strip()
        self._name.clear()
        self._value.clear()

    def check(self) -> None:
        """The head is whole: understand it."""
        disposition = self._headers.get(b"content-disposition", b"")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options or b"*=" in disposition:
            raise InvalidMultipart
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            raise InvalidMultipart
        self.name = options[b"name"].decode("utf-8", "replace")
        self.is_file = b"filename" in options
        self.filename = _readable(options.get(b"filename", b""))
        self.content_type = _declared_type(self._headers.get(b"content-type", b""))


def _readable(name: bytes) -> str:
    """A name that can be passed on: no path, nothing that is not seen, not too long."""
    decoded = name.decode("utf-8", "replace")
    last = re.split(r"[/\\]", decoded)[-1]
    visible = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return visible[-_MAX_NAME_CHARACTERS:]


def _declared_type(value: bytes) -> str:
    """What the part says it is; nothing, if it only says that it is something."""
    content_type = parse_options_header(value)[0].decode("latin-1")
    return "" if content_type == _ANY_TYPE else content_type
