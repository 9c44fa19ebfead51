from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path

import pytest

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.digest import file_digest
from objxfer.files.source import SmallFile, SourceFile, read_small
from objxfer.limits import MIB
from support.inbox import descriptors

YEARS_AGO = 10**18


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "file"


def small(place: Path, *, limit: int = 100, follow: bool = False) -> SmallFile | None:
    return read_small(os.fsencode(place), limit, time.time_ns(), follow=follow)


def source(place: Path, *, follow: bool = False) -> SourceFile:
    return SourceFile(os.fsencode(place), time.time_ns(), follow=follow)


def whole(file: SourceFile, at_once: int = 3, at: int = 0) -> bytes:
    contents = b""
    buffer = memoryview(bytearray(at_once))
    while count := file.read_into(buffer, at + len(contents)):
        contents += buffer[:count]
    return contents


@pytest.mark.parametrize("contents", [b"", b"x", b"x" * 100])
def test_a_file_that_holds_still(place: Path, contents: bytes) -> None:
    place.write_bytes(contents)
    os.chmod(place, 0o4640)
    os.utime(place, ns=(YEARS_AGO, YEARS_AGO))
    found = small(place)
    assert found == SmallFile(
        contents, YEARS_AGO, 0o640, changed=False, digest=file_digest(contents)
    )
    assert found.size == len(contents)
    with source(place) as file:
        assert (file.size, file.mtime_ns, file.mode) == (len(contents), YEARS_AGO, 0o640)
        assert whole(file) == contents
        assert not file.changed()


def test_one_beyond_the_limit_is_left_to_the_other_way(place: Path) -> None:
    place.write_bytes(b"x" * 101)
    assert small(place) is None


def test_a_growing_file_is_read_to_its_first_size_and_flagged(place: Path) -> None:
    place.write_bytes(b"first")
    with source(place) as file:
        with place.open("ab") as more:
            more.write(b" and more")
        assert whole(file) == b"first"
        assert file.changed()


def test_a_shrinking_file_is_flagged_and_never_padded(place: Path) -> None:
    place.write_bytes(b"abcdef")
    with source(place) as file:
        assert file.read_into(memoryview(bytearray(2)), 0) == 2
        os.truncate(place, 3)
        assert whole(file, at=2) == b"c"
        assert file.changed()


def test_a_change_of_equal_size_is_flagged(place: Path) -> None:
    place.write_bytes(b"abc")
    with source(place) as file:
        assert file.read_into(memoryview(bytearray(3)), 0) == 3
        place.write_bytes(b"xyz")
        os.utime(place, ns=(file.mtime_ns, file.mtime_ns))
        assert file.changed()


def test_a_change_right_after_another_cannot_hide(place: Path) -> None:
    for _ in range(20):
        place.write_bytes(b"abc")
        with source(place) as file:
            assert whole(file) == b"abc"
            place.write_bytes(b"xyz")
            assert file.changed()


def test_files_of_the_kernel_that_hide_their_size_are_flagged() -> None:
    place = Path("/proc/self/status")
    if not place.exists():
        pytest.skip("no /proc here")
    found = small(place)
    assert found is not None
    assert found.contents == b""
    assert found.changed
    with source(place) as file:
        assert whole(file) == b""
        assert file.changed()


def assert_fails(place: Path, reason: str, code: ExitCode, *, follow: bool = False) -> None:
    for read in (small, source):
        with pytest.raises(FileFailed) as failure:
            read(place, follow=follow)
        assert (str(failure.value), failure.value.exit_code) == (reason, code)


def test_a_vanished_file(place: Path) -> None:
    assert_fails(place, "vanished", ExitCode.VANISHED)


def test_a_file_that_became_something_else(place: Path) -> None:
    place.mkdir()
    assert_fails(place, "is a folder by now", ExitCode.INCOMPLETE)
    place.rmdir()
    os.mkfifo(place)
    assert_fails(place, "is no file by now", ExitCode.INCOMPLETE)
    place.unlink()
    place.symlink_to("/etc/passwd")
    assert_fails(place, "is a link by now", ExitCode.INCOMPLETE)


def test_links_are_followed_where_that_was_asked_for(place: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"real")
    place.symlink_to("real")
    found = small(place, follow=True)
    assert found is not None
    assert found.contents == b"real"
    with source(place, follow=True) as file:
        assert whole(file) == b"real"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_file(place: Path) -> None:
    place.write_bytes(b"x")
    os.chmod(place, 0)
    assert_fails(place, "permission denied", ExitCode.INCOMPLETE)


def test_an_error_of_reading_is_the_files_own() -> None:
    place = Path("/proc/self/mem")  # nothing lies at address 0
    if not place.exists():
        pytest.skip("no /proc here")
    with pytest.raises(FileFailed) as failure:
        small(place)
    assert failure.value.exit_code == ExitCode.INCOMPLETE
    with source(place) as file, pytest.raises(FileFailed):
        file.changed()


def test_reads_may_be_short(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write_bytes(b"seven..")
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 2)))
    found = small(place)
    assert found is not None
    assert found.contents == b"seven.."
    assert not found.changed


def test_a_small_file_that_shrinks_is_flagged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write_bytes(b"seven..")
    read = os.read

    def read_and_shrink(fd: int, size: int) -> bytes:
        contents = read(fd, 2)
        os.truncate(place, 2)
        return contents

    monkeypatch.setattr(os, "read", read_and_shrink)
    found = small(place)
    assert found is not None
    assert found.contents == b"se"
    assert found.changed


def test_an_error_in_the_middle_is_the_files_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write_bytes(b"x")

    class BadDisk(io.FileIO):
        def readinto(self, buffer: object, /) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(io, "FileIO", BadDisk)
    with source(place) as file, pytest.raises(FileFailed, match="input/output error") as failure:
        whole(file)
    assert failure.value.exit_code == ExitCode.INCOMPLETE


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB])
def test_its_digest_is_that_of_its_contents(place: Path, size: int) -> None:
    contents = os.urandom(size)
    place.write_bytes(contents)
    with source(place) as file:
        assert file.digest() == file_digest(contents)


def test_what_changes_has_no_digest(place: Path) -> None:
    place.write_bytes(b"seven..")
    with source(place) as file:
        place.write_bytes(b"SEVEN..")
        with pytest.raises(FileFailed, match="changed while it was read") as failure:
            file.digest()
    assert failure.value.exit_code == ExitCode.CHANGED


def test_a_location_may_begin_in_an_open_folder(place: Path) -> None:
    place.write_bytes(b"x")
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        with SourceFile(b"file", time.time_ns(), follow=False, folder=folder) as file:
            assert file.digest() == file_digest(b"x")
    finally:
        os.close(folder)


def test_descriptors_are_given_back(place: Path) -> None:
    place.write_bytes(b"x")
    before = descriptors()
    small(place)
    source(place).close()
    for bad in (place.parent, place.parent / "absent"):
        with pytest.raises(FileFailed):
            small(bad)
    assert descriptors() == before
