"""Ports that our processes share, and nobody else."""

from __future__ import annotations

import socket

import pytest
from media_service.processes.ports import PortTaken, reserved

HOST = "127.0.0.1"


@pytest.fixture
def port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def test_sockets_that_share_may_listen_on_a_reserved_port(port: int) -> None:
    with (
        reserved(HOST, [port]),
        socket.create_server((HOST, port), reuse_port=True),
        socket.create_server((HOST, port), reuse_port=True),
        socket.create_connection((HOST, port), timeout=5),
    ):
        pass


def test_who_does_not_share_is_kept_out_even_while_nobody_listens(port: int) -> None:
    with reserved(HOST, [port]), pytest.raises(OSError, match="in use"):
        socket.create_server((HOST, port))


def test_a_port_is_reserved_once(port: int) -> None:
    with reserved(HOST, [port]), pytest.raises(PortTaken), reserved(HOST, [port]):
        pass

    with reserved(HOST, [port]):
        pass


@pytest.mark.parametrize("shares", [False, True])
def test_a_port_somebody_listens_on_is_not_reserved(port: int, shares: bool) -> None:
    with (
        socket.create_server((HOST, port), reuse_port=shares),
        pytest.raises(PortTaken, match=str(port)),
        reserved(HOST, [port]),
    ):
        pass


def test_connections_of_the_last_server_that_linger_do_not_matter(port: int) -> None:
    for _ in range(2):
        with reserved(HOST, [port]), socket.create_server((HOST, port), reuse_port=True) as server:
            caller = socket.create_connection((HOST, port), timeout=5)
            accepted, _address = server.accept()
            accepted.close()  # the side that closes first lingers
            caller.close()
