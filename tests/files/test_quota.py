"""What may lie in a folder, together: counted, reserved, given back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from objxfer.errors import ExitCode, FileFailed, NoSpace
from objxfer.files import quota as quota_module
from objxfer.files.digest import NODE, node_digest
from objxfer.files.entries import (
    UNKNOWN_SIZE,
    Action,
    Answer,
    Entry,
    IfExists,
    Kind,
    Receipt,
    Verdict,
)
from objxfer.files.part import Part
from objxfer.files.quota import Quota
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import MIB, Limits
from support.inbox import file, packed
from support.partials import partials

KB = 1000


class Inbox:
    """A folder with a quota that is delivered into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sinks: list[Sink] = []

    def quota(self, limit: int) -> Quota:
        return Quota(limit, lambda: Root(self.folder))

    def sink(self, quota: Quota | None, if_exists: IfExists = IfExists.RENAME) -> Sink:
        root = Root(self.folder)
        sink = Sink(
            root,
            partials(root),
            tops=[b"top"],
            if_exists=if_exists,
            asked=None,
            limits=Limits(),
            quota=quota,
        )
        self._sinks.append(sink)
        return sink

    def lies(self) -> int:
        """How many bytes lie there, as anybody would count them."""
        return sum(
            path.lstat().st_size
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink() and path.parent.name != ".objxfer"
        )

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    (tmp_path / "in").mkdir()
    inbox = Inbox(tmp_path / "in")
    yield inbox
    inbox.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count again whenever there seems to be too little room."""
    monkeypatch.setattr(quota_module, "_RARELY", 0.0)


def entry(path: bytes = b"top", size: int = 600 * KB) -> Entry:
    return Entry(path, Kind.FILE, size, 10**18, 0o644)


def judged(sink: Sink, *entries: Entry) -> list[Answer]:
    return [verdict.answer for verdict in sink.judge(entries)]


def put(part: Part, data: bytes) -> None:
    for index in range(-(-len(data) // NODE)):
        node = data[index * NODE : (index + 1) * NODE]
        part.put(index, node, node_digest(node))


def finish(sink: Sink, part: Part, size: int) -> Receipt:
    part.finish(size, 10**18, 0o644)
    ((_, receipt),) = sink.publish()
    return receipt


# --- counting ---


def test_regular_files_count_wherever_they_lie(inbox: Inbox) -> None:
    (inbox.folder / "a" / "b").mkdir(parents=True)
    (inbox.folder / "one").write_bytes(bytes(100))
    (inbox.folder / "a" / "b" / "two").write_bytes(bytes(20))
    (inbox.folder / "a" / ".objxfer-0123").write_bytes(bytes(3))  # partial, of another time
    (inbox.folder / "link").symlink_to("one")
    (inbox.folder / "folder").symlink_to("a")
    os.mkfifo(inbox.folder / "fifo")
    (inbox.folder / ".objxfer").mkdir()
    (inbox.folder / ".objxfer" / "journal").write_bytes(bytes(1000))
    assert inbox.quota(1000).used == 123


def test_what_cannot_be_counted_is_an_error(inbox: Inbox) -> None:
    if not os.geteuid():
        pytest.skip("root may read everything")
    (inbox.folder / "closed").mkdir(0o000)
    try:
        with pytest.raises(FileFailed, match="cannot count what lies in closed: permission denied"):
            inbox.quota(1000)
    finally:
        (inbox.folder / "closed").chmod(0o700)


def test_folders_stay_open_to_us(inbox: Inbox) -> None:
    sink = inbox.sink(inbox.quota(KB))
    (receipt,) = sink.folders([Entry(b"top", Kind.FOLDER, mode=0o000)])
    assert receipt.action is Action.RECEIVED
    assert (inbox.folder / "top").stat().st_mode & 0o777 == 0o700


def test_two_limits_keep_one_account(inbox: Inbox) -> None:
    wide, narrow = inbox.quota(1000), inbox.quota(500)
    share = wide.share(400)
    assert (wide.free, narrow.free) == (600, 100)
    (inbox.folder / "file").write_bytes(bytes(400))
    share.end(lies=400)
    assert inbox.quota(500).free == 100
    with pytest.raises(NoSpace, match=r"over the quota: 100 B free of 500 B"):
        narrow.share(101)


def test_a_folder_is_counted_again_when_all_have_let_go_of_it(inbox: Inbox) -> None:
    assert inbox.quota(1000).used == 0
    (inbox.folder / "file").write_bytes(bytes(700))
    assert inbox.quota(1000).used == 700


def test_what_others_take_away_makes_room(inbox: Inbox) -> None:
    (inbox.folder / "old").write_bytes(bytes(700 * KB))
    quota = inbox.quota(1000 * KB)
    (inbox.folder / "old").unlink()
    assert quota.used == 700 * KB
    assert judged(inbox.sink(quota), entry()) == [Answer.WANTED]
    assert quota.used == 600 * KB


def test_it_is_not_counted_again_all_the_time(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_module, "_RARELY", 1e9)
    (inbox.folder / "old").write_bytes(bytes(700 * KB))
    quota = inbox.quota(1000 * KB)
    (inbox.folder / "old").unlink()
    assert judged(inbox.sink(quota), entry()) == [Answer.REFUSED]
    quota.count()
    assert judged(inbox.sink(quota), entry()) == [Answer.WANTED]


def test_what_cannot_be_counted_again_stays_as_it_was(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    (inbox.folder / "old").write_bytes(bytes(700 * KB))
    quota = inbox.quota(1000 * KB)
    inbox.folder.rename(inbox.folder.with_name("away"))
    with pytest.raises(NoSpace, match="300 kB free"):
        quota.share(600 * KB)
    assert "what counts against a quota cannot be counted: cannot receive into" in caplog.text
    inbox.folder.mkdir()  # another
    with pytest.raises(NoSpace, match="300 kB free"):
        quota.share(600 * KB)


def test_counting_does_not_take_what_is_on_its_way_for_what_lies_there(inbox: Inbox) -> None:
    quota = inbox.quota(20 * MIB)
    sink = inbox.sink(quota)
    sink.judge([entry(size=6 * MIB)])
    part = sink.open(entry(size=6 * MIB))
    put(part, bytes(3 * MIB))
    quota.count()
    assert quota.used == 6 * MIB
    put(part, bytes(6 * MIB))
    finish(sink, part, 6 * MIB)
    quota.count()
    assert quota.used == inbox.lies() == 6 * MIB


# --- files that come ---


def test_what_does_not_fit_is_refused_when_it_is_announced(inbox: Inbox) -> None:
    quota = inbox.quota(1000 * KB)
    sink = inbox.sink(quota)
    verdicts = sink.judge(
        [entry(b"top/a"), entry(b"top/b"), entry(b"top/c", 400 * KB), entry(b"top/d", 0)]
    )
    assert [verdict.answer for verdict in verdicts] == [
        Answer.WANTED,
        Answer.REFUSED,
        Answer.WANTED,
        Answer.WANTED,
    ]
    assert verdicts[1] == Verdict(
        Answer.REFUSED,
        code=ExitCode.PEER_NO_SPACE,
        reason="over the quota: 400 kB free of 1.00 MB",
    )
    assert quota.free == 0


def test_what_lies_there_already_needs_no_room(inbox: Inbox) -> None:
    quota = inbox.quota(10)
    sink = inbox.sink(quota)
    packed(sink, [file(b"top", b"0123456789")])
    assert quota.free == 0
    assert judged(inbox.sink(quota), entry(size=10)) == [Answer.UNCHANGED]


def test_a_file_that_is_there_counts_once(inbox: Inbox) -> None:
    quota = inbox.quota(100)
    sink = inbox.sink(quota)
    arrived = [file(b"top/a", b"123"), file(b"top/b", b"45678"), file(b"top/empty", b"")]
    assert judged(sink, *(each.entry for each in arrived)) == [Answer.WANTED] * 3
    assert quota.used == 8
    assert [receipt.action for receipt in packed(sink, arrived)] == [Action.RECEIVED] * 3
    assert quota.used == inbox.lies() == 8
    sink.close()
    assert quota.used == 8


def test_what_is_empty_needs_no_room(inbox: Inbox) -> None:
    (inbox.folder / "old").write_bytes(bytes(20))
    sink = inbox.sink(inbox.quota(10))
    empty = file(b"top/empty", b"")
    assert judged(sink, empty.entry, entry(b"top/a", 1)) == [Answer.WANTED, Answer.REFUSED]
    assert [receipt.action for receipt in packed(sink, [empty])] == [Action.RECEIVED]


def test_what_was_promised_and_does_not_come_is_given_back(inbox: Inbox) -> None:
    quota = inbox.quota(1000 * KB)
    sink = inbox.sink(quota)
    first, second = entry(b"top/a", 300 * KB), entry(b"top/b", 500 * KB)
    sink.judge([first, second])
    sink.forgo(first)
    assert quota.used == 500 * KB
    sink.judge([second])  # once more
    assert quota.used == 500 * KB
    sink.close()
    assert quota.used == 0


@pytest.mark.parametrize("announced", [1, 0])
def test_a_file_that_is_larger_than_announced(inbox: Inbox, announced: int) -> None:
    quota = inbox.quota(100)
    sink = inbox.sink(quota)
    arrived = [file(b"top/a", bytes(60)), file(b"top/b", bytes(60))]
    sink.judge([each.entry._replace(size=announced) for each in arrived])
    receipts = packed(sink, arrived)
    assert [receipt.action for receipt in receipts] == [Action.RECEIVED, Action.FAILED]
    assert receipts[1].code == ExitCode.PEER_NO_SPACE
    assert quota.used == inbox.lies() == 60


@pytest.mark.parametrize("announced", [1, 0, UNKNOWN_SIZE])
def test_a_stream_and_a_large_file_stop_at_the_quota(inbox: Inbox, announced: int) -> None:
    quota = inbox.quota(5 * MIB)
    sink = inbox.sink(quota)
    assert judged(sink, entry(size=announced)) == [Answer.WANTED]
    part = sink.open(entry(size=announced))
    put(part, bytes(8 * MIB))
    assert part.failure is not None
    assert part.failure.code == ExitCode.PEER_NO_SPACE
    assert part.failure.reason == "over the quota: 0 B free of 5.24 MB"
    assert quota.used == 0
    sink.close()
    assert inbox.lies() == 0


def test_what_is_left_to_go_on_with_counts(inbox: Inbox) -> None:
    quota = inbox.quota(10 * MIB)
    large = entry(size=6 * MIB)
    sink = inbox.sink(quota)
    sink.judge([large])
    put(sink.open(large), bytes(3 * MIB))
    sink.close()
    assert quota.used == inbox.lies() == 3 * MIB
    again = inbox.sink(quota)
    (verdict,) = again.judge([large])
    assert verdict == Verdict(Answer.PARTIAL, held=3)
    assert quota.used == 6 * MIB
    part = again.open(large, 3)
    assert quota.used == 6 * MIB
    assert part.compare(0, [node_digest(bytes(MIB))] * 3) == [True] * 3
    for index in range(3, 6):
        part.put(index, bytes(NODE), node_digest(bytes(NODE)))
    assert finish(again, part, 6 * MIB).action is Action.RECEIVED
    assert quota.used == inbox.lies() == 6 * MIB


def test_what_is_left_and_not_gone_on_with_is_given_back(inbox: Inbox) -> None:
    quota = inbox.quota(7 * MIB)
    large = entry(size=6 * MIB)
    sink = inbox.sink(quota)
    sink.judge([large])
    put(sink.open(large), bytes(3 * MIB))
    sink.close()
    again = inbox.sink(quota)
    again.judge([large])
    put(part := again.open(large), bytes(6 * MIB))  # all of it
    assert quota.used == 6 * MIB
    assert finish(again, part, 6 * MIB).action is Action.RECEIVED
    assert quota.used == inbox.lies() == 6 * MIB


def test_a_newer_connection_needs_no_room_of_its_own_for_the_same_file(inbox: Inbox) -> None:
    quota = inbox.quota(7 * MIB)
    large = entry(size=6 * MIB)
    older, newer = inbox.sink(quota), inbox.sink(quota)
    older.judge([large])
    put(older.open(large), bytes(3 * MIB))
    (verdict,) = newer.judge([large])
    assert verdict == Verdict(Answer.PARTIAL, held=3)
    part = newer.open(large, 3)
    assert part.failure is None
    older.close()
    assert quota.used == 6 * MIB
    newer.close()
    assert quota.used == inbox.lies() == 3 * MIB


# --- what lies there under the name ---


def test_replaced_files_give_their_bytes_back(inbox: Inbox) -> None:
    (inbox.folder / "top").write_bytes(bytes(60))
    quota = inbox.quota(100)
    sink = inbox.sink(quota, IfExists.REPLACE)
    (receipt,) = packed(sink, [file(b"top", bytes(30))])
    assert receipt.action is Action.REPLACED
    assert quota.used == inbox.lies() == 30


def test_until_it_is_replaced_a_file_counts(inbox: Inbox) -> None:
    (inbox.folder / "top").write_bytes(bytes(60))
    sink = inbox.sink(inbox.quota(100), IfExists.REPLACE)
    assert judged(sink, entry(size=41)) == [Answer.REFUSED]
    assert judged(sink, entry(size=40)) == [Answer.WANTED]


def test_both_count_where_both_are_kept(inbox: Inbox) -> None:
    (inbox.folder / "top").write_bytes(bytes(60))
    quota = inbox.quota(100)
    (receipt,) = packed(inbox.sink(quota), [file(b"top", bytes(30))])
    assert receipt.stored_as == b"top (1)"
    assert quota.used == inbox.lies() == 90


def test_a_file_that_a_link_replaces_is_given_back(inbox: Inbox) -> None:
    (inbox.folder / "top").mkdir()
    (inbox.folder / "top" / "link").write_bytes(bytes(60))
    quota = inbox.quota(100)
    sink = inbox.sink(quota, IfExists.REPLACE)
    (receipt,) = sink.links([Entry(b"top/link", Kind.LINK, target=b"file")])
    assert receipt.action is Action.REPLACED
    assert quota.used == inbox.lies() == 0


# --- several at once ---


def test_several_at_once_never_have_more_together(inbox: Inbox) -> None:
    quota = inbox.quota(50 * KB)
    ready = threading.Barrier(8)

    def deliver(number: int) -> int:
        sink = inbox.sink(quota)
        ready.wait()
        arrived = [file(b"top/%d-%d" % (number, count), bytes(KB)) for count in range(20)]
        for each in arrived:
            sink.judge([each.entry._replace(size=1)])
        there = sum(receipt.action is Action.RECEIVED for receipt in packed(sink, arrived))
        sink.close()
        return there

    with ThreadPoolExecutor(8) as pool:
        there = sum(pool.map(deliver, range(8)))
    assert there == 50
    assert quota.used == inbox.lies() == 50 * KB


def test_several_that_replace_one_file_give_it_back_once(inbox: Inbox) -> None:
    (inbox.folder / "top").write_bytes(bytes(10 * KB))
    quota = inbox.quota(100 * KB)
    ready = threading.Barrier(4)

    def deliver(number: int) -> None:
        sink = inbox.sink(quota, IfExists.REPLACE)
        ready.wait()
        for count in range(50):
            packed(sink, [file(b"top", bytes(number), mtime_ns=10**18 + 4 * count + number)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, range(1, 5)))
    assert quota.used == inbox.lies()
