"""Files that tell all they can of who made them, where and with what, in every kind that comes in.

Whatever they tell has `canary` or the latitude 51.5007 in it.
"""

from __future__ import annotations

import base64
import functools
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fakes import documents, films, sounds
from fakes.boxes import appended_to, box
from fakes.pictures import MOVING, PICTURE_FORMATS, moving, photograph, picture

TELLTALES: Final = (b"canary", b"51.5007", b"+51.5")
_TEXT: Final = "canary at +51.5007-000.1246/"
_TAGS: Final = (
    *("title", "artist", "author", "comment", "location", "make", "model", "copyright"),
    *("com.apple.quicktime.location.ISO6709", "com.apple.quicktime.make", "encoder", "serial"),
    *("album", "description", "creation_time"),
)
_SEI: Final = "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+canary-in-sei"
_CHAPTERS: Final = (
    f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle={_TEXT}\n"
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle={_TEXT}\n"
)


def pictures() -> Iterator[tuple[str, bytes]]:
    """Every format, still and moving for a while; a photograph with IPTC, a film after its end."""
    for format in PICTURE_FORMATS:
        yield f"photo.{format.name.lower()}", picture(format=format, orientation=6)
    for format in MOVING:
        yield f"moving.{format.name.lower()}", moving(12, format=format, orientation=1)
    yield "iptc.jpg", photograph()
    yield "motion.jpg", photograph() + films.phone_film()


def moving_pictures() -> Iterator[tuple[str, bytes]]:
    """A film that is remuxed, one that is transcoded, and those of other containers."""
    yield "remuxed.mov", _telling_film(films.film(container="mov"), "mov", bsf=_SEI)
    yield "remuxed.mp4", _telling_film(films.film(), "mp4", bsf=_SEI)
    yield "transcoded.mov", _telling_film(films.film(codec="hevc", container="mov"), "mov")
    yield "attached.mkv", _telling_film(films.film(container="mkv"), "matroska", bsf=_SEI)
    webm = films.film(codec="vp9", container="webm", audio="opus")
    yield "tagged.webm", _telling_film(webm, "webm")
    yield "phone.mov", films.phone_film()


def recordings() -> Iterator[tuple[str, bytes]]:
    """Sounds with all the tags of their containers."""
    yield "id3.mp3", sounds.with_id3(sounds.sound("mp3"), _id3())
    yield "atoms.m4a", appended_to(_tagged(sounds.sound("m4a"), "ipod"), b"moov", _atoms())
    block = base64.b64encode(struct.pack(">II", 3, 10) + b"image/jpeg" + _cover()).decode()
    more = ("-metadata", f"METADATA_BLOCK_PICTURE={block}")
    yield "comments.ogg", _tagged(sounds.sound("opus"), "ogg", *more)
    yield "comments.flac", _tagged(sounds.flac_with_block(6, _flac_picture()), "flac")
    yield "chunks.wav", _with_chunks(_tagged(sounds.sound("wav"), "wav", "-write_bext", "1"))
    yield "tagged.weba", _tagged(sounds.sound("weba"), "webm")


