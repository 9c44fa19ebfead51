"""Two who share nothing but a code find each other on the network."""

from __future__ import annotations

import queue
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from typing import Final

import pytest

import objxfer
from objxfer import Code, ObjxferError
from objxfer.blocking.meeting import Host, meet
from objxfer.discovery.announcing import announce
from objxfer.errors import AuthenticationError, CannotConnect, ExitCode, Timeout, WrongCode
from objxfer.interfaces import interfaces
from support.streams import PATIENCE

LOOPBACK: Final = next(each.name for each in interfaces() if each.loopback)
Came = queue.SimpleQueue[objxfer.Connection | ObjxferError]
ANNA, BEN = bytes(range(16)), bytes(range(1, 17))


@contextmanager
def accepting(host: Host) -> Iterator[Came]:
    """Let a host wait in a thread of its own for as long as the block lasts."""
    came: Came = queue.SimpleQueue()

    def accept() -> None:
        try:
            came.put(host.accept(PATIENCE))
        except ObjxferError as error:
            came.put(error)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield came
    finally:
        host.close()
        thread.join()


def guest(came: Came) -> objxfer.Connection:
    taken = came.get(timeout=PATIENCE)
    assert isinstance(taken, objxfer.Connection)
    return taken


def waiting(**arguments: object) -> Host:
    return Host("tls://127.0.0.1:0", peer_id=ANNA, **arguments)  # type: ignore[arg-type]


def spoken(host: Host) -> Code:
    assert host.code is not None
    return Code.parse(host.code.spoken())


def wrong(code: Code) -> Code:
    other = Code.generate()
    return Code.parse("-".join((str(code.room), *other.spoken().split("-")[1:])))


def test_they_meet_and_meet_again_without_the_code() -> None:
    host = waiting()
    with accepting(host) as came:
        here = meet(spoken(host), interfaces=[LOOPBACK], timeout=PATIENCE, peer_id=BEN)
        there = guest(came)
        here.send("hello")
        assert there.recv(PATIENCE) == "hello"
        here.abandon()
        there.abandon()
        assert here.url == host.urls[0]
        again = objxfer.connect(here.url, key=here.pair)
        host.accept(PATIENCE).abandon()
        again.abandon()
        with pytest.raises(AuthenticationError):  # nobody else, with the code or without
            objxfer.connect(here.url, key=wrong(spoken(host)))
    assert "objxfer-discovery" not in {thread.name for thread in threading.enumerate()}


def test_a_wrong_code_is_tried_once_and_the_next_room_is_announced() -> None:
    burnt: queue.SimpleQueue[Code | None] = queue.SimpleQueue()
    host = waiting(on_burnt=burnt.put)
    with accepting(host) as came:
        first = spoken(host)
        with pytest.raises(WrongCode):
            meet(wrong(first), interfaces=[LOOPBACK], timeout=PATIENCE)
        second = burnt.get(timeout=PATIENCE)
        assert second is not None
        assert second.room != first.room
        meet(second, interfaces=[LOOPBACK], timeout=PATIENCE, peer_id=BEN).abandon()
        guest(came).abandon()


def test_three_wrong_codes_end_it() -> None:
    burnt: queue.SimpleQueue[Code | None] = queue.SimpleQueue()
    host = waiting(on_burnt=burnt.put)
    with accepting(host) as came:
        code: Code | None = spoken(host)
        while code is not None:
            with pytest.raises(WrongCode):
                objxfer.connect(host.urls[0], key=wrong(code))
            code = burnt.get(timeout=PATIENCE)
        error = came.get()
        assert isinstance(error, AuthenticationError)
        assert error.exit_code == ExitCode.NOT_AUTHENTICATED
        assert host.code is None


def vanish(listening: socket.socket) -> None:
    """Take every connection, and drop it."""
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


