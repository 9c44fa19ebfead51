"""One side of a handshake over a real socket, step by step."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from objxfer.blocking.greeter import Greeter
from objxfer.blocking.terms import SAFE, Terms
from objxfer.errors import AuthenticationError, ConnectionLost, ObjxferError, ProtocolMismatch
from objxfer.files.entries import IfExists
from objxfer.limits import Limits
from objxfer.protocol.hello import Role
from objxfer.security.keys import Key
from support.connected import KEY, OTHER_KEY
from support.streams import tcp_sockets

Greeters = tuple[Greeter, Greeter]


def terms(key: Key | None = KEY) -> Terms:
    return Terms.check(
        "tcp://host",
        role=Role.SERVER,
        encrypted=False,
        peer_id=None,
        key=key,
        serializer="msgpack",
        accepts=SAFE,
        classes=None,
        timeout=10.0,
        into=None,
        if_exists=IfExists.RENAME,
        keep_partial=0.0,
        limits=Limits(),
        insecure=True,
    )


def greeters(encrypted: bool, here: Key | None = KEY, there: Key | None = KEY) -> Greeters:
    client, server = tcp_sockets()
    return (
        Greeter(client, terms(here), Role.CLIENT, encrypted=encrypted, name="tcp://host:1"),
        Greeter(server, terms(there), Role.SERVER, encrypted=encrypted),
    )


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def pair(request: pytest.FixtureRequest) -> Iterator[Greeters]:
    made = greeters(request.param)
    yield made
    for greeter in made:
        greeter.close()


def finish(greeter: Greeter) -> None:
    while not greeter.step():
        pass


def shake(client: Greeter, server: Greeter) -> None:
    done = {client: False, server: False}
    while not all(done.values()):
        for greeter in done:
            done[greeter] = done[greeter] or greeter.step()


def test_both_are_authenticated(pair: Greeters) -> None:
    shake(*pair)
    for greeter in pair:
        assert greeter.heard
        assert greeter.established is not None
        assert not greeter.wants_write


def test_a_step_does_not_wait(pair: Greeters) -> None:
    client, server = pair
    for _ in range(3):
        assert not server.step()
    assert not client.step()
    assert not client.step()
    shake(client, server)


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_client_says_whom_it_meant(encrypted: bool) -> None:
    client, server = greeters(encrypted, here=OTHER_KEY)
    with pytest.raises(AuthenticationError, match="tcp://host:1 does not hold our key") as raised:
        shake(client, server)
    assert OTHER_KEY.id in str(raised.value)
    client.close()
    with pytest.raises(AuthenticationError, match=r"127\.0\.0\.1"):
        finish(server)
    server.close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_other_side_leaves(encrypted: bool) -> None:
    for leaver in (0, 1):
        pair = greeters(encrypted)
        pair[leaver].close()
        with pytest.raises((ProtocolMismatch, ConnectionLost)):
            finish(pair[1 - leaver])
        pair[1 - leaver].close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_other_side_resets(encrypted: bool) -> None:
    client, server = tcp_sockets()
    greeter = Greeter(server, terms(), Role.SERVER, encrypted=encrypted)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with pytest.raises(ObjxferError) as raised:
        finish(greeter)
    assert isinstance(raised.value, ProtocolMismatch | ConnectionLost)
    assert "127.0.0.1" in str(raised.value)
    greeter.close()


def test_last_words_reach_the_other_side() -> None:
    """Who uses no key is told by the server's hello that one is used there."""
    client, server = greeters(encrypted=False, here=None)
    client.step()
    with pytest.raises(AuthenticationError, match="the peer uses no key"):
        finish(server)
    with pytest.raises(AuthenticationError, match="the peer uses a key, and we use no key"):
        finish(client)
    client.close()
    server.close()
