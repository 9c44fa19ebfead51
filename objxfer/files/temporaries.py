"""What files are called until they get their name, and where such names lie.

Who is killed leaves them behind. So each delivery notes, before the first in a folder, that it
is there; whoever receives next removes those of the ones that are gone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from typing import Final

from objxfer.errors import UnsafePath
from objxfer.files.own import Note, OwnFolder, doubled
from objxfer.files.paths import OURS, SafePath, safe_path
from objxfer.files.root import Root
from objxfer.limits import Limits

_NOTE: Final = b"at-"
_END: Final = b"\0"
_READ: Final = 2**20


class Temporaries:
    """The temporary names of one delivery. Not for use by two threads at once."""

    def __init__(self, own: OwnFolder, root: Root, *, folder: bytes, limits: Limits) -> None:
        """Remove what others left who are gone.

        Args:
            own: of the receiving folder.
            root: the receiving folder; it is not kept.
            folder: where below ``root`` the delivery lands.
            limits: for the paths that others noted.
        """
        self._own = own
        self._folder = folder
        self._stem = os.urandom(8).hex().encode()
        self._count = 0
        self._note: Note | None = None
        self._noted: set[tuple[bytes, ...]] = set()
        for name in own.names():
            if name.startswith(_NOTE):
                own.sweep(name, partial(_clean, root, name, limits))

    def name(self, path: SafePath) -> bytes:
        """Return a name for what will be called ``path``, in the same folder."""
        return self._name(path.folder)

    def trial(self) -> bytes:
        """Return how names begin by which the folder of the delivery is tried out."""
        return self._name(())

    def _name(self, folder: tuple[bytes, ...]) -> bytes:
        if folder not in self._noted:
            self._write_down(folder)
        self._count += 1
        return b"%b-%b-%d" % (OURS, self._stem, self._count)

    def settle(self) -> None:
        """Hear that none is in use at the moment."""
        if self._note is not None and self._noted:
            with contextlib.suppress(OSError):  # it says more than is true, which harms nobody
                os.ftruncate(self._note.fd, 0)
        self._noted.clear()

    def close(self) -> None:
        """Hear that none is in use any more. Calling it again does nothing."""
        if self._note is not None:
            self._note.drop()
            self._note = None

    def _write_down(self, folder: tuple[bytes, ...]) -> None:
        if self._note is None:
            self._note = self._own.open(_NOTE + self._stem)
        self._noted.add(folder)
        if self._note is not None:
            place = b"/".join((self._folder, *folder) if self._folder else folder)
            with contextlib.suppress(OSError):  # then they stay, where we are killed
                os.lseek(self._note.fd, 0, os.SEEK_END)
                os.write(self._note.fd, place + _END)


def _clean(root: Root, note: bytes, limits: Limits, fd: int) -> None:
    """Remove the temporary names that a note speaks of."""
    begin = b"%b-%b-" % (OURS, note.removeprefix(_NOTE))
    text = b""
    while part := os.read(fd, _READ):
        text += part
    for place in text.split(_END)[:-1]:
        with contextlib.suppress(OSError, UnsafePath):  # the other places are cleaned all the same
            folder = root.folder(safe_path(place, doubled(limits)), create=False) if place else None
            where = root.fd if folder is None else folder.fd
            for name in map(os.fsencode, os.listdir(where)):
                if name.startswith(begin):
                    _remove(name, where)


def _remove(name: bytes, folder: int) -> None:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
        os.unlink(name, dir_fd=folder)
