"""Conditional requests (RFC 9110, section 13): whether the reader has the content already.

Pure functions of header values. An entity tag here is always strong and quoted.
"""

from __future__ import annotations


def none_match(if_none_match: bytes, *, etag: bytes) -> bool:
    """Whether the content must be sent: the header names neither this tag nor any content.

    Tags are compared weakly, as the specification demands: `W/"x"` names `"x"`.
    """
    # No tag can hold a quote, so a quoted tag that occurs in the list is one of its members.
    return etag not in if_none_match and if_none_match.strip() != b"*"


def may_be_continued(if_range: bytes | None, *, etag: bytes) -> bool:
    """Whether a part may be sent: the reader's other parts are of this very content.

    Compared strongly. A date never matches, since we send none.
    """
    return if_range is None or if_range.strip() == etag
