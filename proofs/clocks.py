"""Machines whose clocks are wrong or jump: nothing goes early, signed URLs end when they say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb

from proofs import oracle
from proofs.full_disk import Claims
from proofs.ledger import OWNER, Ledger, completed, distinct_pictures, upload
from proofs.outcomes import Outcome, Run, require
from proofs.power_cuts import end
from tests.e2e.processes import Mediad, stub, upload_request

WRONG_BY = ("+1h", "-1h", "+2d", "-2d", "+10y")
_GRACE = {"MEDIAD_DELETE_GRACE_SECONDS": "3600"}


def prove(run: Run) -> list[Outcome]:
    """Sweep and serve with wrong clocks beside a right one; then let one jump under a request."""
    require("faketime")
    wrong_by = WRONG_BY if not run.is_quick else WRONG_BY[2:4]
    return [asyncio.run(beside_a_right_one(run, wrong_by)), asyncio.run(jumping(run))]


async def beside_a_right_one(run: Run, wrong_by: tuple[str, ...]) -> Outcome:
    """Instances with wrong clocks, on one database and store with one whose clock is right."""
    claims, ledger, pictures = Claims(run), Ledger(), distinct_pictures(run.seed)
    async with open_postgres(run.folder / "postgres") as url:
        shared = _GRACE | {
            "MEDIAD_DATABASE_URL": url,
            "MEDIAD_STORAGE_URL": f"file://{run.folder}/blobs",
            "MEDIAD_SIGNING_KEYS": "k1:0123456789abcdef0123456789abcdef",
            "MEDIAD_CELLS": "1",
        }
        right = Mediad(run.folder / "right", **shared)
        await asyncio.to_thread(right.start)
        try:
            for by in wrong_by:
                wrong = Mediad(run.folder / by, **shared, **_off_by(by))
                await _with_a_wrong_one(claims, by, (right, wrong), ledger, pictures)
        finally:
            end(right)
    return Outcome(
        proof="clocks",
        invariant="a machine whose clock is wrong deletes nothing early and does its work",
        faults=len(wrong_by),
        acknowledged=ledger.acknowledged,
        losses=len(claims.wrong),
        note="; ".join(claims.wrong) or f"clocks off by {', '.join(wrong_by)}",
    )


def _off_by(by: str) -> dict[str, str]:
    """What `faketime` puts into the environment; the clock that only goes on stays right."""
    return {
        "LD_PRELOAD": _library(),
        "FAKETIME": by,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def _library() -> str:
    found = sorted(Path("/usr").glob("lib/*/faketime/libfaketimeMT.so.1"))
    require(*([] if found else ["libfaketimeMT"]))
    return str(found[0])


async def _with_a_wrong_one(
    claims: Claims,
    by: str,
    beside: tuple[Mediad, Mediad],
    ledger: Ledger,
    pictures: Iterator[bytes],
) -> None:
    """Condemn with each, sweep with each, and have the wrong one work."""
    right, wrong = beside
    stories = [await _story(right, next(pictures), ledger)]
    condemned = [await _condemned(right, next(pictures))]
    claims.that(f"{by}: its sweep takes nothing early", await _sweeps_nothing(wrong))
    with wrong.running():
        stories.append(await _story(wrong, next(pictures), ledger))
        condemned.append(await _condemned(wrong, next(pictures)))
        await _works(claims, by, wrong, next(pictures), ledger)
        async with right.channel() as channel:
            request = pb.BatchGetMediaRequest(media_ids=stories)
            known = (await stub(channel).BatchGetMedia(request)).media
        claims.that(f"{by}: stories are there for the right one", len(known) == len(stories))
    claims.that(f"{by}: the right one sweeps nothing early", await _sweeps_nothing(right))
    stored = {path.name for path in (oracle.blob_folder(right) / "originals").rglob("*")}
    claims.that(f"{by}: what was condemned has its grace", set(condemned) <= stored)


async def _works(claims: Claims, by: str, wrong: Mediad, picture: bytes, ledger: Ledger) -> None:
    async with wrong.channel() as channel, httpx.AsyncClient() as http:
        media_id = str(await upload(stub(channel), picture, ledger, raising=True))
        await completed(stub(channel), media_id)
        known = await stub(channel).GetMedia(pb.GetMediaRequest(media_id=media_id))
        claims.that(f"{by}: it takes and develops an upload", known.status == pb.COMPLETED)
        claims.that(f"{by}: and serves it", (await http.get(known.url)).status_code == 200)
        signed = await stub(channel).GetSignedUrl(
            pb.GetSignedUrlRequest(media_id=media_id, expiry_seconds=60)
        )
        off = abs(signed.expires_at.ToDatetime(UTC) - datetime.now(UTC))
        claims.that(f"{by}: its clock is wrong indeed", off > timedelta(minutes=30))


async def _sweeps_nothing(mediad: Mediad) -> bool:
    swept = await asyncio.to_thread(mediad.command, "sweep")
    report = json.loads(swept.stdout or "{}")
    return (report.get("condemned_blobs"), report.get("expired_media")) == (0, 0)


async def _story(mediad: Mediad, picture: bytes, ledger: Ledger) -> str:
    """A medium that is gone after 24 hours."""
    async with mediad.channel() as channel:
        request = upload_request(picture, purpose=pb.STORY)
        answer = await stub(channel).UploadMedia(request, timeout=30)
    ledger.uploaded[answer.media_id] = answer.sha256
    return str(answer.media_id)


async def _condemned(mediad: Mediad, picture: bytes) -> str:
    """The hash of bytes that nobody holds any more."""
    async with mediad.channel() as channel:
        answer = await stub(channel).UploadMedia(upload_request(picture), timeout=30)
        request = pb.DeleteMediaRequest(media_id=answer.media_id, user_id=OWNER)
        await stub(channel).DeleteMedia(request)
    return str(answer.sha256)


async def jumping(run: Run) -> Outcome:
    """A clock that jumps between requests and under them."""
    claims, ledger, pictures = Claims(run), Ledger(), distinct_pictures(run.seed + 1)
    clock = run.folder / "clock"
    settings = _off_by("+0") | {"FAKETIME_TIMESTAMP_FILE": str(clock), "MEDIAD_CELLS": "1"}
    del settings["FAKETIME"]
    clock.write_text("+0\n")
    mediad = Mediad(run.folder / "jumping", **settings)
    await asyncio.to_thread(mediad.start)
    try:
        await _signed_urls(claims, mediad, clock, next(pictures), ledger)
        for by in ("+1h", "-1h", "+10y"):
            acknowledged = await _jumped_under(mediad, clock, by, next(pictures), ledger)
            claims.that(f"an upload under which the clock jumps by {by} ends well", acknowledged)
            clock.write_text("+0\n")
        findings = await oracle.judge(mediad, ledger, reading=3)
        claims.that(f"nothing is lost or left (wrong: {findings})", not findings.wrong)
    finally:
        end(mediad)
    return Outcome(
        proof="clocks, jumping",
        invariant="signed URLs end when they say by the wall clock; requests outlive its jumps",
        faults=8,
        acknowledged=ledger.acknowledged,
        losses=len(claims.wrong),
        note="; ".join(claims.wrong),
    )


async def _signed_urls(
    claims: Claims, mediad: Mediad, clock: Path, picture: bytes, ledger: Ledger
) -> None:
    async with mediad.channel() as channel, httpx.AsyncClient() as http:
        media = stub(channel)
        request = upload_request(picture, purpose=pb.MESSAGE_ATTACHMENT)
        answer = await media.UploadMedia(request, timeout=30)
        ledger.uploaded[answer.media_id] = answer.sha256
        signed = await media.GetSignedUrl(
            pb.GetSignedUrlRequest(media_id=answer.media_id, expiry_seconds=60)
        )
        for by, status in (("+0", 200), ("+40s", 200), ("+5m", 403), ("-1h", 200), ("+10y", 403)):
            clock.write_text(f"{by}\n")
            found = (await http.get(signed.url)).status_code
            claims.that(f"a URL signed for a minute answers {status} at {by}", found == status)
        clock.write_text("+0\n")


async def _jumped_under(
    mediad: Mediad, clock: Path, by: str, picture: bytes, ledger: Ledger
) -> bool:
    """Upload in two halves, between which the clock jumps; whether it was acknowledged."""

    async def halves() -> AsyncIterator[pb.UploadChunk]:
        yield pb.UploadChunk(
            metadata=pb.UploadMetadata(
                filename="photo.jpg",
                content_type="image/jpeg",
                user_id=OWNER,
                purpose=pb.PROFILE_PICTURE,
            )
        )
        middle = len(picture) // 2
        yield pb.UploadChunk(data=picture[:middle])
        await asyncio.sleep(0.3)
        clock.write_text(f"{by}\n")
        await asyncio.sleep(0.3)
        yield pb.UploadChunk(data=picture[middle:])

    async with mediad.channel() as channel:
        try:
            answer = await stub(channel).UploadMediaStream(halves(), timeout=30)
        except grpc.aio.AioRpcError:
            return False
    ledger.uploaded[answer.media_id] = answer.sha256
    return True
