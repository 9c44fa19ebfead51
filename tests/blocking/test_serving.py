"""The inbox that stays."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer.blocking.connection import Connection
from objxfer.blocking.serving import Server, Watcher, serve
from objxfer.errors import (
    ConnectionClosed,
    ConnectionLost,
    ExitCode,
    FileFailed,
    ObjxferError,
    RefusedByPeer,
    UnsafePath,
    WrongKey,
)
from objxfer.transfer.progress import Progress, Tally
from objxfer.transfer.report import EntryReport, Report
from support.connected import KEY, OTHER_KEY, PATIENCE, begin
from support.inbox import descriptors, landed
from support.wire import Wire


class Hearing(Watcher, Progress):
    """Notes all calls, in their order."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def refused(self, peer: str, error: ObjxferError) -> None:
        self.heard.put(("refused", peer, type(error)))

    def connected(self, delivery: int, connection: Connection) -> None:
        self.heard.put(("connected", delivery, connection.peer))

    def progress(self, delivery: int) -> Progress | None:
        return self

    def entry(self, delivery: int, entry: EntryReport) -> None:
        self.heard.put(("entry", delivery, entry.path))

    def delivered(self, delivery: int, _: Connection, report: Report) -> None:
        self.heard.put(("delivered", delivery, report.files))

    def failed(self, delivery: int, _: Connection, error: ObjxferError) -> None:
        self.heard.put(("failed", delivery, type(error)))

    def ended(self, delivery: int, _: Connection) -> None:
        self.heard.put(("ended", delivery))

    def begin(self, tally: Tally) -> None:
        self.heard.put(("begin",))

    def end(self, tally: Tally) -> None:
        self.heard.put(("end", tally.files_done))

    def next(self) -> tuple[Any, ...]:
        return self.heard.get(timeout=PATIENCE)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@contextmanager
def serving(
    inbox: Path, scheme: str = "tcp", watcher: Watcher | None = None, **terms: Any
) -> Iterator[Server]:
    with serve(inbox, f"{scheme}://127.0.0.1:0", key=KEY, watcher=watcher, **terms) as server:
        yield server


