"""What was begun in a receiving folder, and what becomes of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from objxfer.errors import ExitCode
from objxfer.files.digest import NODE, SIZE, file_digest, node_digest
from objxfer.files.entries import KEEP, Action, Answer, Entry, IfExists, Kind, Receipt, Verdict
from objxfer.files.part import Part
from objxfer.files.partials import _header
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import MIB, Limits
from support.deliveries import contents
from support.inbox import descriptors, fingerprint
from support.partials import OWNER, partials

TIME = 10**18
DATA = contents(1, 6 * MIB + 5)
NODES = [DATA[at : at + NODE] for at in range(0, len(DATA), NODE)]
PATH = b"top/deep/large"
ENTRY = Entry(PATH, Kind.FILE, len(DATA), TIME, 0o644)
OLD = time.time() - 8 * 86_400


class Inbox:
    """A receiving folder that is delivered into, attempt after attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".objxfer"
        self._sinks: list[Sink] = []

    def sink(self, *, owner: bytes = OWNER, below: bytes = b"", keep: float = KEEP) -> Sink:
        root = Root(self.folder)
        kept = partials(root, owner=owner, folder=below, keep=keep)
        if below:
            with root as above:
                root = above.below(safe_path(below, Limits()))
        sink = Sink(
            root, kept, tops=[b"top"], if_exists=IfExists.RENAME, asked=None, limits=Limits()
        )
        self._sinks.append(sink)
        return sink

    def begin(self, entry: Entry = ENTRY, *, nodes: int = 3, **who: object) -> None:
        """Leave a file behind of which so many nodes were written."""
        sink = self.sink(**who)  # type: ignore[arg-type]  # as they are named there
        put(sink.open(entry), range(nodes))
        sink.close()

    def judge(self, entry: Entry = ENTRY, **who: object) -> Verdict:
        """Say what lies there, to a delivery that then does not come."""
        sink = self.sink(**who)  # type: ignore[arg-type]
        (verdict,) = sink.judge([entry])
        sink.close()
        return verdict

    def finish(self, held: int, **who: object) -> list[bool]:
        """Go on with the file as a sender does; return which nodes lay there."""
        sink = self.sink(**who)  # type: ignore[arg-type]
        part = sink.open(ENTRY, held)
        put(part, range(held, len(NODES)))
        same = [part.compare(index, [node_digest(NODES[index])])[0] for index in range(held)]
        put(part, [index for index in range(held) if not same[index]])
        assert finish(sink, part) == RECEIVED
        sink.close()
        assert (self.folder / os.fsdecode(PATH)).read_bytes() == DATA
        return same

    @property
    def journal(self) -> Path:
        """The one journal there is."""
        (path,) = (path for path in self.state.iterdir() if not path.name.startswith("at-"))
        return path

    @property
    def partial(self) -> Path:
        """The one partial file there is."""
        (path,) = self.folder.rglob(".objxfer-*")
        return path

    def ours(self) -> list[Path]:
        return list(self.folder.rglob(".objxfer*"))

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


RECEIVED = Receipt(Action.RECEIVED, len(DATA), file_digest(DATA), durable=True)


def put(part: Part, indices: range | list[int]) -> None:
    for index in indices:
        part.put(index, NODES[index], node_digest(NODES[index]))


def finish(sink: Sink, part: Part) -> Receipt:
    part.finish(len(DATA), TIME, 0o644)
    ((_, receipt),) = sink.publish()
    return receipt


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    (tmp_path / "in").mkdir()
    before = descriptors()
    inbox = Inbox(tmp_path / "in")
    yield inbox
    inbox.close()
    assert descriptors() == before


def test_it_goes_on_where_it_stopped(inbox: Inbox) -> None:
    inbox.begin()
    assert inbox.judge() == Verdict(Answer.PARTIAL, held=3)
    assert inbox.finish(3) == [True] * 3
    assert inbox.ours() == []


def test_what_was_not_begun_is_wanted(inbox: Inbox) -> None:
    assert inbox.judge().answer is Answer.WANTED
    inbox.begin(nodes=0)
    assert inbox.ours() == []


