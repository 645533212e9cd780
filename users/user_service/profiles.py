"""Profiles: what people say of themselves."""

from __future__ import annotations

import unicodedata

from user_service.errors import InvalidBio, InvalidDisplayName, UserNotFound
from user_service.ports import ProfileRows
from user_service.records import Profile, UserId

MAX_DISPLAY_NAME_CHARACTERS = 64
MAX_BIO_CHARACTERS = 500
# Controls, lone surrogates, and what turns the direction of the text around it.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})
_REFUSED = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Profiles:
    """Reads and changes profiles."""

    def __init__(self, rows: ProfileRows) -> None:
        self._rows = rows

    async def of(self, user_id: UserId) -> Profile:
        """The profile of somebody. Raises UserNotFound, DatabaseUnavailable."""
        profile = await self._rows.get(user_id)
        if profile is None:
            raise UserNotFound
        return profile

    async def own(self, user_id: UserId) -> Profile:
        """One's own; an empty one for those who come from outside for the first time."""
        return await self._rows.get(user_id) or Profile(user_id=user_id)

    async def change(
        self, user_id: UserId, *, display_name: str | None, bio: str | None
    ) -> Profile:
        """Change what is given. Raises InvalidDisplayName, InvalidBio, DatabaseUnavailable."""
        return await self._rows.change(
            user_id,
            display_name=None if display_name is None else checked_display_name(display_name),
            bio=None if bio is None else checked_bio(bio),
        )


def checked_display_name(typed: str) -> str:
    """As it is kept: composed, without space around it. Raises InvalidDisplayName."""
    name = unicodedata.normalize("NFC", typed).strip()
    if len(name) > MAX_DISPLAY_NAME_CHARACTERS or not _is_plain(name):
        raise InvalidDisplayName
    return name


def checked_bio(typed: str) -> str:
    """As it is kept: composed, with plain line breaks. Raises InvalidBio."""
    bio = unicodedata.normalize("NFC", typed).replace("\r\n", "\n").strip()
    if len(bio) > MAX_BIO_CHARACTERS or not _is_plain(bio.replace("\n", " ")):
        raise InvalidBio
    return bio


def _is_plain(text: str) -> bool:
    return not any(
        character in _REFUSED or unicodedata.category(character) in _REFUSED_CATEGORIES
        for character in text
    )