def test_a_delivery_as_the_watcher_hears_it(scheme: str, inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    watcher = Hearing()
    with serving(inbox, scheme, watcher) as server:
        assert server.key_id == KEY.id
        with objxfer.connect(server.url, key=KEY) as connection:
            for delivery in (1, 2):
                assert connection.push(tmp_path / "file").exit_code == ExitCode.OK
                assert [watcher.next() for _ in range(5)] == [
                    ("connected", delivery, "127.0.0.1"),
                    ("begin",),
                    ("entry", delivery, b"file"),
                    ("end", 1),
                    ("delivered", delivery, 1),
                ]
            assert watcher.next() == ("connected", 3, "127.0.0.1")
        assert watcher.next() == ("ended", 3)
    assert watcher.heard.empty()
    assert (inbox / "file").read_bytes() == b"contents"


def test_several_senders_at_once(scheme: str, inbox: Path, tmp_path: Path) -> None:
    for sender in range(6):
        folder = tmp_path / f"from {sender}"
        folder.mkdir()
        (folder / "large").write_bytes(bytes([sender]) * 2_500_000)
        for number in range(20):
            (folder / f"{number}").write_bytes(bytes([sender]) * number)
    with serving(inbox, scheme) as server:
        pushing = [
            begin(objxfer.push, tmp_path / f"from {sender}", to=server.url, key=KEY)
            for sender in range(6)
        ]
        for future in pushing:
            assert future.result(PATIENCE).exit_code == ExitCode.OK
    for sender in range(6):
        found = {path.name: path.read_bytes() for path in (inbox / f"from {sender}").iterdir()}
        assert len(found) == 21
        assert all(set(contents) <= {sender} for contents in found.values())
        assert len(found["large"]) == 2_500_000


def test_the_same_name_of_several_senders(inbox: Path, tmp_path: Path) -> None:
    for sender in range(5):
        (tmp_path / str(sender)).mkdir()
        (tmp_path / str(sender) / "file").write_bytes(bytes([sender]) * 300_000)
    with serving(inbox) as server:
        pushing = [
            begin(objxfer.push, tmp_path / str(sender) / "file", to=server.url, key=KEY)
            for sender in range(5)
        ]
        for future in pushing:
            assert future.result(PATIENCE).exit_code == ExitCode.OK
    found = {path.name: path.read_bytes() for path in inbox.iterdir()}
    assert set(found) == {"file", "file (1)", "file (2)", "file (3)", "file (4)"}
    assert {contents[:1] for contents in found.values()} == {bytes([one]) for one in range(5)}
    assert all(len(set(contents)) == 1 for contents in found.values())


def test_objects_are_not_taken(inbox: Path) -> None:
    with (
        serving(inbox) as server,
        objxfer.connect(server.url, key=KEY) as connection,
        pytest.raises(RefusedByPeer, match="accepts no objects"),
    ):
        connection.send(1)


def test_who_is_refused_and_who_fails(inbox: Path, tmp_path: Path) -> None:
    watcher = Hearing()
    with serving(inbox, watcher=watcher) as server:
        with Wire(server.url) as wire:
            wire.send(b"GET / HTTP/1.1\r\n\r\n")
            wire.rest()
        kind, peer, error = watcher.next()
        assert (kind, peer) == ("refused", "127.0.0.1")
        assert issubclass(error, ObjxferError)
        with pytest.raises(WrongKey):
            objxfer.connect(server.url, key=OTHER_KEY)
        assert watcher.next() == ("refused", "127.0.0.1", WrongKey)
        cut = objxfer.connect(server.url, key=KEY)
        assert watcher.next()[0] == "connected"
        cut.abandon()
        assert watcher.next() == ("failed", 1, ConnectionLost)
        (tmp_path / "file").write_bytes(b"")
        objxfer.push(tmp_path / "file", to=server.url, key=KEY)


def test_a_folder_of_the_url(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    with serving(inbox) as server:
        objxfer.push(tmp_path / "file", to=f"{server.url}/2026/may", key=KEY)
    assert (inbox / "2026" / "may" / "file").read_bytes() == b"contents"


def test_an_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFailed) as raised, serving(tmp_path / "absent"):
        pass
    assert "absent" in str(raised.value)


def test_no_key(inbox: Path) -> None:
    with pytest.raises(ObjxferError, match="no key") as raised:
        serve(inbox, "tcp://127.0.0.1:0")
    assert raised.value.exit_code == ExitCode.USAGE


def test_close_cuts_what_is_on_its_way(scheme: str, inbox: Path, tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as huge:
        huge.truncate(1 << 31)
    before = descriptors()
    watcher = Hearing()
    with serving(inbox, scheme, watcher) as server:
        idle = objxfer.connect(server.url, key=KEY)
        assert watcher.next()[0] == "connected"
        busy = objxfer.connect(server.url, key=KEY)
        pushing = begin(busy.push, tmp_path / "huge")
        while not os.listdir(inbox):
            assert not pushing.done()
        waiting = begin(server.wait)
    waiting.result(PATIENCE)
    with pytest.raises(ConnectionLost):
        pushing.result(PATIENCE)
    with pytest.raises(ConnectionLost):
        idle.recv(PATIENCE)
    assert landed(inbox) == []
    for connection in (idle, busy):
        connection.abandon()
    assert descriptors() == before
    server.close()


@contextmanager
def pushing(server: Server, watcher: Hearing) -> Iterator[tuple[Connection, Future[Report], int]]:
    """Give a connection, its delivery of a stream that has begun, and where to write that."""
    source, sink = os.pipe()
    with objxfer.connect(server.url, key=KEY) as connection, open(source, "rb") as stream:
        pushed = begin(connection.push, stream, name="stream")
        while watcher.next() != ("begin",):
            pass
        yield connection, pushed, sink


def test_a_delivery_may_come_to_its_end_and_no_other_begins(scheme: str, inbox: Path) -> None:
    watcher = Hearing()
    with serving(inbox, scheme, watcher) as server:
        idle = objxfer.connect(server.url, key=KEY)
        assert watcher.next() == ("connected", 1, "127.0.0.1")
        with pushing(server, watcher) as (busy, pushed, sink):
            closing = begin(server.close, drain=PATIENCE)
            with pytest.raises(ConnectionLost):
                idle.recv(PATIENCE)
            assert watcher.next() == ("ended", 1)
            os.write(sink, b"contents")
            os.close(sink)
            assert pushed.result(PATIENCE).exit_code == ExitCode.OK
            with pytest.raises(ConnectionClosed):
                busy.push(inbox)
        closing.result(PATIENCE)
        assert [watcher.next() for _ in range(3)] == [
            ("entry", 2, b"stream"),
            ("end", 1),
            ("delivered", 2, 1),
        ]
        assert watcher.heard.empty()
        idle.abandon()
    assert (inbox / "stream").read_bytes() == b"contents"


def test_nobody_is_waited_for_who_delivers_nothing(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    watcher = Hearing()
    with serving(inbox, watcher=watcher) as server:
        new = objxfer.connect(server.url, key=KEY)
        used = objxfer.connect(server.url, key=KEY)
        used.push(tmp_path / "file")
        while watcher.next()[:2] != ("connected", 3):
            pass
        closing = begin(server.close, drain=1e6)
        closing.result(PATIENCE)
        for idle in (new, used):
            with pytest.raises(ConnectionLost):
                idle.recv(PATIENCE)
            idle.abandon()


def test_what_is_not_through_in_time_is_cut(scheme: str, inbox: Path) -> None:
    watcher = Hearing()
    with (
        serving(inbox, scheme, watcher) as server,
        pushing(server, watcher) as (_, pushed, sink),
    ):
        server.close(drain=0.01)
        with pytest.raises(ConnectionLost):
            pushed.result(PATIENCE)
        assert [watcher.next() for _ in range(2)] == [("end", 0), ("failed", 1, ConnectionLost)]
        os.close(sink)
    assert not (inbox / "stream").exists()


def test_closing_once_more_cuts_what_is_left(inbox: Path) -> None:
    watcher = Hearing()
    with serving(inbox, watcher=watcher) as server, pushing(server, watcher) as (_, pushed, sink):
        closing = begin(server.close, drain=1e6)
        server.close()
        closing.result(PATIENCE)
        with pytest.raises(ConnectionLost):
            pushed.result(PATIENCE)
        os.close(sink)


def test_a_watcher_that_raises_ends_the_delivery_alone(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    raised = threading.Event()

    class Faulty(Watcher):
        def delivered(self, *_: object) -> None:
            if not raised.is_set():
                raised.set()
                raise LookupError("this program's own fault")

    unhandled: list[object] = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    with serving(inbox, watcher=Faulty()) as server:
        with objxfer.connect(server.url, key=KEY) as connection:
            connection.push(tmp_path / "file")
            with pytest.raises(ConnectionLost):
                connection.recv(PATIENCE)
        assert objxfer.push(tmp_path / "file", to=server.url, key=KEY).exit_code == ExitCode.OK
    assert len(unhandled) == 1


def test_a_delivery_that_is_refused_does_not_end_the_connection(
    scheme: str, inbox: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    watcher = Hearing()
    with (
        serving(inbox, scheme, watcher) as server,
        objxfer.connect(server.url, key=KEY) as connection,
    ):
        with pytest.raises(RefusedByPeer):
            connection.push(tmp_path / "file", into="../up")
        assert connection.push(tmp_path / "file").exit_code == ExitCode.OK
        heard = [watcher.next()]
        while heard[-1][0] != "delivered":
            heard.append(watcher.next())
    assert ("failed", 1, UnsafePath) in heard
    assert heard[-1] == ("delivered", 2, 1)
    assert (inbox / "file").read_bytes() == b"contents"


def test_no_thread_for_a_connection(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "objxfer-delivery":
            raise RuntimeError("can't start new thread")
        start(thread)

    with serving(inbox) as server:
        with monkeypatch.context() as faults:
            faults.setattr(threading.Thread, "start", fail)
            cut = objxfer.connect(server.url, key=KEY)
            with pytest.raises(ConnectionLost):
                cut.recv(PATIENCE)
            cut.abandon()
        assert objxfer.push(tmp_path / "file", to=server.url, key=KEY).exit_code == ExitCode.OK
    assert "can't start new thread" in caplog.text
