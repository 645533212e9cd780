"""Documents, made from scratch: those that people send, and those that are made to hurt."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

from media_service.core.formats import Format

A4 = (595, 842)
TEXT = "Möhren, Äpfel; 3 €\nund was sonst noch fehlt.\n".encode()
_TYPES = b'<?xml version="1.0"?><Types xmlns="content-types"/>'
_MAIN_PARTS = {
    Format.DOCX: "word/document.xml",
    Format.XLSX: "xl/workbook.xml",
    Format.PPTX: "ppt/presentation.xml",
}
OFFICE = tuple(_MAIN_PARTS)
OPEN_DOCUMENTS = (Format.ODT, Format.ODS, Format.ODP)


# PDF


def pdf_of(objects: Sequence[bytes], *, trailer: bytes = b"") -> bytes:
    """The objects numbered from 1, the first of them the catalog, with a table of them."""
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer\n<</Size %d/Root 1 0 R%s>>\n" % (len(objects) + 1, trailer))
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


def pdf_stream(content: bytes, fields: bytes = b"") -> bytes:
    """A stream object."""
    return b"<</Length %d%s>>\nstream\n%s\nendstream" % (len(content), fields, content)


def pdf(
    *,
    pages: int = 1,
    size: tuple[float, float] = A4,
    drawing: bytes = b"1 0 0 rg 0 421 595 421 re f",
    catalog: bytes = b"",
    page: bytes = b"",
    stream: bytes | None = None,
    more: Sequence[bytes] = (),
) -> bytes:
    """So many pages, all with the same drawing; the upper half of an A4 page red by default."""
    first = 4 + len(more)
    kids = b" ".join(b"%d 0 R" % (first + n) for n in range(pages))
    box = b"%.12g %.12g" % size
    each = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %s]/Contents 3 0 R"
        b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>%s>>"
    ) % (box, page)
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
            b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids),
            pdf_stream(drawing) if stream is None else stream,
            *more,
            *[each] * pages,
        ]
    )


def pdf_letter(*, pages: int = 1) -> bytes:
    """Pages full of text, as an office program would print them."""
    lines = b"".join(
        b"(%d. The quick brown fox jumps over the lazy dog, and over again.) Tj 0 -16 Td\n" % n
        for n in range(1, 45)
    )
    heading = b"BT /F 22 Tf 60 780 Td (A letter) Tj ET\n0 0.3 0.7 rg 60 770 475 3 re f 0 g\n"
    drawing = heading + b"BT /F 11 Tf 60 745 Td\n" + lines + b"ET"
    return pdf(pages=pages, drawing=drawing)


def pdf_that_acts(url: bytes) -> bytes:
    """D01: it would run a script, start a program and send a form when it is opened."""
    return pdf(
        catalog=b"/OpenAction 4 0 R/AA<</WC 4 0 R>>/Names<</JavaScript<</Names[(a) 4 0 R]>>>>",
        page=b"/AA<</O 5 0 R>>/Annots[6 0 R]",
        more=[
            b"<</S/JavaScript/JS(app.launchURL\\('%s'\\); this.submitForm\\('%s'\\);)>>"
            % (url, url),
            b"<</S/Launch/F(/bin/sh)/Next<</S/URI/URI(%s)>>>>" % url,
            b"<</Type/Annot/Subtype/Link/Rect[0 0 595 842]/A 5 0 R>>",
        ],
    )


def pdf_bomb(*, megabytes: int) -> bytes:
    """B24: its page's drawing unpacks to so much, and is packed twice."""
    packer = zlib.compressobj(1)
    spaces = b" " * 1024 * 1024
    once = b"".join([*(packer.compress(spaces) for _ in range(megabytes)), packer.flush()])
    twice = zlib.compress(once, 9)
    return pdf(stream=pdf_stream(twice, b"/Filter[/FlateDecode/FlateDecode]"))


def pdf_with_picture(width: int, height: int) -> bytes:
    """Its page shows a picture of so many pixels, black all over, packed to nothing."""
    packer = zlib.compressobj(1)
    row = bytes(width * 3)
    packed = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    picture = pdf_stream(
        packed,
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB"
        b"/BitsPerComponent 8/Filter/FlateDecode" % (width, height),
    )
    return pdf(
        drawing=b"q 595 0 0 842 0 0 cm /I Do Q",
        page=b"/Resources<</XObject<</I 4 0 R>>>>",
        more=[picture],
    )


