"""A pickle that would leave a mark, and everything that must not let it."""

from __future__ import annotations

import pickle
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from objxfer.blocking.connecting import connect
from objxfer.blocking.connection import Connection
from objxfer.blocking.listener import listen
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    ExitCode,
    IntegrityError,
    NotAllowed,
    ObjxferError,
    PeerError,
    RefusedByPeer,
    WrongKey,
)
from objxfer.protocol.chunks import OVERHEAD
from objxfer.protocol.messages import Object, Objects
from objxfer.transfer.objects import opening, send_object
from objxfer.transfer.progress import Tally
from objxfer.transfer.steps import send
from support.byhand import perform
from support.connected import KEY, OTHER_KEY, PATIENCE, begin, connected
from support.marks import Marks
from support.relay import Forge, flipping, relay

ACCEPTED: dict[str, Any] = {"accepts": ("msgpack", "pickle")}
EXECUTING = ["pickle", "cloudpickle"]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there if a pickle was loaded."""
    return tmp_path / "mark"


def pickled(mark: Path, name: str = "pickle", *, large: bool = False) -> tuple[Object, bytes]:
    head = pickle.dumps((Marks(mark), bytes(200_000 if large else 0)), 5)
    return opening(name, head, []), head


def speak(client: Connection, message: Object, head: bytes) -> None:
    """Send an object whatever the peer said it accepts."""
    perform(client, send_object(message, head, [], Tally()))


# --- so that all below can fail ---


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
@pytest.mark.parametrize("large", [False, True])
def test_it_leaves_its_mark_where_it_is_signed_and_accepted(
    scheme: str, large: bool, mark: Path
) -> None:
    with connected(scheme, there=ACCEPTED) as (client, server):
        begin(speak, client, *pickled(mark, large=large))
        server.recv(PATIENCE)
    assert mark.is_dir()


# --- where it is not accepted ---


@pytest.mark.parametrize("name", EXECUTING)
def test_a_sender_does_not_send_what_is_not_accepted(name: str, mark: Path) -> None:
    with connected() as (client, _), pytest.raises(RefusedByPeer) as caught:
        client.send(Marks(mark), serializer=name)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert not mark.exists()


@pytest.mark.parametrize("name", EXECUTING)
@pytest.mark.parametrize("large", [False, True])
def test_it_is_refused_where_it_is_not_accepted(name: str, large: bool, mark: Path) -> None:
    with connected() as (client, server):
        speaking = begin(speak, client, *pickled(mark, name, large=large))
        with pytest.raises(NotAllowed) as caught:
            server.recv(PATIENCE)
        assert caught.value.exit_code is ExitCode.REFUSED
        speaking.exception(PATIENCE)
        begin(client.send, "and goes on")
        assert server.recv(PATIENCE) == "and goes on"
    assert not mark.exists()


def test_it_is_refused_inside_of_a_batch(mark: Path) -> None:
    message, _ = pickled(mark)
    with connected() as (client, server):
        perform(client, send(Objects((message, message))))
        for _ in range(2):
            with pytest.raises(NotAllowed):
                server.recv(PATIENCE)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["raw", "text", "json", "msgpack"])
def test_nothing_else_loads_it(name: str, mark: Path) -> None:
    with connected(there={"accepts": (name, "pickle")}) as (client, server):
        message, head = pickled(mark)
        speak(client, message._replace(serializer=name), head)
        with pytest.raises(PeerError):
            server.recv(PATIENCE)
    assert not mark.exists()


def test_classes_that_do_not_name_it_refuse_it(mark: Path) -> None:
    there = ACCEPTED | {"classes": ["pathlib:PosixPath", "builtins:mkdir", "os:mkdir"]}
    with connected(there=there) as (client, server):
        speak(client, *pickled(mark))
        with pytest.raises(NotAllowed) as caught:  # it is posix:mkdir by name
            server.recv(PATIENCE)
        assert caught.value.exit_code is ExitCode.REFUSED
        client.send("and goes on")
        assert server.recv(PATIENCE) == "and goes on"
    assert not mark.exists()


# --- where it is not signed ---


@pytest.mark.parametrize("name", EXECUTING)
@pytest.mark.parametrize("call", [connect, listen])
def test_nobody_can_accept_it_without_a_key(call: Callable[..., Any], name: str) -> None:
    with pytest.raises(ValueError, match="needs key="):
        call("tcp://127.0.0.1:6259", accepts=[name], insecure=True)


@pytest.mark.parametrize("name", EXECUTING)
def test_nobody_sends_it_without_a_key(name: str, mark: Path) -> None:
    with (
        connected(key=None, insecure=True) as (client, _),
        pytest.raises((NotAllowed, RefusedByPeer)),
    ):
        client.send(Marks(mark), serializer=name)


def test_it_is_refused_without_a_key(mark: Path) -> None:
    with connected(key=None, insecure=True) as (client, server):
        speak(client, *pickled(mark))
        with pytest.raises(NotAllowed):
            server.recv(PATIENCE)
    assert not mark.exists()


def test_without_a_key_it_is_not_loaded_even_where_it_was_let_through(
    mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the refusal at set-up and the one by name stands the want of a proof."""
    with connected(key=None, insecure=True) as (client, server):
        monkeypatch.setattr(server._inbox, "_check_wanted", lambda *_: None)
        speak(client, *pickled(mark))
        with pytest.raises(NotAllowed, match="without a key"):
            server.recv(PATIENCE)
    assert not mark.exists()


