"""A file on its way in, under a temporary name of ours until it is named."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Sequence
from typing import ClassVar, Final

from objxfer.errors import ExitCode, NoSpace
from objxfer.files.digest import NODE, Buffer, FileDigest, NodeList, node_digest
from objxfer.files.entries import UNKNOWN_SIZE, Action, Entry, Receipt, clamped
from objxfer.files.naming import Unnamed, failed
from objxfer.files.own import UNTOLD
from objxfer.files.partials import Journal, is_partial
from objxfer.files.paths import SafePath
from objxfer.files.root import Root
from objxfer.files.temporaries import Temporaries
from objxfer.limits import MIB

_RESERVED_FROM: Final = 8 * MIB
_STEP: Final = 32 * MIB
_OPEN: Final = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Part(Unnamed):
    """A file on its way in, made by ``Sink.open`` and owned by the sink.

    No method raises an error of the disk: the first one is kept, all that comes later is
    ignored, and the file's receipt says it. For one thread at a time, but for ``surrender``.

    Attributes:
        surrendered: a newer connection of the same peer goes on with it.
        finished: ``finish`` was called; it waits for its receipt.
    """

    brief: ClassVar = True
    """Writing is short work: it goes to the page cache."""

    __slots__ = (
        "_journal",
        "_list",
        "_lock",
        "_nodes",
        "_reserved",
        "_resumed",
        "_umask",
        "finished",
        "surrendered",
    )

    def __init__(self, entry: Entry, root: Root, umask: int) -> None:
        super().__init__(entry, root)
        self.surrendered = self.finished = False
        self._nodes = FileDigest()
        self._list: NodeList | None = None
        self._umask = umask
        self._resumed = False
        self._reserved = 0
        self._journal: Journal | None = None
        self._lock = threading.Lock()

    def begin(
        self,
        path: SafePath,
        temporaries: Temporaries,
        journal: Journal | None = None,
        *,
        held: int = 0,
    ) -> None:
        """Make the temporary file, and the folder around it where that is missing.

        Args:
            path: where the file goes.
            temporaries: says what it is called until then, where it has no journal.
            journal: the part's from now on: what is written is kept for another time.
            held: how many nodes should lie there; they count once they are compared. With
                this or a journal, nodes may come in any order.

        Raises:
            UnsafePath: something else than a folder is in the way.
            NoSpace: its share is too small, and there is no more.
            OSError: it cannot be made, or there is no space for it.
        """
        with self._lock:
            self._journal = journal
            if journal is not None or held:
                self._list = NodeList()
            self._enter(path)
            temp = b""
            if journal is not None:
                journal.held_by(self)
                self._resumed = held > 0  # should it not open now, it may another time
                self._fd = self._reopen(journal.name) if held else -1
                self._resumed = self._fd >= 0
                if self._resumed or self._clear(journal.name):
                    temp = journal.name
                else:
                    self._journal = None
                    journal.drop()
            temp = temp or temporaries.name(path)
            self._take_share(temp)
            if self._fd < 0:
                flags = _OPEN | os.O_CREAT | os.O_EXCL
                self._fd = os.open(temp, flags, 0o600, dir_fd=self.folder.fd)
            self._temp = temp
            self._reserve(held * NODE)

    def _reopen(self, temp: bytes) -> int:
        """Open a partial file, if there is one that nothing else shares; -1 if not.

        Raises:
            OSError: it cannot be told.
        """
        try:
            try:
                fd = os.open(temp, _OPEN, dir_fd=self.folder.fd)
            except PermissionError:  # it was whole, and got the mode of its source
                _unlock(temp, self.folder.fd)
                fd = os.open(temp, _OPEN, dir_fd=self.folder.fd)
        except OSError as error:
            if error.errno in UNTOLD:
                raise
            return -1
        if is_partial(os.fstat(fd)):
            return fd
        os.close(fd)
        return -1

    def _clear(self, temp: bytes) -> bool:
        """Remove what lies under a name of ours; tell whether nothing lies there now."""
        try:
            lay = os.stat(temp, dir_fd=self.folder.fd, follow_symlinks=False)
            os.unlink(temp, dir_fd=self.folder.fd)
        except OSError as error:
            return error.errno == errno.ENOENT
        if self.share is not None and stat.S_ISREG(lay.st_mode):
            self.share.begin(temp, lay.st_size)
        return True

    def _take_share(self, temp: bytes) -> None:
        """Have enough of the quota for what was announced, and for what is gone on with.

        Raises:
            NoSpace: there is not so much left.
        """
        if self.share is None:
            return
        self.share.begin(temp, os.fstat(self._fd).st_size if self._resumed else 0)
        if self.entry.size != UNKNOWN_SIZE:
            self.share.cover(self.entry.size)

    def _reserve(self, at: int) -> None:
        """Reserve what comes from ``at`` on, a step of it: for all the sender would have to wait.

        Raises:
            OSError: there is no space for it.
        """
        size = self.entry.size
        end = min(at + _STEP, size)
        if _RESERVED_FROM <= size < UNKNOWN_SIZE and at < end and hasattr(os, "posix_fallocate"):
            self._reserved = end
            try:
                os.posix_fallocate(self._fd, at, end - at)
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
                self._reserved = size

    @property
    def owed(self) -> int:
        """How many bytes of the disk it has yet to get."""
        size = self.entry.size
        if self.failure or self.finished or self.ended or size == UNKNOWN_SIZE:
            return 0
        return max(0, size - max(self._reserved, self.size))

    def put(self, index: int, data: Buffer, node: bytes) -> None:
        """Write one node of contents.

        Args:
            index: which one; without a journal they come in order.
            data: all of it.
            node: its digest, which the caller has from it.
        """
        with self._lock:
            if self.failure:
                return
            at = index * NODE
            try:
                if self.share is not None:
                    self.share.cover(at + len(data))
                if at >= self._reserved > 0:
                    self._reserve(at)
                done = os.pwrite(self._fd, data, at)
                while done < len(data):
                    done += os.pwrite(self._fd, memoryview(data)[done:], at + done)
                self._note(index, node)
            except OSError as error:
                # What is written may be of use when the disk is mended.
                self._fail(failed(error), keep=True)
            except NoSpace as error:
                self._fail(failed(error))  # kept, it would take the place of all that could follow
            else:
                self.size = max(self.size, at + done)

    def compare(self, first: int, nodes: Sequence[bytes]) -> list[bool]:
        """Read again what lies there from node ``first`` on: which nodes are the sender's?"""
        same = []
        with self._lock:
            for index, node in enumerate(nodes, first):
                if self.failure:
                    return [True] * len(nodes)  # its receipt will say it; it is not sent again
                try:
                    data = os.pread(self._fd, NODE, index * NODE)
                    same.append(len(data) == NODE and node_digest(data) == node)
                    if same[-1]:
                        self._note(index, node)
                        self.size = max(self.size, (index + 1) * NODE)
                except OSError as error:
                    if error.errno != errno.EIO:
                        self._fail(failed(error), keep=True)
                    same.append(False)  # it is unreadable, and written anew
        return same

    def _note(self, index: int, node: bytes) -> None:
        if self._list is None:
            self._nodes.add(node)
            return
        self._list.put(index, node)
        if self._journal is not None:
            self._journal.record(index, node)

    def finish(self, size: int, mtime_ns: int, mode: int) -> None:
        """Hear that the contents are complete; the next ``Sink.publish`` names the file.

        Args:
            size: how many bytes the sender read; if others were written the file fails (30).
            mtime_ns: when the source was last changed, as read.
            mode: permission bits of the source, as read; the umask is taken from them.
        """
        with self._lock:
            self.finished = True
            if self.failure:
                return
            if size != self.size:
                reason = f"{self.size} of {size} bytes arrived"
                self._fail(Receipt(Action.FAILED, code=ExitCode.INTEGRITY, reason=reason))
                return
            announced = self.announced
            if (size, mtime_ns) != (announced.size, announced.mtime_ns) and (
                announced.size != UNKNOWN_SIZE
            ):
                self.entry = announced._replace(size=size, mtime_ns=mtime_ns)
            try:
                self.digest = (self._list or self._nodes).value(size)
                if announced.digest:
                    self.entry = self.entry._replace(digest=self.digest)  # as it came
                if self._reserved > size or self._journal is not None:
                    os.ftruncate(self._fd, size)
                if self._root.quirks.modes:
                    os.fchmod(self._fd, mode & 0o777 & ~self._umask)
                os.utime(self._fd, ns=(clamped(mtime_ns), clamped(mtime_ns)))
            except OSError as error:
                self._fail(failed(error), keep=True)

    def fail(self, receipt: Receipt, *, keep: bool = False) -> None:
        """Let go of the file; the receipt says why.

        Args:
            receipt: what the file will get.
            keep: leave what is written for another time, if it can go on then.
        """
        with self._lock:
            self._fail(receipt, keep=keep)

    def discard(self) -> None:
        """See ``Unnamed``."""
        with self._lock:
            super().discard()

    def leave(self) -> None:
        """See ``Unnamed``."""
        with self._lock:
            self.ended = True
            self._release(keep=True)

    def surrender(self) -> bool:
        """See ``Holder``: a file that is whole is not given up any more."""
        with self._lock:
            if self.finished and not self.failure:
                return False
            if not self.failure:
                self.surrendered = True
                reason = "a newer connection of the same peer goes on with it"
                self.failure = Receipt(Action.FAILED, code=ExitCode.REFUSED, reason=reason)
                self._let_go(keep=True)  # the folder is its owner's to release
            return True

    # --- inside, with the lock held ---

    def _fail(self, receipt: Receipt, *, keep: bool = False) -> None:
        self.failure = receipt
        self._release(keep=keep)

    def _release(self, *, keep: bool = False) -> None:
        self._let_go(keep=keep)
        super()._release()

    def _let_go(self, *, keep: bool) -> None:
        """Close what is written, and remove it where it is not kept."""
        keep = keep and self._journal is not None and (self._resumed or self.size > 0)
        lies = self._lies() if self.share is not None else 0
        if keep:
            self._temp = b""
        gone = self._drop()
        if self.share is not None:
            self.share.end(lies=lies if keep or not gone else 0)
        if self._journal is not None:
            journal, self._journal = self._journal, None
            if keep or not gone:
                journal.close()  # by which it is found when it is old
            else:
                journal.drop()
        if self._list is not None:
            self._list.close()

    def _lies(self) -> int:
        """Return how many bytes lie there under a name of ours, of those that its share is for."""
        with contextlib.suppress(OSError):
            if self._fd >= 0:
                return os.fstat(self._fd).st_size
        return max(self.size, self._reserved) if self._temp else 0


def _unlock(name: bytes, folder: int) -> None:
    """Let the owner of a file that is ours alone write into it again."""
    fd = os.open(name, _OPEN & ~os.O_RDWR, dir_fd=folder)
    try:
        if is_partial(os.fstat(fd)):
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)
