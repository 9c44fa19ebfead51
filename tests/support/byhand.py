"""A peer that says what it likes: deliveries spoken message by message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from objxfer.blocking.connection import Connection
from objxfer.blocking.places import place
from objxfer.files.entries import KEEP, Answer, Entry, IfExists, Kind, Receipt, Verdict
from objxfer.limits import Limits
from objxfer.protocol.answers import Accept, Receipts, Wanted
from objxfer.protocol.messages import Done, Message
from objxfer.protocol.session import data
from objxfer.protocol.trees import Entries, Fate, Offer, Pack, Packed
from objxfer.transfer.steps import Port, Steps, receive, send
from support.partials import OWNER
from support.simulator import Script, Simulator

T = TypeVar("T")

CONTENTS = b"contents"


def file(path: bytes, size: int = len(CONTENTS)) -> Entry:
    return Entry(path, Kind.FILE, size, 10**18, 0o600)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, Kind.LINK, target=target)


def folder(path: bytes) -> Entry:
    return Entry(path, Kind.FOLDER, mtime_ns=10**18, mode=0o755)


def offer(*tops: bytes, into: bytes = b"") -> Offer:
    return Offer(tops, into, None, 1, 1)


CONTENTS_FOLLOW: list[Message] = [
    Pack([Packed(Fate.READ, len(CONTENTS), 10**18, 0o600)]),
    data(CONTENTS),
]
"""What brings the contents of the next wanted file."""


def delivers(offered: Offer, *entries: Entry) -> Steps[list[Verdict | Receipt]]:
    """Deliver entries one by one, whatever they are; return the last word on each."""
    words: list[Verdict | Receipt] = []
    yield from send(offered)
    yield from receive(Accept)
    for entry in entries:
        yield from send(Entries([entry]))
        (verdict,) = (yield from receive(Wanted)).verdicts
        if verdict.answer is not Answer.WANTED:
            words.append(verdict)
            continue
        if entry.kind is Kind.FILE:
            for message in CONTENTS_FOLLOW:
                yield from send(message)
        words += (yield from receive(Receipts)).receipts
    yield from send(Done())
    yield from receive(Done)
    return words


def insists(offered: Offer, messages: Iterable[Message]) -> Steps[None]:
    """Say messages once an offer is accepted, whatever is answered, and wait for the end."""
    yield from send(offered)
    yield from receive(Accept)
    for message in messages:
        yield from send(message)
    yield from receive(Done)


def perform(connection: Connection, steps: Steps[T]) -> T:
    """Have a connection say what it never would by itself."""
    with connection._pump.lock:
        return connection._perform(lambda _: steps, 10.0)


def simulate(
    steps: Steps[T],
    into: Path,
    if_exists: IfExists = IfExists.RENAME,
    limits: Limits | None = None,
) -> tuple[T | BaseException, BaseException | None]:
    """Have a receiver in memory take what is spoken by hand.

    Returns:
        What became of it on the side that spoke, and the receiver's error if it has one.
    """
    simulator = Simulator(1, capacity=1 << 20, limits=limits)
    simulator.greed = 1 << 20
    client, server = simulator.client, simulator.server
    outcome: list[T] = []

    def speaks(make: Callable[[Port], Steps[T]]) -> Script:
        task = client.start(make)
        yield lambda: task.done
        outcome.append(task.result())

    client.run(speaks(lambda _: steps))
    server.run(
        server.takes(
            place(str(into), if_exists, limits or Limits(), owner=OWNER, keep_partial=KEEP), []
        )
    )
    simulator.run()
    return (outcome or client.errors)[0], next(iter(server.errors), None)