def test_the_wrong_key_gets_nothing_loaded(mark: Path) -> None:
    refused: queue.SimpleQueue[ObjxferError] = queue.SimpleQueue()
    told: dict[str, Any] = {"on_refused": lambda _, error: refused.put(error)}
    with listen("tcp://127.0.0.1:0", key=KEY, **told, **ACCEPTED) as listener:
        with pytest.raises(AuthenticationError):
            connect(listener.url, key=OTHER_KEY)
        assert type(refused.get(timeout=PATIENCE)) is WrongKey
    assert refused.empty()
    assert not mark.exists()


class Tap:
    """Keeps what passes, and forges it as it is told."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.forge: Forge = bytes

    def __call__(self, data: bytes) -> bytes:
        forged = self.forge(data)
        self.seen += forged
        return forged


@contextmanager
def tapped() -> Iterator[tuple[Connection, Connection, Tap, Tap]]:
    """Connect two sides that both accept pickle, and tap what either says from now on."""
    taps = Tap(), Tap()
    with (
        listen("tcp://127.0.0.1:0", key=KEY, **ACCEPTED) as listener,
        relay(listener.url, *taps) as url,
    ):
        client, server = connect(url, key=KEY, **ACCEPTED), listener.accept(PATIENCE)
        for tap in taps:
            tap.seen.clear()
        yield client, server, *taps
        client.abandon()
        server.abandon()


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 8, 12, 16, 44, 60, 75, 76, 100, 150, -1])
def test_a_forged_chunk_is_not_loaded(offset: int, mark: Path) -> None:
    """Header, digest, tag and payload, one bit each."""
    message, head = pickled(mark)
    with tapped() as (client, server, said, _):
        said.forge = flipping(offset % (OVERHEAD + len(message.pack())))
        speak(client, message, head)
        for _ in range(2):  # and it stays so
            with pytest.raises(IntegrityError) as caught:
                server.recv(PATIENCE)
            assert caught.value.exit_code is ExitCode.INTEGRITY
        with pytest.raises(ConnectionLost):
            client.recv(PATIENCE)
    assert not mark.exists()


def test_bytes_of_an_earlier_connection_are_not_loaded(mark: Path) -> None:
    with tapped() as (client, server, said, _):
        speak(client, *pickled(mark))
        server.recv(PATIENCE)
        replayed = bytes(said.seen)
    mark.rmdir()
    assert mark.name.encode() in replayed
    with tapped() as (client, server, said, _):
        said.forge = lambda _: replayed
        client.send("something else")
        with pytest.raises(IntegrityError):
            server.recv(PATIENCE)
    assert not mark.exists()


def test_it_is_loaded_at_most_once_however_often_it_comes(mark: Path) -> None:
    with tapped() as (client, server, said, _):
        said.forge = lambda data: data * 3
        speak(client, *pickled(mark))
        loads = [begin(server.recv, PATIENCE).exception(PATIENCE) for _ in range(3)]
    assert [type(error) for error in loads[1:]] == [IntegrityError] * 2


def test_it_is_not_loaded_by_the_side_that_sent_it(mark: Path) -> None:
    with tapped() as (client, server, said, answered):
        speak(client, *pickled(mark))
        server.recv(PATIENCE)
        mark.rmdir()
        answered.forge = lambda _: bytes(said.seen)
        server.send("something else")
        with pytest.raises(IntegrityError):
            client.recv(PATIENCE)
    assert not mark.exists()


def test_it_is_not_loaded_as_another_item(mark: Path) -> None:
    with tapped() as (client, server, said, _):
        said.forge = lambda data: data[:4] + (3).to_bytes(4, "big") + data[8:]
        speak(client, *pickled(mark))
        with pytest.raises(IntegrityError):
            server.recv(PATIENCE)
    assert not mark.exists()
