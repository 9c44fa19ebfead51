"""Somebody in the middle of connections, who changes, delays, cuts or keeps what passes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

_UNDERWAY: Final = 1 << 15
"""What the system may hold for us on either side: so little happens behind what we do."""
Forge = Callable[[bytes], bytes]
"""Returns what is passed on of what came, or raises ``Cut`` or ``Deaf``. The end is empty."""


class _Last(Exception):
    def __init__(self, last: bytes) -> None:
        super().__init__()
        self.last = last


class Cut(_Last):
    """The connection is cut behind these bytes."""


class Deaf(_Last):
    """What comes behind these bytes is not read any more, nor the end."""


def counting() -> tuple[Callable[[], int], Forge]:
    """Pass all on; return also what tells how much it was."""
    seen = 0

    def forge(data: bytes) -> bytes:
        nonlocal seen
        seen += len(data)
        return data

    return lambda: seen, forge


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


def cutting(at: int, *later: int) -> Forge:
    """Cut the connection behind so many bytes, the ones after it likewise, and no more."""
    ats = [at, *later]
    left = ats.pop(0)

    def forge(data: bytes) -> bytes:
        nonlocal left
        last, left = left, left - len(data)
        if last >= 0 > left:
            left = ats.pop(0) if ats else left
            raise Cut(data[:last])
        return data

    return forge


def when(at: int, call: Callable[[], None]) -> Forge:
    """Pass all on, and call something once it was so much."""
    left = at

    def forge(data: bytes) -> bytes:
        nonlocal left
        last, left = left, left - len(data)
        if last >= 0 > left:
            call()
        return data

    return forge


def deaf(at: int) -> Forge:
    """Pass so many bytes on, and read no more."""
    left = at

    def forge(data: bytes) -> bytes:
        nonlocal left
        passed = data[:left]
        left -= len(passed)
        if not left:
            raise Deaf(passed)
        return passed

    return forge


def hole(at: int) -> tuple[Forge, Forge]:
    """Pass so many bytes of one side on, and then nothing of either; its forge comes first."""
    first = deaf(at)
    fallen = False

    def one(data: bytes) -> bytes:
        nonlocal fallen
        try:
            return first(data)
        except Deaf:
            fallen = True
            raise

    def other(data: bytes) -> bytes:
        if fallen:
            raise Deaf(b"")
        return data

    return one, other


def slow(seconds: float) -> Forge:
    """Take so long for each 64 KiB or less."""

    def forge(data: bytes) -> bytes:
        time.sleep(seconds)
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
    """Stand between those who connect, one after the other, and a listener; give the URL to call.

    Args:
        url: of a listener on this machine.
        client_says: what becomes of what comes from those who connect.
        server_says: what becomes of what comes from the listener.
        legs: decrypt what comes, and encrypt it anew.
    """
    scheme, _, address = url.partition("://")
    host, _, port = address.rpartition(":")
    stopped = threading.Event()
    both: list[socket.socket] = []

    def stand() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
            client: socket.socket = ends.enter_context(listening.accept()[0])
            both[:] = [client]
            beyond: socket.socket = ends.enter_context(socket.create_connection((host, int(port))))
            beyond.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNDERWAY)
            if legs is not None:
                beyond = ends.enter_context(legs.made.wrap_socket(beyond))
                client = ends.enter_context(legs.taken.wrap_socket(client, server_side=True))
            both[:] = [client, beyond]
            if not stopped.is_set() and _pass_on(client, beyond, client_says, server_says):
                stopped.wait()

    def stay() -> None:
        while not stopped.is_set():
            stand()

    with socket.create_server((host, 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNDERWAY)
        thread = threading.Thread(target=stay, daemon=True)
        thread.start()
        yield f"{scheme}://{host}:{listening.getsockname()[1]}"
        stopped.set()
        for each in (listening, *both):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        thread.join()


def _pass_on(
    client: socket.socket, beyond: socket.socket, client_says: Forge, server_says: Forge
) -> bool:
    """Pass on until both sides are at their end or not read any more; tell whether one is not."""
    unread = False
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, (beyond, client_says))
        ready.register(beyond, selectors.EVENT_READ, (client, server_says))
        while ready.get_map():
            for key, _ in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                sink, forge = key.data
                data = _read(source)
                try:
                    sink.sendall(forge(data))
                except Cut as cut:
                    sink.sendall(cut.last)
                    return False
                except Deaf as deaf:
                    sink.sendall(deaf.last)
                    ready.unregister(source)
                    unread = True
                else:
                    if not data:
                        ready.unregister(source)
                        sink.shutdown(socket.SHUT_WR)
    return unread


def _read(source: socket.socket) -> bytes:
    data = source.recv(1 << 16)
    while isinstance(source, ssl.SSLSocket) and source.pending():
        data += source.recv(1 << 16)
    return data
