"""What is complete and gets its name: the last step of a file on its way in, and all of a link."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final, Protocol

from objxfer.errors import ExitCode, NoSpace, UnsafePath
from objxfer.files.entries import Action, Entry, Receipt, clamped, why
from objxfer.files.judge import look
from objxfer.files.paths import SafePath
from objxfer.files.quota import Share
from objxfer.files.root import Folder, Root, can_flush

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)


class Nameable(Protocol):
    """What is complete but for its name."""

    entry: Entry
    path: SafePath
    folder: Folder
    size: int
    digest: bytes
    durable: bool
    share: Share | None

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


def failed(error: OSError | UnsafePath | NoSpace) -> Receipt:
    """Return the receipt of what an error put an end to."""
    if isinstance(error, UnsafePath):
        return Receipt(Action.FAILED, code=ExitCode.REFUSED, reason=str(error))
    if isinstance(error, NoSpace):
        return Receipt(Action.FAILED, code=ExitCode.PEER_NO_SPACE, reason=str(error))
    code = ExitCode.PEER_NO_SPACE if error.errno in _FULL else ExitCode.FAILED
    return Receipt(Action.FAILED, code=code, reason=why(error))


class Unnamed:
    """A file under a temporary name of ours, in the folder where it will lie.

    Attributes:
        announced: the entry, as the sink got it.
        entry: the same, as it came.
        failure: the receipt the file will get, as soon as it is known to have failed.
        ended: it has its receipt, or was let go of.
        share: what is reserved for it, where there is a quota; given back with all else.
    """

    __slots__ = (
        "_fd",
        "_held",
        "_root",
        "_temp",
        "announced",
        "digest",
        "durable",
        "ended",
        "entry",
        "failure",
        "folder",
        "path",
        "share",
        "size",
    )

    path: SafePath
    folder: Folder

    def __init__(self, entry: Entry, root: Root) -> None:
        self.announced = self.entry = entry
        self.failure: Receipt | None = None
        self.ended = False
        self.size = 0
        self.digest = b""
        self.durable = True
        self.share: Share | None = None
        self._root = root
        self._held = False
        self._temp = b""
        self._fd = -1

    def _enter(self, path: SafePath) -> None:
        """Hold the folder that the path lies in, which is made where it is missing."""
        self.path = path
        self.folder = self._root.parent(path, create=True)
        self._root.hold(self.folder)
        self._held = True

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
        """Let go of all that is held, and of what has no name of its own. May be called again."""
        self.ended = True
        self._release()

    def leave(self) -> None:
        """Let go of it before it has its receipt; where it can go on another time, it may."""
        self.discard()

    def _release(self) -> None:
        gone = self._drop()
        if self.share is not None:
            self.share.end(lies=0 if gone else self.size)
        if self._held:
            self._held = False
            self._root.release(self.folder)

    def _drop(self) -> bool:
        """Close what is written, and remove its temporary name; whether that is gone."""
        gone = True
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # what it says of the contents does not matter now
                os.close(self._fd)
            self._fd = -1
        if self._temp:
            try:
                os.unlink(self._temp, dir_fd=self.folder.fd)
            except OSError:
                gone = False  # it lies in nobody's way
            self._temp = b""
        return gone


class Link:
    """A symbolic link that is to be made."""

    __slots__ = ("_temp", "digest", "durable", "entry", "folder", "path", "share", "size")

    def __init__(self, entry: Entry, path: SafePath, folder: Folder, temp: bytes) -> None:
        self.entry = entry
        self.path = path
        self.folder = folder
        self.size = 0
        self.digest = b""
        self.durable = True
        self.share: Share | None = None
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
