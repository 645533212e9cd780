"""Delivers webhooks until it is killed: DATABASE_URL and the receiver's URL as arguments."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from media_service.core.notifying import Notifying
from media_service.entrypoints.worker.notifying import notify
from media_service.infra.postgres.changes import PostgresChanges
from media_service.infra.postgres.database import open_database
from media_service.infra.webhooks.receivers import open_http_receivers


async def main(database_url: str, url: str) -> None:
    async with (
        open_database(database_url, max_connections=2) as database,
        open_http_receivers() as receivers,
        notify(
            Notifying(
                outbox=database.outbox,
                receivers=receivers,
                urls=(url,),
                secrets=(b"a secret of the tests",),
                clock=lambda: datetime.now(UTC),
                lease=timedelta(seconds=1),
            ),
            PostgresChanges(),
        ),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
