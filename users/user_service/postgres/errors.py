"""The one place where asyncpg's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from user_service.errors import DatabaseUnavailable, StorageFull

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
    """Raise DatabaseUnavailable or StorageFull for what asyncpg raises."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StorageFull from error
    except _AWAY as error:
        if isinstance(error, ValueError):  # a wrong argument or setting: no use to try again
            raise
        raise DatabaseUnavailable from error
