"""Objects over a simulated link: whatever is split, delayed, cut or cancelled."""

from __future__ import annotations

import pytest

from objxfer.errors import ConnectionLost, ObjxferError, RefusedByPeer, Timeout
from objxfer.limits import MIB, Limits
from objxfer.protocol.messages import Object
from objxfer.protocol.session import data
from objxfer.transfer.objects import opening, send_object
from objxfer.transfer.progress import Tally
from support.simulator import Script, Simulator


def some(simulator: Simulator, count: int, largest: int) -> list[bytes]:
    rng = simulator.rng
    largest = min(largest, 400 * simulator.greed)  # the steps count, not the bytes
    return [rng.randbytes(int(largest ** rng.random())) for _ in range(count)]


@pytest.mark.parametrize("seed", range(150))
def test_both_sides_send_and_receive_at_once(seed: int) -> None:
    simulator = Simulator(seed)
    ours, theirs = some(simulator, 12, 60_000), some(simulator, 12, 60_000)
    client, server = simulator.client, simulator.server
    client.run(client.sends(*ours, receipt_wanted=False))
    client.run(client.receives(len(theirs)))
    server.run(server.sends(*theirs))
    server.run(server.receives(len(ours)))
    simulator.run()
    assert not client.errors + server.errors
    assert (server.received, client.received) == (ours, theirs)


@pytest.mark.parametrize("seed", range(2))
def test_both_sides_send_64_mib_at_once(seed: int) -> None:
    simulator = Simulator(seed, capacity=1 << 20)
    simulator.greed = 1 << 20
    block = simulator.rng.randbytes(64 * MIB)
    client, server = simulator.client, simulator.server
    for party in (client, server):
        party.run(party.sends(block))
        party.run(party.receives(1))
    simulator.run()
    assert not client.errors + server.errors
    assert client.received == server.received == [block]


def test_64_mib_through_a_link_of_4_kib() -> None:
    simulator = Simulator(1)
    simulator.greed = 4096
    block = simulator.rng.randbytes(64 * MIB)
    client, server = simulator.client, simulator.server
    for party in (client, server):
        party.run(party.sends(block))
        party.run(party.receives(1))
    simulator.run()
    assert client.received == server.received == [block]


@pytest.mark.parametrize("seed", range(3))
def test_two_sides_that_only_send_are_told_so(seed: int) -> None:
    simulator = Simulator(seed, capacity=1 << 16, limits=Limits(inbox=1 * MIB))
    simulator.greed = 1 << 16
    client, server = simulator.client, simulator.server
    for party in (client, server):
        party.run(party.sends(*[bytes(50_000)] * 60))
    simulator.run()
    errors = client.errors + server.errors
    assert errors
    assert any(
        isinstance(error, Timeout) and "both sides send and neither receives" in str(error)
        for error in errors
    ), errors


@pytest.mark.parametrize("seed", range(150))
def test_a_cut_link_delivers_a_prefix_and_says_so(seed: int) -> None:
    simulator = Simulator(seed, cut_after=1 + seed * 997 % 60_000)
    contents = some(simulator, 12, 20_000)
    client, server = simulator.client, simulator.server
    client.run(client.sends(*contents))
    server.run(server.receives(len(contents)))
    simulator.run()
    assert server.received == contents[: len(server.received)]
    if len(server.received) < len(contents):
        assert isinstance(server.errors[0], ConnectionLost)
    for error in client.errors:
        assert isinstance(error, ConnectionLost)


@pytest.mark.parametrize("seed", range(40))
def test_a_refused_object_leaves_the_connection_usable(seed: int) -> None:
    simulator = Simulator(seed)
    simulator.greed = max(400, simulator.greed)
    large, small = simulator.rng.randbytes(300_000), b"next"
    client, server = simulator.client, simulator.server
    refused: list[ObjxferError] = []

    def sends() -> Script:
        message = opening("raw", b"h", [large], receipt_wanted=True)
        task = client.start(lambda _: send_object(message, b"h", [large], Tally()))
        yield lambda: task.done
        with pytest.raises(RefusedByPeer, match="not here"):
            task.result()
        yield from client.sends(small)

    def refuses() -> Script:
        yield lambda: bool(server.exchange.inbox)
        item, message = server.exchange.take()
        assert isinstance(message, Object)
        server.exchange.refuse(item, RefusedByPeer("not here"))
        refused.append(RefusedByPeer())
        yield from server.receives(1)

    client.run(sends())
    server.run(refuses())
    simulator.run()
    assert not client.errors + server.errors
    assert refused
    assert server.received == [small]


