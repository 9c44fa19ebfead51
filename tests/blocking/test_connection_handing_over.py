"""Objects that the program looks at before their sender is told that they are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from objxfer.errors import ConnectionLost, ExitCode, ObjxferError, RefusedByPeer
from support.connected import PATIENCE, Pair, begin, connected


def test_a_receipt_says_that_the_program_took_it(ends: Pair) -> None:
    client, server = ends
    took, may_end = threading.Event(), threading.Event()
    taken = []

    def take(obj: object, withdrawn: Callable[[], bool]) -> None:
        took.set()
        assert may_end.wait(PATIENCE)
        assert not withdrawn()
        taken.append(obj)

    receiving = begin(server.recv, PATIENCE, on_object=take)
    sending = begin(client.send, {"step": 3}, wait=True)
    assert took.wait(PATIENCE)
    assert not sending.done()
    may_end.set()
    sending.result(PATIENCE)
    assert taken == [{"step": 3}]
    assert receiving.result(PATIENCE) == {"step": 3}


@pytest.mark.parametrize("content", [b"small", bytes(3_000_000)])
@pytest.mark.parametrize("wait", [False, True])
def test_it_takes_all_kinds_of_objects(ends: Pair, content: bytes, wait: bool) -> None:
    client, server = ends
    taken: list[object] = []
    sending = begin(client.send, content, serializer="raw", wait=wait)
    assert server.recv(PATIENCE, on_object=lambda obj, _: taken.append(obj)) == content
    sending.result(PATIENCE)
    assert taken == [content]
    client.send("and on")
    assert server.recv(PATIENCE) == "and on"


def test_it_refuses_by_raising(ends: Pair) -> None:
    client, server = ends

    def refuse(_: object, __: Callable[[], bool]) -> None:
        raise ObjxferError("not today", exit_code=ExitCode.REFUSED)

    sending = begin(client.send, "hello", wait=True)
    with pytest.raises(ObjxferError, match="not today"):
        server.recv(PATIENCE, on_object=refuse)
    with pytest.raises(RefusedByPeer, match="not today"):
        sending.result(PATIENCE)
    client.send("and on")
    assert server.recv(PATIENCE) == "and on"


def test_it_hears_that_nobody_waits_any_more(ends: Pair) -> None:
    client, server = ends
    asked = threading.Event()

    def wait(_: object, withdrawn: Callable[[], bool]) -> None:
        asked.set()
        while not withdrawn():
            pass

    receiving = begin(server.recv, PATIENCE, on_object=wait)
    sending = begin(client.send, "hello", wait=True)
    assert asked.wait(PATIENCE)
    client.abandon()
    for future in (sending, receiving):
        with pytest.raises(ConnectionLost):
            future.result(PATIENCE)


def test_who_takes_long_keeps_no_other_connection_waiting(ends: Pair) -> None:
    asked, may_end = threading.Semaphore(0), threading.Event()

    def think(_: object, withdrawn: Callable[[], bool]) -> None:
        asked.release()
        assert may_end.wait(PATIENCE)
        assert not withdrawn()

    with ExitStack() as exit_stack:
        pairs = [exit_stack.enter_context(connected()) for _ in range(50)]
        receiving = [begin(server.recv, PATIENCE, on_object=think) for _, server in pairs]
        sending = [begin(client.send, "hello", wait=True) for client, _ in pairs]
        for _ in pairs:
            assert asked.acquire(timeout=PATIENCE)
        other = begin(ends[1].recv, PATIENCE, on_object=lambda *_: None)
        ends[0].send("and me", wait=True)
        assert other.result(PATIENCE) == "and me"
        may_end.set()
        for sent in sending:
            sent.result(PATIENCE)
        assert [each.result(PATIENCE) for each in receiving] == ["hello"] * 50


def test_each_side_knows_what_the_other_accepts(ends: Pair) -> None:
    assert ends[0].accepted == ends[1].accepted == ("raw", "text", "json", "msgpack")
