"""How many bytes may lie in a folder: they are counted, and then kept account of.

Whoever writes a file reserves its bytes before; so several at once share what there is and never
have more of it together. What is reserved and not written in the end is given back.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from objxfer.errors import FileFailed, NoSpace, ObjxferError
from objxfer.files.entries import UNKNOWN_SIZE, why
from objxfer.files.paths import OURS, shown
from objxfer.files.root import Root
from objxfer.units import size as units

_RARELY: Final = 20.0
"""For so many times as long as counting took, it is not done again."""

log = logging.getLogger("objxfer")


class _Usage:
    """What lies in one folder, and what is about to; shared by all quotas of it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lies = 0
        """Bytes that lie there and belong to nobody's share."""
        self.reserved = 0
        """Bytes of all shares."""
        self.shares: dict[bytes, Share] = {}
        """Those that are being written, by the names that their files have until they are named."""
        self.replacing = threading.Lock()
        """Held from the look at a file to its replacement: what it had is given back once."""
        self._came = 0  # to lie there since the counting began
        self._counting = threading.Lock()
        self._not_before: float | None = None

    def count(self, root: Root, *, again: bool) -> None:
        """Count what lies there; nobody has to wait for that but who calls.

        Deliveries may come in meanwhile. What cannot be told apart then counts twice, until the
        next time, and never not at all.

        Args:
            root: the folder.
            again: also where it was counted before; not where that was while this one waited.

        Raises:
            FileFailed: a folder cannot be looked at.
        """
        before = self._not_before
        if before is not None and not again:
            return
        with self._counting:
            if self._not_before != before:
                return
            began = time.monotonic()
            with self.lock:
                self._came = 0
            lies = self._lying(root)
            with self.lock:
                self.lies = lies + self._came
            now = time.monotonic()
            self._not_before = now + _RARELY * (now - began)

    @property
    def is_due(self) -> bool:
        """Whether it may be counted again already."""
        return self._not_before is not None and time.monotonic() >= self._not_before

    def comes(self, size: int) -> None:
        """Hear, with the lock held, of so many bytes that lie there from now on."""
        self.lies += size
        self._came += size

    def goes(self, size: int) -> None:
        """Hear, with the lock held, of bytes that do not."""
        self.lies = max(0, self.lies - size)

    def _lying(self, root: Root) -> int:
        lies = 0
        for place, folders, names, fd in os.fwalk(b".", onerror=_unseen, dir_fd=root.fd):
            if place == b"." and OURS in folders:
                folders.remove(OURS)
            for name in names:
                if name in self.shares:
                    continue
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    lies += status.st_size
        return lies


_usages: Final[WeakValueDictionary[tuple[int, int], _Usage]] = WeakValueDictionary()
"""By device and inode of the folder."""
_registry: Final = threading.Lock()


