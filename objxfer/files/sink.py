"""Taking a delivery into a receiving folder; with ``part``, all that writes below one.

A file is written under a name of ours in the folder where it will lie, flushed, and only then
given its own name, in one step that never replaces what may not be replaced. Files are flushed
in groups: write all, flush each, name all, flush each folder once; then come the receipts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from objxfer.errors import NoSpace, UnsafePath
from objxfer.files.digest import Buffer
from objxfer.files.entries import Action, Answer, Entry, IfExists, Receipt, Verdict, clamped
from objxfer.files.judge import Judge, look, numbered
from objxfer.files.naming import Link, Nameable, Unnamed, create, failed
from objxfer.files.part import Part
from objxfer.files.partials import Partials, resumable
from objxfer.files.paths import safe_target
from objxfer.files.quota import Quota
from objxfer.files.root import Folder, Root, can_flush
from objxfer.files.small import Small
from objxfer.limits import Limits

_MOVED: Final = "its folder was moved or replaced meanwhile"


class Arrived(NamedTuple):
    """A file whose whole contents are in memory."""

    entry: Entry
    """With size, mtime_ns and mode as they were when it was read."""
    contents: Buffer


class Sink:
    """Takes one delivery into a receiving folder. Not for use by two threads at once.

    No method raises an error of the disk or of a name: verdicts and receipts say it. The sink
    owns what it has not published yet, and ``close`` removes that, or leaves it to go on another
    time; it also owns the ``Root`` and the ``Partials``.
    """

    def __init__(
        self,
        root: Root,
        partials: Partials,
        *,
        tops: Collection[bytes],
        if_exists: IfExists,
        asked: IfExists | None,
        limits: Limits,
        compares: bool = False,
        quota: Quota | None = None,
    ) -> None:
        """Take what comes for ``root``.

        Args:
            root: the receiving folder, or one below it; ``close`` closes it.
            partials: what may go on there; ``close`` closes it.
            tops: the first components that entries may have: what was offered.
            if_exists: what this receiver allows where something different lies under a name.
            asked: what the sender asks for; a harsher one than ``if_exists`` is refused where
                something different lies.
            limits: for names, paths, depth and the targets of links.
            compares: say of files here whether they have the contents that the sender names;
                it could guess what lies here.
            quota: what this and other deliveries may have lie there together.
        """
        self._root = root
        self._partials = partials
        self._temporaries = partials.temporaries
        root.trial = self._temporaries.trial
        self._tops = frozenset(tops)
        self._limits = limits
        self._quota = quota
        self._judge = Judge(
            root,
            partials,
            tops=self._tops,
            if_exists=if_exists,
            asked=asked,
            limits=limits,
            compares=compares,
            quota=quota,
        )
        self._umask = _umask()
        self._parts: list[Part | Small] = []
        """What has no receipt yet, in the order in which it began."""

    def judge(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Say to each announced file, in order, what is wanted of it.

        PARTIAL and WANTED files count against the free space until they are opened, packed or
        given up with ``forgo``, and against the quota until they have their receipts; a hundredth
        of the file system, at most 16 MiB, is left free.
        Two equal paths are told apart within one call; what came before, the disk tells.

        Args:
            entries: of files only. Streams are never unchanged.
        """
        return self._judge.judge(entries, sum(part.owed for part in self._parts))

    def forgo(self, entry: Entry) -> None:
        """Hear that a file judged as wanted will not come after all."""
        self._judge.forgo(entry)

    def open(self, entry: Entry, held: int = 0) -> Part:
        """Begin a file or stream that arrives piece by piece, or go on with it.

        Args:
            entry: as it was judged.
            held: how many of the nodes that seemed to lie there are of use to the sender.

        Returns:
            Where it goes; if it could not be begun, its ``failure`` is set.
        """
        part = Part(entry, self._root, self._umask)
        self._parts.append(part)
        try:
            path, _, part.share = self._judge.settle(entry)
            journal = self._partials.begin(path, anew=not held) if resumable(entry) else None
            part.begin(path, self._temporaries, journal, held=held)
        except (OSError, UnsafePath, NoSpace) as error:
            part.fail(failed(error), keep=True)
        return part

    def pack(self, files: Sequence[Arrived]) -> None:
        """Take small files, and write them at once: each is finished then."""
        for file in files:
            small = Small(file.entry, self._root)
            self._parts.append(small)
            try:
                path, _, small.share = self._judge.settle(file.entry)
            except UnsafePath as error:
                small.fail(failed(error))
            else:
                small.write(path, file.contents, self._umask, self._temporaries)

    def publish(self) -> list[tuple[Entry, Receipt]]:
        """Flush and name all that is finished; return what became of each file, in that order.

        Each holds a descriptor until then: callers publish every 200 files, 64 MiB or 2 s.
        """
        parts = [part for part in self._parts if part.finished and not part.ended]
        entries = [part.announced for part in parts]
        receipts = self._named(parts, entries)
        self._parts = [part for part in self._parts if not part.ended]
        return list(zip(entries, receipts, strict=True))

    def links(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Make symbolic links; return what became of each, in order.

        Only relative ones that stay inside what was offered are made. An equal link is
        unchanged; for anything else that lies there the policy for files holds.
        """
        receipts = []
        for entry in entries:
            try:
                path = self._judge.path(entry)
                safe_target(path, entry.target, self._tops, self._limits)
                with self._root.holding(self._root.parent(path, create=True)) as folder:
                    self._check_standing(folder)
                    receipt = self._place(Link(entry, path, folder, self._temporaries.name(path)))
                    self._root.touch_chain(folder)
                receipts.append(receipt)
            except (OSError, UnsafePath) as error:
                receipts.append(failed(error))
        return self._flushed(receipts, entries)

    def folders(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Make folders that are missing, set modes and times; return what became of each, in order.

        To be called last, and for a folder after all below it. A folder that was there takes
        the mode and time that come; what it has beyond 0o777 stays.
        """
        receipts = []
        for entry in entries:
            try:
                path = self._judge.path(entry)
                with self._root.holding(self._root.folder(path, create=True)) as folder:
                    self._check_standing(folder)
                    receipt = self._dress(folder, entry)
                    self._root.touch_chain(folder)
                receipts.append(receipt)
            except (OSError, UnsafePath) as error:
                receipts.append(failed(error))
        return self._flushed(receipts, entries)

    def close(self) -> None:
        """Let go of what was not published, and close the root. Calling it again does nothing."""
        for part in self._parts:
            part.leave()
        self._parts.clear()
        self._judge.close()
        self._partials.close()
        self._root.close()

    def _check_standing(self, folder: Folder) -> None:
        if self._root.moved((folder,)):
            raise UnsafePath(_MOVED)

    def _dress(self, folder: Folder, entry: Entry) -> Receipt:
        """Give a folder its mode and time."""
        status = os.fstat(folder.fd)
        quirks = self._root.quirks
        mode = kept = stat.S_IMODE(status.st_mode)
        if quirks.modes:
            mode = kept & ~0o777 | entry.mode & 0o777 & ~self._umask
            if self._quota is not None:
                mode |= stat.S_IRWXU  # closed to us, what it holds could not be counted
        time = clamped(entry.mtime_ns)
        if mode == kept and quirks.same_time(status.st_mtime_ns, time):
            return Receipt(Action.UNCHANGED, durable=True)
        if mode != kept:
            os.fchmod(folder.fd, mode)
        os.utime(folder.fd, ns=(time, time))
        return Receipt(Action.RECEIVED, durable=True)

    def _named(self, files: Sequence[Unnamed], entries: Sequence[Entry]) -> list[Receipt]:
        """Take a group of files from their temporary names to their receipts."""
        for file in files:
            if not file.failure:
                file.flush()
        moved = self._root.moved({file.folder for file in files if not file.failure})
        receipts = [file.failure or self._name(file, moved) for file in files]
        for file in files:
            file.discard()
        if all(part.ended for part in self._parts):
            self._temporaries.settle()
        return self._flushed(receipts, entries)

    def _name(self, file: Unnamed, moved: set[Folder]) -> Receipt:
        try:
            if file.folder in moved:
                raise UnsafePath(_MOVED)
            receipt = self._place(file)
            self._root.touch_chain(file.folder)
        except (OSError, UnsafePath) as error:
            return failed(error)
        return receipt

    def _place(self, coming: Nameable) -> Receipt:
        """Give something its name, or a number behind it, or none, as the policy says.

        Raises:
            OSError: it could not be named.
        """
        entry, folder, own = coming.entry, coming.folder, coming.path.name
        there = self._create(coming, own)
        if there is None:
            return Receipt(Action.RECEIVED, coming.size, coming.digest, coming.durable)
        verdict = self._judge.met(entry, folder, own, there)
        if verdict.answer is Answer.UNCHANGED:
            return Receipt(Action.UNCHANGED, durable=True)
        if verdict.answer is not Answer.WANTED:
            action = Action.SKIPPED if verdict.answer is Answer.SKIPPED else Action.FAILED
            return Receipt(action, code=verdict.code, reason=verdict.reason)
        if self._judge.policy is IfExists.REPLACE:
            self._replace(coming, own)
            return Receipt(Action.REPLACED, coming.size, coming.digest, coming.durable)
        for name in numbered(own, self._limits.name):
            stored_as = coming.path.beside(name)
            there = self._create(coming, name)
            if there is None:
                return Receipt(
                    Action.RECEIVED, coming.size, coming.digest, coming.durable, stored_as
                )
            if self._judge.same(entry, folder, name, there):
                return Receipt(Action.UNCHANGED, durable=True, stored_as=stored_as)
        raise FileExistsError(errno.EEXIST, "too many of that name exist")

    def _create(self, coming: Nameable, name: bytes) -> os.stat_result | None:
        there = create(coming, name)
        if there is None and coming.share is not None:
            coming.share.end(lies=coming.size)
        return there

    def _replace(self, coming: Nameable, name: bytes) -> None:
        if self._quota is None:
            coming.replace(name)
            return
        with self._quota.replacing():
            there = look(coming.folder, name)
            coming.replace(name)
        gone = there.st_size if there is not None and stat.S_ISREG(there.st_mode) else 0
        if coming.share is None:
            self._quota.gone(gone)
        else:
            coming.share.end(lies=coming.size, gone=gone)

    def _flushed(self, receipts: Sequence[Receipt], entries: Sequence[Entry]) -> list[Receipt]:
        """Flush the folders, and take back what the receipts say of those that failed."""
        self._root.flush()
        return [
            self._sure(receipt, entry) for receipt, entry in zip(receipts, entries, strict=True)
        ]

    def _sure(self, receipt: Receipt, entry: Entry) -> Receipt:
        error = self._root.unflushed(entry.path)
        if error is None or not receipt.durable:
            return receipt
        return failed(error) if can_flush(error) else receipt._replace(durable=False)


def _umask() -> int:
    """Return the mask of this process, without changing it where the system tells it."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
