"""One connection used by several threads, and interrupted ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import numpy as np
import pytest

from objxfer.blocking.connection import Connection
from objxfer.blocking.worker import Worker
from objxfer.errors import ConnectionClosed, ConnectionLost, RefusedByPeer
from support.connected import PATIENCE, Pair, begin, connected

LARGE = 3 * 1024 * 1024 + 5


def assert_usable(pair: Pair) -> None:
    one, other = pair
    one.send("still there?")
    assert other.recv(PATIENCE) == "still there?"
    other.send("yes")
    assert one.recv(PATIENCE) == "yes"


def send_all(connection: Connection, objects: Iterable[object]) -> None:
    for one in objects:
        connection.send(one)


def patterned(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


# --- at once ---


def test_two_threads_a_side_in_both_directions(ends: Pair) -> None:
    objects = [
        patterned(seed, size) for seed, size in enumerate([5, 100_000, LARGE, 0, 70_000] * 4)
    ]

    def sends(connection: Connection) -> None:
        for one in objects:
            connection.send(one, serializer="raw")

    def receives(connection: Connection) -> list[object]:
        return [connection.recv(PATIENCE) for _ in objects]

    sending = [begin(sends, end) for end in ends]
    receiving = [begin(receives, end) for end in ends]
    for future in receiving:
        assert future.result(PATIENCE) == objects
    for sent in sending:
        sent.result(PATIENCE)


def test_both_sides_send_before_either_receives(ends: Pair) -> None:
    contents = b"x" * (4 * 1024 * 1024)
    sending = [begin(end.send, contents) for end in ends]
    receiving = [begin(end.recv, PATIENCE) for end in ends]
    for future in sending:
        future.result(PATIENCE)
    assert all(received.result(PATIENCE) == contents for received in receiving)


def test_many_threads_send_and_many_receive(ends: Pair) -> None:
    client, server = ends
    threads, count = 8, 12

    def sends(thread: int) -> None:
        for number in range(count):
            size = (10, 3000, 80_000, 1_500_000)[(thread + number) % 4]
            client.send((thread, number, bytes([thread]) * size))

    def receives() -> list[Any]:
        return [server.recv(PATIENCE) for _ in range(count)]

    sending = [begin(sends, thread) for thread in range(threads)]
    receiving = [begin(receives) for _ in range(threads)]
    received = [one for future in receiving for one in future.result(PATIENCE)]
    for sent in sending:
        sent.result(PATIENCE)
    assert sorted((thread, number) for thread, number, _ in received) == [
        (thread, number) for thread in range(threads) for number in range(count)
    ]
    assert all(set(contents) == {thread} for thread, _, contents in received)


def test_each_object_of_one_thread_arrives_in_its_order(ends: Pair) -> None:
    client, server = ends
    begin(client.recv)  # somebody else runs the pump
    sending = begin(send_all, client, range(500))
    assert [server.recv(PATIENCE) for _ in range(500)] == list(range(500))
    sending.result(PATIENCE)


def test_sending_while_another_thread_waits_in_recv_and_the_peer_is_slow(ends: Pair) -> None:
    """Bytes that TLS holds back are pushed on although the thread that pumps only reads."""
    client, server = ends
    waiting = begin(client.recv, PATIENCE)
    contents, count = b"x" * 60_000, 400
    sending = begin(send_all, client, [contents] * count)
    assert server.poll(PATIENCE)
    for _ in range(count):
        assert server.recv(PATIENCE) == contents
    sending.result(PATIENCE)
    server.send("through")
    assert waiting.result(PATIENCE) == "through"


# --- ended by another thread ---


def test_close_while_another_thread_receives(ends: Pair) -> None:
    client, server = ends
    receiving = begin(client.recv)
    closing = begin(client.close)
    with pytest.raises(ConnectionClosed) as raised:
        server.recv(PATIENCE)
    assert not isinstance(raised.value, ConnectionLost)
    server.close()
    closing.result(PATIENCE)
    with pytest.raises(ConnectionClosed):
        receiving.result(PATIENCE)


def test_abandon_while_another_thread_receives(ends: Pair) -> None:
    client, server = ends
    receiving = begin(client.recv)
    client.send(1)
    assert server.recv(PATIENCE) == 1
    client.abandon()
    with pytest.raises(ConnectionLost, match="closed"):
        receiving.result(PATIENCE)
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)


def test_abandon_while_another_thread_sends(ends: Pair) -> None:
    client, server = ends
    sending = begin(client.send, b"x" * (40 * LARGE))
    assert server.poll(PATIENCE)
    client.abandon()
    with pytest.raises(ConnectionLost):
        sending.result(PATIENCE)
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)


def test_an_error_in_the_block_while_another_thread_receives(ends: Pair) -> None:
    client, server = ends
    receiving = begin(client.recv)
    hearing = begin(server.recv)
    client.send(1)
    assert hearing.result(PATIENCE) == 1
    hearing = begin(server.recv)
    leaving = begin(leave_by_an_error, client)
    with pytest.raises(ConnectionLost):
        hearing.result(PATIENCE)
    server.abandon()
    with pytest.raises(LookupError):
        leaving.result(PATIENCE)
    with pytest.raises(ConnectionLost):
        receiving.result(PATIENCE)


def leave_by_an_error(connection: Connection) -> None:
    with connection:
        raise LookupError


# --- interrupted ---


@pytest.fixture
def interrupt() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Return what raises in the main thread as soon as something is so."""

    def handler(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)

    def when(ready: Callable[[], bool]) -> None:
        main = threading.main_thread().ident
        assert main is not None

        def run() -> None:
            while not ready():
                pass
            signal.pthread_kill(main, signal.SIGUSR1)

        threading.Thread(target=run, daemon=True).start()

    yield when
    signal.signal(signal.SIGUSR1, before)