def test_a_small_file_leaves_nothing(inbox: Inbox) -> None:
    entry = Entry(PATH, Kind.FILE, 4 * MIB - 1, TIME, 0o644)
    inbox.begin(entry)
    assert inbox.ours() == []


def test_it_may_be_left_again_before_anything_is_compared(inbox: Inbox) -> None:
    inbox.begin()
    sink = inbox.sink()
    sink.open(ENTRY, 3)
    sink.close()
    assert inbox.finish(3) == [True] * 3


def test_new_nodes_come_before_old_ones_are_compared(inbox: Inbox) -> None:
    inbox.begin(nodes=2)
    sink = inbox.sink()
    put(sink.open(ENTRY, 2), range(2, 5))
    sink.close()
    assert inbox.judge() == Verdict(Answer.PARTIAL, held=5)
    assert inbox.finish(5) == [True] * 5


def test_a_sender_may_use_less_than_lies_there(inbox: Inbox) -> None:
    inbox.begin(nodes=5)
    assert inbox.finish(2) == [True] * 2


def test_one_that_was_whole_goes_on_whatever_its_mode(inbox: Inbox) -> None:
    """It has the mode of its source by then, and that may be read-only."""
    sink = inbox.sink()
    part = sink.open(ENTRY)
    put(part, range(len(NODES)))
    part.finish(len(DATA), TIME, 0o444)
    sink.close()
    assert inbox.partial.stat().st_mode & 0o222 == 0
    assert inbox.judge() == Verdict(Answer.PARTIAL, held=6)
    assert inbox.finish(6) == [True] * 6


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any file")
def test_one_whose_mode_keeps_us_out_is_begun_anew(inbox: Inbox) -> None:
    inbox.begin()
    inbox.partial.chmod(0)
    assert inbox.finish(3) == [False] * 3


