"""What can go wrong on the way to a service and back, switched on by tests."""

from __future__ import annotations

import dataclasses
import enum

from media_client.errors import MediaError, Unavailable


class Fault(enum.Enum):
    """What happens to a call."""

    REFUSED = enum.auto()
    LOST_ANSWER = enum.auto()
    TWICE = enum.auto()
    GARBLED = enum.auto()


@dataclasses.dataclass(slots=True)
class _Armed:
    fault: Fault
    times: int
    rpc: str
    error: MediaError | None = None


class Faults:
    """The faults of one double. Each hits the next `times` attempts, of one `rpc` if named.

    A call that is tried again takes one for each attempt: a client that tries four times gets
    through `unavailable(times=3)`, and fails with `times=4`.

    >>> media.service.faults.unavailable(times=2, rpc="UploadMedia")
    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> [call.rpc for call in media.service.calls]
    ['UploadMedia', 'UploadMedia', 'UploadMedia']
    """

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.delay_seconds = 0.0
        self.failure_code = ""
        self.is_held = False

    def unavailable(self, *, times: int = 1, rpc: str = "") -> None:
        """The service can't be reached: nothing is done."""
        self.refuse(Unavailable(), times=times, rpc=rpc)

    def refuse(self, error: MediaError, *, times: int = 1, rpc: str = "") -> None:
        """The service answers with this error: nothing is done."""
        self._armed.append(_Armed(Fault.REFUSED, times, rpc, error))

    def lose_answers(self, *, times: int = 1, rpc: str = "") -> None:
        """The service does what it was asked, and its answer is lost on the way."""
        self._armed.append(_Armed(Fault.LOST_ANSWER, times, rpc))

    def duplicate(self, *, times: int = 1, rpc: str = "") -> None:
        """The request arrives twice."""
        self._armed.append(_Armed(Fault.TWICE, times, rpc))

    def garble(self, *, times: int = 1, rpc: str = "") -> None:
        """The answer is of no use; the service has done nothing."""
        self._armed.append(_Armed(Fault.GARBLED, times, rpc))

    def slow(self, seconds: float) -> None:
        """Every call waits so long before anything is done."""
        self.delay_seconds = seconds

    def fail_processing(self, code: str) -> None:
        """The renditions of what is uploaded or processed from now on end FAILED with this code."""
        self.failure_code = code

    def hold_processing(self) -> None:
        """The work on renditions stays PENDING until `clear`."""
        self.is_held = True

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._armed.clear()
        self.delay_seconds, self.failure_code, self.is_held = 0.0, "", False

    def take(self, rpc: str) -> tuple[Fault | None, MediaError | None]:
        """What hits this attempt, if anything does; it is used up once."""
        hit = next((a for a in self._armed if a.times > 0 and a.rpc in ("", rpc)), None)
        if hit is None:
            return None, None
        hit.times -= 1
        return hit.fault, hit.error
