"""Numbers that are too large, too small, or those of something else."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from objxfer.errors import (
    ConnectionLost,
    ExitCode,
    IntegrityError,
    LimitExceeded,
    ObjxferError,
    PeerError,
    RefusedByPeer,
    Timeout,
)
from objxfer.files.entries import Answer
from objxfer.limits import GIB, KIB, MIB, Limits
from objxfer.protocol.answers import Accept, Wanted
from objxfer.protocol.chunks import CONTROL_LIMIT, ENTRIES_LIMIT, Type
from objxfer.protocol.messages import Credit, Object
from objxfer.protocol.session import INITIAL_CREDIT, data
from objxfer.protocol.trees import Entries, File
from objxfer.transfer.steps import Steps, receive, send
from support.byhand import delivers, file, insists, offer, perform, simulate
from support.connected import PATIENCE, begin, connected
from support.pair import Pair, chunk, feed, heard, packed, written

HUGE = [2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
LEAST = 2 * MIB
"""Bytes that a receiver may take for itself, whatever a peer says."""


class Peak:
    """The most memory that was taken inside of the block."""

    def __enter__(self) -> Peak:
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


# --- chunks, in memory ---


def refused_chunk(kind: int, payload: bytes = b"", **changes: int) -> ObjxferError:
    """What a server makes of a chunk that is signed as it should be."""
    pair = Pair()
    item = 0 if kind in (Type.END, Type.PING) else 1
    with Peak() as peak, pytest.raises(ObjxferError) as caught:
        feed(pair.server, chunk(pair.client_sealer, kind, item, payload, **changes))
    assert peak.size < LEAST
    assert heard(pair.server) == []
    with pytest.raises(type(caught.value)):  # dead, and the peer is told so and no more
        pair.server.open(Object("text", 0, (), False, b""))
    last_words = written(pair.server)
    with pytest.raises(ConnectionLost, match="its log says why"):
        feed(pair.client, last_words)
    return caught.value


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("size", [5 * MIB, 2**31, 2**32 - 1])
def test_a_chunk_of_a_size_over_the_limit_is_not_read(kind: Type, size: int) -> None:
    error = refused_chunk(kind, size=size)
    assert type(error) is PeerError
    assert error.exit_code is ExitCode.MISMATCH
    assert "over the limit" in str(error)


@pytest.mark.parametrize(
    ("kind", "size"),
    [(Type.OBJECT, CONTROL_LIMIT + 1), (Type.ENTRIES, ENTRIES_LIMIT + 1), (Type.DATA, MIB + 1)],
)
def test_one_byte_over_the_limit_of_a_type_is_too_much(kind: Type, size: int) -> None:
    assert type(refused_chunk(kind, size=size)) is PeerError


@pytest.mark.parametrize(
    ("kind", "payload", "changes"),
    [
        (Type.DATA, b"", {}),
        (Type.OBJECT, b"", {}),
        (Type.OBJECTS, b"", {}),
        (Type.OFFER, b"", {}),
        (Type.OBJECT, b"abc", {"raw_size": 4}),
        (Type.OBJECT, b"abc", {"raw_size": 0}),
        (Type.OBJECT, b"abc", {"flags": 1}),
        (Type.OBJECT, b"abc", {"version": 0}),
        (0, b"", {}),
        (255, b"", {}),
        (Type.OBJECT, struct.pack(">BBIH", 0, 3, 0, 0xFFFF) + b"raw", {}),
        (Type.OFFER, struct.pack(">BQQHH", 1, 0, 0, 0xFFFF, 0), {}),
        (Type.OFFER, struct.pack(">BQQHH", 1, 0, 0, 0, 0), {}),
        (Type.OFFER, struct.pack(">BQQHHH", 9, 0, 0, 1, 0, 1) + b"t", {}),
    ],
)
def test_a_number_that_cannot_be_ends_the_connection(
    kind: int, payload: bytes, changes: dict[str, int]
) -> None:
    assert type(refused_chunk(kind, payload, **changes)) is PeerError


def test_credit_of_nothing_and_of_everything() -> None:
    pair = Pair()
    item = pair.client.open(Object("raw", 0, (9 * MIB,), False, None))
    pair.carry()
    feed(pair.client, chunk(pair.server_sealer, Type.CREDIT, item, packed(Credit(2**64 - 1))))
    assert pair.client.failure is None
    with pytest.raises(PeerError):
        feed(pair.client, chunk(pair.server_sealer, Type.CREDIT, item, bytes(8)))


def test_more_data_than_credit_ends_the_connection() -> None:
    pair = Pair()
    item = pair.client.open(Object("raw", 0, (GIB,), False, None))
    pair.carry()
    node = bytes(MIB)
    nodes = [chunk(pair.client_sealer, Type.DATA, item, node) for _ in range(9)]
    with pytest.raises(PeerError, match="more data than credit") as caught:
        feed(pair.server, b"".join(nodes))
    assert caught.value.exit_code is ExitCode.MISMATCH
    assert sum(event.size for event in heard(pair.server)[1:]) <= INITIAL_CREDIT


def test_a_message_moved_to_another_item_or_direction_does_not_match() -> None:
    pair = Pair()
    first = pair.client.open(Object("raw", 0, (9,), False, None))
    pair.client.open(Object("raw", 0, (9,), False, None))
    pair.carry()
    heard(pair.server)
    pair.client.send(first, data(b"for first"))
    signed = written(pair.client)
    with pytest.raises(IntegrityError) as caught:
        feed(pair.client, signed)
    assert caught.value.exit_code is ExitCode.INTEGRITY
    moved = signed[:4] + struct.pack(">I", first + 2) + signed[8:]
    with pytest.raises(IntegrityError):
        feed(pair.server, moved)
    assert heard(pair.server) == heard(pair.client) == []


# --- objects, over a real connection ---


def opens(message: Object) -> Steps[None]:
    yield from send(message)
    yield from receive(type(None))


def large(head: int, *buffers: int) -> Object:
    return Object("raw", head, buffers, False, None)


@pytest.mark.parametrize("size", [1, MIB - 1, MIB])
def test_what_an_object_announces_takes_no_memory_before_it_comes(size: int) -> None:
    """Of all that may be announced within the limits: 4,096 buffers, or 1 GiB."""
    count = min(Limits().buffers, GIB // size)
    with connected() as (client, server):
        opening = begin(perform, client, opens(large(0, *[size] * count)))
        assert server.poll(PATIENCE)
        with Peak() as peak, pytest.raises(Timeout):
            server.recv(0.2)
        assert peak.size < LEAST
        server.close()
        with pytest.raises(ObjxferError):
            opening.result(PATIENCE)


@pytest.mark.parametrize("size", HUGE)
def test_an_object_over_the_limit_is_refused_and_the_connection_goes_on(size: int) -> None:
    message = large(0, size) if size >= 2**32 else large(size)
    with connected() as (client, server):
        opening = begin(perform, client, opens(message))
        with Peak() as peak, pytest.raises(LimitExceeded) as caught:
            server.recv(PATIENCE)
        assert peak.size < LEAST
        assert caught.value.exit_code is ExitCode.FAILED
        assert isinstance(opening.exception(PATIENCE), RefusedByPeer)
        client.send("and goes on")
        assert server.recv(PATIENCE) == "and goes on"


@pytest.mark.parametrize(
    ("message", "limits", "error"),
    [
        (large(1, 0), Limits(), PeerError),
        (large(1, 5, 0), Limits(), PeerError),
        (large(1, *[1] * 5000), Limits(), LimitExceeded),
        (large(1, 2**63, 2**63), Limits(), LimitExceeded),
        (large(101), Limits(head=100), LimitExceeded),
        (large(1, 100), Limits(object=100), LimitExceeded),
        (large(1, 1, 1), Limits(buffers=1), LimitExceeded),
    ],
)
def test_numbers_of_an_object_that_are_not_taken(
    message: Object, limits: Limits, error: type[ObjxferError]
) -> None:
    with connected(there={"limits": limits}) as (client, server):
        opening = begin(perform, client, opens(message))
        with pytest.raises(error):
            server.recv(PATIENCE)
        assert isinstance(opening.exception(PATIENCE), ObjxferError)


# --- trees, in memory ---


def test_a_million_entries_in_one_batch_do_not_fit_into_a_message(inbox: Path) -> None:
    """A message holds some thousands; a million of the shortest are far over its limit."""
    pair = Pair()
    item = pair.client.open(offer(b"t"))
    assert item
    header = chunk(pair.client_sealer, Type.OFFER, 3, size=25 * 10**6)
    with Peak() as peak, pytest.raises(PeerError, match="over the limit"):
        feed(pair.server, written(pair.client) + header)
    assert peak.size < LEAST
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("most", [1, 9, 4096])
def test_more_entries_than_a_batch_may_hold_are_refused(most: int, inbox: Path) -> None:
    batch = Entries([file(b"t/%d" % number) for number in range(most + 1)])
    heard_, error = simulate(insists(offer(b"t"), [batch]), inbox, limits=Limits(entries=most))
    assert type(error) is LimitExceeded
    assert isinstance(heard_, RefusedByPeer)
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("size", HUGE[2:-1])
def test_a_file_larger_than_the_disk_is_refused(size: int, inbox: Path) -> None:
    with Peak() as peak:
        words, error = simulate(delivers(offer(b"t"), file(b"t", size)), inbox)
    assert error is None
    assert isinstance(words, list)
    (word,) = words
    assert word.code is ExitCode.PEER_NO_SPACE
    assert getattr(word, "answer", None) is Answer.REFUSED
    assert peak.size < 4 * LEAST
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("size", HUGE[3:])
def test_a_file_of_a_size_nobody_has_is_not_kept(size: int, inbox: Path) -> None:
    """It was announced as small, says its size when it comes, and is cancelled in the middle."""

    def cancelled() -> Steps[None]:
        yield from send(offer(b"t"))
        yield from receive(Accept)
        yield from send(Entries([file(b"t", 9)]))
        yield from send(File(size, 1, 0o600))
        yield from send(data(bytes(99 * KIB)))
        yield from receive(Wanted)
        raise ObjxferError("no more")

    _, error = simulate(cancelled(), inbox)
    assert isinstance(error, RefusedByPeer)
    assert list(inbox.iterdir()) == []
