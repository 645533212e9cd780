"""The command `mediad`. Each command imports its own module: help is instant, decoders are not."""

# ruff: noqa: D301 - click wants the control character

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from uuid import UUID

import click

from media_service.commands.running import run, settings_given
from media_service.core.jobs import JobFilter, JobState
from media_service.core.media import Purpose, UserId

_PURPOSES = [purpose.name for purpose in Purpose]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="mediad")
def main() -> None:
    """Take in users' media, check them, make all that shows and plays them, serve it, delete it.

    Pictures, films, sounds, documents: `/capabilities` of a running service lists them.

    \b
    Start here:
      mediad serve               run everything on embedded defaults
      mediad upload photo.jpg    in another terminal: store a picture, see its URLs

    Settings come from the environment (MEDIAD_PORT, MEDIAD_DATABASE_URL, ...) or from the TOML
    file that MEDIAD_CONFIG names; docs/operations.md lists them all.
    """


@main.command(short_help="Run the service until Ctrl-C or SIGTERM.")
@click.option("--roles", metavar="ROLES", help="Some of grpc,http,worker; all by default.")
@click.option("--workers", type=int, metavar="N", help="Serving processes; 1 by default.")
@click.option("--end-with-parent", is_flag=True, help="Stop when the process that started us ends.")
def serve(roles: str | None, workers: int | None, end_with_parent: bool) -> None:
    """Run the service until Ctrl-C or SIGTERM, then finish what is in flight and stop.

    \b
    With no settings at all it runs on embedded defaults, on this machine only:
      gRPC            localhost:50051   package media, service MediaService
      HTTP            localhost:8083    /media/..., /healthz, /readyz, /metrics, /capabilities
      everything kept in ./mediad-data  (an embedded PostgreSQL, the bytes, a signing key)

    \b
    Examples:
      mediad serve
      MEDIAD_DATA_DIR=/srv/mediad MEDIAD_PORT=9000 mediad serve
      MEDIAD_DATABASE_URL=postgresql://... MEDIAD_REDIS_URL=redis://... mediad serve
      mediad serve --roles worker      only the background jobs, beside other instances
      mediad serve --workers 4         four processes that share the ports
    """
    from media_service.commands import serve as serve_command
    from media_service.processes.fate import end_with_parent as tie

    if end_with_parent:
        tie(os.getppid(), signal.SIGTERM)
    settings = settings_given(roles=roles, workers=workers)
    if settings.workers == 1:
        run(serve_command.serve(settings))
    else:
        from media_service.commands import supervise as supervise_command

        run(supervise_command.supervise(settings))


