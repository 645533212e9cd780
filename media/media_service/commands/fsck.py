"""`mediad fsck`: rows, stored objects and renditions compared, and set right if asked."""

from __future__ import annotations

import json
import re
import sys

import click
from click._termui_impl import ProgressBar

from media_service.commands.logs import configure_logs
from media_service.composition import open_media_service
from media_service.config import Settings
from media_service.core.auditing import PARTS, Allowance, Auditing, AuditReport, TooManyLosses
from media_service.core.audits import Difference

_MEANING = {
    Difference.MISSING_ORIGINAL: ("originals without bytes", "noted as damaged"),
    Difference.WRONG_ORIGINAL: ("originals with wrong bytes", "noted as damaged"),
    Difference.NOTED_DAMAGE: ("originals noted as damaged", "read again"),
    Difference.MISSING_RENDITION: ("renditions without bytes", "forgotten, made again when asked"),
    Difference.WRONG_RENDITION: ("renditions with wrong bytes", "forgotten, made again when asked"),
    Difference.ORPHANED_OBJECT: ("objects without a row", "moved to the trash"),
    Difference.CONDEMNED_BUT_HELD: ("blobs condemned though held", "revived"),
    Difference.LIVE_BUT_UNHELD: ("blobs that nobody holds", "condemned"),
    Difference.FORGOTTEN_MEDIA: ("media without the job they need", "queued again"),
    Difference.UNFINISHED_DELETION: ("deletions that were killed", "brought to an end"),
    Difference.ABANDONED_FILE: ("staged files of dead processes", "removed"),
}


def allowance(text: str | None) -> Allowance:
    """What `--allow-loss` says: a number, or a percentage. Raises click.BadParameter."""
    if text is None:
        return Allowance()
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", text)
    if match is None:
        raise click.BadParameter("--allow-loss takes a number, or a percentage such as 5%")
    if match[1]:
        return Allowance(count=int(match[1]), part=0)
    return Allowance(count=0, part=float(match[2]) / 100)


async def check(
    settings: Settings, *, repair: bool, deep: bool, allowed: Allowance, as_json: bool
) -> bool:
    """Compare, repair if asked, print; whether nothing differs, or all that did is repaired."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        auditing = opened.service.auditing
        with _progress_bar("comparing") as bar:
            report = await auditing.compare(deep=deep, on_progress=bar.update)
        refused = (
            repair and bool(report.found) and not await _repair(auditing, report, deep, allowed)
        )
    click.echo(json.dumps(_record(report), indent=2) if as_json else _table(report))
    if refused:
        click.echo(_refusal(report), err=True)
    return not report.found or (repair and not refused)


async def undo(settings: Settings, label: str) -> None:
    """Put back what a repair moved to the trash, and print the keys."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        try:
            keys = await opened.service.auditing.undo(label)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    for key in keys:
        click.echo(key)
    if not keys:
        raise click.ClickException(
            f"there is nothing in the trash under {label}: it was put back before, or is gone for "
            "good after MEDIAD_TRASH_DAYS; a repair prints its label"
        )
    click.echo(f"{len(keys)} objects are back where they were", err=True)


async def _repair(auditing: Auditing, report: AuditReport, deep: bool, allowed: Allowance) -> bool:
    try:
        with _progress_bar("repairing") as bar:
            await auditing.repair(report, allowance=allowed, deep=deep, on_progress=bar.update)
    except TooManyLosses:
        return False
    return True


def _progress_bar(label: str) -> ProgressBar[int]:
    return click.progressbar(length=PARTS, label=label, file=sys.stderr)


def _refusal(report: AuditReport) -> str:
    return (
        f"Nothing was repaired: {report.losses} of {report.total} objects would be given up. Is "
        "this the right database, and the right store? If it is, say --allow-loss "
        f"{report.losses}."
    )


def _record(report: AuditReport) -> dict[str, object]:
    return {
        "contents": report.contents,
        "objects": report.objects,
        "size_bytes": report.size_bytes,
        "differences": {
            difference.value: {
                "found": count,
                "repaired": report.repaired[difference],
                "examples": report.examples[difference],
            }
            for difference, count in report.found.items()
        },
        "label": report.label,
    }


def _table(report: AuditReport) -> str:
    lines = [f"{report.contents} contents, {report.objects} objects, {report.size_bytes} bytes"]
    for difference, count in report.found.items():
        what, cure = _MEANING[difference]
        repaired = report.repaired[difference]
        outcome = f"{repaired} {cure}" if repaired else f"with --repair: {cure}"
        lines.append(f"{count:>8}  {what:<32}  {outcome}")
        lines += [f"{'':>10}{name}" for name in report.examples[difference]]
    if not report.found:
        lines.append("Nothing differs.")
    if report.label and report.repaired[Difference.ORPHANED_OBJECT]:
        lines.append(f"What went to the trash comes back with: mediad fsck --undo {report.label}")
    return "\n".join(lines)