class TestJournal:
    @pytest.mark.parametrize(
        ("damage", "held"),
        [
            pytest.param(lambda raw: raw[:-1], 2, id="torn"),
            pytest.param(lambda raw: raw[:-40], 1, id="torn further"),
            pytest.param(lambda raw: raw[:-36] + bytes(36), 2, id="zeros at the end"),
            pytest.param(lambda raw: raw + bytes(4096), 3, id="zeros behind the end"),
            pytest.param(lambda raw: raw + b"\1", 3, id="a byte behind the end"),
            pytest.param(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), 2, id="a wrong check"),
            pytest.param(lambda raw: raw[:-36] + raw[-72:-36], 2, id="a record twice"),
            pytest.param(lambda raw: raw[:-108] + bytes(36) + raw[-72:], 0, id="the first lost"),
            pytest.param(lambda raw: raw[:-108], 0, id="no records"),
            pytest.param(lambda raw: raw[:20], 0, id="a torn header"),
            pytest.param(lambda raw: bytes(len(raw)), 0, id="nothing but zeros"),
            pytest.param(lambda raw: b"", 0, id="empty"),
            pytest.param(lambda raw: b"?" * 9000, 0, id="something else"),
        ],
    )
    def test_a_damaged_one_counts_as_far_as_it_is_whole(
        self, inbox: Inbox, damage: Callable[[bytes], bytes], held: int
    ) -> None:
        inbox.begin()
        inbox.journal.write_bytes(damage(inbox.journal.read_bytes()))
        assert inbox.judge().held == held
        assert inbox.finish(held) == [True] * held
        assert inbox.ours() == []

    def test_what_it_says_is_not_believed(self, inbox: Inbox) -> None:
        inbox.begin()
        with open(inbox.partial, "r+b") as file:
            file.seek(NODE + 9)
            file.write(b"damage")
        assert inbox.judge().held == 3
        assert inbox.finish(3) == [True, False, True]

    def test_no_more_is_held_than_is_written(self, inbox: Inbox) -> None:
        inbox.begin()
        os.truncate(inbox.partial, 2 * NODE - 1)
        assert inbox.judge().held == 1

    def test_no_more_is_held_than_there_is_of_the_source(self, inbox: Inbox) -> None:
        inbox.begin(nodes=6)
        entry = Entry(PATH, Kind.FILE, 5 * NODE - 1, TIME, 0o644)
        assert inbox.judge(entry).held == 4

    @pytest.mark.parametrize(
        "who",
        [
            pytest.param({"owner": b"else"}, id="another sender"),
            pytest.param({"owner": b""}, id="no key"),
            pytest.param({"below": b"folder"}, id="another folder"),
        ],
    )
    def test_it_is_found_by_its_own_delivery_alone(
        self, inbox: Inbox, who: dict[str, object]
    ) -> None:
        inbox.begin()
        assert inbox.judge(ENTRY, **who).answer is Answer.WANTED
        assert inbox.judge(Entry(b"top/deep/other", Kind.FILE, len(DATA))).answer is Answer.WANTED
        assert inbox.judge().held == 3

    def test_one_under_the_name_of_another_is_none(self, inbox: Inbox) -> None:
        inbox.begin(owner=b"else")
        foreign = inbox.journal.read_bytes()
        inbox.journal.unlink()
        inbox.partial.unlink()
        inbox.begin()
        inbox.journal.write_bytes(foreign)
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [True] * 3

    def test_one_without_its_file(self, inbox: Inbox) -> None:
        inbox.begin()
        inbox.partial.unlink()
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [False] * 3

    def test_a_file_without_its_journal(self, inbox: Inbox) -> None:
        inbox.begin()
        inbox.journal.unlink()
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(0) == []
        assert inbox.ours() == []

    def test_a_delivery_goes_on_without_it(
        self, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink = inbox.sink()
        part = sink.open(ENTRY)
        put(part, range(2))
        journal = os.stat(inbox.journal)
        pwrite = os.pwrite

        def full(fd: int, data: bytes, at: int) -> int:
            if os.path.samestat(os.fstat(fd), journal):
                raise OSError(errno.ENOSPC, "no space left on device")
            return pwrite(fd, data, at)

        monkeypatch.setattr(os, "pwrite", full)
        put(part, range(2, len(NODES)))
        assert finish(sink, part) == RECEIVED


class TestWhatLiesThere:
    """Something else than our own partial file is never written into."""

    def test_a_file_that_somebody_linked(self, inbox: Inbox, tmp_path: Path) -> None:
        inbox.begin()
        os.link(inbox.partial, tmp_path / "other")
        before = (tmp_path / "other").read_bytes()
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [False] * 3
        assert (tmp_path / "other").read_bytes() == before

    def test_a_link(self, inbox: Inbox, tmp_path: Path) -> None:
        inbox.begin()
        (tmp_path / "victim").write_bytes(DATA)
        inbox.partial.unlink()
        (inbox.folder / "top/deep" / f".objxfer-{inbox.journal.name}").symlink_to(
            tmp_path / "victim"
        )
        os.truncate(tmp_path / "victim", 4 * NODE)
        before = fingerprint(tmp_path / "victim")
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [False] * 3
        assert fingerprint(tmp_path / "victim") == before
        assert (tmp_path / "victim").stat().st_size == 4 * NODE

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
    def test_no_file(self, inbox: Inbox, make: Callable[[Path], None]) -> None:
        inbox.begin()
        place = inbox.partial
        place.unlink()
        make(place)
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [False] * 3
        assert place.is_dir() == (make is os.mkdir)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_somebody_elses_file(self, inbox: Inbox) -> None:
        inbox.begin()
        os.chown(inbox.partial, 12345, 12345)
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(3) == [False] * 3


class TestFolder:
    """Where the folder of the journals is not ours alone, nothing goes on; all is delivered."""

    def check(self, inbox: Inbox) -> None:
        seen = sorted(os.listdir(inbox.state)) if inbox.state.is_dir() else None
        inbox.begin()
        assert inbox.judge().answer is Answer.WANTED
        assert inbox.finish(0) == []
        assert list(inbox.folder.rglob(".objxfer-*")) == []
        assert seen == (sorted(os.listdir(inbox.state)) if inbox.state.is_dir() else None)

    def test_a_link(self, inbox: Inbox, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        inbox.state.symlink_to(tmp_path / "outside")
        self.check(inbox)
        assert list((tmp_path / "outside").iterdir()) == []

    def test_a_file(self, inbox: Inbox) -> None:
        inbox.state.write_bytes(b"mine")
        self.check(inbox)
        assert inbox.state.read_bytes() == b"mine"

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
    def test_open_to_others(self, inbox: Inbox, mode: int) -> None:
        inbox.state.mkdir()
        inbox.state.chmod(mode)
        self.check(inbox)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
    def test_somebody_elses(self, inbox: Inbox) -> None:
        inbox.state.mkdir()
        os.chown(inbox.state, 12345, 12345)
        self.check(inbox)

    def test_removed_meanwhile(self, inbox: Inbox) -> None:
        inbox.begin()
        sink = inbox.sink()
        (verdict,) = sink.judge([ENTRY])
        shutil.rmtree(inbox.state)
        part = sink.open(ENTRY, verdict.held)
        assert part.compare(0, [node_digest(NODES[0])]) == [True]
        put(part, range(1, len(NODES)))
        assert finish(sink, part) == RECEIVED
        sink.close()
        assert inbox.ours() == []

    def test_removed_while_a_file_comes(self, inbox: Inbox) -> None:
        sink = inbox.sink()
        part = sink.open(ENTRY)
        inbox.journal.unlink()
        inbox.state.rmdir()
        other = sink.open(Entry(b"top/other", Kind.FILE, len(DATA), TIME, 0o644))
        for each in (part, other):
            put(each, range(len(NODES)))
        assert finish(sink, part).action is Action.RECEIVED
        assert finish(sink, other).action is Action.RECEIVED
        sink.close()
        assert inbox.ours() == []


class TestWhatCannotBeSeen:
    """Not being able to look is not the same as finding nothing."""

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE])
    @pytest.mark.parametrize("when", ["judged", "begun"])
    def test_a_partial_file_outlives_it(
        self, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, number: int, when: str
    ) -> None:
        inbox.begin()
        sink = inbox.sink()
        ours = (os.fsencode(inbox.journal.name), os.fsencode(inbox.partial.name))
        opened = os.open

        def refuses(
            path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
        ) -> int:
            if path in ours:
                raise OSError(number, os.strerror(number))
            return opened(path, flags, mode, dir_fd=dir_fd)

        (verdict,) = sink.judge([ENTRY])
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuses)
            if when == "judged":
                (verdict,) = sink.judge([ENTRY])
                assert (verdict.answer, verdict.code) == (Answer.REFUSED, ExitCode.FAILED)
            else:
                sink.open(ENTRY, verdict.held)
        sink.close()
        (verdict,) = inbox.sink().judge([ENTRY])
        assert verdict.held


