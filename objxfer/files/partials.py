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
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from blake3 import blake3

from objxfer.errors import UnsafePath
from objxfer.files.digest import NODE, SIZE
from objxfer.files.entries import Entry
from objxfer.files.own import Holder, Note, OwnFolder, doubled
from objxfer.files.paths import OURS, SafePath, safe_path
from objxfer.files.root import Folder, Root
from objxfer.files.temporaries import Temporaries
from objxfer.limits import MIB, Limits

RESUMABLE: Final = 4 * MIB
"""Files from this size on, and streams, go on where they stopped."""

_DAY: Final = 86_400.0
_MAGIC: Final = b"objxfer partial\x01"
_HEADER: Final = struct.Struct(f">{len(_MAGIC)}sHHH")
_CHECK: Final = struct.Struct(">I")
_RECORD: Final = SIZE + _CHECK.size
_READ: Final = 4096 * _RECORD
_ID: Final = blake3(derive_key_context="objxfer/1 partial")
_ID_SIZE: Final = 16
_IS_ID: Final = re.compile(rb"[0-9a-f]{%d}" % (2 * _ID_SIZE))


class Held(NamedTuple):
    """What seems to lie there of a file."""

    nodes: int
    allocated: int
    """Bytes of the disk that it has."""
    size: int
    """Bytes up to its end."""
    name: bytes
    """What it is called."""


NOTHING: Final = Held(0, 0, 0, b"")


def resumable(entry: Entry) -> bool:
    """Tell whether a file is worth a journal."""
    return entry.size >= RESUMABLE


class Journal:
    """The record of one partial file, locked until it is closed. Made by ``Partials.begin``.

    Attributes:
        name: what the contents are called until they get their own name.
    """

    def __init__(self, note: Note, begins: int) -> None:
        self.name = OURS + b"-" + note.name
        self._note = note
        self._begins = begins

    def held_by(self, part: Holder) -> None:
        """Say whose it is, for a newer connection that goes on with it."""
        self._note.held_by(part)

    def record(self, index: int, node: bytes) -> None:
        """Note that the node with this digest is written, if that can be done."""
        check = _CHECK.pack(_checked(index, node))
        with contextlib.suppress(OSError):  # without it the node is sent once more, no worse
            os.pwrite(self._note.fd, node + check, self._begins + index * _RECORD)

    def drop(self) -> None:
        """Remove it, once the contents have their name or are removed."""
        self._note.drop()

    def close(self) -> None:
        """Let go of it: it can be gone on with. Calling it again does nothing."""
        self._note.close()


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
        self._own = own = OwnFolder(root)
        self.temporaries = Temporaries(own, root, folder=folder, limits=limits)
        """The names of what is not kept."""
        self._owner = owner
        self._folder = folder
        self._keep = keep * _DAY
        for name in own.names():
            if _IS_ID.fullmatch(name):
                own.sweep(name, partial(_clean, root, name, limits), idle=self._keep)

    def look(self, path: SafePath, beside: Folder) -> Held:
        """Return what seems to lie of a file in the folder where it will be.

        Raises:
            OSError: it cannot be told, which is not the same as nothing.
        """
        name = self._id(path)
        fd = self._own.read(name) if self._keep else None
        if fd is None:
            return NOTHING
        try:
            begins = self._begins(fd, path)
            contents = OURS + b"-" + name
            status = os.stat(contents, dir_fd=beside.fd, follow_symlinks=False)
            if begins is None or not is_partial(status):
                return NOTHING
            records = sum(1 for _ in _records(fd, begins))
        except FileNotFoundError:
            return NOTHING
        finally:
            os.close(fd)
        nodes = min(records, status.st_size // NODE)
        return Held(nodes, status.st_blocks * 512, status.st_size, contents)

    def begin(self, path: SafePath, *, anew: bool) -> Journal | None:
        """Open the journal of a file, and take it from an older connection that has it.

        Args:
            path: of the file.
            anew: forget what it says.

        Returns:
            It, or None where there can be none, or another process has it.
        """
        note = self._own.open(self._id(path), take_over=True) if self._keep else None
        if note is None:
            return None
        header = self._header(path)
        try:
            if anew or self._begins(note.fd, path) is None:
                os.ftruncate(note.fd, 0)
                os.pwrite(note.fd, header, 0)
        except OSError:
            note.drop()
            return None
        return Journal(note, len(header))

    def close(self) -> None:
        """Hear that the delivery is over. Calling it again does nothing."""
        self.temporaries.close()
        self._own.close()

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


def is_partial(status: os.stat_result) -> bool:
    """Tell whether a file is ours alone, so that writing into it changes nothing else."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def _header(owner: bytes, folder: bytes, path: bytes) -> bytes:
    head = _HEADER.pack(_MAGIC, len(owner), len(folder), len(path)) + owner + folder + path
    return head + _CHECK.pack(zlib.crc32(head))


def _clean(root: Root, name: bytes, limits: Limits, fd: int) -> None:
    """Remove the partial file that a journal is about."""
    where = _where(fd)
    if where is not None:
        with contextlib.suppress(FileNotFoundError, UnsafePath):
            beside = root.parent(safe_path(where, doubled(limits)), create=False)
            contents = OURS + b"-" + name
            status = os.stat(contents, dir_fd=beside.fd, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                os.unlink(contents, dir_fd=beside.fd)


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
