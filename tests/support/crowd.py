"""Many who connect at once and do not prove themselves, and what a process takes of the machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.transports.tls import client_context
from support.connected import PATIENCE

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to read of")

_PAUSE: Final = 0.25
"""Seconds between a byte of one who is slow and the next."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Crowd:
    """Connections to one listener. Leaving its ``with`` block closes them."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.rpartition(":")
        self._address = host, int(port)
        self._encrypted = scheme == "tls"
        self._sockets: list[socket.socket] = []
        self._slow: list[socket.socket] = []
        self._over = threading.Event()
        self._speaker: threading.Thread | None = None

    def come(self, count: int) -> None:
        """Let so many come, who say nothing."""
        self._sockets += [self._connect() for _ in range(count)]

    def trickle(self, count: int) -> None:
        """Let so many come, who from now on say the beginning of what they should, bit by bit."""
        self._slow += [self._connect() for _ in range(count)]
        if self._speaker is None:
            self._speaker = threading.Thread(target=self._speak, daemon=True)
            self._speaker.start()

    def greet(self, count: int) -> None:
        """Let so many come, who say a valid hello, and nothing that proves anything."""
        for _ in range(count):
            sock = self._connect()
            with contextlib.suppress(OSError):  # it has had enough of us
                if self._encrypted:
                    sock = client_context().wrap_socket(sock)
                sock.sendall(_hello())
            self._sockets.append(sock)

    def __len__(self) -> int:
        return len(self._sockets) + len(self._slow)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._speaker is not None:
            self._speaker.join()
        for sock in (*self._sockets, *self._slow):
            sock.close()

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._address, PATIENCE)

    def _speak(self) -> None:
        words = _client_hello() if self._encrypted else _hello()
        for byte in itertools.chain(words[:-1]):
            for sock in list(self._slow):
                with contextlib.suppress(OSError):
                    sock.send(bytes((byte,)))
            if self._over.wait(_PAUSE):
                return


def _hello() -> bytes:
    own = Hello(Role.CLIENT, Mode.KEY, os.urandom(32), os.urandom(16), key_id=bytes(4))
    return own.pack()


def _client_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Allow this process, and those it starts, so many descriptors; skip where that cannot be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"only {hard} descriptors are allowed here, and {count} are needed")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what a process takes ---


def descriptors_of(pid: int) -> int:
    """How many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid: int) -> float:
    """The time that all threads of a process have computed for by now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a process has had at once."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not say")
