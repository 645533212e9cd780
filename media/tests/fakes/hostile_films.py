"""Films that are made to hurt, or to make whoever opens them open something else."""

from __future__ import annotations

import base64
import random
import tempfile
import zlib
from pathlib import Path
from typing import Final

from fakes import films, pictures
from fakes.boxes import appended_to, box, overwritten, replaced, span_of

SMALL: Final = (96, 54)
_STBL: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_FTYP: Final = box(b"ftyp", b"isom" + bytes(4) + b"isomiso2mp41")


def small_film(container: str) -> bytes:
    """As little of a film as there can be, to be cut and changed many times."""
    is_webm = container == "webm"
    return films.film(
        container=container,
        codec="vp8" if is_webm else "h264",
        audio="opus" if is_webm else "aac",
        size=SMALL,
        seconds=0.4,
        rate="10",
    )


def references(target: str) -> dict[str, bytes]:
    """Files that name another (V01 to V07): a path or a URL."""
    return {
        "HLS playlist": (
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n" + target + "\n#EXT-X-ENDLIST\n"
        ).encode(),
        "HLS master playlist": (
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + target + "\n"
        ).encode(),
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "SRT": f"1\n00:00:00,000 --> 00:00:09,000\n{target}\n".encode(),
        "SDP": (
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
        ).encode(),
        "DASH manifest": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4">'
            '<Representation id="1" bandwidth="1"><BaseURL>' + target + "</BaseURL>"
            "</Representation></AdaptationSet></Period></MPD>"
        ).encode(),
    }


def behind_a_file_type(content: bytes) -> bytes:
    """The same behind a `ftyp` box, so that it is taken for an MP4."""
    return _FTYP + content


def film_with_a_foreign_track(path: str) -> bytes:
    """V08: its data reference is the alias of another file."""
    content = films.film(container="mov", size=SMALL)
    name = path.encode()
    alias = bytes(10) + bytes([1]) + b"v".ljust(27) + bytes(12) + bytes([1]) + b"f".ljust(63)
    alias += bytes(16) + b"\0\1\0\1" + bytes(16)
    alias += b"\0\2" + len(name).to_bytes(2, "big") + name + b"\0" * (len(name) % 2) + b"\xff\xff"
    reference = box(b"dref", bytes(4) + b"\0\0\0\1" + box(b"alis", bytes(4) + alias))
    return replaced(content, *_STBL[:4], b"dinf", b"dref", with_=reference)


def with_a_bomb_for_a_cover(content: bytes) -> bytes:
    """V10: a PNG of 2.5 gigapixels in `covr`."""
    picture = box(b"data", b"\0\0\0\x0e" + bytes(4) + pictures.png_that_lies(50_000, 50_000))
    tags = box(b"ilst", box(b"covr", picture))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return appended_to(content, b"moov", box(b"udta", box(b"meta", bytes(4) + handler + tags)))


def huge_film() -> bytes:
    """B29: one black frame of 16384x8192, which its headers say and the frame is."""
    return zlib.decompress(zlib.decompress(base64.b64decode(_HUGE)))


def huge_film_that_denies_it() -> bytes:
    """B29: its container says 64x64."""
    side = (64).to_bytes(2, "big")
    return overwritten(huge_film(), *_STBL, b"stsd", at=40, with_=side + side)


def film_that_claims_to_be_huge() -> bytes:
    """B29: small, while its container says 16384x8192."""
    content = films.film(codec="vp9", container="mkv", audio="", size=(640, 360))
    small, huge = (
        b"\xb0\x82" + width.to_bytes(2, "big") + b"\xba\x82" + height.to_bytes(2, "big")
        for width, height in ((640, 360), (16_384, 8192))
    )
    assert content.count(small) == 1
    return content.replace(small, huge)


def film_of_lies(kind: str) -> bytes:
    """B30, B31, B33: an index that says what can't be."""
    content = films.film(size=SMALL, audio="")
    most = b"\xff\xff\xff\xff"
    if kind == "lied mvhd":
        return overwritten(content, b"moov", b"mvhd", at=16, with_=most)
    if kind == "lied mdhd":
        return overwritten(content, b"moov", b"trak", b"mdia", b"mdhd", at=16, with_=most)
    if kind == "frames of a year":
        return overwritten(content, *_STBL, b"stts", at=12, with_=b"\x7f\xff\xff\xff")
    if kind == "4e9 samples":
        count = (4_000_000_000).to_bytes(4, "big")
        return overwritten(content, *_STBL, b"stsz", at=8, with_=count)
    if kind == "4e9 durations":
        return overwritten(content, *_STBL, b"stts", at=4, with_=(4_000_000_000).to_bytes(4, "big"))
    assert kind == "100,000 frames a second"
    ticks = (100_000).to_bytes(4, "big")
    content = overwritten(content, b"moov", b"trak", b"mdia", b"mdhd", at=12, with_=ticks)
    return overwritten(content, *_STBL, b"stts", at=12, with_=(1).to_bytes(4, "big"))


