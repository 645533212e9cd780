"""A disk that is full: uploads are refused, all else goes on, and room alone mends it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from media_proto import media_service_pb2 as pb

from proofs import oracle
from proofs.disks import fill, fill_with_names, loop_disk, memory_disk
from proofs.ledger import OWNER, Ledger, completed, distinct_pictures, upload
from proofs.outcomes import CannotRun, Outcome, Run
from proofs.power_cuts import end
from tests.e2e.processes import Mediad, Stub, stub
from tests.e2e.refusals import code_of

_RECOVERY_SECONDS = 60
_INVARIANT = "a full disk refuses uploads honestly, loses nothing, and room alone mends it"
_AWAY = frozenset({"storage_full", "storage_unavailable", "database_unavailable"})


def prove(run: Run) -> list[Outcome]:
    """No bytes left, no names left, and nothing left for the database either."""
    return [
        tried("full_disk, no bytes left", lambda: storage_full(run, "size=64m", fill)),
        tried(
            "full_disk, no names left", lambda: storage_full(run, "nr_inodes=400", fill_with_names)
        ),
        tried("full_disk, shared with the database", lambda: everything_full(run)),
    ]


def tried(name: str, prove_it: Callable[[], list[str]]) -> Outcome:
    """What was not as promised, or why it could not run."""
    try:
        wrong = prove_it()
    except CannotRun as why:
        return Outcome(proof=name, invariant=_INVARIANT, skipped=str(why))
    return Outcome(
        proof=name, invariant=_INVARIANT, faults=1, losses=len(wrong), note="; ".join(wrong)
    )


class Claims:
    """What was claimed and did not hold."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.wrong: list[str] = []

    def that(self, claim: str, holds: object) -> None:
        """Say whether this holds."""
        self._run.progress(f"{claim}: {'yes' if holds else 'NO'}")
        if not holds:
            self.wrong.append(f"not: {claim}")


def storage_full(run: Run, limit: str, filling: Callable[[Path], list[Path]]) -> list[str]:
    """The disk of the bytes is full; the database has room."""
    claims = Claims(run)
    folder = run.folder / limit
    with memory_disk(folder / "disk", limit) as disk:
        mediad = Mediad(folder, MEDIAD_STORAGE_URL=f"file://{disk}", MEDIAD_CELLS="1")
        try:
            mediad.start()
            asyncio.run(_while_storage_is_full(mediad, disk, filling, claims))
        finally:
            end(mediad)
    return claims.wrong


async def _while_storage_is_full(
    mediad: Mediad, disk: Path, filling: Callable[[Path], list[Path]], claims: Claims
) -> None:
    ledger, pictures = Ledger(), distinct_pictures(7)
    async with mediad.channel() as channel:
        media = stub(channel)
        kept, goes, other = [await _uploaded(media, next(pictures), ledger) for _ in range(3)]
        fillers = filling(disk)

        refused = next(pictures)
        claims.that(
            "an upload answers storage_full",
            await _code(upload(media, refused, ledger, raising=True)) == "storage_full",
        )
        claims.that("nothing of it is staged", not oracle.staged(oracle.blob_folder(mediad)))
        claims.that("/readyz names the storage", _get(f"{mediad.base_url}/readyz") == 503)
        claims.that(
            "/metrics counts it", 'mediad_grpc_errors_total{code="storage_full"}' in _text(mediad)
        )
        doctor = await asyncio.to_thread(mediad.command, "doctor")
        claims.that("doctor says so", doctor.returncode == 1 and "✗ storage" in doctor.stdout)
        claims.that("what is made is read", _get((await _known(media, kept)).url) == 200)
        options = pb.ProcessingOptions(quality=31)
        await media.ProcessMedia(
            pb.ProcessMediaRequest(media_id=other, user_id=OWNER, processing_options=options)
        )
        unmade = (await _known(media, other)).url
        claims.that("what is not made yet answers 507", _get(unmade) == 507)
        claims.that("a deletion works", not await _code(_delete(media, goes, ledger)))

        for filler in fillers:
            filler.unlink()
        claims.that("it is ready again by itself", await _ready(mediad))
        claims.that(
            "the same upload works", not await _code(upload(media, refused, ledger, raising=True))
        )
        claims.that("what was not made is made", _get(unmade) == 200)
    findings = await oracle.judge(mediad, ledger)
    claims.that(f"nothing is lost or left (wrong: {findings})", not findings.wrong)


def everything_full(run: Run) -> list[str]:
    """Database and bytes share a disk, as with the defaults."""
    claims, folder = Claims(run), run.folder / "everything"
    with loop_disk(folder, kind="ext4", megabytes=400) as disk:
        mediad = Mediad(folder, MEDIAD_DATA_DIR=str(disk.at / "data"), MEDIAD_CELLS="1")
        try:
            mediad.start()
            asyncio.run(_while_everything_is_full(mediad, disk.at, claims, run))
        finally:
            end(mediad)
    return claims.wrong


async def _while_everything_is_full(mediad: Mediad, disk: Path, claims: Claims, run: Run) -> None:
    ledger, pictures = Ledger(), distinct_pictures(8)
    async with mediad.channel() as channel:
        media = stub(channel)
        kept, goes = [await _uploaded(media, next(pictures), ledger) for _ in range(2)]
        fillers = fill(disk)

        refused = next(pictures)
        claims.that(
            "an upload is refused",
            await _code(upload(media, refused, ledger, raising=True)) in _AWAY,
        )
        claims.that("nothing of it is staged", not oracle.staged(oracle.blob_folder(mediad)))
        claims.that("what is made is read", _get((await _known(media, kept)).url) == 200)
        ledger.in_doubt.add(goes)
        said = await _code(_delete(media, goes, ledger))
        claims.that(
            f"a deletion works or says why it does not ({said or 'it works'})",
            not said or said in _AWAY,
        )
        for _ in range(run.size(60, quick=10)):
            await _code(upload(media, next(pictures), ledger, raising=True))
        claims.that("what is made is read still", _get((await _known(media, kept)).url) == 200)

        for filler in fillers:
            filler.unlink()
        claims.that("it is ready again by itself", await _ready(mediad))
        claims.that(
            "the same upload works", not await _code(upload(media, refused, ledger, raising=True))
        )
        claims.that("the deletion works", not await _code(_delete(media, goes, ledger)))
    findings = await oracle.judge(mediad, ledger)
    claims.that(f"nothing is lost or left (wrong: {findings})", not findings.wrong)


async def _uploaded(media: Stub, picture: bytes, ledger: Ledger) -> str:
    media_id = await upload(media, picture, ledger, raising=True)
    await completed(media, str(media_id))
    return str(media_id)


async def _known(media: Stub, media_id: str) -> pb.MediaResponse:
    return await media.GetMedia(pb.GetMediaRequest(media_id=media_id))


async def _delete(media: Stub, media_id: str, ledger: Ledger) -> None:
    await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id=OWNER), timeout=20)
    ledger.deleted.add(media_id)
    ledger.in_doubt.discard(media_id)


async def _code(call: Awaitable[object]) -> str:
    """The code of what stood in the way; empty if nothing did."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return code_of(error) or error.code().name
    return ""


def _get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def _text(mediad: Mediad) -> str:
    with urllib.request.urlopen(f"{mediad.base_url}/metrics", timeout=30) as response:
        return str(response.read().decode())


async def _ready(mediad: Mediad) -> bool:
    for _ in range(_RECOVERY_SECONDS * 2):
        if await asyncio.to_thread(_get, f"{mediad.base_url}/readyz") == 200:
            return True
        await asyncio.sleep(0.5)
    return False