class Quota:
    """What one who sends may have lie in a folder. Any thread may use it.

    Sizes of regular files count, below the folder too, those of partial files included; not what
    objxfer keeps in ``.objxfer``. All quotas of this process for one folder keep one account:
    each has its own limit. What others than these deliveries put there, or take away, is found
    when it is counted: at the first quota of a folder, at ``count``, and, not too often, when
    there seems to be too little room.

    Attributes:
        limit: bytes.
    """

    def __init__(self, limit: int, reopen: Callable[[], Root]) -> None:
        """Set up a quota; counts what lies there if nobody has yet.

        Args:
            limit: bytes.
            reopen: opens the folder.

        Raises:
            FileFailed: a folder cannot be looked at.
            UnsafePath: as ``reopen``.
        """
        self.limit = limit
        self._reopen = reopen
        with reopen() as root:
            self._identity = _identity(root)
            with _registry:
                self._usage = _usages.setdefault(self._identity, _Usage())
            self._usage.count(root, again=False)

    @property
    def used(self) -> int:
        """How many bytes lie there, or are reserved."""
        return self._usage.lies + self._usage.reserved

    @property
    def free(self) -> int:
        """How many bytes may still be reserved."""
        return max(0, self.limit - self.used)

    def count(self) -> None:
        """Count what lies there once more.

        Raises:
            FileFailed: a folder cannot be looked at; the account stays as it is.
            UnsafePath: as ``reopen``.
        """
        with self._reopen() as root:
            if _identity(root) == self._identity:
                self._usage.count(root, again=True)

    def share(self, size: int, partial: bytes = b"", lies: int = 0) -> Share:
        """Reserve what a file will need.

        Args:
            size: bytes of the file; of a stream they are reserved as it comes.
            partial: the name of what lies there of it.
            lies: bytes of that, which count already.

        Raises:
            NoSpace: there is not so much left.
        """
        if size == UNKNOWN_SIZE:
            return Share(self, 0)
        try:
            return self._share(size, partial, lies)
        except NoSpace:
            if not self._usage.is_due:
                raise
        try:
            self.count()
        except (ObjxferError, OSError) as error:
            log.warning("what counts against a quota cannot be counted: %s", error)
        return self._share(size, partial, lies)

    def check(self, size: int) -> None:
        """Refuse what is more than all there is room for, whatever lies there.

        Raises:
            NoSpace: it is.
        """
        if size > self.limit:
            raise NoSpace(f"over the quota: {units(size)} offered, {self._standing}")

    def replacing(self) -> threading.Lock:
        """Return what is held from the look at a file to its replacement."""
        return self._usage.replacing

    def gone(self, size: int) -> None:
        """Hear of a file of so many bytes that something else has replaced."""
        with self._usage.lock:
            self._usage.goes(size)

    def _share(self, size: int, partial: bytes, lies: int) -> Share:
        with self._usage.lock:
            other = self._usage.shares.get(partial)
            if other is not None:  # of an older connection, which will surrender it
                lies = max(lies, other.size)
            need = max(0, size - lies)
            self._reserve(need)
        return Share(self, need)

    def _reserve(self, size: int) -> None:
        """Reserve bytes, with the lock held, or raise NoSpace."""
        if size > self.free:
            raise NoSpace(f"over the quota: {self._standing}")
        self._usage.reserved += size

    @property
    def _standing(self) -> str:
        return f"{units(self.free)} free of {units(self.limit)}"


class Share:
    """What is reserved of a quota for one file on its way. Any thread may use it.

    Attributes:
        size: bytes.
    """

    __slots__ = ("_name", "_over", "_quota", "size")

    def __init__(self, quota: Quota, size: int) -> None:
        """Take over bytes that are reserved; ``Quota.share`` does this."""
        self._quota = quota
        self._name = b""
        self._over = False
        self.size = size

    def cover(self, size: int) -> None:
        """Have enough for a file of so many bytes.

        Raises:
            NoSpace: there is not so much left; it has what it had.
        """
        if size > self.size:
            with self._quota._usage.lock:
                self._quota._reserve(size - self.size)
                self.size = size

    def begin(self, name: bytes, lay: int = 0) -> None:
        """Hear that the file is written under a name of ours from now on.

        Args:
            name: until it has its own.
            lay: bytes under it that lay there and counted: they belong to this share now.
        """
        usage = self._quota._usage
        with usage.lock:
            usage.goes(lay)
            usage.reserved += lay
            self.size += lay
            self._name = name
            usage.shares[name] = self

    def end(self, lies: int = 0, gone: int = 0) -> None:
        """Give back what is reserved. Calling it again does nothing.

        Args:
            lies: bytes of the file that lie there from now on, and count.
            gone: bytes of another that it has replaced.
        """
        usage = self._quota._usage
        with usage.lock:
            if not self._over:
                self._over = True
                usage.reserved -= self.size
                usage.comes(lies)
                usage.goes(gone)
                if usage.shares.get(self._name) is self:
                    del usage.shares[self._name]


def _identity(root: Root) -> tuple[int, int]:
    status = os.fstat(root.fd)
    return status.st_dev, status.st_ino


def _unseen(error: OSError) -> None:
    """Pass over a folder that has gone; one that cannot be looked at would hide what it holds."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        place = error.filename
        name = shown(os.fsencode(place)) if isinstance(place, str | bytes) else "a folder"
        raise FileFailed(f"cannot count what lies in {name}: {why(error)}") from error
