"""What is complete and gets its name: the last step of a file on its way in, and all of a link."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final, Protocol

from objxfer.errors import ExitCode, UnsafePath
from objxfer.files.entries import Action, Entry, Receipt, clamped, why
from objxfer.files.judge import look
from objxfer.files.paths import SafePath
from objxfer.files.root import Folder

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
