"""Somebody in the middle of a connection, who changes, cuts or keeps what passes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

Forge = Callable[[bytes], bytes]
"""Returns what is passed on of what came, or raises ``Cut``."""


class Cut(Exception):
    """The connection is cut behind these bytes."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self.last = last


def flipping(at: int, bit: int = 0) -> Forge:
    """Flip one bit of the byte that comes behind ``at`` others."""
    seen = 0

    def forge(data: bytes) -> bytes:
        nonlocal seen
        start, seen = seen, seen + len(data)
        if not start <= at < seen:
            return data
        forged = bytearray(data)
        forged[at - start] ^= 1 << bit
        return bytes(forged)

    return forge


def cutting(at: int) -> Forge:
    """Cut the connection behind so many bytes."""
    left = at

    def forge(data: bytes) -> bytes:
        nonlocal left
        if len(data) > left:
            raise Cut(data[:left])
        left -= len(data)
        return data

    return forge


class Legs(NamedTuple):
    """How TLS is laid over both connections of the one in the middle."""

    taken: ssl.SSLContext
    made: ssl.SSLContext


@contextmanager
def relay(
    url: str, client_says: Forge = bytes, server_says: Forge = bytes, *, legs: Legs | None = None
) -> Iterator[str]:
    """Stand between the next who connects and the listener at ``url``; give the URL to call.

    Args:
        url: of a listener on this machine.
        client_says: what becomes of what comes from the one who connects.
        server_says: what becomes of what comes from the listener.
        legs: decrypt what comes, and encrypt it anew.
    """
    scheme, _, address = url.partition("://")
    host, _, port = address.rpartition(":")

    def stand() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
            client: socket.socket = ends.enter_context(listening.accept()[0])
            beyond: socket.socket = ends.enter_context(socket.create_connection((host, int(port))))
            if legs is not None:
                beyond = ends.enter_context(legs.made.wrap_socket(beyond))
                client = ends.enter_context(legs.taken.wrap_socket(client, server_side=True))
            _pass_on(client, beyond, client_says, server_says, woken)

    waker, woken = socket.socketpair()
    with socket.create_server((host, 0)) as listening, waker, woken:
        thread = threading.Thread(target=stand, daemon=True)
        thread.start()
        yield f"{scheme}://{host}:{listening.getsockname()[1]}"
        waker.close()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _pass_on(
    client: socket.socket,
    beyond: socket.socket,
    client_says: Forge,
    server_says: Forge,
    woken: socket.socket,
) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(woken, selectors.EVENT_READ)
        ready.register(client, selectors.EVENT_READ, (beyond, client_says))
        ready.register(beyond, selectors.EVENT_READ, (client, server_says))
        while len(ready.get_map()) > 1:
            for key, _ in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if source is woken:
                    return
                sink, forge = key.data
                data = _read(source)
                if not data:
                    ready.unregister(source)
                    sink.shutdown(socket.SHUT_WR)
                    continue
                try:
                    sink.sendall(forge(data))
                except Cut as cut:
                    sink.sendall(cut.last)
                    return


def _read(source: socket.socket) -> bytes:
    data = source.recv(1 << 16)
    while isinstance(source, ssl.SSLSocket) and source.pending():
        data += source.recv(1 << 16)
    return data
