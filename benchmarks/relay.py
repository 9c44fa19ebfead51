"""A wire that is looked at: counts what passes, and calls out when so much has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_PIECE: Final = 256 * 1024


class Relay:
    """Passes bytes between whoever connects to ``port`` and a port of 127.0.0.1, both ways.

    Attributes:
        port: where to connect to.
        passed: bytes so far, both ways, of all connections.
    """

    def __init__(self, server: socket.socket, target: int) -> None:
        self.port: int = server.getsockname()[1]
        self.passed = 0
        self._server = server
        self._target = target
        self._lock = threading.Lock()
        self._mark = 0
        self._reached: Callable[[], None] | None = None

    def call(self, reached: Callable[[], None], after: int) -> None:
        """Call something, once, when so many more bytes have passed."""
        with self._lock:
            self._mark, self._reached = self.passed + after, reached

    def run(self) -> None:
        """Accept until the server is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        buffer = memoryview(bytearray(_PIECE))
        with suppress(OSError):
            while size := source.recv_into(buffer):
                self._count(size)
                target.sendall(buffer[:size])
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        with self._lock:
            self.passed += size
            if self._reached is not None and self.passed >= self._mark:
                reached, self._reached = self._reached, None
                reached()


@contextmanager
def relayed(port: int) -> Iterator[Relay]:
    """Relay to a port during the ``with`` block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = Relay(server, port)
        threading.Thread(target=relay.run, daemon=True).start()
        yield relay
