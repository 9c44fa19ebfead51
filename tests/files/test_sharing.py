"""What several deliveries read together is read once, and says what each of them was given."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from objxfer.errors import ExitCode, FileFailed
from objxfer.files import sharing, tee
from objxfer.files.digest import NODE
from objxfer.files.scan import Found, LeftOut, Top
from objxfer.files.sharing import SharedTree, TreeShare
from objxfer.files.source import SmallFile, Source
from objxfer.files.tee import SharedStream, StreamShare
from objxfer.files.tree import OwnTree
from objxfer.files.window import Window

NOWHERE = memoryview(b"")
LIMIT = 1000


class Made:
    """Counts how often each thing is made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count


class TestWindow:
    def test_what_one_makes_the_others_take(self) -> None:
        window, made = Window(3), Made()
        assert [window.take(member, "a", 1, made) for member in range(3)] == [1, 1, 1]

    def test_what_all_have_had_is_let_go(self) -> None:
        window, made = Window(2), Made()
        window.take(0, "a", 1, made)
        window.take(1, "a", 1, made)
        assert window.take(0, "a", 1, made) == 2

    def test_who_has_left_is_not_waited_for(self) -> None:
        window, made = Window(3), Made()
        window.take(0, "a", 1, made)
        window.leave(2)
        assert window.take(1, "a", 1, made) == 1
        window.take(0, "b", 1, made)
        window.leave(1)
        assert window.take(0, "b", 1, made) == 3

    def test_who_comes_more_than_once_says_when_that_was_all(self) -> None:
        window, made = Window(2), Made()
        for member in (0, 1, 0, 1):
            assert window.take(member, "a", 1, made, done=False) == 1
        window.done_with(0, "a")
        window.done_with(1, "a")
        assert window.take(0, "a", 1, made) == 2

    def test_who_is_too_far_behind_makes_it_again(self) -> None:
        window, made = Window(2, size=10), Made()
        for key in range(4):
            window.take(0, key, 4, made)
        assert window.take(1, 3, 4, made) == 4
        assert window.take(1, 0, 4, made) == 5

    def test_a_failure_is_told_to_who_made_it_alone(self) -> None:
        window, made = Window(2), Made()

        def fail() -> int:
            raise OSError("broken")

        with pytest.raises(OSError, match="broken"):
            window.take(0, "a", 1, fail)
        assert window.take(1, "a", 1, made) == 1

    @pytest.mark.parametrize("fails", [False, True])
    def test_who_comes_meanwhile_waits_for_it(self, *, fails: bool) -> None:
        window, made = Window(2), Made()
        begun, go_on = threading.Event(), threading.Event()

        def slowly() -> int:
            begun.set()
            go_on.wait(10)
            if fails:
                raise OSError("broken")
            return 100

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(window.take, 0, "a", 1, slowly)
            begun.wait(10)
            second = threads.submit(window.take, 1, "a", 1, made)
            go_on.set()
            assert second.result(10) == (1 if fails else 100)
            assert isinstance(first.exception(10), OSError) is fails


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(30):
        place = folder / str(number % 3)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02}.jpg").write_bytes(b"x" * number)
    (folder / "link").symlink_to("0")
    (folder / "outside").symlink_to("/etc/hostname")
    os.mkfifo(folder / "fifo")
    return folder


class Share(Protocol):
    """Returns the shares of so many in a tree."""

    def __call__(self, tree: OwnTree, members: int) -> Sequence[TreeShare]: ...


@pytest.fixture
def share() -> Iterator[Share]:
    """All of them leave when the test is over."""
    shared: list[TreeShare] = []

    def make(tree: OwnTree, members: int) -> Sequence[TreeShare]:
        shares = SharedTree(tree, members).shares
        shared.extend(shares)
        return shares

    yield make
    for each in shared:
        each.leave()