def test_interrupted_in_the_middle_of_a_send(
    ends: Pair, interrupt: Callable[[Callable[[], bool]], None]
) -> None:
    client, server = ends
    contents = bytearray(b"a" * (32 * 1024 * 1024))
    session = client._exchange.session
    interrupt(lambda: session.bytes_out > 100_000)
    with pytest.raises(KeyboardInterrupt):
        client.send(contents, serializer="raw")
    contents[:] = bytes(len(contents))  # it is the caller's again
    receiving = begin(server.recv)
    if session.failure is not None:  # it struck while bytes moved
        client.abandon()
        with pytest.raises(ConnectionLost):
            receiving.result(PATIENCE)
    else:
        client.send("after it")
        heard = None
        with contextlib.suppress(RefusedByPeer):  # unless it was over before it was taken
            heard = receiving.result(PATIENCE)
        assert (heard or server.recv(PATIENCE)) == "after it"


def test_interrupted_in_the_middle_of_a_receive(
    ends: Pair, interrupt: Callable[[Callable[[], bool]], None]
) -> None:
    client, server = ends
    contents = patterned(1, 32 * 1024 * 1024)
    sending = begin(client.send, contents, serializer="raw")
    session = server._exchange.session
    interrupt(lambda: session.bytes_in > 100_000)
    received = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            received = server.recv()
    if session.failure is not None:  # it struck while bytes moved
        assert received is None
        server.abandon()
        with pytest.raises(ConnectionLost):
            sending.result(PATIENCE)
    else:
        assert (received or server.recv(PATIENCE)) == contents
        sending.result(PATIENCE)
        assert_usable(ends)


def test_interrupted_while_nothing_comes(
    ends: Pair, interrupt: Callable[[Callable[[], bool]], None]
) -> None:
    _, server = ends
    interrupt(lambda: server._pump._leading)
    with pytest.raises(KeyboardInterrupt):
        server.recv()
    assert_usable(ends)


def test_what_was_refused_on_its_way_may_be_changed(ends: Pair) -> None:
    client, server = ends
    contents = bytearray(b"a" * (32 * 1024 * 1024))
    sending = begin(client.send, contents, serializer="raw")
    assert server.poll(PATIENCE)
    item, _ = server._exchange.take()
    with server._pump.lock:
        server._exchange.refuse(item, LookupError())
        server._pump.write()
    hearing = begin(server.recv, PATIENCE)
    with pytest.raises(RefusedByPeer):
        sending.result(PATIENCE)
    contents[:] = bytes(len(contents))
    client.send("after it")
    assert hearing.result(PATIENCE) == "after it"


