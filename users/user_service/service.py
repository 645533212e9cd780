"""What entrypoints receive: everything the service can do."""

from __future__ import annotations

import dataclasses

from user_service.accounts import Accounts
from user_service.attachments import Attachments
from user_service.identity import Identifying
from user_service.pictures import Pictures
from user_service.profiles import Profiles
from user_service.throttling import Throttling
from user_service.viewing import Viewing


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UserService:
    """The doings, ready to use."""

    accounts: Accounts
    identifying: Identifying
    profiles: Profiles
    pictures: Pictures
    attachments: Attachments
    viewing: Viewing
    throttling: Throttling
