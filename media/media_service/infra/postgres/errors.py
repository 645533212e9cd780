"""The one place where asyncpg's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from media_service.core.errors import DatabaseUnavailable, IdempotencyKeyReused, StorageFull

_AWAY = (
    OSError,  # includes ConnectionError and TimeoutError
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement cancelled
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.ReadOnlySQLTransactionError,  # failed over to a standby
    asyncpg.InternalClientError,
)
"""What another attempt in a moment may not meet."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable, StorageFull or IdempotencyKeyReused for what asyncpg raises."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StorageFull from error
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "media_idempotency_key":
            raise
        raise IdempotencyKeyReused from error
    except _AWAY as error:
        if isinstance(error, ValueError):  # a wrong setting: no use to try again
            raise
        raise DatabaseUnavailable from error
