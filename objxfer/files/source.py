"""Reading a file that may move under the reader: what was read is said, and whether it held still.

A file is read through one descriptor and looked at before and after. Nothing is ever sent
beyond the size it had when it was opened, nothing is padded, and no error ends more than the
file it belongs to.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from types import TracebackType
from typing import Final, NamedTuple, Protocol

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.digest import NODE, FileDigest, file_digest, node_digest
from objxfer.files.entries import clamped, why

_SECOND: Final = 1_000_000_000
_GRAIN: Final = 20_000_000
"""Two changes closer than this, in ns, may leave the same time on a file: two kernel ticks."""
_COARSE_GRAIN: Final = 2 * _SECOND
"""The same on a file system that keeps whole seconds."""

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that took the file's place must not block
    | getattr(os, "O_BINARY", 0)
)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)

Version = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of contents and of anything."""


def _open(
    location: bytes, now_ns: int, *, follow: bool, folder: int | None = None
) -> tuple[int, os.stat_result]:
    """Open a regular file whose next change is sure to show in its times.

    Raises:
        FileFailed: there is none.
    """
    try:
        fd = os.open(location, _FLAGS if follow else _FLAGS | _NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise _failed(error) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no file"
            raise FileFailed(f"is {kind} by now", exit_code=ExitCode.INCOMPLETE)
        changed_ns = max(status.st_ctime_ns, status.st_mtime_ns)
        grain = _GRAIN if changed_ns % _SECOND else _COARSE_GRAIN
        if 0 <= now_ns - changed_ns < grain:
            time.sleep((changed_ns + grain - now_ns) / _SECOND)
            status = os.fstat(fd)
    except BaseException:  # whatever it is, the descriptor must not leak
        os.close(fd)
        raise
    return fd, status


def _failed(error: OSError) -> FileFailed:
    if isinstance(error, FileNotFoundError):
        return FileFailed("vanished", exit_code=ExitCode.VANISHED)
    if error.errno == errno.ELOOP:
        return FileFailed("is a link by now", exit_code=ExitCode.INCOMPLETE)
    return FileFailed(why(error), exit_code=ExitCode.INCOMPLETE)


def _moved(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns != after.st_mtime_ns
        or before.st_ctime_ns != after.st_ctime_ns
        or before.st_size != after.st_size
    )


class Piece(NamedTuple):
    """What was read of a file in one go: a node, or less at its end."""

    contents: memoryview
    digest: bytes
    """The node digest of the contents; empty where there are none."""


def piece_of(contents: memoryview) -> Piece:
    """Return contents, at most a node, with their digest."""
    return Piece(contents, node_digest(contents) if contents else b"")


class SmallFile(NamedTuple):
    """A file that was read in one go."""

    contents: bytes
    mtime_ns: int
    mode: int
    """Permission bits, ``& 0o777``."""
    changed: bool
    """It changed while it was read, so the contents may never have been there as a whole."""
    digest: bytes
    """The 32 bytes that name the contents."""

    @property
    def size(self) -> int:
        """How many bytes were read."""
        return len(self.contents)


def read_small(location: bytes, limit: int, now_ns: int, *, follow: bool) -> SmallFile | None:
    """Read a whole file, with as few system calls as it takes to know that it held still.

    Args:
        location: where it lies.
        limit: the largest size, in bytes, that is read.
        now_ns: the time, as ``time.time_ns()`` tells it. A file that was changed within the
            last 20 ms (2 s on file systems that keep whole seconds) is waited for, so that a
            change during the reading cannot hide.
        follow: the location may be a link.

    Returns:
        The file, or None where it is larger than ``limit``: that takes a ``SourceFile``.

    Raises:
        FileFailed: it vanished (5), or cannot be read or is no file any more (3). The message
            is the bare reason.
    """
    fd, before = _open(location, now_ns, follow=follow)
    try:
        size = before.st_size
        if size > limit:
            return None
        # One byte more than it has: files of the kernel's say 0 and hold something.
        contents = os.read(fd, size + 1)
        while 0 < len(contents) < size:
            rest = os.read(fd, size - len(contents))
            if not rest:
                break
            contents += rest
        after = os.fstat(fd)
    except OSError as error:
        raise _failed(error) from error
    finally:
        os.close(fd)
    changed = len(contents) != size or _moved(before, after)
    contents = contents[:size]
    mtime_ns, mode = clamped(before.st_mtime_ns), before.st_mode & 0o777
    return SmallFile(contents, mtime_ns, mode, changed, file_digest(contents))


class Source(Protocol):
    """What is read piece by piece: a ``SourceFile``, or a stream; see there."""

    @property
    def size(self) -> int:
        """Bytes it has, or ``UNKNOWN_SIZE``."""

    @property
    def mtime_ns(self) -> int:
        """When it was last changed."""

    @property
    def mode(self) -> int:
        """Its permission bits."""

    @property
    def brief(self) -> bool:
        """Whether reading is short work."""

    @property
    def anywhere(self) -> bool:
        """Whether it can be read at any place; if not, only on from where it is."""

    @property
    def lends(self) -> bool:
        """Whether pieces lie in memory of its own, that no other piece ever takes."""

    def piece(self, at: int, buffer: memoryview) -> Piece | None:
        """Read on from a place, into a buffer of a node unless it ``lends``.

        Returns:
            What lies there, empty at the end; None where nothing comes for a while: call it again,
            with the same buffer.

        Raises:
            FileFailed: it cannot be read on (3).
        """

    def changed(self) -> bool:
        """Tell, after the last read, whether it held still."""

    def close(self) -> None:
        """Release what is held."""


class SourceFile:
    """A file that is read piece by piece. Not for use by two threads at once.

    Attributes:
        size: in bytes, when it was opened; no more than that is ever read.
        mtime_ns: when it was opened.
        mode: permission bits, ``& 0o777``, when it was opened.
        brief: reading a file is short work.
        anywhere: it can be read at any place.
        lends: what it is read into is the caller's.
    """

    brief: Final = True
    anywhere: Final = True
    lends: Final = False

    def __init__(
        self, location: bytes, now_ns: int, *, follow: bool, folder: int | None = None
    ) -> None:
        """Open it.

        Args:
            location: as in ``read_small``; so are the next two.
            now_ns: the time.
            follow: the location may be a link.
            folder: the descriptor of the folder in which the location begins, if not in the
                current one.

        Raises:
            FileFailed: it vanished (5), or cannot be read or is no file any more (3). The
                message is the bare reason.
        """
        fd, self._before = _open(location, now_ns, follow=follow, folder=folder)
        self._file = io.FileIO(fd)
        self._at = 0
        self._shrank = False
        self.size = self._before.st_size
        self.mtime_ns = clamped(self._before.st_mtime_ns)
        self.mode = self._before.st_mode & 0o777

    def read_into(self, buffer: memoryview, at: int) -> int:
        """Fill ``buffer`` with what lies at ``at``.

        Returns:
            How many bytes; fewer than asked for only at the end of what there is.

        Raises:
            FileFailed: it cannot be read on (3).
        """
        wanted = max(0, min(len(buffer), self.size - at))
        done = 0
        try:
            if at != self._at:
                self._file.seek(at)
            while done < wanted:
                got = self._file.readinto(buffer[done:wanted])
                if not got:
                    self._shrank = True
                    break
                done += got
        except OSError as error:
            raise _failed(error) from error
        self._at = at + done
        return done

    def piece(self, at: int, buffer: memoryview) -> Piece:
        """Return what lies at ``at``, as ``Source`` says."""
        return piece_of(buffer[: self.read_into(buffer, at)])

    @property
    def version(self) -> Version:
        """What was opened: two that are equal hold the same, up to when one of them changed."""
        before = self._before
        times = before.st_mtime_ns, before.st_ctime_ns
        return before.st_dev, before.st_ino, before.st_size, *times

    def changed(self) -> bool:
        """Tell, after the last read, whether the file changed since it was opened.

        Raises:
            FileFailed: it cannot be looked at (3).
        """
        try:
            self._file.seek(self.size)
            return (
                self._shrank
                or _moved(self._before, os.fstat(self._file.fileno()))
                or bool(self._file.read(1))
            )
        except OSError as error:
            raise _failed(error) from error

    def digest(self) -> bytes:
        """Read all of it, none of which was read before, and return the 32 bytes that name it.

        Raises:
            FileFailed: it cannot be read on (3), or it changed while it was read (4).
        """
        digest, at = FileDigest(), 0
        with memoryview(bytearray(min(self.size, NODE))) as buffer:
            while got := self.read_into(buffer, at):
                digest.add(node_digest(buffer[:got]))
                at += got
        if self.changed():
            raise FileFailed("changed while it was read", exit_code=ExitCode.CHANGED)
        return digest.value(self.size)

    def flush(self) -> None:
        """Bring it to the disk, whoever wrote it.

        Raises:
            FileFailed: it cannot be (3).
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Release the descriptor. Calling it again does nothing."""
        self._file.close()

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
