"""Deliveries that are cut and go on: nothing is sent twice, and nothing is taken on trust."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import pytest

from objxfer.blocking.places import place
from objxfer.errors import ConnectionClosed, ExitCode
from objxfer.files import partials
from objxfer.files.digest import NODE, file_digest, node_digest
from objxfer.files.entries import KEEP, Answer, Entry, IfExists, Verdict
from objxfer.files.part import Part
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.trees import Offer
from objxfer.transfer.receiving import OpenTaker, Taker
from objxfer.transfer.report import EntryReport, Outcome, Report
from support.deliveries import contents
from support.partials import OWNER
from support.partials import partials as kept_there
from support.simulator import Party, Script, Simulator

FAST = 1 << 20


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a megabyte are resumed."""
    monkeypatch.setattr(partials, "RESUMABLE", MIB)


class Attempts:
    """One delivery, attempt after attempt, with one report at each side."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.inbox = folder / "in"
        self.inbox.mkdir()
        self.rng = random.Random(seed)
        self.sent, self.received = Report(resumable=True), Report(resumable=True)
        self.told: list[EntryReport] = []
        self.errors: Sequence[BaseException] = ()
        self.wire = 0

    def deliver(
        self,
        what: Path | BinaryIO,
        cut_after: int = 0,
        *,
        into: OpenTaker | None = None,
        meanwhile: Callable[[Party], Script] | None = None,
    ) -> bool:
        """Deliver once, perhaps with a cut behind so many bytes; whether it is through."""
        # The link counts what goes in and what comes out of it.
        simulator = Simulator(self.rng.randrange(2**32), capacity=MIB, cut_after=2 * cut_after)
        simulator.greed = FAST
        client, server = simulator.client, simulator.server
        into = into or place(
            str(self.inbox), IfExists.RENAME, Limits(), owner=OWNER, keep_partial=KEEP
        )
        through: list[Report] = []
        client.run(
            client.pushes(
                [str(what)] if isinstance(what, Path) else what,
                through,
                report=self.sent,
                on_entry=self.told.append,
            )
        )
        server.run(server.takes(into, [], self.received))
        if meanwhile is not None:
            client.run(meanwhile(client))
        simulator.run()
        self.errors = client.errors + server.errors
        self.wire = client.exchange.session.bytes_out
        return bool(through)

    def cut(self, what: Path | BinaryIO, cut_after: int) -> None:
        """Deliver, and be cut before it is through."""
        assert not self.deliver(what, cut_after)
        assert all(isinstance(error, ConnectionClosed) for error in self.errors)

    def finish(self, what: Path | BinaryIO) -> None:
        """Deliver with nobody in the way; nothing of ours is left then."""
        assert self.deliver(what)
        assert not self.errors
        assert self.ours() == []

    def ours(self) -> list[Path]:
        return [path for path in self.inbox.rglob("*") if path.name.startswith(".objxfer")]

    def partial(self) -> Path:
        """The one partial file there is."""
        (path,) = [path for path in self.ours() if path.parent.name != ".objxfer" != path.name]
        return path


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path)


def write(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    return data


SEEDS: Final = [
    *range(20),
    *(pytest.param(seed, marks=pytest.mark.long) for seed in range(20, 1020)),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_that_is_cut_again_and_again(seed: int, tmp_path: Path) -> None:
    attempts, source = Attempts(tmp_path, seed), tmp_path / "tree"
    (source / "deep").mkdir(parents=True)
    for number in range(12):
        write(source / f"{number}.txt", b"%d" % number * number)
    write(source / "deep" / "large", contents(seed, 5 * MIB + 77))
    write(source / "deep" / "other", contents(seed + 1, 2 * MIB))
    (source / "link").symlink_to("deep/large")
    cuts = 0
    while not attempts.deliver(source, attempts.rng.randrange(1, 5 * MIB)):
        cuts += 1
        assert all(isinstance(error, ConnectionClosed) for error in attempts.errors)
        assert cuts < 100
    assert {
        str(path.relative_to(attempts.inbox)): path.read_bytes()
        for path in attempts.inbox.rglob("*")
        if path.is_file()
    } == {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file()
    }
    assert attempts.ours() == []
    assert attempts.sent.exit_code == attempts.received.exit_code == ExitCode.OK
    assert sorted(one.path for one in attempts.told) == sorted(
        os.fsencode(path.relative_to(tmp_path)) for path in source.rglob("*") if not path.is_dir()
    )
    assert attempts.sent.files == attempts.received.files == 15
    assert sum(attempts.sent.outcomes.values()) == 15


@pytest.mark.parametrize("seed", range(8))
def test_what_lies_there_is_not_sent_again(seed: int, tmp_path: Path) -> None:
    attempts, source = Attempts(tmp_path, seed), tmp_path / "large"
    data = write(source, contents(seed, 8 * MIB + 5))
    attempts.cut(source, 6 * MIB)
    attempts.finish(source)
    assert (attempts.inbox / "large").read_bytes() == data
    assert attempts.wire < 5 * MIB
    assert attempts.sent.kept == attempts.received.kept >= 4 * MIB
    assert attempts.sent.bytes == attempts.received.bytes == len(data) - attempts.sent.kept
    assert attempts.sent.outcomes == attempts.received.outcomes == {Outcome.RESUMED: 1}
    assert attempts.told[0].digest == file_digest(data)


def test_a_cut_right_after_it_began_again_costs_nothing(attempts: Attempts, tmp_path: Path) -> None:
    source = tmp_path / "large"
    write(source, contents(1, 8 * MIB))
    attempts.cut(source, 7 * MIB)
    for _ in range(3):
        attempts.cut(source, 64 * KIB)
    attempts.finish(source)
    assert attempts.sent.kept >= 5 * MIB


@pytest.mark.parametrize("node", [0, 2])
def test_a_damaged_node_is_fetched_again(attempts: Attempts, tmp_path: Path, node: int) -> None:
    source = tmp_path / "large"
    data = write(source, contents(1, 8 * MIB + 5))
    attempts.cut(source, 6 * MIB)
    with open(attempts.partial(), "r+b") as file:
        file.seek(node * NODE + 12_345)
        (byte,) = file.read(1)
        file.seek(node * NODE + 12_345)
        file.write(bytes([byte ^ 4]))
    attempts.finish(source)
    assert (attempts.inbox / "large").read_bytes() == data
    assert 0 < attempts.sent.kept < 6 * MIB
    assert attempts.sent.kept == attempts.received.kept


@pytest.mark.parametrize("size", [0, 1, NODE, 2 * NODE + 7])
def test_a_partial_file_that_was_cut_short(attempts: Attempts, tmp_path: Path, size: int) -> None:
    source = tmp_path / "large"
    data = write(source, contents(1, 8 * MIB + 5))
    attempts.cut(source, 6 * MIB)
    os.truncate(attempts.partial(), size)
    attempts.finish(source)
    assert (attempts.inbox / "large").read_bytes() == data
    assert attempts.sent.kept == size // NODE * NODE


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        pytest.param(lambda old: old[: 2 * MIB] + b"!" + old[2 * MIB + 1 :], True, id="in place"),
        pytest.param(lambda old: old + contents(2, 3 * MIB), True, id="appended"),
        pytest.param(lambda old: old[: 3 * MIB + 9], True, id="shortened"),
        pytest.param(lambda old: old[: 2 * MIB], True, id="shortened to nodes"),
        pytest.param(lambda old: old[: MIB - 1], False, id="shortened to less than is resumed"),
        pytest.param(lambda old: contents(3, len(old)), False, id="replaced"),
        pytest.param(lambda old: b"", False, id="emptied"),
    ],
)
def test_a_source_that_changed_meanwhile(
    attempts: Attempts, tmp_path: Path, change: object, kept: bool
) -> None:
    assert callable(change)
    source = tmp_path / "large"
    old = write(source, contents(1, 8 * MIB + 5))
    attempts.cut(source, 6 * MIB)
    new = write(source, change(old))
    assert attempts.deliver(source)
    assert not attempts.errors
    assert (attempts.inbox / "large").read_bytes() == new
    assert attempts.sent.exit_code == ExitCode.OK
    assert bool(attempts.sent.kept) == kept
    assert attempts.sent.kept == attempts.received.kept


@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_shrinks_while_it_is_compared(seed: int, tmp_path: Path) -> None:
    """Answers about it that are still on their way harm nothing that comes behind it."""
    attempts, source = Attempts(tmp_path, seed), tmp_path / "tree"
    source.mkdir()
    for name in ("a", "b"):
        write(source / name, contents(1, 16 * MIB))
    attempts.cut(source, 15 * MIB)

    def shrinks(client: Party) -> Script:
        yield lambda: client.exchange.session.bytes_out > MIB
        os.truncate(source / "a", 4 * MIB)

    assert attempts.deliver(source, meanwhile=shrinks)
    assert not attempts.errors
    assert attempts.sent.codes == {ExitCode.CHANGED: 1}
    assert (attempts.inbox / "tree" / "b").read_bytes() == contents(1, 16 * MIB)
    assert not (attempts.inbox / "tree" / "a").exists()


def feed(tmp_path: Path, data: bytes) -> BinaryIO:
    """A stream: what is read of it cannot be read again."""
    write(tmp_path / "fed", data)
    return open(tmp_path / "fed", "rb")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda old: old, id="same"),
        pytest.param(lambda old: old + contents(2, 3 * MIB), id="longer"),
        pytest.param(lambda old: old[: 6 * MIB], id="shorter by nodes"),
        pytest.param(lambda old: old[: 6 * MIB + 9], id="shorter"),
        pytest.param(lambda old: old[:9], id="hardly anything"),
        pytest.param(lambda old: b"", id="nothing"),
        pytest.param(lambda old: contents(3, len(old)), id="different"),
        pytest.param(lambda old: contents(3, 5 * MIB + 1), id="different and shorter"),
        pytest.param(lambda old: b"!" + old[1 : 4 * MIB + 1], id="first node and the end"),
    ],
)
def test_a_stream(attempts: Attempts, tmp_path: Path, change: object) -> None:
    assert callable(change)
    old = contents(1, 20 * MIB + 5)
    with feed(tmp_path, old) as stream:
        attempts.cut(stream, 18 * MIB)
    new = change(old)
    with feed(tmp_path, new) as stream:
        attempts.finish(stream)
    assert (attempts.inbox / "stream").read_bytes() == new
    assert attempts.sent.exit_code == attempts.received.exit_code == ExitCode.OK
    assert attempts.sent.kept == attempts.received.kept
    fewer = [at for at in range(0, 8 * NODE, NODE) if new[at : at + NODE] == old[at : at + NODE]]
    assert attempts.sent.kept >= len([at for at in fewer if at + NODE <= len(new)]) * NODE


class _Careless(Sink):
    """A place that takes for the sender's whatever lies there."""

    def open(self, entry: Entry, held: int = 0) -> Part:
        return _Believing(super().open(entry, held))  # type: ignore[return-value]  # it does what a Part does


