"""What the exchange does with time, answers and jobs, beside passing them on."""

from __future__ import annotations

import contextlib

import pytest

from objxfer.errors import ObjxferError, PeerError
from objxfer.files.entries import Action, Receipt
from objxfer.limits import MIB, Limits
from objxfer.protocol.answers import Accept, Receipts
from objxfer.protocol.messages import Object, Taken
from objxfer.protocol.trees import Offer
from objxfer.transfer.exchange import HIGH_WATER, Exchange
from objxfer.transfer.objects import opening, send_object
from objxfer.transfer.progress import Tally
from objxfer.transfer.steps import Receive, Run, Send, Steps, run
from support.simulator import Script, Simulator, established


def large_object() -> tuple[Object, bytes, list[bytes]]:
    buffers = [bytes(4 * MIB)]
    return opening("raw", b"h", buffers), b"h", buffers


def test_what_a_job_has_opened_when_its_item_is_cancelled_is_closed() -> None:
    exchange = Exchange(established()[0], Limits(), 0.0)
    closed: list[str] = []

    def steps() -> Steps[None]:
        opened = yield from run(lambda: "opened")
        try:
            yield Receive()
        finally:
            closed.append(opened)

    task = exchange.start(lambda _: steps(), timeout=30.0)
    exchange.advance(0.0)
    task.throw(ObjxferError("cancelled"))
    exchange.advance(0.0)
    assert not task.done
    exchange.jobs.popleft().run()
    exchange.advance(0.0)
    assert closed == ["opened"]
    with pytest.raises(ObjxferError, match="cancelled"):
        task.result()


def test_a_receipt_that_was_sent_leaves_nothing_behind() -> None:
    simulator = Simulator(1)
    client, server = simulator.client, simulator.server
    client.run(client.sends(*[b"small"] * 50, receipt_wanted=True))

    def takes() -> Script:
        for _ in range(50):
            yield from server.comes()
            item, _ = server.exchange.take()
            server.exchange.session.send(item, Taken())

    server.run(takes())
    simulator.run()
    assert not client.errors + server.errors
    assert not server.exchange._waiting
    assert not server.exchange.inbox_bytes


def test_looking_at_the_time_never_becomes_a_busy_loop() -> None:
    simulator = Simulator(1)
    client = simulator.client
    client.start(lambda _: send_object(*large_object(), Tally()))
    client.exchange.advance(0.0)
    assert client.exchange.session.queued >= HIGH_WATER  # nobody reads it
    now, looks = 0.0, 0
    while client.exchange.session.failure is None:
        again = client.exchange.tick(now)
        assert again is not None
        assert again > 0 or client.exchange.session.failure is not None
        now, looks = now + again, looks + 1
    assert 29 < now < 31
    assert looks < 10


def test_a_flood_of_answers_is_given_up() -> None:
    simulator = Simulator(1, capacity=1 << 20, limits=Limits(inbox=100_000))
    simulator.greed = 1 << 20
    client, server = simulator.client, simulator.server
    session = server.exchange.session

    def stuck() -> Steps[None]:
        yield Send(Offer((b"t",), b"", None, 1, 1))
        yield Receive()
        yield Run(lambda: None)
        yield Receive()

    client.hold_jobs_after = 1
    client._jobs_run = 1  # its job never ends

    def floods() -> Script:
        yield from server.comes()
        item, _ = server.exchange.take()
        session.send(item, Accept(500))
        for _ in range(3000):
            if session.failure is not None:
                return
            session.send(item, Receipts([Receipt(Action.SKIPPED)]))
            yield lambda: session.queued < 10_000

    task = client.start(lambda _: stuck())
    server.run(floods())
    with contextlib.suppress(AssertionError):  # the job that never ends
        simulator.run()
    assert isinstance(client.exchange.session.failure, PeerError)
    assert len(task.mailbox) < 3000
