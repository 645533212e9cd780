from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_service.entrypoints.http_api.conditionals import may_be_continued, none_match
from media_service.entrypoints.http_api.ranges import (
    ByteRange,
    RangeNotSatisfiable,
    parse_range,
)

ETAG = b'"0123456789abcdef0123456789abcdef"'
SIZES = st.integers(min_value=1, max_value=10**12)
NUMBERS = st.integers(min_value=0, max_value=10**13)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", ByteRange(0, 1)),
        (b"bytes=0-9", ByteRange(0, 10)),
        (b"bytes=10-", ByteRange(10, 90)),
        (b"bytes=99-", ByteRange(99, 1)),
        (b"bytes=90-1000", ByteRange(90, 10)),
        (b"bytes=0-" + b"9" * 5000, ByteRange(0, 100)),
        (b"bytes=-1", ByteRange(99, 1)),
        (b"bytes=-100", ByteRange(0, 100)),
        (b"bytes=-" + b"9" * 5000, ByteRange(0, 100)),
        (b"bytes=000000000000000000000000-0000000000000000000000001", ByteRange(0, 2)),
        (b"BYTES=0-9", ByteRange(0, 10)),
    ],
)
def test_a_single_range_is_a_part(value: bytes, expected: ByteRange) -> None:
    assert parse_range(value, size=100) == expected


@pytest.mark.parametrize(
    "value",
    [b"bytes=100-", b"bytes=100-200", b"bytes=-0", b"bytes=-000", b"bytes=" + b"9" * 5000 + b"-"],
)
def test_a_part_that_is_not_there_can_not_be_given(value: bytes) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(value, size=100)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=-",
        b"bytes=5-4",
        b"bytes=a-b",
        b"bytes=1",
        b"bytes=--1",
        b"bytes=+1-2",
        b"bytes=1_0-20",
        b"bytes= 0-1",
        b"bytes=0-1 ",
        b"bytes 0-1",
        b"items=0-1",
        b"bytes=0x1-2",
        b"bytes=1-2-3",
        b"bytes=0-1,5-6",
        b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(1000)),
        "bytes=\u0661-\u0662".encode(),
        b"bytes=0-1\n",
        b"\x00",
    ],
)
def test_what_is_no_single_range_gives_the_whole(value: bytes) -> None:
    assert parse_range(value, size=100) is None


@given(first=NUMBERS, last=NUMBERS, size=SIZES)
def test_a_part_is_what_slicing_would_give(first: int, last: int, size: int) -> None:
    value = b"bytes=%d-%d" % (first, last)

    if first > last:
        assert parse_range(value, size=size) is None
    elif first >= size:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(value, size=size)
    else:
        assert parse_range(value, size=size) == ByteRange(first, min(last, size - 1) - first + 1)


@given(value=st.binary(max_size=40), size=SIZES)
def test_no_header_asks_for_bytes_outside_the_content(value: bytes, size: int) -> None:
    for header in (value, b"bytes=" + value):
        try:
            part = parse_range(header, size=size)
        except RangeNotSatisfiable:
            continue
        if part:
            assert part.start >= 0
            assert part.length > 0
            assert part.start + part.length <= size


def test_a_part_says_where_it_belongs() -> None:
    assert ByteRange(10, 20).of(100) == b"bytes 10-29/100"


@pytest.mark.parametrize(
    "value",
    [
        b"*",
        b" * ",
        ETAG,
        b"W/" + ETAG,
        b'"a", ' + ETAG + b', "b"',
        b'W/"a,b",W/' + ETAG,
    ],
)
def test_a_reader_who_has_the_content_is_not_sent_it(value: bytes) -> None:
    assert not none_match(value, etag=ETAG)


@pytest.mark.parametrize(
    "value",
    [b"", b'"other"', ETAG.strip(b'"'), ETAG[:-2] + b'"', ETAG.upper(), b'"*"', b"**", b"W/"],
)
def test_a_reader_who_has_another_content_is_sent_it(value: bytes) -> None:
    assert none_match(value, etag=ETAG)


@given(
    others=st.lists(st.from_regex(rb'(W/)?"[!#-~]{0,40}"', fullmatch=True)),
    is_weak=st.booleans(),
)
def test_a_tag_is_found_wherever_it_stands(others: list[bytes], is_weak: bool) -> None:
    ours = b"W/" + ETAG if is_weak else ETAG
    middle = len(others) // 2

    assert none_match(b", ".join(others), etag=ETAG) == (ETAG not in b", ".join(others))
    assert not none_match(b", ".join([*others[:middle], ours, *others[middle:]]), etag=ETAG)


def test_a_part_continues_only_the_very_same_content() -> None:
    assert may_be_continued(None, etag=ETAG)
    assert may_be_continued(ETAG, etag=ETAG)
    assert not may_be_continued(b"W/" + ETAG, etag=ETAG)
    assert not may_be_continued(b'"other"', etag=ETAG)
    assert not may_be_continued(b"Sat, 29 Oct 1994 19:43:31 GMT", etag=ETAG)
    assert not may_be_continued(b"", etag=ETAG)
