from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from objxfer.errors import ExitCode
from objxfer.files.entries import UNKNOWN_SIZE, Answer, Entry, IfExists, Kind, Verdict
from objxfer.files.judge import numbered
from objxfer.files.root import Quirks
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from support.inbox import MakeSink, file, packed

NAME = b"top/a.txt"
TIME = 10**18
ENTRY = Entry(NAME, Kind.FILE, 3, TIME, 0o644)


def lay(place: Path, contents: bytes = b"old", mtime_ns: int = TIME - 1) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(contents)
    os.utime(place, ns=(mtime_ns, mtime_ns))


def one(sink: Sink, entry: Entry = ENTRY) -> Verdict:
    (verdict,) = sink.judge([entry])
    return verdict


class TestNothingThere:
    def test_everything_is_wanted(self, sink: Sink, inbox: Path) -> None:
        assert one(sink).answer is Answer.WANTED
        (inbox / "top").mkdir()
        assert one(sink).answer is Answer.WANTED
        assert os.listdir(inbox / "top") == []

    def test_two_of_a_missing_folder(self, sink: Sink) -> None:
        other = Entry(b"top/b.txt", Kind.FILE, 3)
        assert [verdict.answer for verdict in sink.judge([ENTRY, other])] == [Answer.WANTED] * 2


@pytest.mark.parametrize("policy", IfExists)
def test_the_same_file_is_unchanged(make_sink: MakeSink, inbox: Path, policy: IfExists) -> None:
    lay(inbox / "top/a.txt", mtime_ns=TIME)
    assert one(make_sink(policy)) == Verdict(Answer.UNCHANGED)


@pytest.mark.parametrize(
    ("size", "mtime_ns"), [(4, TIME), (3, TIME + 1), (UNKNOWN_SIZE, TIME)], ids=str
)
def test_any_difference_makes_it_another(sink: Sink, inbox: Path, size: int, mtime_ns: int) -> None:
    lay(inbox / "top/a.txt", mtime_ns=TIME)
    assert one(sink, Entry(NAME, Kind.FILE, size, mtime_ns)).answer is Answer.WANTED