@pytest.mark.long
def test_who_vanishes_keeps_nobody_from_the_next() -> None:
    failed: set[str] = set()
    host = waiting()
    code = spoken(host)
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as announced:
        port = listening.getsockname()[1]
        rogue = announced.enter_context(announce(str(code.room), port, interfaces=[LOOPBACK]))
        thread = threading.Thread(target=vanish, args=[listening])
        thread.start()
        rogue.wait(PATIENCE)
        with pytest.raises(CannotConnect, match="nobody was found"):
            meet(code, interfaces=[LOOPBACK], timeout=3, on_failed=lambda url, _: failed.add(url))
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert f"tls://127.0.0.1:{port}" in failed
    with accepting(host) as came:  # the code is as good as it was
        meet(code, interfaces=[LOOPBACK], timeout=PATIENCE, peer_id=BEN).abandon()
        guest(came).abandon()


@pytest.mark.long
def test_who_has_nothing_to_do_with_codes_is_given_no_proof() -> None:
    failed: list[ObjxferError] = []
    with objxfer.listen("tls://127.0.0.1:0", key=objxfer.Key.generate()) as keyed:
        code = Code.generate()
        with announce(str(code.room), _port(keyed.url), interfaces=[LOOPBACK]) as announced:
            announced.wait(PATIENCE)
            with pytest.raises(CannotConnect, match=f"in room {code.room}"):
                meet(
                    code,
                    interfaces=[LOOPBACK],
                    timeout=3,
                    on_failed=lambda _, error: failed.append(error),
                )
    assert any("uses a key" in str(error) for error in failed)


def test_who_was_given_the_proof_is_the_last_one() -> None:
    with Host("tls://127.0.0.1:0") as rogue:
        code = wrong(spoken(rogue))
        with announce(str(code.room), _port(rogue.urls[0]), interfaces=[LOOPBACK]) as announced:
            announced.wait(PATIENCE)
            with pytest.raises(WrongCode):
                meet(code, interfaces=[LOOPBACK], timeout=PATIENCE)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_a_room_that_cannot_be_announced_is_said() -> None:
    said: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    host = waiting(interfaces=["nowhere0"], on_unannounced=said.put)
    with accepting(host) as came:
        assert isinstance(said.get(timeout=PATIENCE), CannotConnect)
        # Who knows the address comes in all the same.
        objxfer.connect(host.urls[0], key=spoken(host), peer_id=BEN).abandon()
        guest(came).abandon()


def test_a_room_that_is_taken_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is given its number would be led to the other one, and burn the codes of both."""
    moved: queue.SimpleQueue[Code] = queue.SimpleQueue()
    rooms = chain((7, 7, 8), repeat(9))
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(rooms) - 1)
    with announce("7", 9, interfaces=[LOOPBACK]) as other:
        other.wait(PATIENCE)
        host = waiting(on_moved=moved.put)
        with accepting(host) as came:
            first = spoken(host)
            second = moved.get(timeout=PATIENCE)
            assert (first.room, second.room) == (7, 8)
            with pytest.raises(WrongCode):
                objxfer.connect(host.urls[0], key=first)
            meet(second, interfaces=[LOOPBACK], timeout=PATIENCE, peer_id=BEN).abandon()
            guest(came).abandon()


def test_waiting_ends_in_time_and_when_it_is_closed() -> None:
    with waiting() as host, pytest.raises(Timeout):
        host.accept(0)
    with pytest.raises(objxfer.ConnectionClosed):
        host.accept(PATIENCE)


def test_a_code_needs_tls() -> None:
    with pytest.raises(ObjxferError) as caught:
        Host("tcp://127.0.0.1:0")
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_listener_expects_no_pair_of_somebody_else() -> None:
    pair = objxfer.Pair(objxfer.Key.generate(), own=BEN, peer=ANNA)
    with (
        objxfer.listen("tls://127.0.0.1:0", key=objxfer.Key.generate(), peer_id=ANNA) as listener,
        pytest.raises(ValueError, match="another peer id"),
    ):
        listener.expect(pair)


def test_interrupted_as_it_begins_to_be_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "objxfer-herald":
            raise KeyboardInterrupt
        start(thread)

    host = Host("tls://127.0.0.1:0", interfaces=[LOOPBACK])
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), host:
        host.accept(PATIENCE)
