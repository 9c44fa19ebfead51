from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from objxfer.errors import ExitCode, FileFailed, ObjxferError
from objxfer.files import scan as scanning
from objxfer.files.entries import Entry, Kind
from objxfer.files.scan import Found, LeftOut, Top, files, scan, tops, totals


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def tree(source: Path, *paths: str) -> None:
    """Make files; a path that ends in a slash is a folder."""
    for path in paths:
        place = source / path
        if path.endswith("/"):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.encode())


def entries(source: Path, *, copy_links: bool = False) -> list[Entry]:
    return [
        step.entry
        for step in scan(tops([source]), copy_links=copy_links)
        if isinstance(step, Found)
    ]


def left_out(source: Path, *, copy_links: bool = False) -> dict[bytes, tuple[str, ExitCode]]:
    return {
        step.path: (step.reason, step.code)
        for step in scan(tops([source]), copy_links=copy_links)
        if isinstance(step, LeftOut)
    }


def paths(source: Path, *, copy_links: bool = False) -> list[bytes]:
    return [entry.path for entry in entries(source, copy_links=copy_links)]


class TestTops:
    def test_a_path_lands_under_its_last_name(self, source: Path) -> None:
        tree(source, "a/b.txt")
        place = os.fsencode(source)
        assert tops([source / "a" / "b.txt"]) == [Top(b"b.txt", place + b"/a/b.txt")]
        assert tops([place + b"/a"]) == [Top(b"a", place + b"/a")]

    def test_slashes_behind_it_change_nothing(self, source: Path) -> None:
        assert tops([f"{source}///"]) == tops([source])

    def test_dots_stand_for_the_real_name(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree(source, "a/b/")
        monkeypatch.chdir(source / "a")
        assert [top.name for top in tops(["."])] == [b"a"]
        assert [top.name for top in tops([".."])] == [b"source"]
        assert [top.name for top in tops(["b/.."])] == [b"a"]
        assert [top.name for top in tops(["./b"])] == [b"b"]

    def test_a_link_is_followed_and_keeps_its_own_name(self, source: Path) -> None:
        tree(source, "real/x")
        (source / "link").symlink_to("real")
        (source / "file").symlink_to("real/x")
        found = list(scan(tops([source / "link", source / "file"])))
        assert [step.entry.path for step in found if isinstance(step, Found)] == [
            b"link/x",
            b"file",
            b"link",
        ]

    def test_one_without_a_name_is_an_error_of_usage(self) -> None:
        with pytest.raises(ObjxferError) as failure:
            tops(["/"])
        assert failure.value.exit_code == ExitCode.USAGE

    def test_two_of_one_name_are_an_error_of_usage(self, source: Path) -> None:
        tree(source, "a/x", "b/x")
        with pytest.raises(ObjxferError, match=r"a/x and .*b/x would both land under x") as failure:
            tops([source / "a/x", source / "b/x"])
        assert failure.value.exit_code == ExitCode.USAGE

    def test_an_absent_one_is_named_escaped(self, source: Path) -> None:
        with pytest.raises(FileFailed, match=r"absent\\x1b: no such file") as failure:
            tops([source / "absent\x1b"])
        assert failure.value.exit_code == ExitCode.INCOMPLETE

    def test_our_own_names_cannot_be_sent(self, source: Path) -> None:
        tree(source, ".objxfer-1")
        with pytest.raises(ObjxferError) as failure:
            tops([source / ".objxfer-1"])
        assert failure.value.exit_code == ExitCode.USAGE


class TestOrder:
    def test_files_alone_come_in_the_same_order(self, source: Path) -> None:
        tree(source, "b/c/3", "b/2", "a", "empty/")
        (source / "out").symlink_to("/")
        os.mkfifo(source / "fifo")
        found = list(files(tops([source])))
        assert [one.entry for one in found if isinstance(one, Found)] == [
            entry for entry in entries(source) if entry.kind is Kind.FILE
        ]
        assert [one.path for one in found if isinstance(one, LeftOut)] == [b"source/fifo"]

    def test_files_then_links_then_folders_children_first(self, source: Path) -> None:
        tree(source, "b/c/3", "b/2", "a", "d/4", "empty/")
        (source / "b" / "link").symlink_to("2")
        assert paths(source) == [
            b"source/a",
            b"source/b/2",
            b"source/b/c/3",
            b"source/d/4",
            b"source/b/link",
            b"source/b/c",
            b"source/b",
            b"source/d",
            b"source/empty",
            b"source",
        ]

    def test_folders_larger_than_a_run_are_found_whole(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scanning, "_SLAB", 3)
        names = [f"{number:02}" for number in range(10)]
        tree(source, *names)
        assert sorted(paths(source)) == sorted(
            [b"source", *(b"source/" + name.encode() for name in names)]
        )

    def test_what_waits_on_disk_comes_back_as_it_was(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree(source, "a/b/c/", "d/")
        for number in range(20):
            (source / f"link{number:02}").symlink_to("a/b")
        held = list(scan(tops([source])))
        monkeypatch.setattr(scanning, "_SPOOL", 1)
        assert list(scan(tops([source]))) == held

    def test_metadata(self, source: Path) -> None:
        tree(source, "file")
        os.chmod(source / "file", 0o4751)
        os.utime(source / "file", ns=(0, -5))
        os.chmod(source, 0o700)
        os.utime(source, ns=(0, 123_456_789))
        assert entries(source) == [
            Entry(b"source/file", Kind.FILE, 4, -5, 0o751),
            Entry(b"source", Kind.FOLDER, 0, 123_456_789, 0o700),
        ]

    def test_a_time_beyond_64_bits_is_clamped(self, source: Path) -> None:
        tree(source, "file")
        os.utime(source / "file", (0, 15_000_000_000))
        if (source / "file").stat().st_mtime_ns < 2**63:
            pytest.skip("this file system keeps no such time")
        assert entries(source)[0].mtime_ns == 2**63 - 1

    def test_names_that_are_not_utf8_are_carried(self, source: Path) -> None:
        try:
            (Path(os.fsdecode(os.fsencode(source) + b"/\xff\xfe"))).write_bytes(b"")
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
        assert paths(source) == [b"source/\xff\xfe", b"source"]

    def test_totals_count_what_is_found(self, source: Path) -> None:
        tree(source, "a", "b/cc", "e/")
        (source / "link").symlink_to("a")
        assert totals(tops([source])) == (2, 5)
        assert totals(tops([source]), copy_links=True) == (3, 6)


class TestLinks:
    def test_those_that_stay_inside_are_kept_as_links(self, source: Path) -> None:
        tree(source, "a/b/x", "c")
        (source / "a" / "b" / "up").symlink_to("../../c")
        (source / "a" / "down").symlink_to("b/x")
        (source / "a" / "dangling").symlink_to("nothing")
        targets = {entry.path: entry.target for entry in entries(source) if entry.target}
        assert targets == {
            b"source/a/b/up": b"../../c",
            b"source/a/down": b"b/x",
            b"source/a/dangling": b"nothing",
        }
        assert left_out(source) == {}

    @pytest.mark.parametrize("target", ["/etc/passwd", "..", "../outside", "a/../a", "a/../../x"])
    def test_those_that_leave_are_left_out(self, source: Path, target: str) -> None:
        tree(source, "a/x")
        (source / "link").symlink_to(target)
        assert left_out(source) == {
            b"source/link": ("link leaves what is sent", ExitCode.INCOMPLETE)
        }

    def test_from_one_top_to_another_is_inside(self, source: Path) -> None:
        tree(source, "a/x", "b/y")
        (source / "a" / "link").symlink_to("../b/y")
        found = scan(tops([source / "a", source / "b"]))
        assert not [step for step in found if isinstance(step, LeftOut)]

    def test_copied_ones_are_what_they_lead_to(self, source: Path, tmp_path: Path) -> None:
        tree(tmp_path, "elsewhere/deep/file")
        tree(source, "x")
        (source / "to-file").symlink_to("x")
        (source / "to-folder").symlink_to(tmp_path / "elsewhere")
        assert paths(source, copy_links=True) == [
            b"source/to-file",
            b"source/to-folder/deep/file",
            b"source/x",
            b"source/to-folder/deep",
            b"source/to-folder",
            b"source",
        ]

    def test_copied_ones_that_lead_back_or_nowhere_are_left_out(self, source: Path) -> None:
        tree(source, "a/x")
        (source / "a" / "around").symlink_to("..")
        (source / "a" / "itself").symlink_to("itself")
        (source / "nowhere").symlink_to("absent")
        assert left_out(source, copy_links=True) == {
            b"source/a/around": ("link leads back to a folder around it", ExitCode.INCOMPLETE),
            b"source/a/itself": ("link leads nowhere", ExitCode.INCOMPLETE),
            b"source/nowhere": ("link leads nowhere", ExitCode.INCOMPLETE),
        }
        assert b"source/a/x" in paths(source, copy_links=True)


class TestLeftOut:
    def test_what_is_no_file_is_left_out_without_fault(self, source: Path) -> None:
        os.mkfifo(source / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(source / "socket"))
            assert left_out(source) == {
                b"source/fifo": ("is a FIFO", ExitCode.OK),
                b"source/socket": ("is a socket", ExitCode.OK),
            }

    def test_a_device_named_by_hand_too(self) -> None:
        assert list(scan(tops(["/dev/null"]))) == [LeftOut(b"null", "is a device", ExitCode.OK)]

    def test_our_own_names_are_left_out(self, source: Path) -> None:
        tree(source, ".objxfer-1/x", ".OBJXFER", "x")
        assert left_out(source) == {
            b"source/.objxfer-1": ("is objxfer's own", ExitCode.OK),
            b"source/.OBJXFER": ("is objxfer's own", ExitCode.OK),
        }

    def test_a_listing_that_fails_is_never_an_empty_folder(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree(source, "bad/x", "good/y")
        scandir = os.scandir

        def scandir_badly(place: bytes) -> object:
            if place.endswith(b"/bad"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return scandir(place)

        monkeypatch.setattr(os, "scandir", scandir_badly)
        assert left_out(source) == {b"source/bad": ("input/output error", ExitCode.INCOMPLETE)}
        assert b"source/bad" not in paths(source)
        assert b"source/good/y" in paths(source)

    def test_a_link_that_vanishes_before_it_is_read_is_said(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (source / "link").symlink_to("x")

        def readlink(place: bytes) -> bytes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        monkeypatch.setattr(os, "readlink", readlink)
        assert left_out(source) == {b"source/link": ("vanished", ExitCode.VANISHED)}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_closed_folder_is_never_an_empty_one(self, source: Path) -> None:
        tree(source, "closed/x", "open/y")
        os.chmod(source / "closed", 0)
        try:
            assert left_out(source) == {
                b"source/closed": ("permission denied", ExitCode.INCOMPLETE)
            }
            assert b"source/closed" not in paths(source)
            assert b"source/open/y" in paths(source)
        finally:
            os.chmod(source / "closed", 0o700)

    def test_what_vanishes_during_the_walk_is_said(self, source: Path) -> None:
        tree(source, "a", "b/x", "c", "d/", "e")
        (source / "link").symlink_to("e")
        walk = scan(tops([source]))
        assert isinstance(next(walk), Found)
        for path in ("b/x", "c", "e", "link"):
            (source / path).unlink()
        (source / "b").rmdir()
        rest = list(walk)
        assert {step.path: step.code for step in rest if isinstance(step, LeftOut)} == {
            b"source/b": ExitCode.VANISHED,
            b"source/c": ExitCode.VANISHED,
            b"source/e": ExitCode.VANISHED,
            b"source/link": ExitCode.VANISHED,
        }
        assert [step.entry.path for step in rest if isinstance(step, Found)] == [
            b"source/d",
            b"source",
        ]

    def test_a_top_that_vanishes_is_said(self, source: Path) -> None:
        named = tops([source])
        source.rmdir()
        assert list(scan(named)) == [LeftOut(b"source", "vanished", ExitCode.VANISHED)]