class TestPolicies:
    def test_fail(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert one(make_sink(IfExists.FAIL)) == Verdict(
            Answer.REFUSED, code=ExitCode.REFUSED, reason="top/a.txt exists"
        )

    def test_skip(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert one(make_sink(IfExists.SKIP)) == Verdict(Answer.SKIPPED, reason="exists")

    def test_replace(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert one(make_sink(IfExists.REPLACE)).answer is Answer.WANTED

    def test_rename_finds_the_copy_it_made_before(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert one(sink).answer is Answer.WANTED
        lay(inbox / "top/a (1).txt")
        assert one(sink).answer is Answer.WANTED
        lay(inbox / "top/a (2).txt", mtime_ns=TIME)
        assert one(sink) == Verdict(Answer.UNCHANGED, stored_as=b"top/a (2).txt")

    def test_rename_looks_past_what_is_no_file(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        (inbox / "top/a (1).txt").mkdir()
        os.mkfifo(inbox / "top/a (2).txt")
        assert one(sink).answer is Answer.WANTED

    def test_rename_ends_somewhere(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("objxfer.files.judge.COPIES", 2)
        for name in ("a.txt", "a (1).txt", "a (2).txt"):
            lay(inbox / "top" / name)
        assert one(sink).answer is Answer.REFUSED

    @pytest.mark.parametrize("allowed", IfExists)
    @pytest.mark.parametrize("asked", IfExists)
    def test_a_sender_may_ask_for_a_milder_one_only(
        self, make_sink: MakeSink, inbox: Path, allowed: IfExists, asked: IfExists
    ) -> None:
        lay(inbox / "top/a.txt")
        verdict = one(make_sink(allowed, asked=asked))
        if asked > allowed:
            reason = f"top/a.txt exists, and this receiver does not {asked.name.lower()}"
            assert verdict == Verdict(Answer.REFUSED, code=ExitCode.REFUSED, reason=reason)
        else:
            assert verdict == one(make_sink(asked))

    def test_what_is_not_there_yet_is_taken_whatever_was_asked_for(
        self, make_sink: MakeSink
    ) -> None:
        sink = make_sink(IfExists.FAIL, asked=IfExists.REPLACE)
        assert one(sink).answer is Answer.WANTED


class TestSomethingElseThere:
    @pytest.mark.parametrize("policy", IfExists)
    def test_a_folder(self, make_sink: MakeSink, inbox: Path, policy: IfExists) -> None:
        (inbox / "top/a.txt").mkdir(parents=True)
        verdict = one(make_sink(policy))
        assert verdict.answer is Answer.REFUSED
        assert verdict.reason == "top/a.txt: a folder is there"

    @pytest.mark.parametrize("thing", ["link", "dangling", "fifo"])
    def test_with_rename_the_file_goes_beside_it(
        self, sink: Sink, inbox: Path, outside: Path, thing: str
    ) -> None:
        put(inbox / "top/a.txt", thing, outside)
        assert one(sink).answer is Answer.WANTED

    @pytest.mark.parametrize(
        ("thing", "answer"),
        [
            ("link", Answer.WANTED),
            ("dangling", Answer.WANTED),
            ("fifo", Answer.REFUSED),
        ],
    )
    def test_replace_takes_the_place_of_links_only(
        self, make_sink: MakeSink, inbox: Path, outside: Path, thing: str, answer: Answer
    ) -> None:
        put(inbox / "top/a.txt", thing, outside)
        assert one(make_sink(IfExists.REPLACE)).answer is answer

    def test_a_link_to_an_equal_file_is_not_that_file(
        self, make_sink: MakeSink, inbox: Path
    ) -> None:
        lay(inbox / "equal", mtime_ns=TIME)
        put(inbox / "top/a.txt", "link", inbox / "equal")
        assert one(make_sink(IfExists.SKIP)).answer is Answer.SKIPPED

    def test_a_file_or_link_where_a_folder_should_be(
        self, sink: Sink, inbox: Path, outside: Path
    ) -> None:
        (inbox / "top").symlink_to(outside)
        assert one(sink).answer is Answer.REFUSED
        (inbox / "top").unlink()
        (inbox / "top").write_bytes(b"")
        assert one(sink).answer is Answer.REFUSED


def put(place: Path, thing: str, outside: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if thing == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(outside / ("absent" if thing == "dangling" else "file"))


class TestNames:
    def test_what_was_not_offered_is_refused(self, sink: Sink) -> None:
        verdict = one(sink, Entry(b"other/a", Kind.FILE, 1))
        assert verdict.answer is Answer.REFUSED
        assert verdict.code == ExitCode.REFUSED

    def test_an_unsafe_name_is_refused_and_the_rest_goes_on(self, sink: Sink) -> None:
        verdicts = sink.judge([Entry(b"top/../../x", Kind.FILE, 1), ENTRY])
        assert [verdict.answer for verdict in verdicts] == [Answer.REFUSED, Answer.WANTED]
        assert "top/../../x" in verdicts[0].reason

    def test_a_name_announced_twice_is_refused(self, sink: Sink) -> None:
        verdicts = sink.judge([ENTRY, ENTRY, Entry(b"top/A.txt", Kind.FILE, 3)])
        assert [verdict.answer for verdict in verdicts][:2] == [Answer.WANTED, Answer.REFUSED]

    def test_an_error_of_the_disk_is_the_entrys_own(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay(inbox / "top/b.txt", mtime_ns=TIME)
        look = os.stat

        def stat(name: bytes, **options: Any) -> os.stat_result:
            if name == b"a.txt":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return look(name, **options)

        monkeypatch.setattr(os, "stat", stat)
        verdicts = sink.judge([ENTRY, Entry(b"top/b.txt", Kind.FILE, 3, TIME)])
        assert verdicts == [
            Verdict(
                Answer.REFUSED,
                code=ExitCode.FAILED,
                reason="top/a.txt: input/output error",
            ),
            Verdict(Answer.UNCHANGED),
        ]


class TestFolding:
    """As on a file system that folds names, on one that does not: only the rules are shown."""

    @pytest.fixture
    def folding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        quirks = Quirks(case=True, forms=True, windows=True, grain_ns=2 * 10**9)
        monkeypatch.setattr("objxfer.files.root._probe", lambda *_: quirks)

    @pytest.mark.usefixtures("folding")
    def test_twins_are_refused(self, sink: Sink) -> None:
        twins = [Entry(name, Kind.FILE, 3) for name in (b"top/Stra\xc3\x9fe", b"top/STRASSE")]
        assert [verdict.answer for verdict in sink.judge(twins)] == [
            Answer.WANTED,
            Answer.REFUSED,
        ]

    @pytest.mark.usefixtures("folding")
    def test_names_that_mean_something_else_there_are_refused(self, sink: Sink) -> None:
        for name in (b"top/nul.txt", b"top/a.", b"top/a ", b"top/aux/x", b"top/a:b"):
            assert one(sink, Entry(name, Kind.FILE, 3)).answer is Answer.REFUSED

    @pytest.mark.usefixtures("folding")
    def test_coarse_times_still_make_it_unchanged(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt", mtime_ns=TIME)
        assert one(sink, Entry(NAME, Kind.FILE, 3, TIME + 10**9)).answer is Answer.UNCHANGED

    @pytest.mark.usefixtures("folding")
    def test_a_twin_that_lies_there_is_not_replaced(
        self, make_sink: MakeSink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay(inbox / "top/a.txt")
        sink = make_sink(IfExists.REPLACE)
        assert one(sink).answer is Answer.WANTED
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", lambda _: ["A.txt"])
            assert one(sink).answer is Answer.REFUSED


class TestSpace:
    def test_what_does_not_fit_is_refused_and_the_rest_goes_on(
        self, sink: Sink, inbox: Path
    ) -> None:
        disk = os.statvfs(inbox)
        free = disk.f_bavail * disk.f_frsize
        huge = Entry(b"top/huge", Kind.FILE, free + 2**40)
        verdicts = sink.judge([huge, ENTRY])
        assert [(verdict.answer, verdict.code) for verdict in verdicts] == [
            (Answer.REFUSED, ExitCode.PEER_NO_SPACE),
            (Answer.WANTED, ExitCode.OK),
        ]

    def test_promises_count_until_they_are_kept_or_given_up(self, sink: Sink, inbox: Path) -> None:
        disk = os.statvfs(inbox)
        share = disk.f_bavail * disk.f_frsize // 3 * 2
        first, second = (Entry(b"top/" + name, Kind.FILE, share) for name in (b"1", b"2"))
        assert one(sink, first).answer is Answer.WANTED
        assert one(sink, second).code == ExitCode.PEER_NO_SPACE
        sink.forgo(first)
        assert one(sink, second).answer is Answer.WANTED

    def test_what_a_file_on_its_way_has_yet_to_get_counts(self, sink: Sink, inbox: Path) -> None:
        disk = os.statvfs(inbox)
        share = disk.f_bavail * disk.f_frsize // 3 * 2
        first, second = (Entry(b"top/" + name, Kind.FILE, share) for name in (b"1", b"2"))
        assert one(sink, first).answer is Answer.WANTED
        part = sink.open(first)
        assert part.failure is None
        assert (inbox / "top").exists()
        assert one(sink, second).code == ExitCode.PEER_NO_SPACE
        part.discard()
        assert one(sink, second).answer is Answer.WANTED

    @pytest.mark.parametrize("announced", [400, 4])
    def test_a_promise_ends_as_large_as_it_was_made(
        self, sink: Sink, monkeypatch: pytest.MonkeyPatch, announced: int
    ) -> None:
        """However large the file is when it is read."""
        disk = os.statvfs_result((1, 1, 1000, 1000, 1000, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "fstatvfs", lambda _: disk)
        coming, waiting, more, last = (
            Entry(b"top/" + name, Kind.FILE, size)
            for name, size in [(b"1", announced), (b"2", 400), (b"3", 591), (b"4", 590)]
        )
        assert all(verdict.answer is Answer.WANTED for verdict in sink.judge([coming, waiting]))
        packed(sink, [file(coming.path, bytes(50))])
        assert one(sink, more).code == ExitCode.PEER_NO_SPACE
        assert one(sink, last).answer is Answer.WANTED

    def test_streams_are_taken_without_a_promise(self, sink: Sink) -> None:
        stream = Entry(b"top/stream", Kind.FILE, UNKNOWN_SIZE)
        assert one(sink, stream).answer is Answer.WANTED
        sink.forgo(stream)
        assert one(sink).answer is Answer.WANTED

    def test_a_file_system_that_does_not_say_is_believed_endless(
        self, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result((4096,) * 2 + (0,) * 8))
        assert one(sink, Entry(NAME, Kind.FILE, 2**60)).answer is Answer.WANTED

    def test_one_that_cannot_say_is_tried(
        self, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fstatvfs(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fstatvfs", fstatvfs)
        assert one(sink, Entry(NAME, Kind.FILE, 2**60)).answer is Answer.WANTED


class TestUnchangedIsDurable:
    def test_the_folders_above_are_flushed(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay(inbox / "top/a.txt", mtime_ns=TIME)
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
        assert one(sink).answer is Answer.UNCHANGED
        assert sorted(flushed) == sorted([inbox.stat().st_ino, (inbox / "top").stat().st_ino])

    @pytest.mark.parametrize(
        ("number", "answer"), [(errno.EIO, Answer.REFUSED), (errno.EINVAL, Answer.UNCHANGED)]
    )
    def test_a_failed_flush_is_said(
        self,
        sink: Sink,
        inbox: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        answer: Answer,
    ) -> None:
        lay(inbox / "top/a.txt", mtime_ns=TIME)

        def fsync(fd: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)
        assert one(sink).answer is answer


class TestNumberedNames:
    @pytest.mark.parametrize(
        ("name", "first"),
        [
            (b"a.txt", b"a (1).txt"),
            (b"a", b"a (1)"),
            (b".bashrc", b".bashrc (1)"),
            (b"a.tar.gz", b"a.tar (1).gz"),
            (b"a.", b"a (1)."),
            (b"a (1).txt", b"a (1) (1).txt"),
            (b"\xff.\xfe", b"\xff (1).\xfe"),
        ],
    )
    def test_the_number_goes_before_the_ending(self, name: bytes, first: bytes) -> None:
        assert next(numbered(name, 255)) == first

    @pytest.mark.parametrize(
        "name",
        [
            b"x" * 255,
            b"x" * 251 + b".txt",
            b"a." + b"e" * 253,
            "ü".encode() * 127,
            "😀".encode() * 62 + b".jpeg",
            b"\x80" * 255,
        ],
        ids=ascii,
    )
    def test_the_stem_gives_way_by_whole_characters(self, name: bytes) -> None:
        first, second = next(numbered(name, 255)), list(numbered(name, 255))[1]
        assert len(first) <= 255
        assert first != second
        assert b" (1)" in first
        if name != b"\x80" * 255:
            first.decode()

    def test_a_lowered_limit_counts(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/abcdefgh")
        lay(inbox / "top/abcd (1)", mtime_ns=TIME)
        sink = make_sink(limits=Limits(name=8))
        verdict = one(sink, Entry(b"top/abcdefgh", Kind.FILE, 3, TIME))
        assert verdict == Verdict(Answer.UNCHANGED, stored_as=b"top/abcd (1)")
