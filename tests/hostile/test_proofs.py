"""Peers that do not hold the key, and whoever stands between two that do; see also
``test_handshakes.py``, which does that in every mode.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from objxfer.blocking.connecting import connect
from objxfer.blocking.listener import listen
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
)
from objxfer.protocol.handshake import NOTHING, Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.transports import tls
from support.connected import KEY, OTHER_KEY, PATIENCE, begin
from support.relay import relay


class Door:
    """A listener, and those it did not let in."""

    def __init__(self, scheme: str, **terms: Any) -> None:
        self.refusals: queue.SimpleQueue[ObjxferError] = queue.SimpleQueue()
        self.listener = listen(
            f"{scheme}://127.0.0.1:0",
            on_refused=lambda _, error: self.refusals.put(error),
            **({"key": KEY} | terms),
        )
        self.url = self.listener.url

    def refused(self) -> ObjxferError:
        """Return why the next was not let in; nobody was."""
        error = self.refusals.get(timeout=PATIENCE)
        with pytest.raises(Timeout):
            self.listener.accept(0)
        return error

    def call(self) -> socket.socket:
        """Connect without a word."""
        host, _, port = self.url.partition("://")[2].rpartition(":")
        sock = socket.create_connection((host, int(port)), PATIENCE)
        if self.url.startswith("tls:"):
            return tls.client_context().wrap_socket(sock)
        return sock


@pytest.fixture(params=["tcp", "tls"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    opened = Door(request.param)
    yield opened
    opened.listener.close()


@pytest.fixture
def plain_door() -> Iterator[Door]:
    opened = Door("tcp")
    yield opened
    opened.listener.close()


def rest(sock: socket.socket) -> bytes:
    """Read to the end, however the peer ended."""
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


@contextmanager
def impostor(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that answers one client as it likes."""

    def serve() -> None:
        # The client may hang up before all is said.
        with listening.accept()[0] as sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE)
            answer(sock)
            sock.shutdown(socket.SHUT_WR)
            rest(sock)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(PATIENCE)


def by_hand(channel: bytes = b"plain", mode: Mode = Mode.KEY) -> Handshake:
    """A client's handshake, with the right key unless it is in mode none."""
    key_id = bytes.fromhex(KEY.id) if mode is Mode.KEY else b""
    hello = Hello(Role.CLIENT, mode, os.urandom(32), os.urandom(16), key_id=key_id)
    return Handshake(hello, channel, Held(KEY.secret()) if mode is Mode.KEY else NOTHING)


# --- what is no hello ---

HELLO = by_hand().greeting()
NO_HELLOS = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "newline": b"\n",
    "too short": b"objxfer\0\5",
    "too long": b"objxfer\x10\x01" + bytes(5000),
    "of size zero": b"objxfer\0\0",
    "of a longer size": HELLO[:7] + (len(HELLO) + 1).to_bytes(2, "big") + HELLO[9:] + b"x",
    "of version 0": HELLO[:9] + b"\0\0" + HELLO[11:],
    "of no role": HELLO[:11] + b"\7" + HELLO[12:],
    "of no mode": HELLO[:12] + b"\7" + HELLO[13:],
    "with a critical field": HELLO[:7]
    + (len(HELLO) + 4).to_bytes(2, "big")
    + HELLO[9:]
    + b"\xff\xff\0\0",
    "of another version": HELLO[:9] + b"\7\7" + HELLO[11:],
}


@pytest.mark.parametrize("said", NO_HELLOS.values(), ids=NO_HELLOS.keys())
def test_garbage_instead_of_a_hello_is_not_let_in(door: Door, said: bytes) -> None:
    with door.call() as sock:
        sock.sendall(said)
        error = door.refused()
        assert type(error) is ProtocolMismatch
        assert error.exit_code is ExitCode.MISMATCH
        assert str(error).isprintable()
        assert not rest(sock) or "version" in str(error)


@pytest.mark.parametrize("size", [0, 1, 7, 8, len(HELLO) - 1])
def test_a_hello_that_ends_too_soon_is_not_let_in(plain_door: Door, size: int) -> None:
    with plain_door.call() as sock:
        sock.sendall(HELLO[:size])
        sock.shutdown(socket.SHUT_WR)
        # Who says nothing at all has done no wrong, and is not let in either.
        assert type(plain_door.refused()) is (ProtocolMismatch if size else ConnectionLost)
        assert rest(sock) == b""


