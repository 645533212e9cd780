"""The signing key of a service that was given none: made once, and kept in a file."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def kept_key(file: Path) -> dict[str, str]:
    """The key in this file, made first if there is none."""
    if not file.exists():
        _make_key(file)
    name, _, secret = file.read_text().strip().partition(":")
    return {name: secret}


def _make_key(file: Path) -> None:
    """Write a new key, unless another process does so first."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"k{secrets.token_hex(3)}:{secrets.token_hex(32)}\n")
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(FileExistsError):
        file.hardlink_to(draft)
    draft.unlink()
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # URLs that were signed with it must work after a power cut
    finally:
        os.close(folder)
