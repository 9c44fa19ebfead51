"""The folder ``.objxfer`` of a receiving folder: what objxfer notes there for another time.

It is there while there is something in it. Every note is a file that is locked by whoever is at
it, so a note that is not locked is of somebody who is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from objxfer.files.paths import OURS
from objxfer.files.root import Root
from objxfer.limits import Limits

_OPEN: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)


UNTOLD: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM})
"""Errors that do not tell what lies there: not the same as nothing."""


class Holder(Protocol):
    """Who is at a note."""

    def surrender(self) -> bool:
        """Let go of it for good, if that can be done now; called by any thread."""


_holders: Final[dict[tuple[int, int], Holder]] = {}
"""Who in this process is at which note, by its device and inode."""
_registry: Final = threading.Lock()


class Note:
    """A note that is open and locked. Not for use by two threads at once."""

    def __init__(self, fd: int, name: bytes, folder: int) -> None:
        self.fd = fd
        self.name = name
        self._folder = folder

    def held_by(self, holder: Holder) -> None:
        """Say who is at it, for somebody who has a better right to it."""
        with _registry:
            _holders[_identity(self.fd)] = holder

    def drop(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):  # it is found again, and dropped as that of one gone
            os.unlink(self.name, dir_fd=self._folder)
        self.close()

    def close(self) -> None:
        """Let go of it. Calling it again does nothing."""
        if self.fd >= 0:
            with _registry:
                _holders.pop(_identity(self.fd), None)
                os.close(self.fd)
            self.fd = -1


class OwnFolder:
    """The notes of one receiving folder. Whatever cannot be done there is done without."""

    def __init__(self, root: Root) -> None:
        """Take ``root``, the receiving folder, which is not kept."""
        self._above = os.dup(root.fd)
        self._fd = -1

    def names(self) -> list[bytes]:
        """Return what is noted, as far as that can be seen."""
        with contextlib.suppress(OSError):
            if self._enter(make=False):
                return list(map(os.fsencode, os.listdir(self._fd)))
        return []

    def read(self, name: bytes) -> int | None:
        """Open a note only to look at it, whoever is at it; None: there is none.

        Raises:
            OSError: it cannot be told what there is.
        """
        if not self._enter(make=False):
            return None
        try:
            return os.open(name, os.O_RDONLY | _OPEN, dir_fd=self._fd)
        except FileNotFoundError:
            return None

    def open(self, name: bytes, *, take_over: bool = False) -> Note | None:
        """Open a note to write, or make it.

        Args:
            name: of the note.
            take_over: have whoever is at it in this process surrender it.

        Returns:
            It, locked; None where somebody is at it, or there can be none.
        """
        with contextlib.suppress(OSError):
            while self._enter(make=True):
                try:
                    fd = os.open(name, os.O_RDWR | os.O_CREAT | _OPEN, 0o600, dir_fd=self._fd)
                except FileNotFoundError:  # the folder was removed: it was empty
                    os.close(self._fd)
                    self._fd = -1
                    continue
                try:
                    if not self._locked(fd, take_over=take_over):
                        break
                    if os.fstat(fd).st_nlink:  # if not, whoever was at it dropped it meanwhile
                        note, fd = Note(fd, name, self._fd), -1
                        return note
                finally:
                    if fd >= 0:
                        os.close(fd)
        return None

    def sweep(self, name: bytes, clean: Callable[[int], None], *, idle: float = 0) -> None:
        """Drop the note of somebody who is gone, after cleaning up what it is about.

        What cannot be done stays for another time.

        Args:
            name: of the note.
            clean: removes what the note speaks of; gets its descriptor.
            idle: for so many seconds nothing must have been added to it.
        """
        with contextlib.suppress(OSError):
            fd = os.open(name, os.O_RDWR | _OPEN, dir_fd=self._fd)
            try:
                if _lock(fd):
                    status = os.fstat(fd)
                    if status.st_nlink and time.time() - status.st_mtime >= idle:
                        clean(fd)
                        os.unlink(name, dir_fd=self._fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Release what is held; the folder goes where it is empty. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                os.rmdir(OURS, dir_fd=self._above)
            self._fd = -1
        if self._above >= 0:
            os.close(self._above)
            self._above = -1

    def _enter(self, *, make: bool) -> bool:
        """Open the folder, if it is there and nobody else can write in it."""
        if self._fd >= 0:
            return True
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(OURS, 0o700, dir_fd=self._above)
            fd = os.open(OURS, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=self._above)
        except OSError as error:
            if not make and error.errno in UNTOLD:
                raise
            return False
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            os.close(fd)
            return False
        self._fd = fd
        return True

    @staticmethod
    def _locked(fd: int, *, take_over: bool) -> bool:
        if _lock(fd):
            return True
        with _registry:
            holder = _holders.get(_identity(fd)) if take_over else None
        return holder is not None and holder.surrender() and _lock(fd)


def doubled(limits: Limits) -> Limits:
    """Return the limits of a path from the receiving folder: a delivery's, and one in it."""
    return replace(limits, path=2 * limits.path + 1, depth=2 * limits.depth)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _lock(fd: int) -> bool:
    # Not on every system; nor is receiving, and who only sends does without.
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
