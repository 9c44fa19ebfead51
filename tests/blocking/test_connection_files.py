"""Files and streams over a connection."""

from __future__ import annotations

import filecmp
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import objxfer
from objxfer.errors import ConnectionLost, ExitCode, FileFailed, NotAllowed, RefusedByPeer
from objxfer.files import scan
from objxfer.files.digest import file_digest
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.trees import Offer
from objxfer.transfer.progress import Tally
from objxfer.transfer.report import EntryReport, Outcome
from support.connected import PATIENCE, Pair, begin, connected
from support.inbox import landed

LARGE = 3 * 1024 * 1024 + 5


class Watching:
    def __init__(self) -> None:
        self.begun: list[Tally] = []
        self.ended: list[Tally] = []

    def begin(self, tally: Tally) -> None:
        self.begun.append(tally)

    def end(self, tally: Tally) -> None:
        self.ended.append(tally)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "2026" / "empty").mkdir(parents=True)
    (folder / "large").write_bytes(bytes(range(256)) * (LARGE // 256 + 1))
    (folder / "nothing").write_bytes(b"")
    for number in range(30):
        (folder / "2026" / f"{number}.jpg").write_bytes(bytes([number]) * number * 100)
    (folder / "link").symlink_to("2026/1.jpg")
    return folder


def same(one: Path, other: Path) -> bool:
    def equal(seen: filecmp.dircmp[str]) -> bool:
        return not (seen.left_only or seen.right_only or seen.diff_files or seen.funny_files) and (
            all(map(equal, seen.subdirs.values()))
        )

    return equal(filecmp.dircmp(one, other))


def test_a_tree(scheme: str, inbox: Path, photos: Path) -> None:
    with connected(scheme, there={"into": inbox}) as (client, server):
        told: dict[str, list[EntryReport]] = {"sent": [], "received": []}
        watching = {"sent": Watching(), "received": Watching()}
        receiving = begin(
            server.recv,
            PATIENCE,
            progress=watching["received"],
            on_entry=told["received"].append,
        )
        sent = client.push(photos, progress=watching["sent"], on_entry=told["sent"].append)
        received = receiving.result(PATIENCE)
        client.send("after it")
        assert server.recv(PATIENCE) == "after it"

    assert same(photos, inbox / "photos")
    assert os.readlink(inbox / "photos" / "link") == "2026/1.jpg"
    contents = sum(path.stat().st_size for path in photos.rglob("*") if path.is_file()) - 100
    for report, outcome in ((sent, Outcome.SENT), (received, Outcome.RECEIVED)):
        assert report.exit_code == ExitCode.OK
        assert report.tops == (b"photos",)
        assert report.files == report.count(outcome) == 33
        assert report.bytes == contents
        assert contents < report.bytes_on_wire < contents + 50_000
        assert report.seconds >= 0
        assert not report.problems
        assert not report.kept_both
    for entries in told.values():
        assert len(entries) == 33
        large = next(entry for entry in entries if entry.path == b"photos/large")
        assert large.durable
        assert large.digest == file_digest((photos / "large").read_bytes())
    for watched in watching.values():
        assert len(watched.begun) == 1
        assert watched.begun == watched.ended
        assert watched.ended[0].files_done == 33
        assert watched.ended[0].bytes_done == contents


def test_the_same_again_is_unchanged(inbox: Path, photos: Path) -> None:
    with connected(there={"into": inbox}) as (client, server):
        for outcome in (Outcome.SENT, Outcome.UNCHANGED):
            receiving = begin(server.recv, PATIENCE)
            report = client.push(photos)
            receiving.result(PATIENCE)
            assert report.count(outcome) == 33
            assert report.exit_code == ExitCode.OK


def test_objects_and_trees_keep_their_order(inbox: Path, photos: Path) -> None:
    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(lambda: [server.recv(PATIENCE) for _ in range(4)])
        with client.batch():
            client.send(1)
            client.push(photos / "nothing")
            client.send(2)
            client.push(photos / "large")
        one, nothing, two, large = receiving.result(PATIENCE)
    assert (one, two) == (1, 2)
    assert (nothing.tops, large.tops) == ((b"nothing",), (b"large",))


def test_both_sides_push_at_once(scheme: str, tmp_path: Path, photos: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with connected(scheme, here={"into": here}, there={"into": there}) as pair:
        pushing = [begin(end.push, photos) for end in pair]
        receiving = [begin(end.recv, PATIENCE) for end in pair]
        for future in pushing + receiving:
            assert future.result(PATIENCE).exit_code == ExitCode.OK
    assert same(photos, here / "photos")
    assert same(photos, there / "photos")


def test_into_a_folder(inbox: Path, photos: Path) -> None:
    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        client.push([photos / "large", photos / "nothing"], into="a/b")
        receiving.result(PATIENCE)
    assert sorted(os.listdir(inbox / "a" / "b")) == ["large", "nothing"]


def test_files_are_refused_where_there_is_no_place(ends: Pair, photos: Path) -> None:
    client, server = ends
    receiving = begin(server.recv, PATIENCE)
    with pytest.raises(RefusedByPeer, match="takes no files") as raised:
        client.push(photos)
    assert raised.value.exit_code == ExitCode.REFUSED
    client.send("after it")
    assert receiving.result(PATIENCE) == "after it"


def test_each_side_knows_whether_the_other_takes_files_and_offers_none_to_one_that_does_not(
    inbox: Path, photos: Path
) -> None:
    with connected(there={"into": inbox}) as (client, server):
        assert (client.takes_files, server.takes_files) == (True, False)
        with pytest.raises(RefusedByPeer, match="takes no files"):
            server.push(photos)  # though nobody receives there


def test_a_path_that_is_not_there(inbox: Path, tmp_path: Path) -> None:
    with connected(there={"into": inbox}) as (client, server):
        with pytest.raises(objxfer.ObjxferError, match="absent"):
            client.push(tmp_path / "absent")
        client.send("after it")
        assert server.recv(PATIENCE) == "after it"


def test_a_receiving_folder_that_is_not_there(tmp_path: Path, photos: Path) -> None:
    with connected(there={"into": tmp_path / "absent"}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        with pytest.raises(RefusedByPeer):
            client.push(photos)
        with pytest.raises(FileFailed):
            receiving.result(PATIENCE)
        client.send("after it")
        assert server.recv(PATIENCE) == "after it"


def test_a_stream(scheme: str, inbox: Path) -> None:
    contents = bytes(range(256)) * (LARGE // 256)
    reader, writer = os.pipe()
    with connected(scheme, there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        with open(reader, "rb") as stream, open(writer, "wb") as source:
            pushing = begin(client.push, stream, name="dump.sql")
            source.write(contents)
            source.close()
            report = pushing.result(PATIENCE)
        receiving.result(PATIENCE)
    assert report.exit_code == ExitCode.OK
    assert report.bytes == len(contents)
    assert (inbox / "dump.sql").read_bytes() == contents


def test_a_stream_needs_a_name(ends: Pair) -> None:
    with open(os.devnull, "rb") as stream, pytest.raises(ValueError, match="needs a name"):
        ends[0].push(stream)


def test_into_a_stream(tmp_path: Path, photos: Path) -> None:
    with open(tmp_path / "out", "wb") as out, connected(there={"into": out}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        assert client.push(photos / "large").exit_code == ExitCode.OK
        receiving.result(PATIENCE)
        receiving = begin(server.recv, PATIENCE)
        with pytest.raises(RefusedByPeer, match="a single file"):
            client.push([photos / "large", photos / "nothing"])
        with pytest.raises(NotAllowed, match="a single file"):
            receiving.result(PATIENCE)
    assert (tmp_path / "out").read_bytes() == (photos / "large").read_bytes()


@pytest.mark.parametrize("names", [["large", "nothing"], ["2026"]])
def test_nobody_is_asked_about_what_a_stream_cannot_take(
    tmp_path: Path, photos: Path, names: list[str]
) -> None:
    asked: list[Offer] = []
    with open(tmp_path / "out", "wb") as out, connected(there={"into": out}) as (client, server):
        receiving = begin(server.recv, PATIENCE, on_offer=lambda offer, _: asked.append(offer))
        with pytest.raises(RefusedByPeer, match="a single file"):
            client.push([photos / name for name in names], count=PATIENCE)
        with pytest.raises(NotAllowed, match="a single file"):
            receiving.result(PATIENCE)
        receiving = begin(server.recv, PATIENCE, on_offer=lambda offer, _: asked.append(offer))
        assert client.push(photos / "large", count=PATIENCE).exit_code == ExitCode.OK
        receiving.result(PATIENCE)
    assert [offer.tops for offer in asked] == [(b"large",)]


def test_an_unreadable_stream(inbox: Path) -> None:
    with connected(there={"into": inbox}) as (client, _), pytest.raises(io.UnsupportedOperation):
        client.push(io.BytesIO(b"no descriptor"), name="x")


@pytest.mark.parametrize("asked", ["skip", "fail", "replace", "rename"])
def test_what_lies_there_already(inbox: Path, photos: Path, asked: str) -> None:
    (inbox / "large").write_bytes(b"mine")
    with connected(there={"into": inbox, "if_exists": "replace"}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        report = client.push(photos / "large", if_exists=asked)
        receiving.result(PATIENCE)
    expected = {
        "skip": (Outcome.SKIPPED, ExitCode.OK),
        "fail": (Outcome.FAILED, ExitCode.REFUSED),
        "replace": (Outcome.REPLACED, ExitCode.OK),
        "rename": (Outcome.SENT, ExitCode.OK),
    }
    assert (list(report.outcomes), report.exit_code) == ([expected[asked][0]], expected[asked][1])
    assert ((inbox / "large").read_bytes() == b"mine") == (asked != "replace")
    if asked == "rename":
        assert report.kept_both[0].stored_as == b"large (1)"


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_cut_in_the_middle_of_a_tree(scheme: str, inbox: Path, photos: Path, who: str) -> None:
    with open(photos / "huge", "wb") as huge:
        huge.truncate(400 * LARGE)
    with connected(scheme, there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        pushing = begin(client.push, photos / "huge")
        while server._exchange.session.bytes_in < LARGE:
            assert not receiving.done()
        (client if who == "sender" else server).abandon()
        for future in (pushing, receiving):
            with pytest.raises(ConnectionLost):
                future.result(PATIENCE)
    assert landed(inbox) == []


def test_what_a_watcher_raises_ends_the_item(inbox: Path, photos: Path) -> None:
    def watch(_: EntryReport) -> None:
        raise LookupError

    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE, on_entry=watch)
        with pytest.raises(RefusedByPeer, match="LookupError at the other side"):
            client.push(photos)
        with pytest.raises(LookupError):
            receiving.result(PATIENCE)
        client.send("after it")
        assert server.recv(PATIENCE) == "after it"
    assert not [path for path in inbox.rglob("*") if path.name.startswith(".objxfer")]


def test_who_is_asked_may_refuse_in_their_own_words(inbox: Path, photos: Path) -> None:
    offers: list[Offer] = []

    def ask(offer: Offer, _: Callable[[], bool]) -> None:
        offers.append(offer)
        if len(offers) == 1:
            raise objxfer.ObjxferError("not today", exit_code=ExitCode.REFUSED)

    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE, on_offer=ask)
        with pytest.raises(RefusedByPeer, match="not today") as caught:
            client.push(photos, count=PATIENCE)
        assert caught.value.exit_code == ExitCode.REFUSED
        with pytest.raises(objxfer.ObjxferError, match="not today"):
            receiving.result(PATIENCE)
        assert list(inbox.iterdir()) == []
        receiving = begin(server.recv, PATIENCE, on_offer=ask)
        assert client.push(photos).exit_code == 0
        receiving.result(PATIENCE)
    counted, uncounted = offers
    assert counted.tops == (b"photos",)
    assert counted.total_files == 32
    assert counted.total_bytes == sum(one.stat().st_size for one in regular(photos))
    assert uncounted.total_files == UNKNOWN


def test_counting_ends_when_its_time_is_up(photos: Path) -> None:
    tops = scan.tops([photos])
    looks = iter([False] * 3 + [True])
    assert scan.totals(tops, over=lambda: next(looks)) is None


def regular(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()]


def test_a_question_is_withdrawn_when_the_peer_is_gone(inbox: Path, photos: Path) -> None:
    asked, withdrawn = threading.Event(), threading.Event()

    def ask(_: Offer, is_withdrawn: Callable[[], bool]) -> None:
        asked.set()
        while not is_withdrawn():
            withdrawn.wait(0.01)
        withdrawn.set()

    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE, on_offer=ask)
        pushing = begin(client.push, photos)
        assert asked.wait(PATIENCE)
        client.abandon()
        with pytest.raises(ConnectionLost):
            receiving.result(PATIENCE)
        assert withdrawn.is_set()
        with pytest.raises(ConnectionLost):
            pushing.result(PATIENCE)
    assert list(inbox.iterdir()) == []
