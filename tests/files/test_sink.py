from __future__ import annotations

import errno
import io
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from objxfer.errors import ExitCode
from objxfer.files.digest import NODE, file_digest, node_digest, node_digests
from objxfer.files.entries import UNKNOWN_SIZE, Action, Answer, Entry, IfExists, Kind, Receipt
from objxfer.files.root import Quirks, Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from support.inbox import MakeSink, Row, corpus, file, landed, packed
from support.partials import partials

TIME = 10**18


@pytest.fixture
def umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def failing(number: int) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def lay(place: Path, contents: bytes = b"old", mtime_ns: int = TIME - 1) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(contents)
    os.utime(place, ns=(mtime_ns, mtime_ns))


def pack(sink: Sink, path: bytes = b"top/a.txt", contents: bytes = b"new") -> Receipt:
    (receipt,) = packed(sink, [file(path, contents)])
    return receipt


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


class TestCorpus:
    """Each name of the corpus is sent as file, as link and as folder."""

    @pytest.mark.parametrize("row", corpus(), ids=lambda row: ascii(row.name[:40]))
    def test_a_name_goes_where_it_says_or_nowhere(
        self, make_sink: MakeSink, inbox: Path, row: Row
    ) -> None:
        sink = make_sink(tops=(row.name.split(b"/")[0], b"target"))
        kinds = {
            "file": file(row.name).entry,
            "folder": Entry(row.name, Kind.FOLDER, mode=0o755, mtime_ns=TIME),
            "link": Entry(row.name, Kind.LINK, target=b"../" * row.name.count(b"/") + b"target"),
        }
        verdict = sink.judge([kinds["file"]])[0]
        if not row.ok:
            receipts = [
                packed(sink, [file(row.name)])[0],
                sink.links([kinds["link"]])[0],
                sink.folders([kinds["folder"]])[0],
            ]
            assert verdict.answer is Answer.REFUSED
            for receipt in receipts:
                assert (receipt.action, receipt.code) == (Action.FAILED, ExitCode.REFUSED)
                assert receipt.reason.isprintable()
                assert len(receipt.reason.encode()) <= 1024
            assert landed(inbox) == []
            return
        assert verdict.answer is Answer.WANTED
        receipt = packed(sink, [file(row.name)])[0]
        if receipt.action is Action.FAILED:
            pytest.skip(f"this file system does not take it: {receipt.reason}")
        assert receipt.action is Action.RECEIVED
        assert receipt.stored_as == b""
        assert read(inbox, row.name) == b"new"
        assert sink.judge([kinds["file"]])[0].answer is Answer.UNCHANGED


def read(inbox: Path, path: bytes) -> bytes:
    """Read below the inbox step by step: some paths are too long to be said at once."""
    fd = os.open(inbox, os.O_RDONLY)
    for name in path.split(b"/"):
        below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    with os.fdopen(fd, "rb") as found:
        return found.read()


