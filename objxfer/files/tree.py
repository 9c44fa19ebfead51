"""A tree as a delivery reads it: the paths that were named, and all that lies below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Protocol

from objxfer.errors import FileFailed
from objxfer.files import scan
from objxfer.files.entries import Kind
from objxfer.files.scan import Found, LeftOut, Top
from objxfer.files.source import SmallFile, Source, SourceFile, read_small

Path = str | bytes | PathLike[str] | PathLike[bytes]


class Tree(Protocol):
    """What is delivered. For one thread at a time, but for ``count``."""

    def begin(self) -> Sequence[Top]:
        """Look at the paths that were named, at first and again for each attempt.

        Raises:
            ObjxferError: as ``scan.tops``.
        """

    def known(self) -> tuple[int, int] | None:
        """Return how many files it has, and bytes in them, where that takes no walk."""

    def count(self, over: Callable[[], bool]) -> tuple[int, int] | None:
        """Return the same by a walk of its own, or None if it is ``over`` before; in any thread.

        Raises:
            ObjxferError: as ``scan.tops``.
        """

    def entries(self) -> Iterator[Found | LeftOut]:
        """Walk over all of it: what is left out of it first where it was named, then ``scan``."""

    def small(self, batch: Sequence[Found], limit: int) -> Iterator[SmallFile | FileFailed | None]:
        """Read files whole, or say why one cannot be read; None for one larger than ``limit``."""

    def open(self, found: Found) -> Source:
        """Open a file, to be read piece by piece.

        Raises:
            FileFailed: as ``SourceFile``.
        """


class OwnTree:
    """A tree that one delivery reads; see ``Tree``.

    Args:
        paths: as they were named; each lands under its last name.
        clock: as ``time.time_ns``; tells a file that is being written to.
        copy_links: what links lead to is read instead of them.
        checksum: files are read for their digests, before they are announced.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        clock: Callable[[], int],
        *,
        copy_links: bool = False,
        checksum: bool = False,
    ) -> None:
        self.clock = clock
        self._paths = paths
        self._copy_links = copy_links
        self._checksum = checksum
        self._absent: list[LeftOut] = []
        self._tops: Sequence[Top] = ()

    def begin(self) -> Sequence[Top]:
        """See ``Tree``."""
        self._absent = []
        self._tops = scan.tops(self._paths, self._absent)
        return self._tops

    def known(self) -> tuple[int, int] | None:
        """See ``Tree``."""
        return scan.known_totals(self._tops)

    def count(self, over: Callable[[], bool]) -> tuple[int, int] | None:
        """See ``Tree``."""
        tops = scan.tops(self._paths, [])
        return scan.totals(tops, copy_links=self._copy_links, over=over)

    def entries(self) -> Iterator[Found | LeftOut]:
        """See ``Tree``."""
        found = self._scanned(self._absent, self._tops)
        return map(self._digested, found) if self._checksum else found

    def small(self, batch: Sequence[Found], limit: int) -> Iterator[SmallFile | FileFailed | None]:
        """See ``Tree``."""
        for found in batch:
            try:
                follow = self._follows(found)
                file = read_small(found.location, limit, self.clock(), follow=follow)
            except FileFailed as error:
                yield error
            else:
                yield file

    def open(self, found: Found) -> SourceFile:
        """See ``Tree``."""
        return SourceFile(found.location, self.clock(), follow=self._follows(found))

    def _scanned(self, absent: Sequence[LeftOut], tops: Sequence[Top]) -> Iterator[Found | LeftOut]:
        yield from absent
        yield from scan.scan(tops, copy_links=self._copy_links)

    def _follows(self, found: Found) -> bool:
        # A path named by the user may be a link.
        return self._copy_links or b"/" not in found.entry.path

    def _digested(self, one: Found | LeftOut) -> Found | LeftOut:
        if isinstance(one, LeftOut) or one.entry.kind is not Kind.FILE:
            return one
        try:
            with self.open(one) as source:
                digest, now = source.digest(), source
        except FileFailed:
            return one  # it is told what became of it when it is sent
        entry = one.entry._replace(size=now.size, mtime_ns=now.mtime_ns, digest=digest)
        return Found(entry, one.location)
