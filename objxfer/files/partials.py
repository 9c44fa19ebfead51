"""What was begun in a receiving folder and may go on: a partial file, and a journal of each.

The contents lie beside the name they will get, as ``.objxfer-ID``. The journal lies in the
folder ``.objxfer`` of the receiving folder, as ``ID``: whose it is, where, and the digest of each
node that was written. ID names the sender, the folder and the path, so the same delivery finds
it again, after a reboot and from another address.

A journal promises nothing: what lies there is read again, and compared with what the sender
has, before it counts. So it is never flushed; each record carries a check of its own, and the
first that does not match ends the list.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from blake3 import blake3

from objxfer.errors import UnsafePath
from objxfer.files.digest import NODE, SIZE
from objxfer.files.entries import Entry
from objxfer.files.paths import OURS, SafePath, safe_path
from objxfer.files.root import Folder, Root
from objxfer.limits import MIB, Limits

RESUMABLE: Final = 4 * MIB
"""Files from this size on, and streams, go on where they stopped."""
KEEP: Final = 7.0
"""Days that a partial file is kept, unless the receiver says otherwise."""

_DAY: Final = 86_400.0
_MAGIC: Final = b"objxfer partial\x01"
_HEADER: Final = struct.Struct(f">{len(_MAGIC)}sHHH")
_CHECK: Final = struct.Struct(">I")
_RECORD: Final = SIZE + _CHECK.size
_READ: Final = 4096 * _RECORD
_ID: Final = blake3(derive_key_context="objxfer/1 partial")
_ID_SIZE: Final = 16
_NAME: Final = re.compile(rb"[0-9a-f]{%d}" % (2 * _ID_SIZE))
_OPEN: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)


class Held(NamedTuple):
    """What seems to lie there of a file."""

    nodes: int
    allocated: int
    """Bytes of the disk that it has."""


class Holder(Protocol):
    """Who has a journal open."""

    def surrender(self) -> bool:
        """Let go of it for good, if that can be done now; called by any thread."""


NOTHING: Final = Held(0, 0)
_holders: Final[dict[tuple[int, int], Holder]] = {}
"""Who in this process has a journal open, by its device and inode."""
_registry: Final = threading.Lock()


def resumable(entry: Entry) -> bool:
    """Tell whether a file is worth a journal."""
    return entry.size >= RESUMABLE


class Journal:
    """The record of one partial file, locked until it is closed. Made by ``Partials.begin``.

    Attributes:
        name: what the contents are called until they get their own name.
    """

    def __init__(self, fd: int, name: bytes, begins: int, state: int) -> None:
        status = os.fstat(fd)
        self.name = OURS + b"-" + name
        self._fd = fd
        self._id = name
        self._begins = begins
        self._state = state
        self._identity = status.st_dev, status.st_ino

    def held_by(self, holder: Holder) -> None:
        """Say who has it, for a newer connection that wants it."""
        with _registry:
            _holders[self._identity] = holder

    def record(self, index: int, node: bytes) -> None:
        """Note that the node with this digest is written, if that can be done."""
        check = _CHECK.pack(_checked(index, node))
        with contextlib.suppress(OSError):  # without it the node is sent once more, no worse
            os.pwrite(self._fd, node + check, self._begins + index * _RECORD)

    def drop(self) -> None:
        """Remove it, once the contents have their name or are removed."""
        with contextlib.suppress(OSError):  # it is found again, and dropped when it is old
            os.unlink(self._id, dir_fd=self._state)
        self.close()

    def close(self) -> None:
        """Let go of it: it can be gone on with. Calling it again does nothing."""
        if self._fd >= 0:
            with _registry:
                _holders.pop(self._identity, None)
                os.close(self._fd)
            self._fd = -1


class Partials:
    """The partial files of one sender in one receiving folder. For one delivery."""

    def __init__(
        self, root: Root, *, owner: bytes, folder: bytes, keep: float, limits: Limits
    ) -> None:
        """Drop those that are too old, whosever they are, unless somebody is at them.

        Args:
            root: the receiving folder; it is not kept.
            owner: who sends: what its key is called, empty where it has none.
            folder: where below ``root`` the delivery lands.
            keep: for how many days a partial file is kept; with 0 none is made.
            limits: for the paths of those that are dropped.
        """
        self._owner = owner
        self._folder = folder
        self._keep = keep * _DAY
        self._above = os.dup(root.fd)
        self._state = -1
        try:
            if self._enter(make=False):
                self._sweep(root, limits)
        except BaseException:
            self.close()
            raise

    def look(self, path: SafePath, beside: Folder) -> Held:
        """Return what seems to lie of a file in the folder where it will be."""
        name = self._id(path)
        try:
            if not self._keep or not self._enter(make=False):
                return NOTHING
            fd = os.open(name, os.O_RDONLY | _OPEN, dir_fd=self._state)
            try:
                begins = self._begins(fd, path)
                status = os.stat(OURS + b"-" + name, dir_fd=beside.fd, follow_symlinks=False)
                if begins is None or not is_partial(status):
                    return NOTHING
                records = sum(1 for _ in _records(fd, begins))
            finally:
                os.close(fd)
        except OSError:
            return NOTHING
        return Held(min(records, status.st_size // NODE), status.st_blocks * 512)

    def begin(self, path: SafePath, *, anew: bool) -> Journal | None:
        """Open the journal of a file, and take it from an older connection that has it.

        Args:
            path: of the file.
            anew: forget what it says.

        Returns:
            It, or None where there can be none, or another process has it.
        """
        if not self._keep:
            return None
        name = self._id(path)
        try:
            fd = self._open_locked(name)
        except OSError:
            return None
        if fd is None:
            return None
        try:
            header = self._header(path)
            begins = None if anew else self._begins(fd, path)
            if begins is None:
                os.ftruncate(fd, 0)
                os.pwrite(fd, header, 0)
            return Journal(fd, name, len(header), self._state)
        except OSError:
            os.close(fd)
            return None

    def close(self) -> None:
        """Release what is held; the folder of the journals goes where it is empty."""
        if self._above >= 0:
            if self._state >= 0:
                os.close(self._state)
                with contextlib.suppress(OSError):
                    os.rmdir(OURS, dir_fd=self._above)
            os.close(self._above)
            self._above = self._state = -1

    # --- inside ---

    def _id(self, path: SafePath) -> bytes:
        hasher = _ID.copy()
        for part in (self._owner, self._folder, bytes(path)):
            hasher.update(len(part).to_bytes(2, "big") + part)
        return hasher.hexdigest()[: 2 * _ID_SIZE].encode()

    def _header(self, path: SafePath) -> bytes:
        return _header(self._owner, self._folder, bytes(path))

    def _begins(self, fd: int, path: SafePath) -> int | None:
        """Return where the records begin, if a journal is the one of this path."""
        header = self._header(path)
        return len(header) if os.pread(fd, len(header), 0) == header else None

    def _enter(self, *, make: bool) -> bool:
        """Open the folder of the journals, if it is there and nobody else can write in it."""
        if self._state >= 0:
            return True
        flags = os.O_RDONLY | os.O_DIRECTORY | _OPEN
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(OURS, 0o700, dir_fd=self._above)
            fd = os.open(OURS, flags, dir_fd=self._above)
        except OSError:
            return False
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            os.close(fd)
            return False
        self._state = fd
        return True

    def _open_locked(self, name: bytes) -> int | None:
        """Open a journal and lock it; None where somebody keeps it."""
        flags = os.O_RDWR | os.O_CREAT | _OPEN
        while self._enter(make=True):
            try:
                fd = os.open(name, flags, 0o600, dir_fd=self._state)
            except FileNotFoundError:  # the folder was removed: it was empty
                os.close(self._state)
                self._state = -1
                continue
            try:
                if not _lock(fd) and not (_take_over(fd) and _lock(fd)):
                    os.close(fd)
                    return None
                if os.fstat(fd).st_nlink:
                    return fd
            except OSError:  # this file system knows no locks
                os.close(fd)
                raise
            os.close(fd)  # whoever had it dropped it meanwhile
        return None

    def _sweep(self, root: Root, limits: Limits) -> None:
        oldest = time.time() - self._keep
        # The folder and the path were each within the limits.
        limits = replace(limits, path=2 * limits.path + 1, depth=2 * limits.depth)
        for name in map(os.fsencode, os.listdir(self._state)):
            with contextlib.suppress(OSError, UnsafePath):  # it stays until another time
                if _NAME.fullmatch(name):
                    self._drop_old(root, name, oldest, limits)

    def _drop_old(self, root: Root, name: bytes, oldest: float, limits: Limits) -> None:
        """Remove a journal and its partial file, if it is old and nobody is at it."""
        if os.stat(name, dir_fd=self._state, follow_symlinks=False).st_mtime >= oldest:
            return
        fd = os.open(name, os.O_RDWR | _OPEN, dir_fd=self._state)
        try:
            if not _lock(fd):
                return
            status = os.fstat(fd)
            if not status.st_nlink or status.st_mtime >= oldest:
                return  # somebody was at it until now
            where = _where(fd)
            if where is not None:
                with contextlib.suppress(FileNotFoundError):
                    beside = root.parent(safe_path(where, limits), create=False)
                    partial = OURS + b"-" + name
                    status = os.stat(partial, dir_fd=beside.fd, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                        os.unlink(partial, dir_fd=beside.fd)
            os.unlink(name, dir_fd=self._state)
        finally:
            os.close(fd)


def is_partial(status: os.stat_result) -> bool:
    """Tell whether a file is ours alone, so that writing into it changes nothing else."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def _header(owner: bytes, folder: bytes, path: bytes) -> bytes:
    head = _HEADER.pack(_MAGIC, len(owner), len(folder), len(path)) + owner + folder + path
    return head + _CHECK.pack(zlib.crc32(head))


