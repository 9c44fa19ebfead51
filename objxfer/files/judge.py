"""What the receiver says to an announced file, and to whatever lies where one should go.

Nothing is written here. The same rules speak twice: when entries are announced, and again
when a finished file meets something under its name that was not there before.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from objxfer.errors import ExitCode, FileFailed, NoSpace, UnsafePath
from objxfer.files.digest import NODE
from objxfer.files.entries import UNKNOWN_SIZE, Answer, Entry, IfExists, Kind, Verdict, why
from objxfer.files.partials import NOTHING, Held, Partials, resumable
from objxfer.files.paths import SafePath, safe_path, shown
from objxfer.files.quota import Quota, Share
from objxfer.files.root import Folder, Quirks, Root, can_flush
from objxfer.files.source import SourceFile
from objxfer.limits import MIB, Limits

_WANTED: Final = Verdict(Answer.WANTED)
_UNCHANGED: Final = Verdict(Answer.UNCHANGED)
_NO_SPACE: Final = Verdict(Answer.REFUSED, code=ExitCode.PEER_NO_SPACE, reason="no space left")
COPIES: Final = 9_999
_LONGEST_SUFFIX: Final = 32
_RESERVE: Final = 16 * MIB
"""What is left free, or a hundredth of the file system where that is less."""


def look(folder: Folder, name: bytes) -> os.stat_result | None:
    """Return what lies under a name, a link itself and not what it leads to; None for nothing."""
    try:
        return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Promise(NamedTuple):
    """That a wanted file may come."""

    path: SafePath
    """Where it goes."""
    size: int
    """Bytes of the disk that are kept for it."""
    share: Share | None
    """What is kept for it of the quota, if there is one."""


class Judge:
    """The receiver's policy for one delivery. Not for use by two threads at once."""

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
        """See ``Sink``."""
        self._compares = compares
        self._quota = quota
        self._root = root
        self._partials = partials
        self._tops = frozenset(tops)
        self._limits = limits
        self._promised: dict[bytes, Promise] = {}
        allowed = asked is None or asked <= if_exists
        self._policy = (if_exists if asked is None else asked) if allowed else IfExists.FAIL
        self._refusal = (
            "exists"
            if asked is None or allowed
            else f"exists, and this receiver does not {asked.name.lower()}"
        )

    @property
    def policy(self) -> IfExists:
        """What happens to a file where a different one lies under its name."""
        return self._policy

    def path(self, entry: Entry) -> SafePath:
        """Return where an entry goes.

        Raises:
            UnsafePath: nowhere.
        """
        path = safe_path(entry.path, self._limits)
        if entry.digest and not self._compares:
            raise UnsafePath(f"{shown(entry.path)}: contents are compared only for who has a key")
        if path.components[0] not in self._tops:
            raise UnsafePath(f"{shown(entry.path)} is not below what was offered")
        if not path.portable:
            self._root.takes(path)
        return path

    def judge(self, entries: Sequence[Entry], owed: int = 0) -> list[Verdict]:
        """See ``Sink.judge``; ``owed`` is what files on their way have yet to get of the disk."""
        folded = self._root.quirks.folded
        missing: set[tuple[bytes, ...]] = set()
        announced: set[bytes] = set()
        kept = False
        verdicts: list[Verdict] = []
        room: int | None = None
        for entry in entries:
            assert entry.kind is Kind.FILE
            held = NOTHING
            try:
                path = self.path(entry)
                if folded(entry.path) in announced:
                    raise UnsafePath(f"{shown(entry.path)} was announced twice")
                announced.add(folded(entry.path))
                verdict = self._on_file(entry, path, missing)
                if verdict is _WANTED and resumable(entry):
                    held = self._held(entry, path)
            except UnsafePath as error:
                verdicts.append(refused(str(error)))
                continue
            except OSError as error:
                reason = f"{shown(entry.path)}: {why(error)}"
                verdicts.append(refused(reason, ExitCode.FAILED))
                continue
            if verdict is _WANTED and entry.size:
                if room is None:
                    room = self._room() - owed
                size = 0 if entry.size == UNKNOWN_SIZE else max(0, entry.size - held.allocated)
                if size > max(room, 0):
                    verdict = _NO_SPACE
                elif (refusal := self._promise(entry, path, size, held)) is not None:
                    verdict = refusal
                else:
                    room -= size
                    if held.nodes:
                        verdict = Verdict(Answer.PARTIAL, held=held.nodes)
            elif verdict.answer is Answer.UNCHANGED:
                kept = True
            verdicts.append(verdict)
        if not kept:
            return verdicts
        self._root.flush()
        return [self._sure(*pair) for pair in zip(verdicts, entries, strict=True)]

    def _sure(self, verdict: Verdict, entry: Entry) -> Verdict:
        """Take back that a file is unchanged where its name could not be made durable."""
        if verdict.answer is Answer.UNCHANGED:
            error = self._root.unflushed(entry.path)
            if error is not None and can_flush(error):
                return refused(f"{shown(entry.path)}: {why(error)}", ExitCode.FAILED)
        return verdict

    def _promise(self, entry: Entry, path: SafePath, size: int, held: Held) -> Verdict | None:
        """Promise a wanted file its space, or return why not."""
        self.forgo(entry)  # it may have been announced before
        try:
            share = self._share(entry.size, held)
        except NoSpace as error:
            return refused(str(error), ExitCode.PEER_NO_SPACE)
        self._promised[entry.path] = Promise(path, size, share)
        return None

    def _share(self, size: int, held: Held) -> Share | None:
        return None if self._quota is None else self._quota.share(size, held.name, held.size)

    def settle(self, entry: Entry) -> Promise:
        """Return what was promised to a wanted file, which takes its share over.

        Raises:
            UnsafePath: it goes nowhere.
        """
        promise = self._promised.pop(entry.path, None)
        if promise is None:
            promise = Promise(self.path(entry), 0, self._share(0, NOTHING))
        return promise

    def forgo(self, entry: Entry) -> None:
        """Give back the space that was promised to a wanted file."""
        promise = self._promised.pop(entry.path, None)
        if promise is not None and promise.share is not None:
            promise.share.end()

    def close(self) -> None:
        """Give back all that was promised. Calling it again does nothing."""
        for promise in self._promised.values():
            if promise.share is not None:
                promise.share.end()
        self._promised.clear()

    def _room(self) -> int:
        """Return how many bytes may still be promised."""
        try:
            disk = os.fstatvfs(self._root.fd)
        except OSError:
            return UNKNOWN_SIZE  # writing will show it
        if not disk.f_blocks:
            return UNKNOWN_SIZE  # some network file systems do not say
        reserve = min(_RESERVE, disk.f_blocks * disk.f_frsize // 100)
        promised = sum(promise.size for promise in self._promised.values())
        return disk.f_bavail * disk.f_frsize - reserve - promised

    def _held(self, entry: Entry, path: SafePath) -> Held:
        """Return what seems to lie there of a file from a time before."""
        try:
            held = self._partials.look(path, self._root.parent(path, create=False))
        except FileNotFoundError:
            return NOTHING
        return held._replace(nodes=min(held.nodes, entry.size // NODE))

    def _on_file(self, entry: Entry, path: SafePath, missing: set[tuple[bytes, ...]]) -> Verdict:
        if path.folder in missing:
            return _WANTED
        try:
            folder = self._root.parent(path, create=False)
        except FileNotFoundError:
            missing.add(path.folder)
            return _WANTED
        verdict = self._on_name(entry, path, folder)
        if verdict.answer is Answer.UNCHANGED:
            # The run that wrote it may have been cut before the folders were flushed.
            self._root.touch_chain(folder)
        return verdict

    def _on_name(self, entry: Entry, path: SafePath, folder: Folder) -> Verdict:
        there = look(folder, path.name)
        if there is None:
            return _WANTED
        verdict = self.met(entry, folder, path.name, there)
        if verdict is not _WANTED or self._policy is IfExists.REPLACE:
            return verdict
        if len(entry.path) + _LONGEST_SUFFIX > self._limits.path:
            return refused("exists, and its path leaves no room for a number")
        for name in numbered(path.name, self._limits.name):
            there = look(folder, name)
            if there is None:
                return _WANTED
            if self.same(entry, folder, name, there):
                return Verdict(Answer.UNCHANGED, stored_as=path.beside(name))
        return refused(f"{shown(entry.path)} exists {COPIES} times")

    def met(self, entry: Entry, folder: Folder, name: bytes, there: os.stat_result) -> Verdict:
        """Say what becomes of an entry under whose own name something lies.

        WANTED means: go on as ``policy`` says, which is then RENAME or REPLACE.

        Raises:
            OSError: what lies there cannot be looked at.
        """
        if self.same(entry, folder, name, there):
            return _UNCHANGED
        if stat.S_ISDIR(there.st_mode):
            return refused(f"{shown(entry.path)}: a folder is there")
        if self._policy is IfExists.FAIL:
            return refused(f"{shown(entry.path)} {self._refusal}")
        if self._policy is IfExists.SKIP:
            return Verdict(Answer.SKIPPED, reason="exists")
        if self._policy is IfExists.REPLACE:
            if not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
                return refused(f"{shown(entry.path)}: what is there is no file")
            if self._root.quirks.case and not _spelled_so(folder, name):
                return refused(f"{shown(entry.path)} is one name with another that is there")
        return _WANTED

    def same(self, entry: Entry, folder: Folder, name: bytes, there: os.stat_result) -> bool:
        """Tell whether what lies there is the entry.

        A file is by size and time, or by its contents where the sender asks for that; a link is
        by its target.

        Raises:
            OSError: it cannot be looked at.
        """
        if entry.kind is Kind.LINK:
            return (
                stat.S_ISLNK(there.st_mode) and os.readlink(name, dir_fd=folder.fd) == entry.target
            )
        if there.st_size != entry.size or not stat.S_ISREG(there.st_mode):
            return False
        if entry.digest:
            return _digest(folder, name) == entry.digest
        return self._root.quirks.same_time(there.st_mtime_ns, entry.mtime_ns)


def _digest(folder: Folder, name: bytes) -> bytes:
    """Return the digest of a file that lies there, which is flushed; empty where it moves."""
    try:
        with SourceFile(name, time.time_ns(), follow=False, folder=folder.fd) as file:
            digest = file.digest()
            file.flush()
            return digest
    except FileFailed:
        return b""


def _spelled_so(folder: Folder, name: bytes) -> bool:
    """Tell whether a name that was found lies there as it is written, not as its twin ``nAME``."""
    spelled = Quirks(forms=True).folded
    return spelled(name) in map(spelled, map(os.fsencode, os.listdir(folder.fd)))


def refused(reason: str, code: ExitCode = ExitCode.REFUSED) -> Verdict:
    """Return the verdict on an entry that is not taken."""
    return Verdict(Answer.REFUSED, code=code, reason=reason)


def numbered(name: bytes, limit: int) -> Iterator[bytes]:
    """Return the names that a second, third … file called ``name`` gets, at most ``limit`` bytes.

    Where the number makes a name too long, the stem gives way, by whole UTF-8 characters.
    """
    stem, suffix = os.path.splitext(name)
    if len(suffix) > _LONGEST_SUFFIX:
        stem, suffix = name, b""
    for number in range(1, COPIES + 1):
        tail = b" (%d)%b" % (number, suffix)
        end = cut = max(0, min(len(stem), limit - len(tail)))
        while cut - 3 < end < len(stem) and stem[end] & 0xC0 == 0x80:
            end -= 1
        yield stem[:end] + tail