@main.command(hidden=True)
@click.argument("line", type=int)
@click.argument("parent", type=int)
def serve_in_team(line: int, parent: int) -> None:
    """Be one of the processes of `mediad serve --workers N`."""
    from media_service.commands import serve as serve_command
    from media_service.processes.fate import end_with_parent

    end_with_parent(parent, signal.SIGKILL)
    run(serve_command.serve(settings_given(), line=socket.socket(fileno=line)))


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, and say what was done.

    `mediad serve` does this by itself; run it first when several instances are upgraded, so that
    none of them waits. It is safe to run at any time, in any number of places at once.
    """
    from media_service.commands import migrate as migrate_command

    run(migrate_command.run(settings_given()))


@main.command(short_help="Check every backend and decoder, and say what is wrong.")
def doctor() -> None:
    """Check every backend and decoder, and say what is wrong and what to do about it.

    Ends with status 1 if anything would keep `mediad serve` from working. A service that runs on
    the same data folder is not disturbed.
    """
    from media_service.commands import doctor as doctor_command

    if not run(doctor_command.examine(settings_given())):
        sys.exit(1)


@main.command(short_help="Upload FILES to a running service and print their URLs.")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "--purpose",
    type=click.Choice(_PURPOSES),
    help="What the files are for; limits and sizes hang on it. By default a picture is a "
    "PROFILE_PICTURE, film and sound a POST_ATTACHMENT, a document a MESSAGE_ATTACHMENT.",
)
@click.option("--wait", is_flag=True, help="Until all is made; print what there is then.")
@click.option("--user-id", default="demo", show_default=True, help="Who will own them.")
@click.option("--address", help="Where the service listens; by default as set here.")
@click.option("--token", envvar="MEDIAD_TOKEN", default="", help="A service token, if it asks.")
def upload(
    files: tuple[Path, ...],
    *,
    purpose: str | None,
    wait: bool,
    user_id: str,
    address: str | None,
    token: str,
) -> None:
    """Upload FILES to a running service and print what it answered, as JSON.

    \b
    Examples:
      mediad upload photo.jpg
      mediad upload --wait clip.mov
      mediad upload --purpose POST_ATTACHMENT --user-id 42 *.png

    Progress goes to stderr, answers to stdout. Ends with status 1 if any file was refused or,
    with --wait, could not be made; the others are uploaded all the same.
    """
    from media_service.commands import upload as upload_command

    target = upload_command.target(
        settings_given(), address=address, token=token, user_id=user_id, purpose=purpose or ""
    )
    if not run(upload_command.upload(target, files, is_waiting=wait)):
        sys.exit(1)


@main.command(short_help="Remove what nobody holds any more.")
@click.option(
    "--grace",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Keep contents nobody holds for this long; by default as set.",
)
def sweep(grace: int | None) -> None:
    """Remove what nobody holds any more: deleted contents, expired media, crash left-overs.

    A running service sweeps by itself every minute; this does it at once, and prints how much
    was removed. It may run beside any number of instances.
    """
    from media_service.commands import sweep as sweep_command

    if not run(sweep_command.run(settings_given(), grace_seconds=grace)):
        sys.exit(1)


@main.command(short_help="Read every stored byte again, and note what is damaged.")
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="MB",
    help="Read no more than so many megabytes a second.",
)
def scrub(rate: int) -> None:
    """Read every stored byte again, note damaged originals, have damaged renditions made anew.

    A running service does this by itself, slowly. Ends with status 1 if anything is damaged.
    """
    from media_service.commands import scrub as scrub_command

    if not run(scrub_command.run(settings_given(), megabytes_per_second=rate)):
        sys.exit(1)


@main.command()
@click.option("--repair", is_flag=True, help="Set right what differs; without it, only look.")
@click.option("--deep", is_flag=True, help="Read all bytes and compare their hashes too.")
@click.option("--allow-loss", metavar="N|P%", help="Repair though so much would be given up.")
@click.option("--undo", metavar="LABEL", help="Put back what a repair moved to the trash.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fsck(repair: bool, deep: bool, allow_loss: str | None, undo: str | None, as_json: bool) -> None:
    """Compare the rows with what is stored, and say what differs. Changes nothing by itself.

    \b
    Examples:
      mediad fsck
      mediad fsck --deep --json
      mediad fsck --repair
      mediad fsck --undo fsck-20300101t120000-1f2e3d4c

    It may run beside a service. Ends with status 1 if anything differs, and was not repaired.
    With more than 100 objects and more than 1 % of them to give up, nothing is repaired: that
    tells of a wrong or an old database or store. No row of a medium is ever removed.
    """
    from media_service.commands import fsck as fsck_command

    if undo:
        run(fsck_command.undo(settings_given(), undo))
        return
    allowed = fsck_command.allowance(allow_loss)
    checking = fsck_command.check(
        settings_given(), repair=repair, deep=deep, allowed=allowed, as_json=as_json
    )
    if not run(checking):
        sys.exit(1)


@main.command("erase-user", short_help="Erase everything of USER_ID for good, now.")
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Only say how much there is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each medium.")
@click.option("--check-url", metavar="URL", help="Ask a server here whether its URLs are dead.")
def erase_user(
    user_id: str, yes: bool, dry_run: bool, as_json: bool, check_url: str | None
) -> None:
    """Erase everything of USER_ID for good, now, and look for it afterwards.

    Contents that other users hold too stay for them. Interrupted, it goes on where it was when it
    is run again. Prints the paths that must be purged from a CDN. Ends with status 1 if anything
    is left.
    """
    from media_service.commands import erase_user as erase_user_command

    erasing = erase_user_command.run(
        settings_given(),
        user_id,
        is_sure=yes,
        is_dry=dry_run,
        as_json=as_json,
        check_url=check_url,
    )
    if not run(erasing):
        sys.exit(1)


@main.group(short_help="Look at jobs that wait, run or were given up.")
def jobs() -> None:
    """Look at the jobs that wait, run or were given up; begin them again, cancel them.

    \b
    States:
      waiting   not done yet, or tried less than 5 times
      running   a worker is on it
      parked    storage, database or decoders were away for 5 tries: tried hourly for 3 days
      failed    given up; kept for 7 days
    """


@jobs.command("list")
@click.option("--state", type=click.Choice([state.value for state in JobState]))
@click.option("--owner", help="Only jobs of this user's media.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_jobs(state: str | None, owner: str | None, limit: int, as_json: bool) -> None:
    """Show jobs, the oldest first."""
    from media_service.commands import jobs as jobs_command

    which = JobFilter(
        state=JobState(state) if state else None, owner=UserId(owner) if owner else None
    )
    run(jobs_command.show(settings_given(), which, limit=limit, as_json=as_json))


@jobs.command("retry")
@click.argument("ids", nargs=-1, type=int)
@click.option("--all-failed", is_flag=True, help="Everything that is parked or failed.")
def retry_jobs(ids: tuple[int, ...], all_failed: bool) -> None:
    """Begin the jobs IDS again, at once. Running ones are left alone."""
    from media_service.commands import jobs as jobs_command

    if bool(ids) == all_failed:
        raise click.UsageError("name jobs by their ids, or say --all-failed")
    if not run(jobs_command.retry(settings_given(), ids)):
        sys.exit(1)


@jobs.command("cancel")
@click.argument("ids", nargs=-1, type=int, required=True)
def cancel_jobs(ids: tuple[int, ...]) -> None:
    """Take the jobs IDS away; a running one is broken off.

    Their media are FAILED then (cancelled_by_operator), until ProcessMedia is called for them.
    """
    from media_service.commands import jobs as jobs_command

    if not run(jobs_command.cancel(settings_given(), ids)):
        sys.exit(1)


@main.group()
def blobs() -> None:
    """Look after the store of bytes."""


@blobs.command("copy")
@click.option("--from", "source", metavar="URL", help="Copy from this store.")
@click.option("--to", "target", metavar="URL", help="Copy to this store.")
@click.option("--originals-only", is_flag=True, help="Renditions can be made again.")
@click.option("--verify-only", is_flag=True, help="Read every byte in the target, copy nothing.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Objects under way at once.",
)
def copy_blobs(
    source: str | None,
    target: str | None,
    *,
    originals_only: bool,
    verify_only: bool,
    concurrency: int,
) -> None:
    """Copy every object that a row names to another store, each checked on the way.

    \b
    Without --from and --to it copies from MEDIAD_STORAGE_FALLBACK_URL to the store that
    MEDIAD_STORAGE_URL names: run it with the settings of the instances that serve meanwhile.
    --to alone copies what the service reads, ahead of a move. docs/operations.md has the steps.

    \b
    Examples:
      mediad blobs copy
      mediad blobs copy --verify-only
      mediad blobs copy --to file:///mnt/new/blobs

    What the target holds whole is not copied again, so it can be ended and run again at any time.
    Progress goes to stderr, a report to stdout. Ends with status 1 if anything is missing or
    damaged; everything else is copied all the same.
    """
    from media_service.commands import copy_blobs as copy_command

    settings = settings_given()
    plan = copy_command.plan(
        settings, source, target, originals_only=originals_only, at_once=concurrency
    )
    if not run(copy_command.run(settings, plan, verify_only=verify_only)):
        sys.exit(1)


@main.group(short_help="Look at what receivers are yet to be told; tell it again.")
def webhooks() -> None:
    """Look at what receivers of webhooks are yet to be told, or were not; tell it again."""


@webhooks.command("list")
@click.option("--failed", is_flag=True, help="Only what was given up; it is kept for 7 days.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_webhooks(failed: bool, limit: int, as_json: bool) -> None:
    """Show what waits or was given up, the oldest first."""
    from media_service.commands import webhooks as webhooks_command

    run(webhooks_command.show(settings_given(), failed=failed, limit=limit, as_json=as_json))


@webhooks.command("retry")
@click.argument("ids", nargs=-1, type=click.UUID)
@click.option("--all-failed", is_flag=True, help="Everything that was given up.")
def retry_webhooks(ids: tuple[UUID, ...], all_failed: bool) -> None:
    """Tell the events IDS again, at once, for another 3 days."""
    from media_service.commands import webhooks as webhooks_command

    if bool(ids) == all_failed:
        raise click.UsageError("name events by their ids, or say --all-failed")
    if not run(webhooks_command.retry(settings_given(), [str(each) for each in ids])):
        sys.exit(1)


if __name__ == "__main__":
    main()
