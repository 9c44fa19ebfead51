from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from objxfer.errors import FileFailed, ObjxferError, UnsafePath
from objxfer.files.paths import SafePath, safe_path
from objxfer.files.root import Quirks, Root
from objxfer.limits import Limits
from support.inbox import descriptors


def safe(path: str) -> SafePath:
    return safe_path(path.encode(), Limits())


def failing(number: int) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class TestOpening:
    def test_the_operators_own_path_may_be_a_link(self, inbox: Path, tmp_path: Path) -> None:
        link = tmp_path / "source"
        link.symlink_to(inbox)
        with Root(link) as root:
            root.folder(safe("made"), create=True)
        assert (inbox / "made").is_dir()

    @pytest.mark.parametrize("name", ["absent", "file"])
    def test_it_must_be_a_folder(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(FileFailed, match="cannot receive into"):
            Root(tmp_path / name)

    def test_systems_without_descriptors_of_folders_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "supports_dir_fd", set())
        with pytest.raises(ObjxferError, match="cannot be received on this system"):
            Root(tmp_path)

    def test_closing_twice_does_nothing(self, tmp_path: Path) -> None:
        root = Root(tmp_path)
        root.folder(safe("a/b"), create=True)
        root.close()
        root.close()


class TestWalking:
    def test_missing_folders_are_made_closed_to_others(self, root: Root, inbox: Path) -> None:
        folder = root.parent(safe("a/b/file"), create=True)
        assert os.path.samestat(os.fstat(folder.fd), (inbox / "a" / "b").stat())
        assert (inbox / "a").stat().st_mode & 0o777 == 0o700
        assert (inbox / "a" / "b").stat().st_mode & 0o777 == 0o700

    def test_missing_folders_are_not_made_unasked(self, root: Root, inbox: Path) -> None:
        with pytest.raises(FileNotFoundError):
            root.parent(safe("a/file"), create=False)
        assert os.listdir(inbox) == []

    def test_the_parent_of_a_top_is_the_root(self, root: Root) -> None:
        assert root.parent(safe("file"), create=False).fd == root.fd

    @pytest.mark.parametrize("path", ["way/x", "way/deep/x", "a/way/x"])
    @pytest.mark.parametrize("create", [True, False])
    def test_no_link_is_ever_followed(
        self, root: Root, inbox: Path, outside: Path, path: str, *, create: bool
    ) -> None:
        (inbox / "a").mkdir()
        (inbox / "way").symlink_to(outside)
        (inbox / "a" / "way").symlink_to("../../outside")
        with pytest.raises(UnsafePath, match="no folder"):
            root.parent(safe(path), create=create)

    def test_links_inside_are_not_followed_either(self, root: Root, inbox: Path) -> None:
        (inbox / "real").mkdir()
        (inbox / "way").symlink_to("real")
        with pytest.raises(UnsafePath):
            root.folder(safe("way"), create=True)

    @pytest.mark.parametrize("kind", ["file", "fifo"])
    def test_something_else_in_the_way_is_refused(self, root: Root, inbox: Path, kind: str) -> None:
        (inbox / "way").write_bytes(b"") if kind == "file" else os.mkfifo(inbox / "way")
        with pytest.raises(UnsafePath):
            root.parent(safe("way/x"), create=True)

    def test_errors_of_the_disk_come_as_they_are(self, root: Root, inbox: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        os.chmod(inbox, 0o500)
        with pytest.raises(PermissionError):
            root.folder(safe("a"), create=True)
        os.chmod(inbox, 0o700)


class TestDescriptors:
    def test_only_so_many_are_kept(self, root: Root) -> None:
        before = descriptors()
        for number in range(1000):
            root.folder(safe(f"folder{number}"), create=True)
        root.flush()
        assert descriptors() - before <= 130

    def test_held_ones_stay_open(self, root: Root) -> None:
        held = root.folder(safe("held/below"), create=True)
        root.hold(held)
        for number in range(300):
            root.folder(safe(f"folder{number}"), create=True)
        os.fstat(held.fd)
        root.release(held)

    def test_more_than_are_kept_can_be_held(self, root: Root) -> None:
        held = [root.folder(safe(f"folder{number}"), create=True) for number in range(100)]
        for folder in held:
            root.hold(folder)
        more = []
        for number in range(100):
            more.append(root.folder(safe(f"more{number}"), create=True))
            root.hold(more[-1])
        for folder in held + more:
            os.fstat(folder.fd)
            root.release(folder)


class TestMoved:
    def test_a_folder_that_stays_is_not(self, root: Root) -> None:
        folder = root.folder(safe("a/b"), create=True)
        assert root.moved((folder, root.parent(safe("x"), create=False))) == set()

    def test_one_that_was_replaced_is_and_is_walked_afresh(
        self, root: Root, inbox: Path, outside: Path
    ) -> None:
        folder = root.folder(safe("a/b"), create=True)
        (inbox / "a").rename(inbox / "aside")
        (inbox / "a").symlink_to(outside)
        assert folder in root.moved((folder,))
        with pytest.raises(UnsafePath):
            root.folder(safe("a/b"), create=True)
        (inbox / "a").unlink()
        assert root.moved((root.folder(safe("a/b"), create=True),)) == set()

    def test_one_that_was_removed_is(self, root: Root, inbox: Path) -> None:
        folder = root.folder(safe("a"), create=True)
        (inbox / "a").rmdir()
        assert root.moved((folder,)) == {folder}

    def test_a_held_one_can_still_be_released(self, root: Root, inbox: Path) -> None:
        folder = root.folder(safe("a"), create=True)
        root.flush()
        root.hold(folder)
        (inbox / "a").rmdir()
        assert root.moved((folder,)) == {folder}
        os.fstat(folder.fd)
        root.release(folder)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(folder.fd)


class TestFlushing:
    def test_a_new_folders_parents_are_flushed(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
        root.touch_chain(root.folder(safe("a/b/c"), create=True))
        root.flush()
        places = [inbox, inbox / "a", inbox / "a/b", inbox / "a/b/c"]
        assert sorted(flushed) == sorted(place.stat().st_ino for place in places)
        root.flush()
        assert len(flushed) == 4

    def test_folders_that_lay_there_are_flushed_too(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (inbox / "a" / "b").mkdir(parents=True)
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
        root.touch_chain(root.folder(safe("a/b"), create=False))
        root.flush()
        assert len(flushed) == 3

    def test_a_failed_flush_is_remembered_for_all_below(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = root.folder(safe("a/bad"), create=True)
        root.flush()
        assert root.unflushed(b"a/bad/file") is None
        root.touch(bad)

        def fsync(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            root.flush()
        root.touch(bad)
        root.flush()
        error = root.unflushed(b"a/bad/deep/file")
        assert error is not None
        assert error.errno == errno.EIO
        assert root.unflushed(b"a/file") is None

    def test_a_chain_that_broke_is_taken_up_again(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (inbox / "a" / "b").mkdir(parents=True)
        folder = root.folder(safe("a/b"), create=False)
        root.hold(folder)
        for number in range(200):  # so that "a" is not held open any more
            root.folder(safe(f"folder{number}"), create=True)
        root.flush()
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing(errno.EIO))
            with pytest.raises(OSError, match="Input/output"):
                root.touch_chain(folder)
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
        root.touch_chain(folder)
        root.flush()
        root.release(folder)
        assert (inbox / "a").stat().st_ino in flushed

    def test_what_waits_for_a_flush_is_bounded(self, root: Root) -> None:
        before = descriptors()
        for number in range(300):
            root.touch(root.folder(safe(f"folder{number}"), create=True))
        assert descriptors() - before <= 260
        root.flush()


class TestBelow:
    def test_a_folder_is_made_as_the_umask_says(self, root: Root, inbox: Path) -> None:
        with root.below(safe("2026/may")) as below:
            below.folder(safe("x"), create=True)
            assert root.fd != below.fd
        assert (inbox / "2026" / "may" / "x").is_dir()
        mask = os.umask(0o077)
        os.umask(mask)
        assert (inbox / "2026").stat().st_mode & 0o777 == 0o777 & ~mask

    def test_one_that_exists_is_used(self, root: Root, inbox: Path) -> None:
        (inbox / "there").mkdir()
        root.below(safe("there")).close()

    def test_a_link_is_refused(self, root: Root, inbox: Path, outside: Path) -> None:
        (inbox / "way").symlink_to(outside)
        with pytest.raises(UnsafePath):
            root.below(safe("way"))
        with pytest.raises(UnsafePath):
            root.below(safe("way/below"))

    def test_errors_of_the_disk_are_said(self, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(FileFailed, match="input/output error"):
            root.below(safe("new/deep"))

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
    def test_one_that_cannot_be_flushed_is_used(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(number))
        root.below(safe("new/deep")).close()
        assert (inbox / "new" / "deep").is_dir()


class TestQuirks:
    def test_a_probe_leaves_nothing(self, root: Root, inbox: Path) -> None:
        assert root.quirks is root.quirks
        assert os.listdir(inbox) == []

    def test_a_folder_that_cannot_be_written_has_none(self, tmp_path: Path) -> None:
        if not os.path.isdir("/proc/self"):
            pytest.skip("no /proc here")
        with Root("/proc/self") as root:
            assert root.quirks == Quirks()

    def test_a_file_system_like_that_of_windows_is_found_out(
        self, root: Root, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = os.stat

        def fold(name: str) -> str:
            return unicodedata.normalize("NFC", name.casefold()).rstrip(". ")

        def stat(name: bytes, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
            for there in os.listdir(dir_fd):
                if fold(there) == fold(name.decode()):
                    return look(there, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        utime = os.utime

        def utime_in_twos(fd: int, *, ns: tuple[int, int]) -> None:
            seconds = ns[1] // 2_000_000_000 * 2
            utime(fd, (seconds, seconds))

        def fchmod(fd: int, mode: int) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", stat)
            patch.setattr(os, "utime", utime_in_twos)
            patch.setattr(os, "fchmod", fchmod)
            assert root.quirks == Quirks(
                case=True, forms=True, windows=True, modes=False, grain_ns=2_000_000_000
            )
        assert os.listdir(inbox) == []
        root.takes(safe("plain"))
        with pytest.raises(UnsafePath, match="no name for this file system"):
            root.takes(safe("nul.txt"))

    def test_case_is_folded_as_people_do(self) -> None:
        quirks = Quirks(case=True)
        assert quirks.folded("a/GRÜN".encode()) == quirks.folded("A/gru\u0308n".encode())
        assert quirks.folded("straße".encode()) == quirks.folded(b"STRASSE")
        assert quirks.folded(b"a\xff") == quirks.folded(b"A\xff")
        assert quirks.folded(b"a") != quirks.folded(b"b")

    def test_forms_are_folded_without_case(self) -> None:
        quirks = Quirks(forms=True)
        assert quirks.folded("\u00e9".encode()) == quirks.folded("e\u0301".encode())
        assert quirks.folded(b"a") != quirks.folded(b"A")

    def test_nothing_is_folded_where_names_are_bytes(self) -> None:
        assert Quirks().folded(b"\xffA") == b"\xffA"

    def test_times_are_compared_as_coarsely_as_they_are_kept(self) -> None:
        assert Quirks(grain_ns=2_000_000_000).same_time(10**18, 10**18 + 1_999_999_999)
        assert not Quirks(grain_ns=2_000_000_000).same_time(10**18, 10**18 + 2_000_000_000)
        assert not Quirks().same_time(1, 2)