def nested_boxes(kind: bytes, *, depth: int = 20_000) -> bytes:
    """B32: boxes in boxes in boxes."""
    sizes = range(8 * depth, 0, -8)
    return _FTYP + b"".join(size.to_bytes(4, "big") + kind for size in sizes)


def many_streams(count: int = 60) -> bytes:
    """A film of one stream, named so many times."""
    content = films.film(size=SMALL, audio="")
    start, end = span_of(content, b"moov", b"trak")
    return appended_to(content, b"moov", content[start:end] * count)


def without_index(content: bytes) -> bytes:
    """T06: an MP4 whose recorder died."""
    start, end = span_of(content, b"moov")
    return content[:start] + content[end:]


def noise(size: int = 100_000) -> bytes:
    """T07, behind a `ftyp` box."""
    return _FTYP + random.Random(7).randbytes(size)


def film_with_attachment(content: bytes) -> bytes:
    """A Matroska film that carries a file."""
    with tempfile.TemporaryDirectory() as folder:
        attached = Path(folder, "cover.png")
        attached.write_bytes(content)
        source = ("-f", "lavfi", "-i", films.pattern(SMALL, seconds=0.4))
        attaching = ("-attach", str(attached), "-metadata:s:t", "mimetype=image/png")
        coded = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
        return films.made([*source, *coded, *attaching], container="mkv")


_HUGE: Final = (
    "eNrt0/tT0gcAAPB+qEnLU1eWD1Km5TOnh5PZFOE6Z6g7RHwRWjibnJEo6ZSpgVzngktPvZMaS1TykVy21IFvQq6bejkn"
    "hqYM0DhD0a9AyBAETdj+i/2yz//wqVIaFucbVrU+x+40ymFoUMwJSCo0qzPY9l1z0Qw3CNbeMtVj6bxHaMm45TPUMnMh"
    "x3e2hSrmZj75eiPq9VPGldcvPMtB90+XJ0eJe8MSejiLBGUxRYUT4qltUTVGYzuvZ19TTUhpDq7vqlLwYpJwOGxFmG//"
    "+i9BKGDoNpWP9aT/oNBWVxCLsMQUyM1a2iaYz486smwyHA4jb5VhNHAZTUi7Q+Kgw1WqRso0aU1rqjCOvxEj3TJH8+2K"
    "OeT4MFhiU4oHf94kXRvDxYYQJ/UaRWH51go5GtyFo6tXxfRDWTdK0x04p4vGN+usrwwFalPfwB8embF07IBIVNaqDwFo"
    "p0ft5YhGIU3y61KdfaPUNj0bF4aZoHlPZyMW6i9+cNtPpJyOXUsBuW8lcef5mhTQSf5YeJOZDNXDCiOUhUef8zD77yuW"
    "V7IFoGdLYxSzIGLCw/TRZMYrWWkHg59uRWAEcl0lgoempPFN0cBB0pKfJzr5gFzHmu8iRIpoyTu4kuRt7Y/vBf3uLdne"
    "EdKt3jLcOVItFPpAbtCeI2GDjna9pycWVNEnrxTUSuBkNjspF4cWVD9J506i6yv/Cjw+MushJLPDISM1D73cc+hnalzs"
    "Kdc6FjrijZF9N/2YZRytDp5w3qrccIeRzKWwrLh2viG635oYwMxgvqJRi+APIG6jPMzM3U6V6yG5f9ZEM7p0Llmqv1Q3"
    "NgRnwWii9L213fv+0hAZWPZIdsaeR3lHt17dm3qKvN1qdSoRjuWAY//7z+RrlkKVdmq2HIX1fLQsC2/wL453gvhgWajv"
    "9SGZBsuDSDzoJSLPj4MUdt0bJ5ExOL4l5eipmlOPnb/TWRcQYMKCcPKUvLhaYcnziY0sR0meCwJ9Mvr0ZiNCBd95Din9"
    "ZDQHr+gYOH8WP+lnz/WW77Mrc7SJf97CntURt68n9H3FLUVqLXqyIXdFO/eCVbMz+IVG6Ni+e0OSz3Qc3lAT86DGYBSw"
    "dyn1MwK8R90sbUJPLfOYNnG8BqiKezxN/I3xb/O1NLsUIF3GJL4Vy75l2GSAusuIAMkl32BYhrm5KFdeUFvHgcWlO0Tt"
    "ncTBMQ5WUAHrQDDQuuBfcLn/w76hd5LDOOQ62yhrFq4S5VXGYTqGd1MBjdnr8KdheewlHLW2FspZyTOx71xk4ZE0YX6W"
    "XRs3VDQiwdh6SxZjNq2idxFSx3G5GtDVZDoL2S+ffR/69u+X6c4TrvfWH/4DLdEKDw=="
)