def letter() -> bytes:
    """A PDF that names its author."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:UserComment="' + _TEXT.encode() + b'"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    stream = documents.pdf_stream(xmp, b"/Type/Metadata/Subtype/XML")
    return documents.pdf(catalog=b"/Metadata 4 0 R", more=[stream])


def _metadata(streams: str) -> list[str]:
    told = dict.fromkeys(_TAGS, _TEXT) | {"creation_time": "2019-03-04T05:06:07Z"}
    options = [word for k, v in told.items() for word in ("-metadata", f"{k}={v}")]
    for stream in streams:
        for tag in ("title", "handler_name", "comment", "encoder"):
            options += [f"-metadata:s:{stream}", f"{tag}={_TEXT}"]
    return options


def _tagged(content: bytes, form: str, *more: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        plain, tagged = Path(folder, "plain"), Path(folder, "tagged")
        plain.write_bytes(content)
        options = ("-map", "0:a", "-c", "copy", *_metadata("a"), *more, "-f", form)
        films.run_ffmpeg("-i", str(plain), *options, str(tagged))
        return tagged.read_bytes()


def _telling_film(content: bytes, form: str, *, bsf: str = "") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        plain, said, cover, made = (Path(folder, n) for n in ("in", "said", "cover.jpg", "made"))
        plain.write_bytes(content)
        said.write_text(_CHAPTERS)
        cover.write_bytes(_cover())
        options = ["-i", str(plain), "-i", str(said)]
        if form == "mp4":
            options += ["-i", str(cover), "-map", "0", "-map", "2"]
            options += ["-disposition:v:1", "attached_pic", "-map_chapters", "1"]
        else:
            options += ["-map", "0", "-map_chapters", "1"]
        if form == "matroska":
            options += ["-attach", str(cover), "-metadata:s:t", "mimetype=image/jpeg"]
            options += ["-metadata:s:t", "filename=canary.jpg"]
        options += ["-c", "copy", *_metadata("va"), *(["-bsf:v:0", bsf] if bsf else [])]
        if form in ("mov", "mp4"):
            options += ["-timecode", "01:00:00:00"]
        if form == "mov":
            options += ["-movflags", "use_metadata_tags"]
        films.run_ffmpeg(*options, "-f", form, str(made))
        told = made.read_bytes()
    return _with_telemetry(told) if form in ("mov", "mp4") else told


def _with_telemetry(film: bytes) -> bytes:
    """The film with the `udta` boxes of phones, and a track of positions as action cameras have."""
    place = b"\0\0\0\0\x15\xc7canary\0\0" + struct.pack(">iii", -8166, 51 << 16, 0) + b"earth\0\0"
    words = b"\x15\xc7" + _TEXT.encode()
    xyz = box(b"\xa9xyz", len(_TEXT).to_bytes(2, "big") + words)
    udta = box(b"udta", xyz + box(b"loci", place))
    at = len(film) + len(udta) + len(_track(0)) + 8
    return appended_to(film, b"moov", udta + _track(at)) + box(b"mdat", _POSITIONS)


_POSITIONS: Final = b"DEVC canary GPS5 51.5007"


def _track(at: int) -> bytes:
    """A track of one sample, which lies there."""
    full = bytes(4)
    tkhd = box(b"tkhd", b"\0\0\0\x0f" + bytes(8) + struct.pack(">II", 9, 0) + bytes(64))
    mdhd = box(b"mdhd", full + struct.pack(">IIIIHH", 0, 0, 1000, 1000, 0, 0))
    hdlr = box(b"hdlr", full + b"mhlrmeta" + bytes(12) + b"canary GoPro MET\0")
    entry = box(b"gpmd", bytes(6) + b"\0\1" + bytes(4))
    stbl = box(
        b"stbl",
        box(b"stsd", full + struct.pack(">I", 1) + entry)
        + box(b"stts", full + struct.pack(">III", 1, 1, 1000))
        + box(b"stsc", full + struct.pack(">IIII", 1, 1, 1, 1))
        + box(b"stsz", full + struct.pack(">III", 0, 1, len(_POSITIONS)))
        + box(b"stco", full + struct.pack(">II", 1, at)),
    )
    url = box(b"url ", b"\0\0\0\1")
    dinf = box(b"dinf", box(b"dref", full + struct.pack(">I", 1) + url))
    gmhd = box(b"gmhd", box(b"gmin", bytes(16)))
    return box(b"trak", tkhd + box(b"mdia", mdhd + hdlr + box(b"minf", gmhd + dinf + stbl)))


@functools.cache
def _cover() -> bytes:
    return photograph(64, 64)


def _frame(kind: bytes, body: bytes) -> bytes:
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return kind + size + b"\0\0" + body


def _id3() -> bytes:
    text = _TEXT.encode()
    return (
        _frame(b"APIC", b"\0image/jpeg\0\x03canary\0" + _cover())
        + _frame(b"GEOB", b"\0text/plain\0canary\0canary\0" + text)
        + _frame(b"PRIV", b"canary\0" + text)
        + _frame(b"COMM", b"\0eng\0" + text)
        + b"".join(_frame(kind, b"\0" + text) for kind in (b"TIT2", b"TPE1", b"TCOM", b"TOWN"))
    )


def _atoms() -> bytes:
    """iTunes' own, with a free-form one."""
    value = box(b"data", b"\0\0\0\1" + bytes(4) + _TEXT.encode())
    free = box(b"mean", bytes(4) + b"com.apple.canary") + box(b"name", bytes(4) + b"serial")
    ilst = box(
        b"ilst", box(b"\xa9nam", value) + box(b"\xa9ART", value) + box(b"----", free + value)
    )
    hdlr = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return box(b"udta", box(b"meta", bytes(4) + hdlr + ilst))


def _flac_picture() -> bytes:
    cover = _cover()
    words = struct.pack(">II", 3, 10) + b"image/jpeg" + struct.pack(">I", 6) + b"canary"
    return words + struct.pack(">IIIII", 64, 64, 24, 0, len(cover)) + cover


def _with_chunks(wav: bytes) -> bytes:
    text = _TEXT.encode() + b"\0" * (len(_TEXT) % 2)
    ixml = b"iXML" + struct.pack("<I", len(text)) + text
    tag = b"ID3\x04\0\0" + bytes(3) + bytes([len(text) + 10]) + _frame(b"TIT2", text)
    id3 = b"id3 " + struct.pack("<I", len(tag)) + tag
    grown = wav + ixml + id3
    return grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]
