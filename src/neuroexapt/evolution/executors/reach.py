"""Whether something that may be a Ray cluster answers at an address, told without a long wait."""

import os
import socket

from neuroexapt.errors import EvolutionError

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How an HTTP/2 client begins, with settings that are empty: gRPC, which Ray speaks, is that."""
MOST_PORT = 2**16 - 1
SETTINGS = 4
"""Type of the frame that a server answers with."""


def check_answers(address: str, timeout: float) -> None:
    """Raise unless a gRPC server answers.

    Ray itself tries for more than a minute, and then ends the process.

    Args:
        address: host:port, ray://host:port, or a word that Ray knows, which isn't checked.
        timeout: seconds to connect in, and again to get an answer in.

    Raises:
        EvolutionError: if nothing answers, or something else.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return
    if not host or not port.isdecimal() or int(port) > MOST_PORT:
        raise EvolutionError(f"{address!r} is no address; give host:port, or leave it out")
    remedy = (
        "start a cluster there by `ray start --head`, give another address, or leave it out for a "
        "cluster on this machine"
    )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1" or _greets(connection):
                return
    except OSError as error:
        raise EvolutionError(
            f"no Ray cluster answers at {address} within {timeout:g} s ({error}); {remedy}"
        ) from error
    raise EvolutionError(f"what answers at {address} is no Ray cluster; {remedy}")


def _greets(connection: socket.socket) -> bool:
    """Whether the other side answers as an HTTP/2 server."""
    connection.sendall(GREETING)
    header = b""
    while len(header) < 9 and (more := connection.recv(9 - len(header))):
        header += more
    return header[3:4] == bytes((SETTINGS,))
