"""Whole deliveries over a simulated link: split, delayed, cut, aborted, one after the other."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from objxfer.blocking.places import place
from objxfer.errors import (
    ConnectionClosed,
    ExitCode,
    FileFailed,
    NoSpace,
    ObjxferError,
    RefusedByPeer,
)
from objxfer.files.entries import KEEP, Action, Entry, IfExists, Receipt
from objxfer.files.part import Part
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.files.stream import SourceStream
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.trees import Offer
from objxfer.transfer.progress import Tally
from objxfer.transfer.receiving import OpenTaker, Taker
from objxfer.transfer.report import Outcome, Report
from objxfer.transfer.sending import Delivery, send_stream
from support.partials import OWNER, partials
from support.simulator import Script, Simulator

FAST = 1 << 20


@pytest.fixture(name="source", scope="module")
def source_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree with all that can be in one."""
    top = tmp_path_factory.mktemp("from") / "tree"
    (top / "empty").mkdir(parents=True)
    (top / "deep" / "er").mkdir(parents=True)
    (top / "nothing").write_bytes(b"")
    (top / "small").write_bytes(b"hello")
    (top / "deep" / "middling").write_bytes(os.urandom(300 * KIB))
    (top / "deep" / "er" / "large").write_bytes(os.urandom(2 * MIB + 77))
    for number in range(30):
        (top / "deep" / f"{number}.txt").write_bytes(b"%d" % number * number)
    (top / "link").symlink_to("deep/middling")
    (top / "deep").chmod(0o750)
    return top


def into(folder: Path, if_exists: IfExists = IfExists.RENAME) -> OpenTaker:
    folder.mkdir(exist_ok=True)
    return place(str(folder), if_exists, Limits(), owner=OWNER, keep_partial=KEEP)


def contents(top: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder, by its path."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize("seed", range(25))
def test_a_tree_arrives_and_then_is_unchanged(seed: int, source: Path, tmp_path: Path) -> None:
    simulator = Simulator(seed, capacity=64 * KIB)
    simulator.greed = FAST
    sent: list[Report] = []
    received: list[Report] = []

    def twice(*scripts: Script) -> Script:
        for script in scripts:
            yield from script

    client, server = simulator.client, simulator.server
    client.run(twice(*(client.pushes([str(source)], sent) for _ in range(2))))
    server.run(twice(*(server.takes(into(tmp_path / "in"), received) for _ in range(2))))
    simulator.run()
    assert not client.errors + server.errors
    assert contents(tmp_path / "in" / "tree") == contents(source)
    assert sent[0].exit_code == received[0].exit_code == ExitCode.OK
    assert sent[0].outcomes == {Outcome.SENT: 35}
    assert sent[1].outcomes == received[1].outcomes == {Outcome.UNCHANGED: 35}
    assert (tmp_path / "in/tree/deep").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "in/tree/deep").stat().st_mtime_ns == (source / "deep").stat().st_mtime_ns


@pytest.mark.parametrize("seed", range(40))
def test_a_cut_leaves_whole_files_or_none(seed: int, source: Path, tmp_path: Path) -> None:
    simulator = Simulator(seed, capacity=64 * KIB, cut_after=1 + seed * 65_537 % (5 * MIB))
    simulator.greed = FAST
    sent: list[Report] = []
    received: list[Report] = []
    client, server = simulator.client, simulator.server
    client.run(client.pushes([str(source)], sent))
    server.run(server.takes(into(tmp_path / "in"), received))
    simulator.run()
    for error in client.errors + server.errors:
        assert isinstance(error, ConnectionClosed)
    there, whole = contents(tmp_path / "in"), contents(source)
    for name, content in there.items():
        if name != "tree":
            assert content == whole[name.removeprefix("tree/")]
    if sent:
        assert sent[0].exit_code == ExitCode.OK
        assert contents(tmp_path / "in" / "tree") == whole


class _Stubborn(Sink):
    """A place that gives up in the middle of a large file."""

    def open(self, entry: Entry, held: int = 0) -> Part:
        part = super().open(entry, held)
        if entry.size < MIB:
            return part
        return _Brittle(part)  # type: ignore[return-value]  # it does what a Part does


class _Brittle:
    brief = True
    failure = None
    surrendered = False

    def __init__(self, part: Part) -> None:
        self._part = part

    def put(self, index: int, data: bytes, node: bytes) -> None:
        self._part.put(index, data, node)
        if index == 1:
            raise NoSpace("the disk is full")


