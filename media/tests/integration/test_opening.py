"""What opening the service starts, and what it leaves to those who need it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.jobs import JobFilter


@pytest.mark.needs_postgres
async def test_a_command_that_decodes_nothing_starts_no_cells(
    database_url: str, tmp_path: Path
) -> None:
    settings = read_settings(data_dir=tmp_path, database_url=database_url)
    before = psutil.Process().children()

    async with open_media_service(settings, is_decoding=False) as opened:
        assert await opened.service.queueing.find(JobFilter(), limit=1) == []
        assert psutil.Process().children() == before


def test_who_has_no_bucket_loads_no_s3_client() -> None:
    script = "import sys, media_service.composition; sys.exit('botocore' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
