"""`python -m benchmarks [NAME…]`: measures all that is quick, or what is named."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    batch,
    delivery,
    films,
    get_media,
    housekeeping,
    memory,
    s3_uploads,
    scale,
    shares,
    transcodes,
    uploads,
    user_uploads,
    workers,
)
from benchmarks.reports import Row, print_table, write_results

BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "uploads": uploads.measure,
    "memory": memory.measure,
    "get_media": get_media.measure,
    "batch": batch.measure,
    "delivery": delivery.measure,
    "user_uploads": user_uploads.measure,
    "films": films.measure,
    "shares": shares.measure,
    "transcodes": transcodes.measure,
}
LONG: dict[str, Callable[[Path], list[Row]]] = {
    "workers": workers.measure,
    "s3_uploads": s3_uploads.measure,
    "scale": scale.measure,
    "housekeeping": housekeeping.measure,
}
"""Those that take minutes, and run only by name."""


def main() -> None:
    """Measure, print a table, keep the results beside those of the others."""
    known = BENCHMARKS | LONG
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}")
    measured: dict[str, list[Row]] = {}
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="mediad-bench-") as folder:
            measured[name] = known[name](Path(folder))
    print_table([row for rows in measured.values() for row in rows])
    write_results(measured)


if __name__ == "__main__":
    main()
