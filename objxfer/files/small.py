"""A small file on its way in: its whole contents are in memory, and written in one go."""

from __future__ import annotations

import os
from typing import ClassVar, Final

from objxfer.errors import ExitCode, NoSpace, UnsafePath
from objxfer.files.digest import Buffer, file_digest
from objxfer.files.entries import Action, Receipt, clamped
from objxfer.files.naming import Unnamed, failed
from objxfer.files.paths import SafePath
from objxfer.files.temporaries import Temporaries

_NEW: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class Small(Unnamed):
    """A small file, made by ``Sink.pack`` and owned by the sink. For one thread at a time.

    No method raises an error of the disk: the first one is kept for the file's receipt.

    Attributes:
        finished: it waits for its receipt: there is nothing to wait for but that.
        owed: it has got all it needs of the disk.
    """

    finished: ClassVar = True
    owed: ClassVar = 0

    __slots__ = ()

    def write(self, path: SafePath, contents: Buffer, umask: int, temporaries: Temporaries) -> None:
        """Write all of it, and the folder around it where that is missing.

        Args:
            path: where the file goes.
            contents: all there is.
            umask: which bits are taken from its mode.
            temporaries: says what it is called until it gets its name.
        """
        entry = self.entry
        try:
            self._enter(path)
            temp = temporaries.name(path)
            if self.share is not None:
                self.share.begin(temp)
                self.share.cover(len(contents))
            self._fd = fd = os.open(temp, _NEW, 0o600, dir_fd=self.folder.fd)
            self._temp = temp
            self.size = len(contents)
            done = os.pwrite(fd, contents, 0)
            while done < self.size:
                done += os.pwrite(fd, memoryview(contents)[done:], done)
            if self._root.quirks.modes:
                os.fchmod(fd, entry.mode & 0o777 & ~umask)
            time = clamped(entry.mtime_ns)
            os.utime(fd, ns=(time, time))
        except (OSError, UnsafePath, NoSpace) as error:
            self.fail(failed(error))
            return
        if self.size != entry.size:
            reason = f"{self.size} of {entry.size} bytes arrived"
            self.fail(Receipt(Action.FAILED, code=ExitCode.INTEGRITY, reason=reason))
            return
        self.digest = file_digest(contents)
        if entry.digest:
            self.entry = entry._replace(digest=self.digest)  # as it came