class TestPack:
    def test_a_file_with_all_that_is_kept_of_it(self, sink: Sink, inbox: Path, umask: int) -> None:
        (receipt,) = packed(sink, [file(b"top/deep/a.txt", b"abc", TIME + 1, 0o6751)])
        assert receipt == Receipt(Action.RECEIVED, 3, file_digest(b"abc"), durable=True)
        status = (inbox / "top/deep/a.txt").stat()
        assert (inbox / "top/deep/a.txt").read_bytes() == b"abc"
        assert status.st_mtime_ns == TIME + 1
        assert stat.S_IMODE(status.st_mode) == 0o751 & ~umask
        assert status.st_nlink == 1

    @pytest.mark.parametrize("contents", [b"", b"x", b"x" * (NODE + 1)], ids=len)
    def test_any_size(self, sink: Sink, inbox: Path, contents: bytes) -> None:
        assert pack(sink, contents=contents).digest == file_digest(contents)
        assert (inbox / "top/a.txt").read_bytes() == contents

    def test_more_than_a_group_in_many_folders(self, sink: Sink, inbox: Path) -> None:
        files = [file(b"top/%d/%d" % (n % 170, n), b"%d" % n) for n in range(450)]
        receipts = packed(sink, files)
        assert [receipt.digest for receipt in receipts] == [
            file_digest(each.contents) for each in files
        ]
        assert len([path for path in (inbox / "top").rglob("*") if path.is_file()]) == 450

    @pytest.mark.parametrize("time", [0, -1, -(2**63), 2**63 - 1, 15_021_000_000 * 10**9, 2**200])
    def test_no_time_fails_a_file(self, sink: Sink, time: int) -> None:
        assert packed(sink, [file(b"top/a", mtime_ns=time)])[0].action is Action.RECEIVED

    def test_one_that_fails_fails_alone(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/way")
        receipts = packed(sink, [file(b"top/a"), file(b"top/way/b"), file(b"top/c")])
        assert [receipt.action for receipt in receipts] == [
            Action.RECEIVED,
            Action.FAILED,
            Action.RECEIVED,
        ]
        assert names(inbox / "top") == ["a", "c", "way"]

    def test_contents_of_another_length_fail_the_file(self, sink: Sink, inbox: Path) -> None:
        short = file(b"top/a", b"abc")
        short = type(short)(short.entry, b"ab")
        (receipt,) = packed(sink, [short])
        assert receipt.code == ExitCode.INTEGRITY
        assert names(inbox / "top") == []

    def test_nothing_is_packed_into_nothing(self, sink: Sink) -> None:
        assert packed(sink, []) == []


class TestUmask:
    """The mask is the process's, whichever way the system tells it."""

    @pytest.mark.parametrize("told", [True, False])
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
    def test_it_is_taken_from_every_mode_and_left_as_it_was(
        self,
        make_sink: MakeSink,
        inbox: Path,
        monkeypatch: pytest.MonkeyPatch,
        mask: int,
        *,
        told: bool,
    ) -> None:
        before = os.umask(mask)
        try:
            with monkeypatch.context() as patch:
                if not told:
                    patch.setattr("objxfer.files.sink.open", failing(errno.ENOENT), raising=False)
                sink = make_sink()
            assert pack(sink).action is Action.RECEIVED
            sink.folders([folder(b"top", 0o777)])
        finally:
            assert os.umask(before) == mask
        assert stat.S_IMODE((inbox / "top/a.txt").stat().st_mode) == 0o644 & ~mask
        assert stat.S_IMODE((inbox / "top").stat().st_mode) == 0o777 & ~mask

    def test_an_old_kernel_does_not_tell_it(
        self, make_sink: MakeSink, inbox: Path, umask: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            told = io.BytesIO(b"Name:\tx\n")
            patch.setattr("objxfer.files.sink.open", lambda *_: told, raising=False)
            sink = make_sink()
        pack(sink)
        assert stat.S_IMODE((inbox / "top/a.txt").stat().st_mode) == 0o644 & ~umask


class TestPolicies:
    @pytest.mark.parametrize("policy", IfExists)
    def test_one_that_came_in_between_and_is_the_same(
        self, make_sink: MakeSink, inbox: Path, policy: IfExists
    ) -> None:
        lay(inbox / "top/a.txt", b"new", TIME)
        receipt = pack(make_sink(policy))
        assert receipt == Receipt(Action.UNCHANGED, durable=True)
        assert names(inbox / "top") == ["a.txt"]

    def test_rename_keeps_both(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        receipt = pack(sink)
        assert (receipt.action, receipt.stored_as) == (Action.RECEIVED, b"top/a (1).txt")
        assert (inbox / "top/a.txt").read_bytes() == b"old"
        assert (inbox / "top/a (1).txt").read_bytes() == b"new"

    def test_sending_twice_makes_no_second_copy(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        again = Receipt(Action.UNCHANGED, durable=True, stored_as=b"top/a (1).txt")
        assert [pack(sink) for _ in range(3)][1:] == [again, again]
        assert names(inbox / "top") == ["a (1).txt", "a.txt"]

    def test_rename_counts_on(self, sink: Sink, inbox: Path) -> None:
        for name in ("a.txt", "a (1).txt", "a (2).txt"):
            lay(inbox / "top" / name)
        assert pack(sink).stored_as == b"top/a (3).txt"

    def test_rename_ends_somewhere(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("objxfer.files.judge.COPIES", 1)
        for name in ("a.txt", "a (1).txt"):
            lay(inbox / "top" / name)
        assert pack(sink).code == ExitCode.FAILED
        assert names(inbox / "top") == ["a (1).txt", "a.txt"]

    def test_replace(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        receipt = pack(make_sink(IfExists.REPLACE))
        assert receipt == Receipt(Action.REPLACED, 3, file_digest(b"new"), durable=True)
        assert (inbox / "top/a.txt").read_bytes() == b"new"

    def test_replace_where_nothing_is(self, make_sink: MakeSink) -> None:
        assert pack(make_sink(IfExists.REPLACE)).action is Action.RECEIVED

    def test_skip(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert pack(make_sink(IfExists.SKIP)) == Receipt(Action.SKIPPED, reason="exists")
        assert (inbox / "top/a.txt").read_bytes() == b"old"

    def test_fail(self, make_sink: MakeSink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        receipt = pack(make_sink(IfExists.FAIL))
        assert (receipt.action, receipt.code) == (Action.FAILED, ExitCode.REFUSED)
        assert (inbox / "top/a.txt").read_bytes() == b"old"

    @pytest.mark.parametrize("policy", IfExists)
    def test_a_folder_is_never_replaced(
        self, make_sink: MakeSink, inbox: Path, policy: IfExists
    ) -> None:
        (inbox / "top/a.txt").mkdir(parents=True)
        assert pack(make_sink(policy)).code == ExitCode.REFUSED
        assert names(inbox / "top") == ["a.txt"]

    @pytest.mark.parametrize("policy", IfExists)
    def test_a_link_is_never_written_through(
        self, make_sink: MakeSink, inbox: Path, outside: Path, policy: IfExists
    ) -> None:
        (inbox / "top").mkdir()
        (inbox / "top/a.txt").symlink_to(outside / "file")
        receipt = pack(make_sink(policy))
        replaced = policy is IfExists.REPLACE
        assert (receipt.action is Action.REPLACED) is replaced
        assert (inbox / "top/a.txt").is_symlink() is not replaced
        assert (inbox / "top/a (1).txt").exists() is (policy is IfExists.RENAME)

    def test_a_fifo_is_neither_replaced_nor_waited_for(
        self, make_sink: MakeSink, inbox: Path
    ) -> None:
        (inbox / "top").mkdir()
        os.mkfifo(inbox / "top/a.txt")
        assert pack(make_sink(IfExists.REPLACE)).code == ExitCode.REFUSED
        assert pack(make_sink(IfExists.RENAME)).stored_as == b"top/a (1).txt"

    def test_one_that_vanishes_while_it_is_looked_at_is_no_obstacle(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay(inbox / "top/a.txt")
        link = os.link

        def link_after_all(*names: object, **options: object) -> None:
            try:
                link(*names, **options)  # type: ignore[arg-type] # passed through
            except FileExistsError:
                (inbox / "top/a.txt").unlink()
                raise

        monkeypatch.setattr(os, "link", link_after_all)
        assert pack(sink) == Receipt(Action.RECEIVED, 3, file_digest(b"new"), durable=True)


class TestPart:
    def test_a_file_comes_piece_by_piece(self, sink: Sink, inbox: Path) -> None:
        contents = b"x" * (NODE + 7)
        entry = file(b"top/large", contents).entry
        part = sink.open(entry)
        for index, piece in enumerate((contents[:NODE], contents[NODE:])):
            part.put(index, piece, node_digest(piece))
        assert names(inbox / "top") != ["large"]
        part.finish(len(contents), TIME, 0o600)
        assert sink.publish() == [
            (entry, Receipt(Action.RECEIVED, len(contents), file_digest(contents), durable=True))
        ]
        assert (inbox / "top/large").read_bytes() == contents
        assert sink.publish() == []

    def test_a_shorter_file_than_was_reserved_for(self, sink: Sink, inbox: Path) -> None:
        announced = Entry(b"top/large", Kind.FILE, 20 * NODE, TIME)
        part = sink.open(announced)
        part.put(0, b"short", node_digest(b"short"))
        part.finish(5, TIME, 0o600)
        ((entry, receipt),) = sink.publish()
        assert entry is announced
        assert receipt.size == 5
        assert (inbox / "top/large").read_bytes() == b"short"

    def test_a_stream_is_never_taken_for_what_is_there(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/stream", b"new", TIME)
        part = sink.open(Entry(b"top/stream", Kind.FILE, UNKNOWN_SIZE))
        part.put(0, b"new", node_digest(b"new"))
        part.finish(3, TIME, 0o600)
        ((_, receipt),) = sink.publish()
        assert receipt.stored_as == b"top/stream (1)"

    def test_unfinished_ones_wait_for_another_time(self, sink: Sink, inbox: Path) -> None:
        first, second = sink.open(file(b"top/1").entry), sink.open(file(b"top/2", b"").entry)
        second.finish(0, TIME, 0o600)
        assert [entry.path for entry, _ in sink.publish()] == [b"top/2"]
        first.put(0, b"new", node_digest(b"new"))
        first.finish(3, TIME, 0o600)
        assert [entry.path for entry, _ in sink.publish()] == [b"top/1"]

    def test_a_discarded_one_leaves_nothing(self, sink: Sink, inbox: Path) -> None:
        part = sink.open(file(b"top/a").entry)
        part.put(0, b"new", node_digest(b"new"))
        part.finish(3, TIME, 0o600)
        part.discard()
        part.discard()
        assert sink.publish() == []
        assert names(inbox / "top") == []

    def test_closing_removes_what_was_not_published(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        lay(inbox / "top/.objxfer-of-another")
        sink.open(file(b"top/a.txt").entry).put(0, b"ne", node_digest(b"ne"))
        sink.open(file(b"top/b.txt", b"").entry).finish(0, TIME, 0o600)
        sink.close()
        sink.close()
        assert names(inbox / "top") == [".objxfer-of-another", "a.txt"]
        assert (inbox / "top/a.txt").read_bytes() == b"old"
        (inbox / "top/.objxfer-of-another").unlink()

    def test_one_that_cannot_begin_says_so_and_takes_no_harm(self, sink: Sink) -> None:
        part = sink.open(Entry(b"top/../x", Kind.FILE, 3))
        assert part.failure is not None
        part.put(0, b"new", node_digest(b"new"))
        part.finish(3, TIME, 0o600)
        ((_, receipt),) = sink.publish()
        assert receipt.code == ExitCode.REFUSED


class TestFailures:
    """What was there stays, nothing of ours is left, and the receipt says what happened."""

    def refuse(self, sink: Sink, inbox: Path, code: ExitCode, reason: str) -> None:
        lay(inbox / "top/a.txt")
        receipt = pack(sink)
        assert receipt == Receipt(Action.FAILED, code=code, reason=reason)
        assert names(inbox / "top") == ["a.txt"]
        assert (inbox / "top/a.txt").read_bytes() == b"old"

    @pytest.mark.parametrize("call", ["pwrite", "fchmod", "utime", "fsync", "rename"])
    @pytest.mark.parametrize(
        ("number", "code"),
        [
            (errno.EIO, ExitCode.FAILED),
            (errno.ENOSPC, ExitCode.PEER_NO_SPACE),
            (errno.EDQUOT, ExitCode.PEER_NO_SPACE),
            (errno.ESTALE, ExitCode.FAILED),
        ],
    )
    def test_any_call_may_fail(
        self,
        make_sink: MakeSink,
        root: Root,
        inbox: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        code: ExitCode,
    ) -> None:
        assert root.quirks.grain_ns  # probed before the disk fails
        sink = make_sink(IfExists.REPLACE)
        lay(inbox / "top/a.txt")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(number))
            receipt = pack(sink)
        assert receipt == Receipt(Action.FAILED, code=code, reason=os.strerror(number).lower())
        assert names(inbox / "top") == ["a.txt"]
        assert (inbox / "top/a.txt").read_bytes() == b"old"

    def test_a_file_whose_flush_failed_is_not_flushed_again(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def fsync(fd: int) -> None:
            calls.append(stat.S_ISREG(os.fstat(fd).st_mode))
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", fsync)
        assert pack(sink).action is Action.FAILED
        assert calls.count(True) == 1
        assert names(inbox / "top") == []

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
    def test_a_file_system_that_cannot_flush_is_said(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(number))
        receipt = pack(sink)
        assert receipt == Receipt(Action.RECEIVED, 3, file_digest(b"new"), durable=False)
        assert sink.folders([Entry(b"top", Kind.FOLDER, mode=0o700)])[0].durable is False

    @pytest.mark.parametrize(
        ("number", "action", "durable"),
        [(errno.EIO, Action.FAILED, False), (errno.EINVAL, Action.RECEIVED, False)],
    )
    def test_a_folder_that_cannot_be_flushed_takes_the_receipt_back(
        self,
        sink: Sink,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        action: Action,
        *,
        durable: bool,
    ) -> None:
        fsync = os.fsync

        def files_only(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(number, os.strerror(number))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", files_only)
        receipt = pack(sink)
        assert (receipt.action, receipt.durable) == (action, durable)

    def test_a_limit_on_the_size_of_files(self, sink: Sink, inbox: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        lay(inbox / "top/a.txt")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            receipts = packed(sink, [file(b"top/a.txt", b"x" * 100_001), file(b"top/small")])
            part = sink.open(file(b"top/large", b"x" * (20 * NODE)).entry)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [receipt.action for receipt in receipts] == [Action.FAILED, Action.RECEIVED]
        assert receipts[0].reason == "file too large"
        assert part.failure is not None
        assert names(inbox / "top") == ["a.txt", "small"]

    def test_a_full_disk(self, tmp_path: Path) -> None:
        mount = tmp_path / "mount"
        mount.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small file system can be mounted by root only")
        try:
            with Root(mount) as root:
                sink = Sink(
                    root,
                    partials(root),
                    tops=[b"top"],
                    if_exists=IfExists.REPLACE,
                    asked=None,
                    limits=Limits(),
                )
                lay(mount / "top/a.txt")
                receipts = packed(sink, [file(b"top/a.txt", b"x" * 2_000_000), file(b"top/small")])
                part = sink.open(file(b"top/large", b"x" * (20 * NODE)).entry)
                sink.close()
            assert [receipt.code for receipt in receipts] == [
                ExitCode.PEER_NO_SPACE,
                ExitCode.OK,
            ]
            assert part.failure is not None
            assert part.failure.code == ExitCode.PEER_NO_SPACE
            assert names(mount / "top") == ["a.txt", "small"]
            assert (mount / "top/a.txt").read_bytes() == b"old"
        finally:
            subprocess.run(["umount", str(mount)], check=True)

    def test_a_folder_that_cannot_be_written(self, sink: Sink, inbox: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        lay(inbox / "top/x")
        os.chmod(inbox / "top", 0o500)
        receipt = pack(sink)
        os.chmod(inbox / "top", 0o700)
        assert (receipt.code, receipt.reason) == (ExitCode.FAILED, "permission denied")

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="nothing to reserve with")
    def test_a_file_system_that_reserves_nothing_is_none_the_worse(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
        contents = b"x" * (9 * NODE)
        part = sink.open(file(b"top/large", contents).entry)
        for index, node in enumerate(node_digests(contents)):
            part.put(index, contents[index * NODE : (index + 1) * NODE], node)
        part.finish(len(contents), TIME, 0o600)
        assert sink.publish()[0][1].action is Action.RECEIVED

    @pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 2])
    def test_a_size_that_no_file_can_have_fails_that_file(self, sink: Sink, size: int) -> None:
        (verdict,) = sink.judge([Entry(b"top/large", Kind.FILE, size)])
        assert verdict.code is ExitCode.PEER_NO_SPACE
        assert packed(sink, [file(b"top/small")])[0].action is Action.RECEIVED

    def test_writes_may_be_short(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:2], at))
        assert pack(sink, contents=b"seven..").action is Action.RECEIVED
        assert (inbox / "top/a.txt").read_bytes() == b"seven.."

    def test_a_temporary_name_that_cannot_be_removed_harms_nobody(
        self, sink: Sink, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert root.quirks.grain_ns  # probed before the disk fails
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", failing(errno.EIO))
            assert pack(sink).action is Action.RECEIVED
        for left in (inbox / "top").glob(".objxfer*"):
            left.unlink()

    def test_contents_that_are_lost_at_the_very_end_fail_the_file(
        self, sink: Sink, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Network file systems may tell of a full disk only when a file is closed."""
        assert root.quirks.grain_ns
        (inbox / "top").mkdir()
        close = os.close

        def close_files_badly(fd: int) -> None:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            close(fd)
            if regular:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close_files_badly)
            receipt = pack(sink)
            sink.open(file(b"top/b").entry).discard()
        assert receipt.code == ExitCode.PEER_NO_SPACE
        assert names(inbox / "top") == []

    def test_a_file_system_without_permission_bits(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("objxfer.files.root._probe", lambda *_: Quirks(modes=False))
        monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
        assert pack(sink).action is Action.RECEIVED
        assert sink.folders([folder(b"top")])[0].action is Action.RECEIVED
        assert sink.folders([folder(b"top")])[0].action is Action.UNCHANGED


class TestWithoutHardLinks:
    @pytest.fixture(autouse=True, params=[errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
    def no_links(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        if not sys.platform.startswith("linux"):
            pytest.skip("needs renameat2")
        monkeypatch.setattr(os, "link", failing(request.param))

    def test_files_are_named_all_the_same(self, sink: Sink, inbox: Path) -> None:
        assert pack(sink).action is Action.RECEIVED
        assert names(inbox / "top") == ["a.txt"]

    def test_and_nothing_is_replaced(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/a.txt")
        assert pack(sink).stored_as == b"top/a (1).txt"
        assert (inbox / "top/a.txt").read_bytes() == b"old"

    def test_where_that_is_unknown_too_the_file_fails(
        self, sink: Sink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("objxfer.files.exclusive._RENAME_NOREPLACE", 1 << 30)
        receipt = pack(sink)
        assert receipt.action is Action.FAILED
        assert "neither link nor rename" in receipt.reason
        assert names(inbox / "top") == []

    def test_a_system_without_the_call(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ctypes.CDLL", lambda *_args, **_options: object())
        assert "cannot rename without replacing" in pack(sink).reason


def link(path: bytes = b"top/link", target: bytes = b"a.txt") -> Entry:
    return Entry(path, Kind.LINK, 0, TIME, 0o777, target)


class TestLinks:
    def test_one_is_made_and_then_unchanged(self, sink: Sink, inbox: Path) -> None:
        assert sink.links([link()]) == [Receipt(Action.RECEIVED, durable=True)]
        assert os.readlink(inbox / "top/link") == "a.txt"
        assert (inbox / "top/link").lstat().st_mtime_ns == TIME
        assert sink.links([link()]) == [Receipt(Action.UNCHANGED, durable=True)]

    @pytest.mark.parametrize(
        "target", [b"/etc/passwd", b"../..", b"../unsent", b"a/../../x", b"", b"a\0b", b"a\nb"]
    )
    def test_one_that_leads_out_is_refused(self, sink: Sink, inbox: Path, target: bytes) -> None:
        assert sink.links([link(target=target)])[0].code == ExitCode.REFUSED
        assert names(inbox) == []

    def test_they_are_not_followed_by_what_comes_after(self, sink: Sink, inbox: Path) -> None:
        (inbox / "top/real").mkdir(parents=True)
        sink.links([link(target=b"real")])
        assert pack(sink, b"top/link/x").code == ExitCode.REFUSED
        assert sink.folders([Entry(b"top/link", Kind.FOLDER)])[0].code == ExitCode.REFUSED
        assert names(inbox / "top/real") == []

    @pytest.mark.parametrize(
        ("policy", "action", "stored_as", "lies"),
        [
            (IfExists.FAIL, Action.FAILED, b"", "other"),
            (IfExists.SKIP, Action.SKIPPED, b"", "other"),
            (IfExists.RENAME, Action.RECEIVED, b"top/link (1)", "other"),
            (IfExists.REPLACE, Action.REPLACED, b"", "a.txt"),
        ],
    )
    def test_another_link_there(
        self,
        make_sink: MakeSink,
        inbox: Path,
        policy: IfExists,
        action: Action,
        stored_as: bytes,
        lies: str,
    ) -> None:
        (inbox / "top").mkdir()
        (inbox / "top/link").symlink_to("other")
        (receipt,) = make_sink(policy).links([link()])
        assert (receipt.action, receipt.stored_as) == (action, stored_as)
        assert os.readlink(inbox / "top/link") == lies

    def test_a_numbered_one_is_found_again(self, sink: Sink, inbox: Path) -> None:
        lay(inbox / "top/link")
        assert sink.links([link()])[0].action is Action.RECEIVED
        (receipt,) = sink.links([link()])
        assert receipt == Receipt(Action.UNCHANGED, durable=True, stored_as=b"top/link (1)")

    def test_a_file_there_is_replaced_where_that_is_allowed(
        self, make_sink: MakeSink, inbox: Path
    ) -> None:
        lay(inbox / "top/link")
        assert make_sink(IfExists.REPLACE).links([link()])[0].action is Action.REPLACED

    def test_a_folder_there_never_is(self, make_sink: MakeSink, inbox: Path) -> None:
        (inbox / "top/link").mkdir(parents=True)
        (receipt,) = make_sink(IfExists.REPLACE).links([link()])
        assert receipt.code == ExitCode.REFUSED

    def test_a_failed_replacement_leaves_what_was(
        self, make_sink: MakeSink, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay(inbox / "top/link")
        monkeypatch.setattr(os, "rename", failing(errno.EIO))
        (receipt,) = make_sink(IfExists.REPLACE).links([link()])
        assert receipt.action is Action.FAILED
        assert names(inbox / "top") == ["link"]


def folder(path: bytes, mode: int = 0o755, mtime_ns: int = TIME) -> Entry:
    return Entry(path, Kind.FOLDER, 0, mtime_ns, mode)


class TestFolders:
    def test_they_are_dressed_last(self, sink: Sink, inbox: Path, umask: int) -> None:
        pack(sink, b"top/a/x")
        receipts = sink.folders([folder(b"top/a", 0o6775), folder(b"top", 0o700, TIME + 5)])
        assert receipts == [Receipt(Action.RECEIVED, durable=True)] * 2
        for place, mode, time in (("top/a", 0o775 & ~umask, TIME), ("top", 0o700, TIME + 5)):
            status = (inbox / place).stat()
            assert stat.S_IMODE(status.st_mode) & 0o777 == mode
            assert status.st_mtime_ns == time

    def test_empty_ones_are_made(self, sink: Sink, inbox: Path) -> None:
        sink.folders([folder(b"top/a/empty"), folder(b"top/a"), folder(b"top")])
        assert (inbox / "top/a/empty").is_dir()

    def test_equal_ones_are_unchanged(self, sink: Sink) -> None:
        sink.folders([folder(b"top")])
        assert sink.folders([folder(b"top")]) == [Receipt(Action.UNCHANGED, durable=True)]

    def test_a_new_time_alone_changes_no_mode(self, sink: Sink, inbox: Path) -> None:
        sink.folders([folder(b"top")])
        assert sink.folders([folder(b"top", mtime_ns=TIME + 1)])[0].action is Action.RECEIVED
        assert (inbox / "top").stat().st_mtime_ns == TIME + 1

    def test_bits_of_their_own_stay(self, sink: Sink, inbox: Path) -> None:
        (inbox / "top").mkdir()
        os.chmod(inbox / "top", 0o1700)
        sink.folders([folder(b"top", 0o755)])
        assert (inbox / "top").stat().st_mode & 0o1000

    @pytest.mark.parametrize("thing", ["file", "link", "fifo"])
    def test_something_else_there_is_refused(
        self, sink: Sink, inbox: Path, outside: Path, thing: str
    ) -> None:
        if thing == "file":
            (inbox / "top").write_bytes(b"")
        elif thing == "link":
            (inbox / "top").symlink_to(outside)
        else:
            os.mkfifo(inbox / "top")
        assert sink.folders([folder(b"top")])[0].code == ExitCode.REFUSED

    def test_until_then_they_are_closed_to_others(self, sink: Sink, inbox: Path) -> None:
        pack(sink, b"top/a/x")
        assert stat.S_IMODE((inbox / "top/a").stat().st_mode) & 0o777 == 0o700


class TestRaces:
    """Somebody with a hand in the inbox tries to lead the receiver astray."""

    @pytest.fixture
    def swapped(self, inbox: Path, outside: Path) -> Callable[[], None]:
        def swap() -> None:
            (inbox / "top").rename(inbox / "aside")
            (inbox / "top").symlink_to(outside)

        return swap

    def test_a_parent_swapped_before_the_contents(
        self, sink: Sink, inbox: Path, swapped: Callable[[], None]
    ) -> None:
        lay(inbox / "top/a.txt")
        assert sink.judge([file(b"top/a.txt").entry])[0].answer is Answer.WANTED
        swapped()
        assert pack(sink).code == ExitCode.REFUSED
        assert names(inbox / "aside") == ["a.txt"]
        assert pack(sink).code == ExitCode.REFUSED

    def test_a_parent_swapped_before_the_name(
        self, sink: Sink, inbox: Path, swapped: Callable[[], None]
    ) -> None:
        part = sink.open(file(b"top/a.txt", b"").entry)
        part.finish(0, TIME, 0o600)
        swapped()
        ((_, receipt),) = sink.publish()
        assert receipt.code == ExitCode.REFUSED
        assert names(inbox / "aside") == []

    def test_a_parent_swapped_before_links_and_folders(
        self, sink: Sink, inbox: Path, swapped: Callable[[], None]
    ) -> None:
        pack(sink, b"top/a/x")
        sink.links([link(b"top/a/link")])
        swapped()
        assert sink.links([link(b"top/a/other")])[0].code == ExitCode.REFUSED
        assert sink.folders([folder(b"top/a"), folder(b"top")])[0].code == ExitCode.REFUSED
        assert names(inbox / "aside/a") == ["link", "x"]