class TestLease:
    def test_a_name_that_could_not_be_removed_is_found_again(
        self, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink = inbox.sink()
        part = sink.open(ENTRY)
        put(part, range(len(NODES)))
        partial = inbox.partial

        def refuses(name: bytes, *, dir_fd: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuses)
            assert finish(sink, part) == RECEIVED
        assert partial.exists()
        os.utime(inbox.journal, (OLD, OLD))
        inbox.sink().close()
        assert not partial.exists()
        assert (inbox.folder / os.fsdecode(PATH)).read_bytes() == DATA

    def age(self, inbox: Inbox) -> None:
        os.utime(inbox.journal, (OLD, OLD))

    def sweep(self, inbox: Inbox, **who: object) -> None:
        """Begin another delivery."""
        inbox.sink(owner=b"else", **who).close()  # type: ignore[arg-type]

    def test_what_is_old_is_dropped(self, inbox: Inbox) -> None:
        inbox.begin()
        self.age(inbox)
        (inbox.folder / "top/deep/theirs").write_bytes(b"theirs")
        self.sweep(inbox)
        assert inbox.ours() == []
        assert os.listdir(inbox.folder / "top/deep") == ["theirs"]

    def test_what_is_not_is_kept(self, inbox: Inbox) -> None:
        inbox.begin()
        os.utime(inbox.partial, (OLD, OLD))  # the time of the journal counts
        self.sweep(inbox)
        assert inbox.judge().held == 3

    def test_with_no_lease_everything_is_old(self, inbox: Inbox) -> None:
        inbox.begin()
        self.sweep(inbox, keep=0)
        assert inbox.ours() == []

    def test_with_no_lease_nothing_is_begun(self, inbox: Inbox) -> None:
        inbox.begin(keep=0)
        assert inbox.ours() == []
        inbox.begin()
        assert inbox.judge(keep=0).answer is Answer.WANTED

    def test_below_another_folder(self, inbox: Inbox) -> None:
        inbox.begin(below=b"2026/may")
        self.age(inbox)
        self.sweep(inbox)
        assert inbox.ours() == []

    def test_as_deep_as_may_be(self, inbox: Inbox) -> None:
        """The folder and the path are each within the limits; together they are not."""
        depth = Limits().depth
        entry = Entry(b"/".join([b"top"] + [b"d"] * (depth - 1)), Kind.FILE, len(DATA))
        inbox.begin(entry, below=b"/".join([b"f"] * depth))
        self.age(inbox)
        assert inbox.partial.exists()
        self.sweep(inbox)
        assert inbox.ours() == []

    def test_not_while_somebody_is_at_it(self, inbox: Inbox) -> None:
        sink = inbox.sink()
        part = sink.open(ENTRY)
        put(part, range(3))
        self.age(inbox)
        self.sweep(inbox)
        self.sweep(inbox, keep=0)
        put(part, range(3, len(NODES)))
        assert finish(sink, part) == RECEIVED

    def test_nothing_that_is_not_ours(self, inbox: Inbox) -> None:
        inbox.begin()
        theirs = [
            inbox.state / "notes.txt",
            inbox.state / ("f" * 31),
            inbox.state / ("G" * 32),
            inbox.folder / ".objxfer-mine",
            inbox.folder / "top/deep/.objxfer-mine",
            inbox.folder / "top/deep/file",
        ]
        for path in theirs:
            path.write_bytes(b"theirs")
            os.utime(path, (OLD, OLD))
        (inbox.state / ("e" * 32)).mkdir()
        os.utime(inbox.state / ("e" * 32), (OLD, OLD))
        self.sweep(inbox)
        for path in theirs:
            assert path.read_bytes() == b"theirs"
        assert inbox.judge().held == 3

    def test_a_file_in_place_of_the_partial_one_is_removed_a_folder_is_not(
        self, inbox: Inbox
    ) -> None:
        inbox.begin()
        self.age(inbox)
        place = inbox.partial
        place.unlink()
        place.mkdir()
        self.sweep(inbox)
        assert list(inbox.state.parent.rglob(".objxfer-*")) == [place]
        assert not inbox.state.exists()

    @pytest.mark.parametrize(
        "path", [b"../outside", b"/etc", b"top/../../outside", b"out", b".objxfer", b"", b"a//b"]
    )
    def test_a_journal_that_leads_elsewhere(
        self, inbox: Inbox, tmp_path: Path, path: bytes
    ) -> None:
        """Whoever can write one could remove our files anyway; nothing outside is reached."""
        (tmp_path / "outside").mkdir()
        inbox.begin()
        name = inbox.journal.name
        (tmp_path / "outside" / f".objxfer-{name}").write_bytes(b"canary")
        (tmp_path / f".objxfer-{name}").write_bytes(b"canary")
        (inbox.folder / "out").symlink_to(tmp_path / "outside")
        path = path + b"/large" if path not in (b"", b"/etc") else path
        inbox.journal.write_bytes(_header(OWNER, b"", path))
        self.age(inbox)
        before = fingerprint(tmp_path / "outside")
        self.sweep(inbox)
        assert fingerprint(tmp_path / "outside") == before
        assert (tmp_path / f".objxfer-{name}").exists()


class TestTakeOver:
    def test_a_newer_connection_goes_on(self, inbox: Inbox) -> None:
        older, newer = inbox.sink(), inbox.sink()
        first = older.open(ENTRY)
        put(first, range(3))
        (verdict,) = newer.judge([ENTRY])
        assert verdict.held == 3
        second = newer.open(ENTRY, verdict.held)
        assert first.surrendered
        assert second.compare(0, [node_digest(node) for node in NODES[:3]]) == [True] * 3
        put(first, [3, 4])  # of no effect
        put(second, range(3, len(NODES)))
        assert first.compare(0, [bytes(SIZE)]) == [True]
        refused = finish(older, first)
        assert (refused.action, refused.code) == (Action.FAILED, ExitCode.REFUSED)
        assert finish(newer, second) == RECEIVED
        assert (inbox.folder / os.fsdecode(PATH)).read_bytes() == DATA

    def test_the_older_one_may_close_at_any_time(self, inbox: Inbox) -> None:
        older, newer = inbox.sink(), inbox.sink()
        put(older.open(ENTRY), range(3))
        second = newer.open(ENTRY, 3)
        older.close()
        assert second.compare(0, [node_digest(node) for node in NODES[:3]]) == [True] * 3
        put(second, range(3, len(NODES)))
        assert finish(newer, second) == RECEIVED
        newer.close()
        assert inbox.ours() == []

    def test_what_goes_on_is_handed_over_before_it_was_compared(self, inbox: Inbox) -> None:
        inbox.begin()
        older, newer = inbox.sink(), inbox.sink()
        older.open(ENTRY, 3)
        second = newer.open(ENTRY, 3)
        assert second.compare(0, [node_digest(node) for node in NODES[:3]]) == [True] * 3

    def test_what_is_whole_is_not_given_up(self, inbox: Inbox) -> None:
        older, newer = inbox.sink(), inbox.sink()
        first = older.open(ENTRY)
        put(first, range(len(NODES)))
        first.finish(len(DATA), TIME, 0o644)
        second = newer.open(ENTRY, 3)
        assert not first.surrendered
        assert older.publish()[0][1] == RECEIVED
        assert second.compare(0, [node_digest(NODES[0])]) == [False]
        put(second, range(len(NODES)))
        assert finish(newer, second) == Receipt(Action.UNCHANGED, durable=True)
        for sink in (older, newer):
            sink.close()
        assert inbox.ours() == []

    def test_what_has_failed_is_free(self, inbox: Inbox) -> None:
        older, newer = inbox.sink(), inbox.sink()
        first = older.open(ENTRY)
        put(first, range(3))
        first.fail(Receipt(Action.FAILED), keep=True)
        assert newer.open(ENTRY, 3).compare(0, [node_digest(NODES[0])]) == [True]

    def test_another_sender_takes_nothing(self, inbox: Inbox) -> None:
        older, newer = inbox.sink(), inbox.sink(owner=b"else")
        first = older.open(ENTRY)
        put(first, range(3))
        second = newer.open(ENTRY)
        assert not first.surrendered
        for each in (first, second):
            put(each, range(len(NODES)))
        assert finish(older, first) == RECEIVED
        assert finish(newer, second).action is Action.UNCHANGED

    def test_not_from_another_process(self, inbox: Inbox) -> None:
        inbox.begin()
        lock = (
            "import fcntl, sys; file = open(sys.argv[1], 'r+b');"
            " fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"
        )
        journal, partial = inbox.journal, inbox.partial
        before = partial.read_bytes()
        with subprocess.Popen(
            [sys.executable, "-c", lock, journal], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert inbox.finish(3) == [False] * 3
            assert partial.read_bytes() == before
            other.communicate(b"\n")
        inbox.sink(keep=0).close()
        assert inbox.ours() == []


def test_what_lies_there_takes_its_space_once(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.begin(nodes=5)
    reserve = 40_000 // 100 * 512
    free = (reserve + 2 * MIB) // 512
    disk = os.statvfs_result((512, 512, 40_000, free, free, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: disk)
    assert inbox.judge(owner=b"else").code is ExitCode.PEER_NO_SPACE
    assert inbox.judge() == Verdict(Answer.PARTIAL, held=5)


def test_no_space_to_go_on_loses_nothing(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(PATH, Kind.FILE, 9 * MIB, TIME, 0o644)
    inbox.begin(entry)

    def full(_fd: int, _at: int, _size: int) -> None:
        raise OSError(errno.EDQUOT, "disk quota exceeded")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        sink = inbox.sink()
        part = sink.open(entry, 3)
        assert part.failure is not None
        assert part.failure.code is ExitCode.PEER_NO_SPACE
        sink.close()
    assert inbox.judge(entry).held == 3