class CountingTree(OwnTree):
    """Counts the files that are read."""

    def __init__(self, paths: Sequence[Path], *, checksum: bool = False) -> None:
        self.now = time.time_ns()
        super().__init__(paths, lambda: self.now, checksum=checksum)
        self.walks = 0
        self.read: list[bytes] = []

    def begin(self) -> Sequence[Top]:
        self.walks += 1
        return super().begin()

    def small(self, batch: Sequence[Found], limit: int) -> Iterator[SmallFile | FileFailed | None]:
        self.read += [found.location for found in batch]
        return super().small(batch, limit)


def walked(share: TreeShare) -> list[Found | LeftOut]:
    share.begin()
    return [one._replace(group=0) if isinstance(one, Found) else one for one in share.entries()]


def begins(file: Source, at: int) -> bytes:
    piece = file.piece(at, NOWHERE)
    assert piece is not None
    return bytes(piece.contents[:1])


class TestTree:
    def test_a_walk_is_one_walk_to_all(self, folder: Path, share: Share) -> None:
        tree = CountingTree([folder])
        alone = CountingTree([folder])
        alone.begin()
        expected = list(alone.entries())
        shares = share(tree, 3)
        assert [walked(each) for each in shares] == [expected] * 3
        assert tree.walks == 1

    @pytest.mark.parametrize("checksum", [False, True])
    def test_who_is_far_behind_finds_what_was_found(
        self, folder: Path, share: Share, monkeypatch: pytest.MonkeyPatch, *, checksum: bool
    ) -> None:
        monkeypatch.setattr(sharing, "_STEP", 2)
        monkeypatch.setattr(sharing, "_STEP_SIZE", 30 * 2**20)
        first, last = share(CountingTree([folder], checksum=checksum), 2)
        assert walked(first) == walked(last) != []

    def test_who_begins_again_walks_again_and_who_comes_much_later(
        self, folder: Path, share: Share
    ) -> None:
        tree = CountingTree([folder])
        a, b, c = share(tree, 3)
        assert walked(a) == walked(b)
        (folder / "new.jpg").touch()
        found = walked(a)
        assert tree.walks == 2
        assert walked(b) == found
        assert tree.walks == 2
        tree.now += 61 * 10**9
        assert walked(c) == found
        assert tree.walks == 3

    def test_a_walk_that_cannot_go_on_ends_for_nobody_as_if_it_were_whole(
        self, folder: Path, share: Share, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "_STEP", 5)
        shares = share(CountingTree([folder]), 2)
        for each in shares:
            each.begin()
        ways = [each.entries() for each in shares]
        assert [len([next(way) for _ in range(5)]) for way in ways] == [5, 5]
        monkeypatch.setattr(sharing, "_packed", lambda _: (_ for _ in ()).throw(OSError("full")))
        for way in ways:
            with pytest.raises(OSError, match="full"):
                list(way)

    def test_files_are_read_by_the_first_that_wants_them(
        self, folder: Path, share: Share, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "_GROUP", 4)
        tree = CountingTree([folder])
        every, few = share(tree, 2)
        few.begin()
        every.begin()
        found = [one for one in every.entries() if isinstance(one, Found) and one.entry.size]
        some = found[3::2]
        of_few = list(few.small(some[:5], LIMIT)) + list(few.small(some[5:], LIMIT))
        of_every = list(every.small(found, LIMIT))
        assert of_every[3::2] == of_few
        assert [len(one.contents) for one in of_every if isinstance(one, SmallFile)] == [
            one.entry.size for one in found
        ]
        assert sorted(tree.read) == sorted(one.location for one in found)

    def test_what_cannot_be_read_is_told_to_each(self, folder: Path, share: Share) -> None:
        shares = share(CountingTree([folder]), 2)
        for each in shares:
            each.begin()
        found = [one for one in shares[0].entries() if isinstance(one, Found) and one.entry.size]
        os.unlink(found[0].location)
        for each in shares:
            failed, *others = each.small(found, 10)
            assert isinstance(failed, FileFailed)
            assert failed.exit_code == ExitCode.VANISHED
            assert others.count(None) == sum(one.entry.size > 10 for one in found[1:])

    def test_a_large_file_that_changes_between_two_readers(
        self, folder: Path, share: Share
    ) -> None:
        large = folder / "large"
        large.write_bytes(b"a" * NODE + b"b" * NODE)
        os.utime(large, ns=(10**18, 10**18))
        tree = OwnTree([large], time.time_ns)
        a, b, c = share(tree, 3)
        for each in (a, b, c):
            each.begin()
        (found,) = (one for one in a.entries() if isinstance(one, Found))
        early, late = a.open(found), b.open(found)
        assert [begins(early, at) for at in (0, NODE)] == [b"a", b"b"]
        assert not early.changed()
        assert late.piece(0, NOWHERE) == early.piece(0, NOWHERE)
        large.write_bytes(b"c" * (2 * NODE))
        assert late.changed()
        # Who opens it now gets what is there now, and it holds still.
        after = c.open(found)
        assert begins(after, 0) == b"c"
        assert not after.changed()
        for file in (early, late, after):
            file.close()


