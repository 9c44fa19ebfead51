"""What is on its way in: a file under a temporary name of ours, or a link, until it is named."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from typing import ClassVar, Final, Protocol

from objxfer.errors import ExitCode, UnsafePath
from objxfer.files.digest import Buffer, FileDigest
from objxfer.files.entries import UNKNOWN_SIZE, Action, Entry, Receipt, clamped, why
from objxfer.files.judge import look
from objxfer.files.paths import SafePath
from objxfer.files.root import Folder, Root, can_flush
from objxfer.limits import MIB

_RESERVED_FROM: Final = 8 * MIB
_LARGEST: Final = 2**63 - 1  # what the system takes as a size, and then refuses
_TEMP: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Nameable(Protocol):
    """What is complete but for its name."""

    entry: Entry
    path: SafePath
    folder: Folder
    size: int
    digest: bytes
    durable: bool

    def create(self, name: bytes) -> None:
        """Give it a name under which nothing lies, or raise FileExistsError."""
        ...

    def replace(self, name: bytes) -> None:
        """Give it a name, in place of what lies there, in one step."""
        ...


def create(coming: Nameable, name: bytes) -> os.stat_result | None:
    """Give something its name, or return what lies under it already.

    Raises:
        OSError: neither can be done.
    """
    while True:
        try:
            coming.create(name)
        except FileExistsError:
            there = look(coming.folder, name)
            if there is not None:
                return there
        else:
            return None


def failed(error: OSError | UnsafePath) -> Receipt:
    """Return the receipt of what an error put an end to."""
    if isinstance(error, UnsafePath):
        return Receipt(Action.FAILED, code=ExitCode.REFUSED, reason=str(error))
    code = ExitCode.PEER_NO_SPACE if error.errno in _FULL else ExitCode.FAILED
    return Receipt(Action.FAILED, code=code, reason=why(error))


class Part:
    """A file on its way in, made by ``Sink.open`` and owned by the sink.

    No method raises an error of the disk: the first one is kept, all that comes later is
    ignored, and the file's receipt says it.

    Attributes:
        announced: the entry, as ``Sink.open`` got it.
        failure: the receipt the file will get, as soon as it is known to have failed.
        finished: ``finish`` was called; it waits for its receipt.
        ended: it has its receipt, or was discarded.
    """

    brief: ClassVar = True
    """Writing is short work: it goes to the page cache."""

    __slots__ = (
        "_fd",
        "_held",
        "_nodes",
        "_reserved",
        "_root",
        "_temp",
        "_umask",
        "announced",
        "digest",
        "durable",
        "ended",
        "entry",
        "failure",
        "finished",
        "folder",
        "path",
        "size",
    )

    path: SafePath
    folder: Folder

    def __init__(self, entry: Entry, root: Root, umask: int) -> None:
        self.announced = self.entry = entry
        self.failure: Receipt | None = None
        self.finished = self.ended = False
        self.size = 0
        self.digest = b""
        self.durable = True
        self._nodes = FileDigest()
        self._umask = umask
        self._root = root
        self._held = False
        self._reserved = 0
        self._temp = b""
        self._fd = -1

    def begin(self, path: SafePath, temp: bytes) -> None:
        """Make the temporary file, and the folder around it where that is missing.

        Raises:
            UnsafePath: something else than a folder is in the way.
            OSError: it cannot be made, or there is no space for it.
        """
        self.path = path
        self.folder = self._root.parent(path, create=True)
        self._root.hold(self.folder)
        self._held = True
        self._fd = os.open(temp, _TEMP, 0o600, dir_fd=self.folder.fd)
        self._temp = temp
        size = self.entry.size
        if _RESERVED_FROM <= size < UNKNOWN_SIZE and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, min(size, _LARGEST))
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
            self._reserved = size

    def write(self, data: Buffer) -> None:
        """Append contents."""
        if self.failure:
            return
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, memoryview(data)[done:])
        except OSError as error:
            self.fail(failed(error))
        else:
            self.size += done

    def add(self, node: bytes) -> None:
        """Take the digest of the next node, which the caller computed from what it wrote."""
        self._nodes.add(node)

    def finish(self, size: int, mtime_ns: int, mode: int) -> None:
        """Hear that the contents are complete; the next ``Sink.publish`` names the file.

        Args:
            size: how many bytes the sender read; if others were written the file fails (30).
            mtime_ns: when the source was last changed, as read.
            mode: permission bits of the source, as read; the umask is taken from them.
        """
        self.finished = True
        if self.failure:
            return
        if size != self.size:
            reason = f"{self.size} of {size} bytes arrived"
            self.fail(Receipt(Action.FAILED, code=ExitCode.INTEGRITY, reason=reason))
            return
        self.digest = self._nodes.value(size)
        announced = self.announced
        if (size, mtime_ns) != (announced.size, announced.mtime_ns) and (
            announced.size != UNKNOWN_SIZE
        ):
            self.entry = replace(announced, size=size, mtime_ns=mtime_ns)
        try:
            if self._reserved > size:
                os.ftruncate(self._fd, size)
            if self._root.quirks.modes:
                os.fchmod(self._fd, mode & 0o777 & ~self._umask)
            os.utime(self._fd, ns=(clamped(mtime_ns), clamped(mtime_ns)))
        except OSError as error:
            self.fail(failed(error))

    def flush(self) -> None:
        """Bring the contents to the disk and let go of the descriptor."""
        fd, self._fd = self._fd, -1
        try:
            try:
                os.fsync(fd)
            except OSError as error:
                # Never tried again: a second one may succeed though the first lost what was there.
                if can_flush(error):
                    raise
                self.durable = False
            finally:
                os.close(fd)
        except OSError as error:
            self.fail(failed(error))

    def create(self, name: bytes) -> None:
        """See ``Nameable``."""
        folder = self.folder.fd
        try:
            os.link(self._temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            from objxfer.files.exclusive import rename_new

            rename_new(self._temp, name, folder)
            self._temp = b""

    def replace(self, name: bytes) -> None:
        """See ``Nameable``."""
        folder = self.folder.fd
        os.rename(self._temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        self._temp = b""

    def fail(self, receipt: Receipt) -> None:
        """Remove what was written, and keep the reason for the receipt."""
        self.failure = receipt
        self._release()

    def discard(self) -> None:
        """Forget the file: it gets no receipt, and nothing of it stays. May be called again."""
        self.ended = True
        self._release()

    def _release(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # what it says of the contents does not matter now
                os.close(self._fd)
            self._fd = -1
        if self._temp:
            with contextlib.suppress(OSError):  # it lies in nobody's way
                os.unlink(self._temp, dir_fd=self.folder.fd)
            self._temp = b""
        if self._held:
            self._held = False
            self._root.release(self.folder)


class Link:
    """A symbolic link that is to be made."""

    __slots__ = ("_temp", "digest", "durable", "entry", "folder", "path", "size")

    def __init__(self, entry: Entry, path: SafePath, folder: Folder, temp: bytes) -> None:
        self.entry = entry
        self.path = path
        self.folder = folder
        self.size = 0
        self.digest = b""
        self.durable = True
        self._temp = temp

    def create(self, name: bytes) -> None:
        """See ``Nameable``."""
        os.symlink(self.entry.target, name, dir_fd=self.folder.fd)
        time = clamped(self.entry.mtime_ns)
        # Not every file system keeps a time for a link; where it leads is what counts.
        with contextlib.suppress(OSError):
            os.utime(name, ns=(time, time), dir_fd=self.folder.fd, follow_symlinks=False)

    def replace(self, name: bytes) -> None:
        """See ``Nameable``."""
        folder = self.folder.fd
        self.create(self._temp)
        try:
            os.rename(self._temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(self._temp, dir_fd=folder)
            raise
