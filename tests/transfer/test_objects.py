"""How an object is announced, cut, and compared with what is accepted."""

from __future__ import annotations

import pytest

from objxfer.errors import LimitExceeded, PeerError
from objxfer.files.digest import NODE
from objxfer.limits import MIB, Limits
from objxfer.protocol.messages import Object
from objxfer.protocol.session import data
from objxfer.transfer.objects import check, opening, parts
from support.connected import connected
from support.simulator import Script, Simulator


def test_a_small_object_is_inside_its_opening() -> None:
    message = opening("msgpack", b"head", [b"one", b"three"])
    assert message.content == b"headonethree"
    head, buffers = parts(message, message.content)
    assert bytes(head) == b"head"
    assert list(map(bytes, buffers)) == [b"one", b"three"]
    assert not any(buffer.readonly for buffer in buffers)
    assert Object.unpack(message.pack()) == message


def test_a_large_one_is_not() -> None:
    message = opening("msgpack", b"head", [bytes(70_000)])
    assert message.content is None
    assert len(message.pack()) < 100


@pytest.mark.parametrize(
    ("message", "limits"),
    [
        (Object("raw", 11, (), False, None), Limits(head=10)),
        (Object("raw", 5, (6,), False, None), Limits(object=10)),
        (Object("raw", 1, (1, 1, 1), False, None), Limits(buffers=2)),
        (Object("raw", 2**32 - 1, (2**64 - 1,), False, None), Limits()),
    ],
)
def test_what_is_too_large_is_refused(message: Object, limits: Limits) -> None:
    with pytest.raises(LimitExceeded):
        check(message, limits)


def test_an_empty_buffer_is_no_buffer() -> None:
    with pytest.raises(PeerError):
        Object.unpack(Object("raw", 1, (0,), False, None).pack())


@pytest.mark.parametrize(
    "pieces",
    [
        [b"h", bytes(NODE - 1), bytes(6)],  # the buffer is cut before its node is full
        [b"h" + bytes(NODE - 1), bytes(6)],  # a piece crosses the end of the head
        [b"h", bytes(NODE), bytes(4)],  # too little
    ],
)
def test_data_that_is_cut_wrongly_ends_the_connection(pieces: list[bytes]) -> None:
    simulator = Simulator(2, capacity=1 << 20)
    simulator.greed = 1 << 20
    client, server = simulator.client, simulator.server
    session = client.exchange.session

    def speaks() -> Script:
        item = session.open(Object("raw", 1, (NODE + 5,), False, None))
        for piece in pieces:
            session.send(item, data(piece))
        yield lambda: session.failure is not None

    client.run(speaks())
    server.run(server.receives(1))
    simulator.run()
    (error,) = server.errors
    assert isinstance(error, PeerError)
    assert not server.received


def test_a_sender_refuses_what_the_receiver_does_not_take() -> None:
    with connected(there={"limits": Limits(object=2 * MIB)}) as (client, server):
        with pytest.raises(LimitExceeded, match="Nothing was sent"):
            client.send(bytes(3 * MIB), serializer="raw")
        client.send(bytes(MIB), serializer="raw")
        assert len(server.recv(10)) == MIB