# --- across fork ---


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
with_threads = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def in_a_child(call: Callable[[], object]) -> str:
    """Call something in a forked child, and return ``nothing`` or the error that it raised."""
    reader, writer = socket.socketpair()
    child = os.fork()
    if not child:
        try:
            call()
            writer.send(b"nothing")
        except BaseException as error:  # noqa: BLE001 - the parent looks at it
            writer.send(repr(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = reader.recv(4096).decode()
    reader.close()
    writer.close()
    return said


@needs_fork
@with_threads
@pytest.mark.parametrize(
    "use",
    [
        lambda connection: connection.send(1),
        lambda connection: connection.send(b"x" * LARGE),
        lambda connection: connection.recv(0),
        lambda connection: connection.poll(),
        lambda connection: connection.close(),
        lambda connection: connection.__exit__(None, None, None),
        lambda connection: connection.__exit__(ValueError, ValueError(), None),
        lambda connection: connection.__exit__(SystemExit, SystemExit(), None),
        lambda connection: connection.push("/etc/hostname"),
    ],
)
def test_a_child_cannot_use_it_nor_disturb_it(
    ends: Pair, use: Callable[[Connection], object]
) -> None:
    said = in_a_child(lambda: use(ends[0]))
    assert "RuntimeError('a connection cannot be used across fork')" in said or (
        said == "nothing" and "exit" in use.__code__.co_names[0]
    )
    assert_usable(ends)


@needs_fork
@with_threads
def test_a_child_may_have_connections_of_its_own(ends: Pair) -> None:
    deliver(ends, "the parent has one")
    assert in_a_child(deliver_in_between) == "nothing"
    assert_usable(ends)


def deliver_in_between() -> None:
    with connected() as one, connected() as other:
        deliver(one, "hello")
        deliver(other, "hello")


def deliver(pair: Pair, obj: object) -> None:
    receiving = begin(pair[1].recv, PATIENCE, on_object=lambda *_: None)
    pair[0].send(obj, wait=True)
    assert receiving.result(PATIENCE) == obj


# --- the threads of its own ---


def job_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("objxfer-job")}


def test_the_threads_for_jobs_end_with_them() -> None:
    before = job_threads()

    def deliver_many(pair: Pair) -> None:
        for number in range(50):
            deliver(pair, number)

    with ExitStack() as exit_stack:
        pairs = [exit_stack.enter_context(connected()) for _ in range(8)]
        for delivering in [begin(deliver_many, pair) for pair in pairs]:
            delivering.result(PATIENCE)
        for thread in job_threads() - before:  # which has said all that it had to say
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_where_there_is_no_thread_the_one_who_waits_does_the_work(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = ends
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith("objxfer-job"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    looked: list[object] = []
    for obj in "one", "two":
        receiving = begin(server.recv, PATIENCE, on_object=lambda obj, _: looked.append(obj))
        client.send(obj, wait=True)
        assert receiving.result(PATIENCE) == obj
    assert looked == ["one", "two"]
    assert_usable(ends)


@pytest.mark.parametrize("leave", [Connection.abandon, Connection.close])
def test_a_job_may_close_its_own_connection(
    ends: Pair, leave: Callable[[Connection], None]
) -> None:
    client, server = ends
    receiving = begin(server.recv, PATIENCE, on_object=lambda *_: leave(server))
    with pytest.raises(ConnectionLost):
        client.send("hello", wait=True)
    client.abandon()
    with pytest.raises(ConnectionLost):
        receiving.result(PATIENCE)
    assert server.closed


def test_interrupted_at_any_moment_of_starting_a_thread() -> None:
    moments = 0
    while interrupted(moments):
        moments += 1
    assert moments > 5


def interrupted(moment: int) -> bool:
    """Receive, interrupted as the thread for the job is started; False if it is through by then."""
    looked: list[object] = []
    with connected() as (client, server):
        client.send("hello")
        receiving = begin(
            interrupt_at, moment, lambda: server.recv(on_object=lambda obj, _: looked.append(obj))
        )
        try:
            assert receiving.result(PATIENCE) == "hello"
        except KeyboardInterrupt:
            assert len(looked) <= 1
            return True
        assert looked == ["hello"]
        return False


def interrupt_at(moment: int, call: Callable[[], object]) -> object:
    """Call something, and raise at a moment of ``Worker.start``: at a line, or around a call."""
    moments = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        outer = frame.f_back
        assert outer is not None
        if Worker.start.__code__ not in (frame.f_code, outer.f_code):
            return trace if event == "call" else None
        if next(moments) == moment:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)


def test_a_batch_that_several_threads_fill_loses_nothing() -> None:
    with connected() as (client, server):
        received: list[Any] = []

        def takes() -> None:
            for _ in range(400):
                received.append(server.recv(PATIENCE))

        def adds(numbers: range) -> None:
            for number in numbers:
                client.send(b"x" * 20_000 + b"%d" % number)

        taking = begin(takes)
        with client.batch():
            adding = [begin(adds, range(at, at + 100)) for at in range(0, 400, 100)]
        for one in adding:
            one.result(PATIENCE)
        taking.result(PATIENCE)
        assert sorted(int(one[20_000:]) for one in received) == list(range(400))
