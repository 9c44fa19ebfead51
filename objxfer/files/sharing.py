"""A tree that several deliveries read at the same time, each piece of it once.

It is walked, and its files are read and digested, by whichever delivery comes there first; the
others take it from a ``Window``. Who is too far behind for that reads for itself, so that none
ever waits for another.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, groupby, islice
from operator import attrgetter
from typing import Final

import msgpack

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.digest import NODE
from objxfer.files.entries import Entry, Kind
from objxfer.files.scan import Found, LeftOut, Top
from objxfer.files.source import Piece, SmallFile, Source, SourceFile
from objxfer.files.tree import OwnTree
from objxfer.files.window import Window
from objxfer.limits import KIB, MIB

_STEP: Final = 500
"""Entries that the walk goes on by."""
_STEP_SIZE: Final = 256 * KIB
"""About what they take in memory."""
_GROUP: Final = 200
"""Files that are read together at the most."""
_GROUP_BYTES: Final = 1 * MIB
_GROUP_SIZE: Final = 2 * MIB
"""What the contents of a group take in memory at the most."""
_SPOOL: Final = 8 * MIB
_LEFT_OUT: Final = len(dataclasses.fields(LeftOut))
_FRESH: Final = 60 * 10**9
"""Nanoseconds in which another delivery joins a walk that has begun."""


class SharedTree:
    """A tree that several deliveries read, each through a share of its own.

    Args:
        tree: what they read.
        members: how many there are.
    """

    def __init__(self, tree: OwnTree, members: int) -> None:
        self.tree = tree
        self.window = Window(members)
        self.shares = [TreeShare(self, number) for number in range(members)]
        self._walk: _Walk | None = None
        self._groups = count(1)
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._counted: tuple[int, int] | None = None

    def walk(self, member: int) -> _Walk:
        """Return the walk that the others are on, or a new one for who was on it before.

        Raises:
            ObjxferError: as ``scan.tops``.
        """
        with self._lock:
            walk, now = self._walk, self.tree.clock()
            if walk is None or not walk.join(member, now):
                walk = self._walk = _Walk(self.tree, self.window, self._groups, now)
                walk.join(member, now)
            return walk

    def count(self, over: Callable[[], bool]) -> tuple[int, int] | None:
        """Do as ``Tree.count``, once for all."""
        if over():
            return None
        with self._counting:
            if self._counted is None:
                self._counted = self.tree.count(over)
            return self._counted


class TreeShare:
    """One delivery's part in a ``SharedTree``, which is a ``Tree`` to it, in each of its attempts.

    For one thread at a time, but for ``count``.
    """

    def __init__(self, shared: SharedTree, number: int) -> None:
        self._shared = shared
        self._window = shared.window
        self._number = number
        self._walk: _Walk | None = None
        self._group = 0

    def begin(self) -> Sequence[Top]:
        """See ``Tree``."""
        if self._walk is not None:
            self._walk.leave()
        self._walk = self._shared.walk(self._number)
        return self._walk.tops

    def known(self) -> tuple[int, int] | None:
        """See ``Tree``."""
        assert self._walk is not None
        return self._walk.known

    def count(self, over: Callable[[], bool]) -> tuple[int, int] | None:
        """See ``Tree``."""
        return self._shared.count(over)

    def entries(self) -> Iterator[Found | LeftOut]:
        """See ``Tree``."""
        assert self._walk is not None
        return self._walk.entries(self._number)

    def small(self, batch: Sequence[Found], limit: int) -> Iterator[SmallFile | FileFailed | None]:
        """See ``Tree``."""
        for number, found in groupby(batch, attrgetter("group")):
            if number != self._group:
                # Only now: a batch may end in the middle of a group.
                self._window.done_with(self._number, self._group)
                self._group = number
            make = partial(_Group, self._shared.tree)
            group = self._window.take(self._number, number, _GROUP_SIZE, make, done=False)
            yield from group.read(list(found), limit)

    def open(self, found: Found) -> Source:
        """See ``Tree``."""
        return _SharedFile(self._shared.tree.open(found), self._window, self._number)

    def leave(self) -> None:
        """Say that the delivery is at its end; again, it does nothing."""
        if self._walk is not None:
            self._walk.leave()
            self._walk = None
        self._window.leave(self._number)


class _Walk:
    """A walk over a tree that several follow, each at its own pace.

    What was found is in a temporary file, once it is much, for who is behind.
    """

    def __init__(self, tree: OwnTree, window: Window, groups: Iterator[int], now_ns: int) -> None:
        self.tops = tree.begin()
        self.known = tree.known()
        self._found: Iterator[Found | LeftOut] = tree.entries()
        self._window = window
        self._groups = groups
        self._number = next(groups)
        self._begun_ns = now_ns
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115 - till leave
        self._ends = array("q", [0])
        self._failure: OSError | None = None
        self._was_here: set[int] = set()
        self._here = 0
        self._lock = threading.Lock()

    def join(self, member: int, now_ns: int) -> bool:
        """Let a member follow, unless it has already or the walk has grown old."""
        with self._lock:
            young = self._begun_ns <= now_ns < self._begun_ns + _FRESH
            closed = bool(self._was_here) and not self._here
            if member in self._was_here or closed or not young:
                return False
            self._was_here.add(member)
            self._here += 1
            return True

    def leave(self) -> None:
        """Say that one of those who follow does so no more."""
        with self._lock:
            self._here -= 1
            if not self._here:
                self._spool.close()

    def entries(self, member: int) -> Iterator[Found | LeftOut]:
        """Follow the walk from its beginning."""
        for number in count():
            key, make = (self._number, number), partial(self._step, number)
            step = self._window.take(member, key, _STEP_SIZE, make)
            if not step:
                return
            yield from step

    def _step(self, number: int) -> Sequence[Found | LeftOut]:
        """Return a step of the walk: go on, or find again what was found."""
        with self._lock:
            if number < len(self._ends) - 1:
                begin, end = self._ends[number], self._ends[number + 1]
                self._spool.seek(begin)
                return _unpacked(self._spool.read(end - begin))
            if self._failure is not None:
                raise self._failure
            try:
                step = list(self._grouped(islice(self._found, _STEP)))
                if step:
                    self._spool.seek(self._ends[-1])
                    self._ends.append(self._ends[-1] + self._spool.write(_packed(step)))
            except OSError as error:
                self._failure = error  # to the others, it must not look like the end
                raise
            return step

    def _grouped(self, step: Iterator[Found | LeftOut]) -> Iterator[Found | LeftOut]:
        """Say which files are read together."""
        files = size = group = 0
        for one in step:
            if isinstance(one, LeftOut) or one.entry.kind is not Kind.FILE:
                yield one
                continue
            files, size = files + 1, size + one.entry.size
            if not group or files > _GROUP or size > _GROUP_BYTES:
                group, files, size = next(self._groups), 1, one.entry.size
            yield one._replace(group=group)


class _Group:
    """Small files that lie side by side, each read by the first that wants it."""

    def __init__(self, tree: OwnTree) -> None:
        self._tree = tree
        self._files: dict[bytes, SmallFile | FileFailed | None] = {}
        self._room = _GROUP_SIZE
        self._lock = threading.Lock()

    def read(self, batch: Sequence[Found], limit: int) -> Sequence[SmallFile | FileFailed | None]:
        with self._lock:
            known = self._files
            missing = [found for found in batch if found.location not in known]
            read = dict(
                zip(
                    [found.location for found in missing],
                    self._tree.small(missing, limit),
                    strict=True,
                )
            )
            result = [
                read[found.location] if found.location in read else known[found.location]
                for found in batch
            ]
            self._room -= sum(file.size for file in read.values() if isinstance(file, SmallFile))
            if self._room >= 0:  # else they have grown since they were found
                known |= read
            return result


class _SharedFile:
    """A large file that several read; see ``Source``.

    Each has its own descriptor, and looks by itself whether the file held still since it opened
    it. What is shared are pieces of files that were of the same version when they were opened.
    """

    lends: Final = True
    brief: Final = True
    anywhere: Final = True

    def __init__(self, file: SourceFile, window: Window, member: int) -> None:
        self.size = file.size
        self.mtime_ns = file.mtime_ns
        self.mode = file.mode
        self._file = file
        self._window = window
        self._member = member

    def piece(self, at: int, _buffer: memoryview) -> Piece:
        """See ``Source``."""
        key, make = (self._file.version, at), partial(self._read, at)
        return self._window.take(self._member, key, NODE, make)

    def _read(self, at: int) -> Piece:
        size = max(0, min(NODE, self.size - at))
        return self._file.piece(at, memoryview(bytearray(size)))

    def changed(self) -> bool:
        """See ``Source``."""
        return self._file.changed()

    def close(self) -> None:
        """See ``Source``."""
        self._file.close()


def _packed(step: Sequence[Found | LeftOut]) -> bytes:
    """Return a step as it waits for who is behind."""
    packed: bytes = msgpack.packb(
        [
            (one.path, one.reason, one.code)
            if isinstance(one, LeftOut)
            else (*one.entry, one.location, one.group)
            for one in step
        ]
    )
    return packed


def _unpacked(packed: bytes) -> Sequence[Found | LeftOut]:
    found: list[Found | LeftOut] = []
    for one in msgpack.unpackb(packed, use_list=False):
        if len(one) == _LEFT_OUT:
            path, reason, code = one
            found.append(LeftOut(path, reason, ExitCode(code)))
        else:
            path, kind, *more, location, group = one
            found.append(Found(Entry(path, Kind(kind), *more), location, group))
    return found