@pytest.mark.parametrize("seed", range(40))
def test_a_cancelled_object_is_followed_by_another(seed: int) -> None:
    simulator = Simulator(seed)
    simulator.greed = 4096
    large, small = simulator.rng.randbytes(5 * MIB), b"next"
    client, server = simulator.client, simulator.server

    def sends() -> Script:
        message = opening("raw", b"h", [large])
        task = client.start(lambda _: send_object(message, b"h", [large], Tally()))
        sent = client.exchange.session.bytes_out
        yield lambda: client.exchange.session.bytes_out > sent + 1000 or task.done
        task.throw(ObjxferError("no longer needed"))
        yield lambda: task.done
        with pytest.raises(ObjxferError, match="no longer"):
            task.result()
        yield from client.sends(small)

    def receives() -> Script:
        try:
            yield from server.receives(1)
        except RefusedByPeer:
            yield from server.receives(1)

    client.run(sends())
    server.run(receives())
    simulator.run()
    assert not client.errors + server.errors
    assert server.received == [small]


@pytest.mark.parametrize("seed", range(40))
def test_close_with_unread_input_loses_nothing_that_was_sent(seed: int) -> None:
    simulator = Simulator(seed)
    ours, theirs = some(simulator, 4, 3000), some(simulator, 4, 3000)
    client, server = simulator.client, simulator.server

    def says_and_closes() -> Script:
        yield from client.sends(*ours)
        yield from client.closes()

    def answers_and_closes() -> Script:
        yield from server.sends(*theirs)
        yield from server.receives(len(ours))
        yield from server.closes()

    client.run(says_and_closes())
    server.run(answers_and_closes())
    simulator.run()
    assert not client.errors + server.errors
    assert server.received == ours


@pytest.mark.parametrize("seed", range(20))
def test_a_silent_peer_is_given_up_at_the_deadline(seed: int) -> None:
    simulator = Simulator(seed)
    client = simulator.client
    client.run(client.sends(bytes(200_000), receipt_wanted=True))
    simulator.server.at_end = True  # it reads nothing any more, and says nothing
    simulator.run()
    assert isinstance(client.errors[0], Timeout)
    assert 30 <= simulator.now <= 32


@pytest.mark.parametrize("seed", range(10))
def test_an_end_in_the_middle_of_an_object_is_a_lost_connection(seed: int) -> None:
    simulator = Simulator(seed)
    simulator.greed = 4096
    client, server = simulator.client, simulator.server

    def stops_halfway() -> Script:
        session = client.exchange.session
        item = session.open(Object("raw", 1, (100_000,), False, None))
        session.send(item, data(b"h"))
        session.end()
        yield lambda: not session.queued
        client.transport.close()
        client.at_end = True

    client.run(stops_halfway())
    server.run(server.receives(1))
    simulator.run()
    assert isinstance(server.errors[0], ConnectionLost)
    assert not server.received


@pytest.mark.long
@pytest.mark.parametrize("block", range(100))
def test_many_schedules(block: int) -> None:
    for seed in range(block * 1000, block * 1000 + 1000):
        simulator = Simulator(seed, cut_after=seed % 3 and seed * 31 % 40_000)
        ours, theirs = some(simulator, 6, 20_000), some(simulator, 6, 20_000)
        client, server = simulator.client, simulator.server
        client.run(client.sends(*ours))
        client.run(client.receives(len(theirs)))
        server.run(server.sends(*theirs))
        server.run(server.receives(len(ours)))
        simulator.run()
        assert client.received == theirs[: len(client.received)], f"seed {seed}"
        assert server.received == ours[: len(server.received)], f"seed {seed}"
        whole = len(client.received) + len(server.received) == len(ours) + len(theirs)
        assert whole or client.errors or server.errors, f"seed {seed}"