class Pipe:
    """A pipe of which several read one end."""

    def __init__(self, members: int) -> None:
        read, self.write = os.pipe()
        self._file = os.fdopen(read, "rb")
        self.shares = SharedStream(self._file, 1, members).shares

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def rest(share: StreamShare) -> bytes:
    """Read on to the end."""
    contents = b""
    while (piece := share.piece(0, NOWHERE)) is None or piece.contents:
        contents += bytes(piece.contents) if piece else b""
    return contents


class TestStream:
    def test_all_get_all_of_it(self) -> None:
        contents = os.urandom(5 * NODE // 2)
        with Pipe(3) as pipe, ThreadPoolExecutor(3) as threads:
            read = [threads.submit(rest, share) for share in pipe.shares]
            with os.fdopen(pipe.write, "wb") as end:
                end.write(contents)
            assert [each.result(30) for each in read] == [contents] * 3
            assert rest(pipe.shares[0]) == b""

    def test_while_nothing_comes_each_may_look_about(self) -> None:
        with Pipe(2) as pipe:
            os.write(pipe.write, b"half")
            assert [share.piece(0, NOWHERE) for share in pipe.shares] == [None, None]
            os.close(pipe.write)
            assert [rest(share) for share in pipe.shares] == [b"half", b"half"]

    def test_the_first_waits_for_the_last_until_that_goes_on_or_leaves(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tee, "_AHEAD", 2)
        with Pipe(2) as pipe, ThreadPoolExecutor(1) as threads:
            first, last = pipe.shares

            def write() -> None:
                with os.fdopen(pipe.write, "wb") as end:
                    end.write(bytes(5 * NODE))

            writing = threads.submit(write)
            ahead = [first.piece(0, NOWHERE) for _ in range(3)]
            assert [piece and len(piece.contents) for piece in ahead] == [NODE, NODE, None]
            assert last.piece(0, NOWHERE) is not None
            assert first.piece(0, NOWHERE) is not None
            assert first.piece(0, NOWHERE) is None
            last.leave()
            assert len(rest(first)) == 2 * NODE
            writing.result(30)

    def test_one_that_cannot_be_read_fails_for_each_behind_what_was_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Pipe(2) as pipe, ThreadPoolExecutor(1) as threads:
            a, b = pipe.shares
            threads.submit(os.write, pipe.write, bytes(NODE))
            while a.piece(0, NOWHERE) is None:
                pass

            def fail(*_: object) -> int:
                raise OSError(5, "Input/output error")

            os.write(pipe.write, b"x")
            monkeypatch.setattr(os, "readv", fail)
            for _ in range(2):
                with pytest.raises(FileFailed, match="input/output error"):
                    a.piece(0, NOWHERE)
            assert b.piece(0, NOWHERE) is not None
            with pytest.raises(FileFailed, match="input/output error"):
                b.piece(0, NOWHERE)
            os.close(pipe.write)
