"""Ports on this machine: which are free, and how several gateways share one."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from deploy.faults import StartFault

LOOPBACK: Final = "127.0.0.1"


def first_free(ports: Iterable[int]) -> int:
    """Give the first of these loopback ports that is free, or else any that is."""
    for port in ports:
        if is_free(port):
            return port
    with socket.create_server((LOOPBACK, 0)) as probe:
        any_port: int = probe.getsockname()[1]
    return any_port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


@contextmanager
def reserve(host: str, port: int) -> Iterator[int]:
    """Keep a port for our gateways while they come and go; gives the port, chosen if it was 0.

    Raises:
        StartFault: The port is taken, or the address is not one of this machine.
    """
    _bind(host, port, shared=False).close()  # a shared bind would not see others that share it
    with _bind(host, port, shared=True) as kept:
        # From here on only those that share count; a plain bind would still get by otherwise.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield kept.getsockname()[1]


def claim(host: str, port: int, *, shared: bool) -> socket.socket:
    """Open the socket that a gateway is to listen on.

    Args:
        host: An address of this machine, or a name of one.
        port: 0 for any.
        shared: Let other gateways of the same account listen beside it.

    Raises:
        StartFault: The port is taken, or the address is not one of this machine.
    """
    bound = _bind(host, port, shared=shared)
    bound.setblocking(False)  # noqa: FBT003 - its only argument
    return bound


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartFault(f"cannot listen on {host}: {error.strerror}") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise StartFault(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with"
            " --port or HOOKLINE_PORT"
        ) from error
    return bound