class _Believing:
    """A part that says of each node that it is the same, and counts its own."""

    brief = True
    failure = None
    surrendered = False

    def __init__(self, part: Part) -> None:
        self._part = part
        self.put, self.finish, self.discard = part.put, part.finish, part.discard

    def compare(self, first: int, nodes: Sequence[bytes]) -> list[bool]:
        folder = self._part.folder.fd
        (name,) = [name for name in os.listdir(folder) if name.startswith(".objxfer-")]
        file = os.open(name, os.O_RDONLY, dir_fd=folder)
        for index in range(first, first + len(nodes)):
            lies = os.pread(file, NODE, index * NODE)
            assert self._part.compare(index, [node_digest(lies)]) == [True]
        os.close(file)
        return [True] * len(nodes)


def test_a_receiver_that_believes_is_found_out(attempts: Attempts, tmp_path: Path) -> None:
    def careless(offer: Offer) -> Taker:
        root = Root(attempts.inbox)
        return _Careless(
            root,
            kept_there(root),
            tops=offer.tops,
            if_exists=IfExists.RENAME,
            asked=None,
            limits=Limits(),
        )

    source = tmp_path / "large"
    data = write(source, contents(1, 8 * MIB + 5))
    attempts.cut(source, 6 * MIB)
    write(source, b"!" + data[1:])
    assert attempts.deliver(source, into=careless)
    assert attempts.sent.exit_code == ExitCode.INTEGRITY
    assert attempts.sent.outcomes == {Outcome.FAILED: 1}


def test_a_receiver_that_claims_what_it_does_not_have(attempts: Attempts, tmp_path: Path) -> None:
    class Boasting(Sink):
        def judge(self, entries: Sequence[Entry]) -> list[Verdict]:
            return [Verdict(Answer.PARTIAL, held=2**32 - 1) for _ in entries]

    def boasting(offer: Offer) -> Taker:
        root = Root(attempts.inbox)
        return Boasting(
            root,
            kept_there(root),
            tops=offer.tops,
            if_exists=IfExists.RENAME,
            asked=None,
            limits=Limits(),
        )

    source = tmp_path / "large"
    data = write(source, contents(1, 12 * MIB + 5))
    assert attempts.deliver(source, into=boasting)
    assert not attempts.errors
    assert attempts.sent.outcomes == {Outcome.SENT: 1}
    assert attempts.sent.kept == 0
    assert (attempts.inbox / "large").read_bytes() == data
    with feed(tmp_path, data) as stream:
        assert attempts.deliver(stream, into=boasting)
    assert not attempts.errors
    assert (attempts.inbox / "stream").read_bytes() == data
