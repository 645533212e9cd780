"""`python -m benchmarks.scaling`: writes the tables of docs/scaling.md from what was measured.

What is between `<!-- name -->` and `<!-- end -->` is written anew. Assumptions stand here, as
named numbers; what follows from them and from `results/latest.json` is computed, and its
arithmetic is written beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reports import read_results

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
DAY, YEAR = 86_400, 365
NOT_YET = "not measured yet"

USERS = 100e6
DAILY_ACTIVE = 0.3
UPLOADS_EACH = 0.5
LOOKS_EACH = 200
PEAK = 3.0
CDN_HITS = 0.95
ORIGINAL_MB, RENDITION_KB, RENDITIONS = 2.6, 90.0, 4
DUPLICATES = 0.1
GETS_PER_LOOK = 0.25
BATCHED = 20
REDIS_HITS = 0.9
MEDIUM_KB = 1.4
"""A row of media with four renditions planned, as wide as the scale benchmark found it."""
INDEX_BYTES, BLOB_BYTES, RENDITION_BYTES = 150.0, 250.0, 290.0
CACHE_ENTRY_KB = 2.0
CORES_AT = 0.6
PAGES_PER_UPLOAD, PAGE_KB = 5, 8.0
"""Pages at random places of indexes, each written whole to the log once after a checkpoint."""
WRITES_PER_UPLOAD = 3
"""Transactions that wait for a disk: the upload, the job's start, its end."""
CONNECTIONS_PER_PROCESS = 21
"""MEDIAD_MAX_CONNECTIONS, and the one that listens; workers, which are few, have more."""
UPLOAD = "upload of 12 MP until COMPLETED, CPU of all processes"
"""The benchmark that tells what an upload costs; the one to S3 begins alike."""