@pytest.mark.parametrize("said", NO_HELLOS.values(), ids=NO_HELLOS.keys())
def test_a_client_does_not_talk_to_garbage(said: bytes) -> None:
    with (
        impostor(lambda sock: sock.sendall(said)) as url,
        pytest.raises(ProtocolMismatch) as caught,
    ):
        connect(url, key=KEY, timeout=PATIENCE)
    assert caught.value.exit_code is ExitCode.MISMATCH
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", HELLO, bytes(4096)],
    ids=["another protocol", "a hello", "zeros"],
)
def test_what_is_no_tls_is_not_let_in_by_tls(said: bytes) -> None:
    door = Door("tls")
    host, port = door.url.removeprefix("tls://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.sendall(said)
        error = door.refused()
        assert type(error) is ProtocolMismatch
        assert "does not speak TLS" in str(error)
        rest(sock)
    door.listener.close()


@pytest.mark.parametrize(("listens", "calls"), [("tcp", "tls"), ("tls", "tcp")])
def test_tls_on_one_side_only_is_told_on_both(listens: str, calls: str) -> None:
    door = Door(listens)
    with pytest.raises(ProtocolMismatch) as caught:
        connect(door.url.replace(listens, calls), key=KEY, timeout=PATIENCE)
    assert caught.value.exit_code is ExitCode.MISMATCH
    assert caught.value.hint == f"it may be listening on {listens}://"
    error = door.refused()
    assert type(error) is ProtocolMismatch
    assert error.exit_code is ExitCode.MISMATCH
    door.listener.close()


# --- proofs ---


def not_authenticated(error: ObjxferError) -> bool:
    return isinstance(error, AuthenticationError) and error.exit_code is ExitCode.NOT_AUTHENTICATED


def test_the_wrong_key_is_told_on_both_sides(door: Door) -> None:
    with pytest.raises(AuthenticationError) as caught:
        connect(door.url, key=OTHER_KEY, timeout=PATIENCE)
    assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    assert OTHER_KEY.id in str(caught.value)
    assert not_authenticated(door.refused())


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"key": KEY}, {"key": None, "insecure": True}),
        ({"key": None, "insecure": True}, {"key": KEY}),
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_key_on_one_side_only_is_told_on_both(
    scheme: str, here: dict[str, Any], there: dict[str, Any]
) -> None:
    door = Door(scheme, **there)
    with pytest.raises(AuthenticationError) as caught:
        connect(door.url, timeout=PATIENCE, **here)
    assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    assert not_authenticated(door.refused())
    door.listener.close()


# --- somebody in between ---


def test_what_a_client_said_opens_no_second_connection(plain_door: Door) -> None:
    said = bytearray()

    def keep(data: bytes) -> bytes:
        said.extend(data)
        return data

    with relay(plain_door.url, keep) as url, connect(url, key=KEY) as client:
        client.send("hello")
        server = plain_door.listener.accept(PATIENCE)
        assert server.recv(PATIENCE) == "hello"
        server.abandon()
    with plain_door.call() as sock:
        sock.sendall(said)
        assert not_authenticated(plain_door.refused())
        rest(sock)


def test_what_a_server_said_deceives_no_second_client(plain_door: Door) -> None:
    said = bytearray()

    def keep(data: bytes) -> bytes:
        said.extend(data)
        return data

    with relay(plain_door.url, server_says=keep) as url:
        client = connect(url, key=KEY)
        plain_door.listener.accept(PATIENCE).abandon()
        client.abandon()
    with impostor(lambda sock: sock.sendall(said)) as url, pytest.raises(AuthenticationError):
        connect(url, key=KEY, timeout=PATIENCE)


def test_a_client_s_own_words_deceive_it_not() -> None:
    def echo(sock: socket.socket) -> None:
        sock.sendall(sock.recv(1 << 16))

    with impostor(echo) as url, pytest.raises(ProtocolMismatch, match="same role"):
        connect(url, key=KEY, timeout=PATIENCE)


def test_a_client_is_no_oracle_for_a_server_without_the_key(plain_door: Door) -> None:
    """The server's role is played with a hello of one's own: the client says nothing to it."""
    heard = bytearray()

    def answer(sock: socket.socket) -> None:
        heard.extend(sock.recv(1 << 16))
        hello = Hello(
            Role.SERVER, Mode.KEY, os.urandom(32), os.urandom(16), key_id=bytes.fromhex(KEY.id)
        )
        sock.sendall(hello.pack() + bytes(32))
        heard.extend(rest(sock))

    with impostor(answer) as url, pytest.raises(AuthenticationError) as caught:
        connect(url, key=KEY, timeout=PATIENCE)
    assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    assert Hello.unpack(bytes(heard)).role is Role.CLIENT


def test_a_bystander_who_only_passes_on_is_of_no_concern(door: Door) -> None:
    with relay(door.url) as url, connect(url, key=KEY) as client:
        server = door.listener.accept(PATIENCE)
        received = begin(server.recv, PATIENCE)
        client.send("hello")
        assert received.result(PATIENCE) == "hello"
        server.abandon()
