"""The outbox of webhooks. A trigger fills it, in the transaction of each change (0007)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from media_service.core.media import MediaId
from media_service.core.webhooks import Delivery, DeliveryCounts
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

URLS_SETTING = "mediad.webhook_urls"
"""What the trigger asks: the receivers, as a setting of each session that changes media."""
_MOST_COUNTED = 100_000
_COLUMNS = (
    "number, id::text, url, media_id::text, type, body, attempts, "
    "clock_timestamp() - begun_at as age, due_at, failure, failed_at"
)


class PostgresOutbox:
    """Keeps `core.webhook_ports.Outbox`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def take(self, url: str, *, limit: int, lease: timedelta) -> list[Delivery]:
        """What is due for this receiver, for the time of the lease nobody else's.

        The statement's time bounds what the index is searched for; the clock's, which moves, would
        have all read that is put off.
        """
        with translated():
            rows = await self._executor.fetch(
                f"""
                with due as (
                    select number from webhook_deliveries delivery
                    where url = $1 and failed_at is null and due_at <= statement_timestamp()
                        and not exists (
                            select from webhook_deliveries earlier
                            where earlier.media_id = delivery.media_id
                                and earlier.url = delivery.url
                                and earlier.number < delivery.number
                                and earlier.failed_at is null
                        )
                    order by due_at, number limit $2
                    for update skip locked
                )
                update webhook_deliveries
                set attempts = attempts + 1, due_at = clock_timestamp() + $3::interval
                where number in (select number from due)
                returning {_COLUMNS}
                """,
                url,
                limit,
                lease,
            )
        return sorted(map(_from_row, rows), key=lambda delivery: delivery.number)

    async def remove(self, delivery: Delivery) -> None:
        """It was delivered."""
        with translated():
            await self._executor.execute(
                "delete from webhook_deliveries where number = $1", delivery.number
            )

    async def postpone(self, delivery: Delivery, *, pause: timedelta, failure: str) -> None:
        """Try it again after the pause.

        What waits for it is put off with it, so that looking for what is due passes it by.
        """
        with translated():
            await self._executor.execute(
                """
                update webhook_deliveries set
                    due_at = case when number = $1 then clock_timestamp() + $2::interval
                        else greatest(due_at, clock_timestamp() + $2::interval) end,
                    failure = case when number = $1 then $3 else failure end
                where media_id = $4::uuid and url = $5 and failed_at is null
                """,
                delivery.number,
                pause,
                failure,
                delivery.media_id,
                delivery.url,
            )

    async def give_up(self, delivery: Delivery, *, failure: str) -> None:
        """Never try it again by itself; what waited for it is due now."""
        with translated():
            await self._executor.execute(
                """
                update webhook_deliveries set
                    failed_at = case when number = $1 then clock_timestamp() end,
                    failure = case when number = $1 then $2 else failure end,
                    due_at = least(due_at, clock_timestamp())
                where media_id = $3::uuid and url = $4 and failed_at is null
                """,
                delivery.number,
                failure,
                delivery.media_id,
                delivery.url,
            )

    async def find(self, *, failed_only: bool, limit: int) -> list[Delivery]:
        """Deliveries, in the order in which they came."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS} from webhook_deliveries "
                "where failed_at is not null or not $1 order by number limit $2",
                failed_only,
                limit,
            )
        return [_from_row(row) for row in rows]

    async def retry(self, ids: Sequence[str] | None) -> int:
        """Begin these again, or all that were given up; how many there were."""
        with translated():
            rows = await self._executor.fetch(
                """
                update webhook_deliveries set
                    begun_at = clock_timestamp(), due_at = clock_timestamp(),
                    attempts = 0, failed_at = null
                where id = any($1::uuid[]) or $1 is null and failed_at is not null
                returning number
                """,
                ids,
            )
        return len(rows)

    async def counts(self) -> DeliveryCounts:
        """How full it is; counted up to a limit, as it is asked often."""
        with translated():
            row = await self._executor.fetchrow(
                """
                select
                    (select count(*) from (
                        select from webhook_deliveries where failed_at is null limit $1
                    ) waiting) as waiting,
                    (select count(*) from (
                        select from webhook_deliveries where failed_at is not null limit $1
                    ) failed) as failed,
                    greatest(0, coalesce(extract(epoch from clock_timestamp() - (
                        select min(begun_at) from webhook_deliveries where failed_at is null
                    )), 0))::float8 as oldest_waiting_seconds
                """,
                _MOST_COUNTED,
            )
        return DeliveryCounts(**dict(row)) if row else DeliveryCounts()

    async def forget(self, *, failed_for: timedelta, older_than: timedelta) -> int:
        """Remove what was given up for so long, or is so old; how many that were."""
        with translated():
            rows = await self._executor.fetch(
                "delete from webhook_deliveries where failed_at < clock_timestamp() - $1::interval "
                "or begun_at < clock_timestamp() - $2::interval returning number",
                failed_for,
                older_than,
            )
        return len(rows)


def _from_row(row: asyncpg.Record) -> Delivery:
    values = dict(row)
    return Delivery(
        media_id=MediaId(values.pop("media_id")), body=values.pop("body").encode(), **values
    )
