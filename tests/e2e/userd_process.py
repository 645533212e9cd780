"""A real process of the user service, driven from outside only."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.processes import Mediad, Served


class Userd(Served):
    """One `userd serve`, beside a media service."""

    module = "user_service"
    prefix = "USERD_"

    def __init__(self, folder: Path, media: Mediad, **settings: str) -> None:
        super().__init__(
            folder,
            **{
                "USERD_MEDIA_ADDRESS": f"127.0.0.1:{media.grpc_port}",
                "USERD_MEDIA_PUBLIC_URL": media.base_url,
                **settings,
            },
        )
