"""Ports that several of our processes share, and nobody else.

The kernel lets any sockets of one user share a port if all of them ask for it (SO_REUSEPORT). So
the supervisor first listens there alone, which fails if anybody else does; then it holds the port
by a socket that is bound but never listens, so that no other program gets in between. Two
supervisors would still let each other in: a name that only one of them can have, in the same
network namespace as the port and gone with its owner, keeps the second one out.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

Address: TypeAlias = "str | tuple[Any, ...]"


class PortTaken(OSError):
    """This address can't be listened on: another server may be running there."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: {self.__doc__}")


@contextmanager
def reserved(host: str, ports: Sequence[int]) -> Iterator[None]:
    """Keep these ports for sockets of this user that share them. Raises PortTaken."""
    with ExitStack() as held:
        for port in ports:
            try:
                held.enter_context(_named(host, port))
                _listen_alone(host, port)
                held.enter_context(_bound(host, port))
            except OSError as error:
                raise PortTaken(f"{host}:{port}") from error
        yield


def _named(host: str, port: int) -> socket.socket:
    name = socket.socket(socket.AF_UNIX)
    return _or_closed(name, f"\0mediad {host}:{port}")


def _listen_alone(host: str, port: int) -> None:
    family, address = _address(host, port)
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        alone.listen()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that keeps out who does not share.

    With SO_REUSEADDR it would let in whoever has it too; without, connections that linger from a
    server that did not share would keep us out.
    """
    try:
        return _sharing(host, port)
    except OSError:
        return _sharing(host, port, socket.SO_REUSEADDR)


def _sharing(host: str, port: int, *options: int) -> socket.socket:
    family, address = _address(host, port)
    holder = socket.socket(family)
    for option in (socket.SO_REUSEPORT, *options):
        holder.setsockopt(socket.SOL_SOCKET, option, 1)
    return _or_closed(holder, address)


def _or_closed(opened: socket.socket, address: Address) -> socket.socket:
    try:
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _address(host: str, port: int) -> tuple[int, Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0], found[0][4]