@pytest.mark.parametrize("seed", range(25))
def test_the_receiver_aborts_in_the_middle_of_a_file(
    seed: int, source: Path, tmp_path: Path
) -> None:
    simulator = Simulator(seed, capacity=64 * KIB)
    simulator.greed = FAST
    (tmp_path / "in").mkdir()
    client, server = simulator.client, simulator.server
    received: list[Report] = []

    def stubborn(offer: Offer) -> Taker:
        root = Root(tmp_path / "in")
        return _Stubborn(
            root,
            partials(root),
            tops=offer.tops,
            if_exists=IfExists.RENAME,
            asked=None,
            limits=Limits(),
        )

    client.run(client.pushes([str(source)], []))
    server.run(server.takes(stubborn, received))
    simulator.run()
    (error,) = client.errors
    assert isinstance(error, NoSpace)
    assert error.exit_code == ExitCode.PEER_NO_SPACE
    assert not list((tmp_path / "in").rglob(".objxfer*"))
    assert not (tmp_path / "in/tree/deep/er/large").exists()
    # The connection goes on with the next item.
    client.errors.clear()
    server.errors.clear()
    client.run(client.sends(b"still there"))
    server.run(server.receives(1))
    simulator.run()
    assert not client.errors + server.errors
    assert server.received == [b"still there"]


@pytest.mark.parametrize("seed", range(10))
def test_a_refused_offer_costs_nothing(seed: int, source: Path, tmp_path: Path) -> None:
    simulator = Simulator(seed)
    client, server = simulator.client, simulator.server

    def absent(offer: Offer) -> Taker:
        raise FileFailed("cannot receive into 'gone': no such file or directory")

    client.run(client.pushes([str(source)], []))
    server.run(server.takes(absent, []))
    simulator.run()
    assert isinstance(client.errors[0], RefusedByPeer)
    assert isinstance(server.errors[0], ObjxferError)
    assert client.exchange.session.bytes_out < 2 * KIB


@pytest.mark.parametrize("seed", range(10))
def test_withheld_receipts_are_waited_for_and_missed(
    seed: int, source: Path, tmp_path: Path
) -> None:
    simulator = Simulator(seed, capacity=64 * KIB)
    simulator.greed = FAST
    sent: list[Report] = []
    client, server = simulator.client, simulator.server
    client.run(client.pushes([str(source / "small")], sent))

    def withholds() -> Script:
        yield from server.takes(into(tmp_path / "in"), [])

    server.run(withholds())
    server.hold_jobs_after = 2  # the place is opened and the file judged, but never written
    with pytest.raises(AssertionError, match="waits for ever"):
        simulator.run()  # for as long as the peer answers pings, it may still be flushing
    assert not sent
    for party in (client, server):
        party.transport.close()
        party.hold_jobs_after = 0
    simulator.now = 0.0
    simulator.run()
    assert isinstance(client.errors[0], ConnectionClosed)
    assert not sent


def test_a_stream_that_fails_there_ends_here(tmp_path: Path) -> None:
    """It might go on for ever: the sender is told at once."""
    simulator = Simulator(1, capacity=1 << 20)
    simulator.greed = FAST
    client, server = simulator.client, simulator.server

    class Full(Sink):
        def open(self, entry: Entry, held: int = 0) -> Part:
            part = super().open(entry, held)
            part.fail(Receipt(Action.FAILED, code=ExitCode.PEER_NO_SPACE, reason="no space left"))
            return part

    def full(offer: Offer) -> Taker:
        root = Root(tmp_path)
        return Full(
            root,
            partials(root),
            tops=offer.tops,
            if_exists=IfExists.RENAME,
            asked=None,
            limits=Limits(),
        )

    with open("/dev/zero", "rb") as endless:
        delivery = Delivery(b"", None, Tally(), None, time.time_ns, Report())
        stream = SourceStream(endless, time.time_ns())
        task = client.start(lambda port: send_stream(port, delivery, stream, name=b"zeros"))
        server.run(server.takes(full, []))
        simulator.run()
    with pytest.raises(NoSpace) as raised:
        task.result()
    assert raised.value.exit_code == ExitCode.PEER_NO_SPACE
    assert not list(tmp_path.iterdir())
