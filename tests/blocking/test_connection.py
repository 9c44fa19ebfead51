"""Objects over a connection, one after the other."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pytest

import objxfer
from objxfer.errors import (
    ConnectionClosed,
    ConnectionLost,
    ExitCode,
    LimitExceeded,
    NotAllowed,
    NotSerializable,
    RefusedByPeer,
    Timeout,
)
from objxfer.limits import Limits
from objxfer.serializers.base import Buffer
from objxfer.transfer.progress import Tally
from support.connected import PATIENCE, Pair, begin, connected

LARGE = 3 * 1024 * 1024 + 5
"""Bytes of an object that comes as several chunks of data."""


@dataclass
class Job:
    name: str
    steps: list[int]


class Loud:
    """Leaves a mark where it is loaded."""

    heard: list[str] = []  # noqa: RUF012 - the mark is the class's

    def __reduce__(self) -> tuple[Any, ...]:
        return Loud.heard.append, ("loaded",)


class Watching:
    """Remembers what it is told of a delivery."""

    def __init__(self) -> None:
        self.begun: list[Tally] = []
        self.ended: list[Tally] = []

    def begin(self, tally: Tally) -> None:
        self.begun.append(tally)

    def end(self, tally: Tally) -> None:
        self.ended.append(tally)


class Parts:
    """A serialiser whose objects are lists of buffers, sent as they are."""

    name = "parts_of_tests"
    executes: Literal[False] = False

    def dump(self, obj: Sequence[bytes], /) -> tuple[bytes, Sequence[Buffer]]:
        return b"parts", list(obj)

    def load(self, _head: Buffer, buffers: Sequence[Buffer], /) -> list[bytes]:
        return list(map(bytes, buffers))


PARTS = Parts()
objxfer.register(PARTS)


def refusal_of(pair: Pair, obj: object, serializer: str) -> tuple[Exception, Exception]:
    """Send what the other side does not take; return what both sides are told."""
    client, server = pair
    sending = begin(client.send, obj, serializer=serializer, wait=True)
    with pytest.raises(objxfer.ObjxferError) as heard:
        server.recv(PATIENCE)
    with pytest.raises(RefusedByPeer) as told:
        sending.result(PATIENCE)
    assert_usable(pair)
    return told.value, heard.value


def assert_usable(pair: Pair) -> None:
    one, other = pair
    one.send("still there?")
    assert other.recv(PATIENCE) == "still there?"
    other.send("yes")
    assert one.recv(PATIENCE) == "yes"


# --- what arrives is what was sent ---


@pytest.mark.parametrize(
    ("serializer", "obj"),
    [
        ("raw", b"bytes \0\xff"),
        ("raw", b""),
        ("text", "grüße\n"),
        ("json", {"step": 3, "names": ["a", "b"], "none": None}),
        ("msgpack", {"when": datetime.datetime(2024, 2, 29, 12), ("a", 1): Decimal("1.50")}),
        ("msgpack", b"x" * LARGE),
        ("raw", b"x" * LARGE),
        ("text", "x" * LARGE),
        ("json", ["x" * LARGE]),
    ],
)
def test_each_serialiser(ends: Pair, serializer: str, obj: object) -> None:
    client, server = ends
    sending = begin(client.send, obj, serializer=serializer)
    received = server.recv(PATIENCE)
    assert received == obj
    sending.result(PATIENCE)


@pytest.mark.parametrize("shape", [(3,), (1000, 300)])
def test_an_array_arrives_writable_and_shares_no_memory(ends: Pair, shape: tuple[int]) -> None:
    client, server = ends
    array = np.arange(np.prod(shape), dtype="f8").reshape(shape)
    sending = begin(client.send, {"weights": array, "again": array})
    received = server.recv(PATIENCE)
    sending.result(PATIENCE)
    np.testing.assert_array_equal(received["weights"], array)
    received["weights"][0] = -1
    np.testing.assert_array_equal(received["again"], array)


def test_what_was_sent_may_be_changed_afterwards(ends: Pair) -> None:
    client, server = ends
    data = bytearray(b"a" * LARGE)
    receiving = begin(server.recv, PATIENCE)
    client.send(data, serializer="raw")
    data[:] = b"b" * LARGE
    assert receiving.result(PATIENCE) == b"a" * LARGE


def test_pickle_of_any_class() -> None:
    with connected(accepts=["pickle", "cloudpickle"]) as (client, server):
        client.send(Job("n", [1, 2]), serializer="pickle")
        assert server.recv(PATIENCE) == Job("n", [1, 2])
        server.send(lambda x: x + 1, serializer="cloudpickle")
        assert client.recv(PATIENCE)(2) == 3


def test_pickle_with_buffers_out_of_band() -> None:
    with connected(accepts=["pickle"], serializer="pickle") as (client, server):
        array = np.arange(100_000)
        sending = begin(client.send, [array, Job("n", [])], wait=True)
        received = server.recv(PATIENCE)
        sending.result(PATIENCE)
        np.testing.assert_array_equal(received[0], array)


def test_pickle_of_listed_classes_alone() -> None:
    listed = [f"{Job.__module__}:Job"]
    with connected(accepts=["pickle", "msgpack"], classes=listed) as pair:
        pair[0].send(Job("n", [1]), serializer="pickle")
        assert pair[1].recv(PATIENCE) == Job("n", [1])
        told, heard = refusal_of(pair, [Job("n", [1]), Loud()], "pickle")
        assert isinstance(heard, NotAllowed)
        assert "getattr" in str(heard)
        assert "getattr" in str(told)
        assert Loud.heard == []


# --- waiting ---


def test_wait_returns_when_it_is_loaded_there(ends: Pair) -> None:
    client, server = ends
    sending = begin(client.send, [1], wait=True)
    assert server.poll(PATIENCE)
    assert not sending.done()
    assert server.recv() == [1]
    sending.result(PATIENCE)


def test_wait_for_a_large_one(ends: Pair) -> None:
    client, server = ends
    sending = begin(client.send, b"x" * LARGE, wait=True)
    assert len(server.recv(PATIENCE)) == LARGE
    sending.result(PATIENCE)


def test_recv_in_time_or_later(ends: Pair) -> None:
    client, server = ends
    with pytest.raises(Timeout) as raised:
        server.recv(0)
    assert raised.value.exit_code == ExitCode.TIMEOUT
    client.send(1)
    assert server.recv(PATIENCE) == 1
    with pytest.raises(TimeoutError):
        server.recv(0.01)
    assert_usable(ends)


def test_a_large_object_that_is_late_goes_on_with_the_next_recv(ends: Pair) -> None:
    client, server = ends
    contents = bytes(range(256)) * (128 * 1024)
    sending = begin(client.send, contents, serializer="raw")
    assert server.poll(PATIENCE)
    received, late = None, 0
    while received is None:
        try:
            received = server.recv(0)
        except Timeout:
            late += 1
            server.poll(0.001)
    assert received == contents
    assert late
    sending.result(PATIENCE)
    assert_usable(ends)


def test_poll(ends: Pair) -> None:
    client, server = ends
    assert not server.poll()
    assert not server.poll(0.01)
    client.send(1)
    client.send(2)
    assert server.poll(PATIENCE)
    assert server.recv() == 1
    assert server.poll(PATIENCE)
    assert server.recv() == 2
    assert not server.poll()
    client.abandon()
    assert server.poll(PATIENCE)
    with pytest.raises(ConnectionLost):
        server.recv()
    assert server.poll()


# --- bytes ---


def test_bytes(ends: Pair) -> None:
    client, server = ends
    for data in (b"one", bytearray(b"two"), memoryview(b"three")):
        client.send_bytes(data)
        received = server.recv_bytes(PATIENCE)
        assert received == data
        assert type(received) is type(data)


def test_something_else_than_bytes(ends: Pair) -> None:
    client, server = ends
    client.send("text")
    with pytest.raises(TypeError, match="a str came"):
        server.recv_bytes(PATIENCE)
    assert_usable(ends)


# --- batches ---


def test_a_batch_shares_chunks(ends: Pair) -> None:
    client, server = ends
    session = client._exchange.session
    with client.batch():
        for number in range(100):
            client.send(number)
        assert not session.bytes_queued
        for number in range(100, 5000):
            client.send(number)
        early = session.bytes_queued
    assert [server.recv(PATIENCE) for _ in range(5000)] == list(range(5000))
    assert 0 < early < session.bytes_queued < 5000 * 30
    assert_usable(ends)


@pytest.mark.parametrize("size", [30_000, 31_000, 60_000, 64_000, 70_000, LARGE])
def test_objects_of_all_sizes_keep_their_order_in_a_batch(ends: Pair, size: int) -> None:
    client, server = ends
    objects = [b"small", b"x" * 20_000, b"y" * size, b"small again", b"z" * size]
    receiving = begin(lambda: [server.recv(PATIENCE) for _ in objects])
    with client.batch():
        for one in objects:
            client.send(one, serializer="raw")
    assert receiving.result(PATIENCE) == objects
    assert_usable(ends)


def test_many_buffers_in_a_batch() -> None:
    accepts = ["parts_of_tests", "msgpack"]
    with connected(accepts=accepts, serializer="parts_of_tests") as (client, server):
        with client.batch():
            for _ in range(9):
                client.send([b"x"] * 3000)
        for _ in range(9):
            assert server.recv(PATIENCE) == [b"x"] * 3000


def test_what_waits_in_a_batch_that_fails_is_dropped(ends: Pair) -> None:
    client, server = ends
    with contextlib.suppress(LookupError), client.batch():
        client.send("never")
        raise LookupError
    client.send("after it")
    assert server.recv(PATIENCE) == "after it"


@pytest.mark.parametrize("size", [65_000, 70_000, 140_000])
def test_what_comes_in_one_piece_with_its_opening(ends: Pair, size: int) -> None:
    client, server = ends
    sending = begin(client.send, b"x" * size, serializer="raw")
    sending.result(PATIENCE)  # all of it is on its way before the other side reads
    client.send("after it")
    assert server.recv(PATIENCE) == b"x" * size
    assert server.recv(PATIENCE) == "after it"


def test_a_batch_in_a_batch(ends: Pair) -> None:
    client, _ = ends
    with client.batch():
        with pytest.raises(RuntimeError, match="open already"), client.batch():
            pass
        client.send(1)
    assert_usable_after_one(ends)


def assert_usable_after_one(pair: Pair) -> None:
    assert pair[1].recv(PATIENCE) == 1
    assert_usable(pair)


# --- refused ---


def test_what_is_not_accepted_there_is_refused_before_a_byte_leaves(ends: Pair) -> None:
    client, _ = ends
    before = client._exchange.session.bytes_queued
    with pytest.raises(RefusedByPeer, match="raw, text, json, msgpack, not pickle") as raised:
        client.send(Job("n", []), serializer="pickle")
    assert raised.value.exit_code == ExitCode.REFUSED
    assert client._exchange.session.bytes_queued == before
    assert_usable(ends)


def test_a_receiver_that_takes_no_objects() -> None:
    with (
        connected(there={"accepts": []}) as (client, _),
        pytest.raises(RefusedByPeer, match="accepts no objects"),
    ):
        client.send(1)


def test_pickle_is_never_sent_without_a_key() -> None:
    with connected(key=None, insecure=True) as pair:
        with pytest.raises(RefusedByPeer):
            pair[0].send(Job("n", []), serializer="pickle")
        assert_usable(pair)


def test_what_cannot_be_held_is_not_sent(ends: Pair) -> None:
    client, _ = ends
    before = client._exchange.session.bytes_queued
    with pytest.raises(NotSerializable) as raised:
        client.send({"jobs": [1, object()]})
    assert raised.value.path == 'obj["jobs"][1]'
    assert client._exchange.session.bytes_queued == before
    assert_usable(ends)


@pytest.mark.parametrize(
    ("limits", "obj", "serializer", "what"),
    [
        (Limits(object=1000), b"x" * 1001, "raw", "Limits.object"),
        (Limits(object=1000), b"x" * LARGE, "raw", "Limits.object"),
        (Limits(head=1000), ["x" * 1001], "json", "Limits.head"),
        (Limits(head=1000), ["x" * LARGE], "json", "Limits.head"),
        (Limits(buffers=4), [b"x"] * 5, "parts_of_tests", "Limits.buffers"),
        (Limits(buffers=4), [b"x" * 70_000] * 5, "parts_of_tests", "Limits.buffers"),
    ],
)
def test_what_is_over_a_limit_of_the_receiver(
    limits: Limits, obj: object, serializer: str, what: str
) -> None:
    accepts = ["raw", "json", "msgpack", "parts_of_tests"]
    with connected(accepts=accepts, there={"limits": limits}) as pair:
        with pytest.raises(LimitExceeded, match="Nothing was sent"):
            pair[0].send(obj, serializer=serializer)
        assert_usable(pair)
        pair[0]._largest = None  # a sender that does not mind what it was told
        told, heard = refusal_of(pair, obj, serializer)
        assert isinstance(heard, LimitExceeded)
        assert what in str(heard)
        assert what in str(told)


def test_what_is_nested_too_deeply_for_the_receiver() -> None:
    deep: list[Any] = []
    for _ in range(30):
        deep = [deep]
    with connected(there={"limits": Limits(nesting=20)}) as pair:
        for serializer in ("json", "msgpack"):
            _, heard = refusal_of(pair, deep, serializer)
            assert isinstance(heard, LimitExceeded)


@pytest.mark.parametrize("count", [9000, 70_000])
def test_more_buffers_than_any_receiver_takes_are_not_sent(count: int) -> None:
    with connected(accepts=["parts_of_tests", "msgpack"]) as pair:
        with pytest.raises(LimitExceeded, match="buffers"):
            pair[0].send([b"x" * 10] * count, serializer="parts_of_tests")
        assert_usable(pair)


def test_an_empty_buffer_is_not_sent() -> None:
    with connected(accepts=["parts_of_tests", "msgpack"]) as pair:
        with pytest.raises(ValueError, match="empty buffer"):
            pair[0].send([b"", b"x"], serializer="parts_of_tests")
        assert_usable(pair)


def test_an_object_that_fails_to_load_is_refused() -> None:
    with connected(accepts=["parts_of_tests", "msgpack"]) as pair:
        client, server = pair
        client.send([b"not", b"msgpack"], serializer="parts_of_tests")
        assert server.recv(PATIENCE) == [b"not", b"msgpack"]
        object.__setattr__(PARTS, "load", lambda *_: 1 / 0)
        try:
            sending = begin(client.send, [b"1"], serializer="parts_of_tests", wait=True)
            with pytest.raises(ZeroDivisionError):
                server.recv(PATIENCE)
        finally:
            del PARTS.__dict__["load"]
        with pytest.raises(RefusedByPeer, match="ZeroDivisionError at the other side"):
            sending.result(PATIENCE)
        assert_usable(pair)


# --- progress ---


def test_progress_begins_and_ends_once_on_each_side(ends: Pair) -> None:
    client, server = ends
    sent, received = Watching(), Watching()
    sending = begin(client.send, b"x" * LARGE, serializer="raw", progress=sent)
    server.recv(PATIENCE, progress=received)
    sending.result(PATIENCE)
    for watching in (sent, received):
        assert len(watching.begun) == 1
        assert watching.begun == watching.ended
        assert (
            watching.ended[0].bytes_done == watching.ended[0].bytes_total == LARGE + 1
        )  # with the head


def test_progress_of_what_fails_ends_too(ends: Pair) -> None:
    client, server = ends
    watching = Watching()
    receiving = begin(server.poll, PATIENCE)
    sending = begin(client.send, b"x" * (64 * LARGE), serializer="raw", progress=watching)
    assert receiving.result(PATIENCE)
    server.abandon()
    with pytest.raises(ConnectionLost):
        sending.result(PATIENCE)
    assert len(watching.ended) == 1


# --- several connections ---


@pytest.mark.parametrize("schemes", [("tcp", "tcp"), ("tcp", "tls")])
def test_wait_for_several(schemes: tuple[str, str]) -> None:
    with connected(schemes[0]) as (one, to_one), connected(schemes[1]) as (other, to_other):
        assert objxfer.wait([one, other], 0) == []
        waiting = begin(objxfer.wait, [one, other], PATIENCE)
        to_other.send(1)
        assert waiting.result(PATIENCE) == [other]
        assert objxfer.wait([one, other]) == [other]
        to_one.send(2)
        assert one.poll(PATIENCE)
        assert objxfer.wait([one, other]) == [one, other]
        assert (one.recv(), other.recv()) == (2, 1)
        assert objxfer.wait([one, other], 0.01) == []
        to_one.abandon()
        assert objxfer.wait([one, other], PATIENCE) == [one]


def test_wait_sees_what_tls_holds_decrypted() -> None:
    with connected("tls") as (client, server):
        for number in range(100):
            client.send(number)
        for number in range(100):
            assert objxfer.wait([server], PATIENCE) == [server]
            assert server.recv() == number


# --- words ---


def test_what_it_says_of_itself(scheme: str) -> None:
    with connected(scheme) as (client, server):
        assert client.url.startswith(f"{scheme}://127.0.0.1:")
        assert client.peer == server.peer == "127.0.0.1"
        assert client.encrypted is server.encrypted is (scheme == "tls")
        assert repr(client) == f"<Connection to {client.url}, open>"
        client.abandon()
        assert repr(client) == f"<Connection to {client.url}, closed>"
        assert client.closed


def test_iteration(ends: Pair) -> None:
    client, server = ends
    for number in range(3):
        client.send(number)
    closing = begin(client.close)
    assert list(server) == [0, 1, 2]
    with pytest.raises(ConnectionClosed) as raised:
        server.recv()
    assert not isinstance(raised.value, ConnectionLost)
    server.close()
    closing.result(PATIENCE)


def test_iteration_over_what_is_cut(ends: Pair) -> None:
    client, server = ends
    client.send(1)
    iterator = iter(server)
    assert next(iterator) == 1
    client.abandon()
    with pytest.raises(ConnectionLost) as raised:
        next(iterator)
    assert raised.value.exit_code == ExitCode.CONNECTION_LOST
