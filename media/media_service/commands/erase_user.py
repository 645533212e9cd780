"""`mediad erase-user`: everything of one owner goes for good, and is looked for afterwards."""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import urllib.error
import urllib.request

import click

from media_service.commands.logs import configure_logs
from media_service.composition import Opened, open_media_service
from media_service.config import Settings
from media_service.core.erasing import Answers, Erased
from media_service.core.media import UserId

_TIMEOUT_SECONDS = 10
_BEYOND_REACH = (
    "Beyond reach: copies in a CDN and in browsers, for up to a year (purge the paths above in "
    "the CDN); backups of the database and of the store; dead rows in PostgreSQL's files until "
    "it vacuums them; logs."
)


async def run(
    settings: Settings,
    user_id: str,
    *,
    is_sure: bool,
    is_dry: bool,
    as_json: bool,
    check_url: str | None,
) -> bool:
    """Erase, telling of each medium as it goes; whether nothing of them is left."""
    configure_logs(settings.log_format)
    owner = UserId(user_id)
    async with open_media_service(settings, is_decoding=False) as opened:
        live, deleted = await opened.service.erasing.count(owner)
        what = f"{live} media and {deleted} rows of deleted ones of {user_id!r}"
        if is_dry:
            click.echo(json.dumps({"media": live, "deleted": deleted}) if as_json else what)
            return True
        if not is_sure:
            click.confirm(f"Erase {what} for good?", abort=True, err=True)
        totals = await _erase(opened, owner, as_json=as_json, answers=_asking(check_url))
    _print_summary(totals, as_json=as_json)
    return not totals["incomplete"]


async def _erase(
    opened: Opened, owner: UserId, *, as_json: bool, answers: Answers | None
) -> collections.Counter[str]:
    totals: collections.Counter[str] = collections.Counter(erased=0, shared=0, incomplete=0)
    async for erased in opened.service.erasing.erase(owner, answers=answers):
        totals["incomplete" if erased.left else "erased"] += 1
        totals["shared"] += erased.shared
        click.echo(json.dumps(_record(erased)) if as_json else _text(erased))
        sys.stdout.flush()
    return totals


def _record(erased: Erased) -> dict[str, object]:
    return {
        "media_id": erased.media_id,
        "erased": not erased.left,
        "content_stays_for_others": erased.shared,
        "left": [left.value for left in erased.left],
        "purge": list(erased.paths),
    }


def _text(erased: Erased) -> str:
    outcome = f"LEFT: {', '.join(erased.left)}" if erased.left else "gone"
    shared = "; its bytes stay: others hold equal ones" if erased.shared else ""
    return "\n".join([f"{erased.media_id}  {outcome}{shared}", *erased.paths])


def _print_summary(totals: collections.Counter[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"totals": totals, "beyond_reach": _BEYOND_REACH}))
        return
    click.echo(
        f"{totals['erased']} erased, {totals['shared']} with bytes that others hold, "
        f"{totals['incomplete']} not complete: run it again"
        if totals["incomplete"]
        else f"{totals['erased']} erased, {totals['shared']} with bytes that others hold"
    )
    click.echo(_BEYOND_REACH)


def _asking(check_url: str | None) -> Answers | None:
    """Asks a server that is up, by HTTP."""
    if check_url is None:
        return None
    base = check_url.rstrip("/")

    async def answers(path: str) -> bool:
        return await asyncio.to_thread(_answers, base + path)

    return answers


def _answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the operator's own
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        return error.code not in {403, 404, 410}
