"""What is wrong is said with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from user_service.commands import doctor
from user_service.config import read_settings


async def test_a_media_service_that_is_away_is_named(tmp_path: Path) -> None:
    settings = read_settings(media_address=f"unix:{tmp_path}/nobody", media_seconds=0.5)

    with pytest.raises(ConnectionError) as told:
        await doctor._media(settings)

    assert settings.media_address in str(told.value)
    assert "USERD_MEDIA_ADDRESS" in str(told.value)
