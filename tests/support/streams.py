"""Pairs of connected transports, and driving both ends of one from a single thread."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence

import pytest

from objxfer.transports.base import Buffer, Transport
from objxfer.transports.memory import pair
from objxfer.transports.sockets import SocketTransport
from objxfer.transports.tls import TlsTransport

PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""

Pair = tuple[Transport, Transport]


def memory_pair() -> Pair:
    return pair()


def unix_pair() -> Pair:
    one, other = socket.socketpair()
    return SocketTransport(one), SocketTransport(other)


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def tcp_pair() -> Pair:
    one, other = tcp_sockets()
    return SocketTransport(one), SocketTransport(other)


def portable(make: Callable[[], Pair]) -> Callable[[], Pair]:
    """Make them as on a platform that has neither ``select.poll`` nor ``os.eventfd``."""

    def make_portable() -> Pair:
        with pytest.MonkeyPatch.context() as platform:
            platform.delattr(select, "poll", raising=False)
            platform.delattr(os, "eventfd", raising=False)
            one, other = make()
            for end in (one, other):
                end.wake()  # which makes what wakes
                end.wait(read=False, write=False, timeout=None)
        return one, other

    return make_portable


def tls_over(make: Callable[[], Pair]) -> Callable[[], Pair]:
    def make_tls() -> Pair:
        inner_client, inner_server = make()
        client = TlsTransport(inner_client, server=False)
        server = TlsTransport(inner_server, server=True)
        shake_hands(client, server)
        return client, server

    return make_tls


def shake_hands(client: TlsTransport, server: TlsTransport) -> None:
    done = {client: False, server: False}
    while not all(done.values()):
        for side, over in done.items():
            done[side] = side.flush() if over else side.handshake()


def drop(buffers: Sequence[Buffer], size: int) -> list[Buffer]:
    """Return what is left of the buffers after their first ``size`` bytes."""
    left: list[Buffer] = []
    for buffer in buffers:
        if size < len(buffer):
            left.append(memoryview(buffer)[size:])
        size = max(0, size - len(buffer))
    return left


def receive(transport: Transport, size: int = 65536) -> bytes | None:
    """Return what one ``recv_into`` gives: bytes, b"" at the end, None if nothing is there."""
    buffer = bytearray(size)
    got = transport.recv_into(memoryview(buffer))
    return None if got is None else bytes(buffer[:got])


def receive_all(transport: Transport) -> bytes:
    """Read to the end of the stream."""
    received = bytearray()
    while (got := receive(transport)) != b"":
        if got is None:
            transport.wait(read=True, write=False, timeout=PATIENCE)
        else:
            received += got
    return bytes(received)


def deliver(
    sender: Transport, receiver: Transport, buffers: Sequence[Buffer], pieces: Sequence[int] = ()
) -> bytes:
    """Send all of the buffers and return as many bytes as arrive of them.

    Args:
        sender: one end.
        receiver: the other end.
        buffers: what to send.
        pieces: sizes of the buffers to read into, over and over; 64 KiB unless given.
    """
    total = sum(map(len, buffers))
    left: Sequence[Buffer] = buffers
    received = bytearray()
    turn = 0
    while len(received) < total:
        if left:
            left = drop(left, sender.send(left) or 0)
        out = sender.flush() and not left
        got = receive(receiver, pieces[turn % len(pieces)] if pieces else 65536)
        turn += 1
        if got is None:
            receiver.wait(read=True, write=False, timeout=PATIENCE if out else 0)
        else:
            assert got, "the stream ended early"
            received += got
    return bytes(received)


def fill(transport: Transport, limit: int = 1 << 26) -> bytes:
    """Send until nothing more is taken; return what was."""
    sent = bytearray()
    block = bytes(range(256)) * 256
    while (taken := transport.send([block])) is not None:
        sent += block[:taken]
        assert len(sent) < limit, "it takes without end"
    return bytes(sent)
