"""A sender that does not keep to the rules of a tree, spoken by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from objxfer.blocking.places import place
from objxfer.errors import ConnectionLost, PeerError
from objxfer.files.entries import KEEP, Entry, IfExists, Kind
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.messages import Done, Message
from objxfer.protocol.session import data
from objxfer.protocol.trees import (
    Entries,
    Fate,
    File,
    FileEnd,
    Nodes,
    Offer,
    Pack,
    Packed,
    Patch,
)
from support.partials import OWNER
from support.simulator import Script, Simulator

OFFER = Offer((b"t",), b"", None, 1, 1)


def file(path: bytes, size: int) -> Entry:
    return Entry(path, Kind.FILE, size, 1, 0o600)


def said(messages: Iterable[Message], into: Path) -> BaseException:
    """Say messages as soon as they are allowed; return what the receiver makes of them."""
    simulator = Simulator(1, capacity=1 << 20)
    simulator.greed = 1 << 20
    client, server = simulator.client, simulator.server
    session = client.exchange.session

    def speaks() -> Script:
        item = session.open(OFFER)
        seen = session.chunks_in
        yield lambda: session.chunks_in > seen
        for message in messages:
            session.send(item, message)
        yield lambda: session.failure is not None

    client.run(speaks())
    server.run(
        server.takes(
            place(str(into), IfExists.RENAME, Limits(), owner=OWNER, keep_partial=KEEP), []
        )
    )
    simulator.run()
    assert isinstance(session.failure, ConnectionLost)
    (error,) = server.errors
    assert not [path for path in into.rglob("*") if path.is_file()]
    return error


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (
            [
                Entries([file(b"t", 300 * KIB)]),
                File(300 * KIB, 1, 0o600),
                data(bytes(100 * KIB)),
                data(bytes(200 * KIB)),
                FileEnd(Fate.READ, 300 * KIB),
            ],
            "behind its last node",
        ),
        (
            [Entries([file(b"t", 9)]), File(9, 1, 0o600), data(bytes(10))],
            "longer than it was said",
        ),
        (
            [Entries([file(b"t", 9)]), File(9, 1, 0o600), data(bytes(9)), FileEnd(Fate.READ, 8)],
            "not as long as its end says",
        ),
        ([File(9, 1, 0o600)], "not wanted"),
        ([Entries([file(b"t", 5 * MIB)]), File(5 * MIB, 1, 0o600, 1)], "held than was said"),
        (
            [Entries([file(b"t", 5 * MIB)]), File(5 * MIB, 1, 0o600, 2**32 - 1)],
            "held than was said",
        ),
        (
            [Entries([file(b"t", 9)]), File(9, 1, 0o600), Nodes([bytes(32)] * 2000)],
            "more nodes to compare",
        ),
        ([Entries([file(b"t", 9)]), File(9, 1, 0o600), Patch(0), data(b"x")], "that is not bad"),
        (
            [Entries([file(b"t", 9)]), Pack([Packed(Fate.READ, 9, 1, 0o600)]), data(bytes(8))],
            "not as long as announced",
        ),
        ([Entries([file(b"t", 9)]), Done()], "ended before"),
        (
            [Entries([Entry(b"t", Kind.FOLDER)]), Entries([file(b"t/x", 9)])],
            "in the order",
        ),
        ([Entries([file(b"t", 1), Entry(b"t", Kind.FOLDER)])], "in the order"),
        (
            [Entries([file(b"t", 1)]), Entries([Entry(b"t", Kind.FOLDER)])],
            "before all wanted files",
        ),
    ],
)
def test_a_broken_rule_ends_the_connection(
    messages: list[Message], what: str, tmp_path: Path
) -> None:
    error = said(messages, tmp_path)
    assert isinstance(error, PeerError)
    assert what in str(error)


def test_no_more_space_is_reserved_than_was_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []
    monkeypatch.setattr("os.posix_fallocate", lambda _fd, _at, size: reserved.append(size))
    simulator = Simulator(1, capacity=1 << 20)
    simulator.greed = 1 << 20
    client, server = simulator.client, simulator.server
    session = client.exchange.session

    def grows() -> Script:
        item = session.open(OFFER)
        seen = session.chunks_in
        yield lambda: session.chunks_in > seen
        session.send(item, Entries([file(b"t", 9)]))
        session.send(item, File(2**40, 1, 0o600))
        session.send(item, data(b"larger than nine"))
        session.send(item, FileEnd(Fate.READ, 16))
        session.send(item, Done())
        yield lambda: not session.owed

    client.run(grows())
    server.run(
        server.takes(
            place(str(tmp_path), IfExists.RENAME, Limits(), owner=OWNER, keep_partial=KEEP), []
        )
    )
    simulator.run()
    assert not client.errors + server.errors
    assert (tmp_path / "t").read_bytes() == b"larger than nine"
    assert not reserved
