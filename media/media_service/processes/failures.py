"""Why a supervisor gives up."""

from __future__ import annotations


class ProcessFailed(Exception):
    """A serving process ended, and will not be started again; its own message is above."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{self.__doc__} (status {status})")
        self.status = status