class Measured:
    """The rows of the last benchmarks, by how their names begin."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def ours(self, begins: str) -> float | None:
        """What was measured of ours; None if it was not yet. Raises ValueError for several."""
        found = {row["ours"] for row in self._rows if row["name"].startswith(begins)}
        if len(found) > 1:
            raise ValueError(f"measured several times: {begins}")
        return next(iter(found), None)


def assumptions(_: Measured) -> list[tuple[str, str, str]]:
    """What the rest stands on."""
    return [
        ("users", f"{USERS:,.0f}", "registered"),
        ("active a day", f"{_active():,.0f}", f"{DAILY_ACTIVE:.0%} of them"),
        ("uploads each", f"{UPLOADS_EACH}", "a day"),
        ("pictures seen each", f"{LOOKS_EACH}", "a day"),
        ("peak", f"{PEAK:g} ×", "of the day's mean"),
        ("the CDN answers", f"{CDN_HITS:.0%}", "URLs never change, so it may keep them for ever"),
        ("an original", f"{ORIGINAL_MB} MB", "a phone's 12 megapixels"),
        ("a rendition", f"{RENDITION_KB:.0f} KB", f"{RENDITIONS} of each original, on average"),
        ("uploads of known bytes", f"{DUPLICATES:.0%}", "stored and developed once"),
        ("GetMedia", f"{GETS_PER_LOOK} per picture seen", f"{BATCHED} to a BatchGetMedia"),
        ("the cache answers", f"{REDIS_HITS:.0%}", "of reads of rows"),
        ("processors are busy", f"{CORES_AT:.0%}", "at the peak, so that one zone may fail"),
    ]


def traffic(_: Measured) -> list[tuple[str, str, str]]:
    """What comes in and goes out."""
    uploads, looks = _per_second(UPLOADS_EACH), _per_second(LOOKS_EACH)
    stored = _stored_mb()
    return [
        ("uploads a second, mean", _n(uploads), f"{_active():,.0f} × {UPLOADS_EACH} / {DAY:,}"),
        ("uploads a second, peak", _n(uploads * PEAK), f"× {PEAK:g}"),
        ("bytes in, peak", f"{uploads * PEAK * ORIGINAL_MB / 125:.1f} Gbit/s", f"× {ORIGINAL_MB} MB"),
        ("pictures seen a second, peak", _n(looks * PEAK), f"{_active():,.0f} × {LOOKS_EACH} / {DAY:,} × {PEAK:g}"),
        ("of them at us", _n(looks * PEAK * (1 - CDN_HITS)), f"× {1 - CDN_HITS:.0%} the CDN lacks"),
        ("bytes out of us, peak", f"{looks * PEAK * (1 - CDN_HITS) * RENDITION_KB / 125e3:.1f} Gbit/s", f"× {RENDITION_KB:.0f} KB"),
        ("GetMedia a second, peak", _n(looks * PEAK * GETS_PER_LOOK), f"× {GETS_PER_LOOK}; {_n(looks * PEAK * GETS_PER_LOOK / BATCHED)} batches"),
        ("media a year", f"{_media_a_year() / 1e9:.1f} billion", f"uploads × {YEAR} days"),
        ("bytes a year", f"{_media_a_year() * (1 - DUPLICATES) * stored / 1e9:,.1f} PB", f"× {1 - DUPLICATES:.0%} × {stored:.2f} MB"),
        ("objects a year", f"{_media_a_year() * (1 - DUPLICATES) * (1 + RENDITIONS) / 1e9:.0f} billion", f"× {1 + RENDITIONS}"),
    ]  # fmt: skip


def cores(measured: Measured) -> list[tuple[str, str, str]]:
    """Processors, from what one operation was measured to take."""
    uploads, looks = _per_second(UPLOADS_EACH) * PEAK, _per_second(LOOKS_EACH) * PEAK
    upload_ms = measured.ours(UPLOAD)
    delivered = measured.ours("delivery of a")
    gets = measured.ours("GetMedia from cache")
    batch_ms = measured.ours("BatchGetMedia(100)")
    return [
        _cores("uploads, decode and all", uploads, upload_ms and upload_ms / 1e3, "{} ms each", upload_ms),
        _cores("delivery behind the CDN", looks * (1 - CDN_HITS), delivered and 1 / delivered, "{} a core's second", delivered),
        _cores("GetMedia, one by one", looks * GETS_PER_LOOK, gets and 1 / gets, "{} a core's second", gets),
        _cores(f"or as BatchGetMedia({BATCHED})", looks * GETS_PER_LOOK / BATCHED, batch_ms and batch_ms / 1e3 * BATCHED / 100, "{} ms for 100", batch_ms),
    ]  # fmt: skip


def database(measured: Measured) -> list[tuple[str, str, str]]:
    """PostgreSQL and Redis."""
    a_year, uploads = _media_a_year(), _per_second(UPLOADS_EACH) * PEAK
    row_kb = MEDIUM_KB + INDEX_BYTES / 1e3
    blob_kb = (1 - DUPLICATES) * (BLOB_BYTES + RENDITIONS * RENDITION_BYTES) / 1e3
    reads = _per_second(LOOKS_EACH) * PEAK * GETS_PER_LOOK * (1 - REDIS_HITS)
    read = measured.ours("GetMedia from the database, 10,000,000")
    entries = reads * 3600
    log_kb = row_kb + blob_kb + PAGES_PER_UPLOAD * PAGE_KB
    processes = uploads * (measured.ours(UPLOAD) or 100) / 1e3
    processes /= CORES_AT
    return [
        ("rows of media a year", f"{a_year * row_kb / 1e9:,.1f} TB", f"{a_year / 1e9:.1f} billion × {row_kb:.2f} KB with indexes"),
        ("blobs and renditions a year", f"{a_year * blob_kb / 1e9:,.1f} TB", f"× {blob_kb:.2f} KB"),
        ("transactions that write, peak", f"{_n(uploads * WRITES_PER_UPLOAD)}/s", f"{_n(uploads)} uploads × {WRITES_PER_UPLOAD}"),
        ("log (WAL), peak, at most", f"{uploads * log_kb / 1e3:,.0f} MB/s", f"the rows, and {PAGES_PER_UPLOAD} pages of {PAGE_KB:g} KB whole"),
        ("reads of rows, peak", f"{_n(reads)}/s", f"what the cache lacks; {_ms(read)} each with ten million rows"),
        ("reads of disk, peak", f"{_n(reads)} IOPS", "one page each, the indexes' upper levels in memory"),
        ("Redis", f"{entries * CACHE_ENTRY_KB / 1e6:,.0f} GB", f"each miss fills an entry for an hour: {_n(entries / 1e6)} million × {CACHE_ENTRY_KB:g} KB"),
        ("connections without a pooler", _n(processes * CONNECTIONS_PER_PROCESS), f"{_n(processes)} processes of one core × {CONNECTIONS_PER_PROCESS}"),
    ]  # fmt: skip


def upkeep(measured: Measured) -> list[tuple[str, str, str]]:
    """What looks after the store."""
    objects = _media_a_year() * (1 - DUPLICATES) * (1 + RENDITIONS)
    sweep = measured.ours("sweep of a whole store")
    fsck = measured.ours("fsck of a whole store")
    removal = measured.ours("removing a condemned content")
    deleted = _per_second(UPLOADS_EACH) * 0.1
    return [
        ("a walk of a year's objects", _days(sweep, objects), f"{_ms(sweep, 's')} per million"),
        ("fsck of a year's objects", _days(fsck, objects), f"{_ms(fsck, 's')} per million"),
        ("sweepers at once", "–" if removal is None else f"{deleted * removal / 1e3:.1f}", f"{_n(deleted)} contents a second (a tenth of uploads is deleted) × {_ms(removal)}"),
    ]  # fmt: skip


TABLES: dict[str, Callable[[Measured], list[tuple[str, str, str]]]] = {
    table.__name__: table for table in (assumptions, traffic, cores, database, upkeep)
}


def _active() -> float:
    return USERS * DAILY_ACTIVE


def _per_second(each: float) -> float:
    return _active() * each / DAY


def _media_a_year() -> float:
    return _active() * UPLOADS_EACH * YEAR


def _stored_mb() -> float:
    return ORIGINAL_MB + RENDITIONS * RENDITION_KB / 1e3


def _cores(
    name: str, rate: float, seconds: float | None, unit: str, measured: float | None
) -> tuple[str, str, str]:
    if not seconds or measured is None:
        return name, NOT_YET, f"{_n(rate)} a second"
    told = unit.format(_n(measured))
    return name, _n(rate * seconds / CORES_AT), f"{_n(rate)} a second; {told}; / {CORES_AT}"


def _days(seconds_per_million: float | None, objects: float) -> str:
    if seconds_per_million is None or seconds_per_million <= 0:
        return NOT_YET
    return f"{objects / 1e6 * seconds_per_million / DAY:,.0f} days of one process"


def _ms(number: float | None, unit: str = "ms") -> str:
    return NOT_YET if number is None else f"{number:.3g} {unit}"


def _n(number: float) -> str:
    """Rounded to what can be known: three digits."""
    return f"{float(f'{number:.3g}'):,.10g}"


def written(page: str, measured: Measured) -> str:
    """The page with its tables computed."""
    for name, table in TABLES.items():
        lines = ["| what | | how |", "|---|---|---|"]
        lines += [f"| {what} | {value} | {how} |" for what, value, how in table(measured)]
        text = "\n".join(lines)
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = before + begin + text + "\n" + end + after
        if not (begin and end):
            raise SystemExit(f"{PAGE.name} has no place for {name}")
    return page


def main() -> None:
    """Write the page."""
    PAGE.write_text(written(PAGE.read_text(), Measured(read_results())))


if __name__ == "__main__":
    main()
