"""`python -m benchmarks [NAME…]`: measures all, or what is named."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import delivery, get_media, memory, uploads, user_uploads
from benchmarks.reports import Row, print_table, write_results

BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "uploads": uploads.measure,
    "memory": memory.measure,
    "get_media": get_media.measure,
    "delivery": delivery.measure,
    "user_uploads": user_uploads.measure,
}


def main() -> None:
    """Measure, print a table; keep the results if everything was measured."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="mediad-bench-") as folder:
            rows += BENCHMARKS[name](Path(folder))
    print_table(rows)
    if len(names) == len(BENCHMARKS):
        write_results(rows)


if __name__ == "__main__":
    main()