def _where(fd: int) -> bytes | None:
    """Return the path below the receiving folder that a journal is about; None: it is torn."""
    start = os.pread(fd, _HEADER.size, 0)
    if len(start) < _HEADER.size:
        return None
    _, *sizes = _HEADER.unpack(start)
    owner, folder, path = sizes
    head = os.pread(fd, _HEADER.size + sum(sizes) + _CHECK.size, 0)
    texts = head[_HEADER.size :]
    ends = owner, owner + folder, owner + folder + path
    parts = texts[: ends[0]], texts[ends[0] : ends[1]], texts[ends[1] : ends[2]]
    if head != _header(*parts):
        return None
    return b"/".join(part for part in parts[1:] if part)


def _checked(index: int, node: bytes) -> int:
    return zlib.crc32(node, index & 0xFFFFFFFF)


def _records(fd: int, begins: int) -> Iterator[bytes]:
    """Return the digests of a journal up to the first that is torn or missing."""
    index = 0
    while part := os.pread(fd, _READ, begins + index * _RECORD):
        for at in range(0, len(part), _RECORD):
            node, check = part[at : at + SIZE], part[at + SIZE : at + _RECORD]
            if check != _CHECK.pack(_checked(index, node)):
                return
            yield node
            index += 1


def _lock(fd: int) -> bool:
    # Not on every system; nor is receiving, and who only sends does without.
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_over(fd: int) -> bool:
    """Have whoever in this process has a journal open let go of it, unless they just did."""
    status = os.fstat(fd)
    with _registry:
        holder = _holders.get((status.st_dev, status.st_ino))
    return holder is None or holder.surrender()