def pdf_of_loops() -> bytes:
    """B25: the tree of its pages, and what its page draws, contain themselves."""
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 5 0 R"
        b"/Resources<</XObject<</X 4 0 R>>>>>>"
    )
    form = pdf_stream(
        b"/X Do /X Do",
        b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 4 0 R>>>>",
    )
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1000000/Kids[2 0 R 3 0 R 2 0 R]/Parent 2 0 R>>",
            page,
            form,
            pdf_stream(b"/X Do"),
        ]
    )


def pdf_of_nested_forms(depth: int) -> bytes:
    """Each form draws the next ten times: ten to this power in all."""
    calls = b"/X Do " * 10
    forms = [
        pdf_stream(
            calls if n < depth - 1 else b"0 0 1 1 re f",
            b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X %d 0 R>>>>"
            % (5 + n),
        )
        for n in range(depth)
    ]
    return pdf(drawing=b"/X Do", page=b"/Resources<</XObject<</X 4 0 R>>>>", more=forms)


def pdf_with_password() -> bytes:
    """Encrypted by a password that nobody knows (standard handler, revision 3)."""
    encrypt = b"<</Filter/Standard/V 2/R 3/Length 128/P -44/O<%s>/U<%s>>>" % (
        b"ab" * 32,
        b"cd" * 32,
    )
    trailer = b"/Encrypt 4 0 R/ID[<%s><%s>]" % (b"01" * 16, b"01" * 16)
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
            encrypt,
        ],
        trailer=trailer,
    )


# ZIP


def zip_of(
    entries: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    """The entries in their order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.comment = comment
    return out.getvalue()


def office(format: Format, more: Mapping[str, bytes] | None = None, *, late: bool = False) -> bytes:
    """A document of Word, Excel or PowerPoint; `late`: its first 4 KB don't tell which."""
    thumbnail = {"docProps/thumbnail.jpeg": bytes(range(256)) * 40} if late else {}
    entries = {"[Content_Types].xml": _TYPES, **thumbnail, _MAIN_PARTS[format]: b"<main/>"}
    return zip_of({**entries, **(more or {})}, method=zipfile.ZIP_STORED)


def open_document(format: Format, more: Mapping[str, bytes] | None = None) -> bytes:
    """A document of LibreOffice."""
    entries = {"mimetype": format.value.encode(), "content.xml": b"<content/>", **(more or {})}
    return zip_of(entries, method=zipfile.ZIP_STORED)


def zip_of_links(target: str = "/etc/passwd") -> bytes:
    """D03: an entry that is a symbolic link."""
    out = io.BytesIO()
    link = zipfile.ZipInfo("innocent.txt")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", "read me")
        archive.writestr(link, target)
    return out.getvalue()


def zip_named(name: str) -> bytes:
    """An archive with an entry of this very name, however wrong."""
    out = io.BytesIO()
    info = zipfile.ZipInfo("x")
    info.filename = name
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("first.txt", "first")
        archive.writestr(info, "second")
    return out.getvalue()


def zip_bomb(
    *, megabytes: int, name: str = "zeros", before: Mapping[str, bytes] | None = None
) -> bytes:
    """B27: unpacks to so much."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for first, content in (before or {}).items():
            archive.writestr(first, content)
        with archive.open(name, "w", force_zip64=True) as entry:
            for _ in range(megabytes):
                entry.write(bytes(1024 * 1024))
    return out.getvalue()


def zip_of_many(count: int) -> bytes:
    """B28: so many empty entries."""
    return zip_of({f"{n}": b"" for n in range(count)}, method=zipfile.ZIP_STORED)


def zip_over_itself(copies: int = 50) -> bytes:
    """Every entry's bytes are the same ones (as in David Fifield's bombs), under other names."""
    local, packed = b"PK\3\4", zlib.compress(bytes(100_000), 9)[2:-4]
    crc = zlib.crc32(bytes(100_000))
    name = b"a"
    sizes = struct.pack("<3L2H", crc, len(packed), 100_000, len(name), 0)
    body = local + struct.pack("<5H", 20, 0, 8, 0, 33) + sizes + name + packed
    directory = b"".join(
        b"PK\1\2"
        + struct.pack("<6H", 20, 20, 0, 8, 0, 33)
        + struct.pack("<3L5H2L", crc, len(packed), 100_000, 1, 0, 0, 0, 0, 0, 0)
        + name
        for _ in range(copies)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, copies, copies, len(directory), len(body), 0)
    return body + directory + end


DOCUMENTS: Mapping[Format, bytes] = {
    Format.PDF: pdf(),
    Format.TXT: TEXT,
    **{format: office(format) for format in OFFICE},
    **{format: open_document(format) for format in OPEN_DOCUMENTS},
    Format.ZIP: zip_of({"holiday/beach.jpg": b"\xff\xd8\xff", "holiday/readme.txt": b"sunny"}),
}
"""One of each format."""
