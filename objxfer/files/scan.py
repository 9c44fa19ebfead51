"""What is sent: the walk over the sender's files, links and folders."""

from __future__ import annotations

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from os import PathLike, fsencode
from typing import IO, Final, NamedTuple

from objxfer.errors import ExitCode, FileFailed, ObjxferError
from objxfer.files.entries import Entry, Kind, clamped, why
from objxfer.files.paths import is_ours, shown, stays_inside
from objxfer.limits import MIB

_SLAB: Final = 50_000
"""How many names of one folder are held, and sorted, at a time."""
_SPOOL: Final = 8 * MIB
_RECORD: Final = struct.Struct(">BIIIqH")
_DANGLING: Final = (errno.ENOENT, errno.ELOOP)
_SPECIAL: Final = {
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


@dataclass(frozen=True, slots=True)
class Top:
    """One of the paths that the sender named."""

    name: bytes
    """Under which it lands: one component."""
    location: bytes
    """Where it lies here."""


class Found(NamedTuple):
    """An entry, and where it lies here."""

    entry: Entry
    location: bytes
    group: int = 0
    """Which files it is read together with, where several read the tree."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that is not sent, and why."""

    path: bytes
    reason: str
    code: ExitCode
    """What it makes the command end with; OK for what is never sent."""


def tops(
    paths: Sequence[str | bytes | PathLike[str] | PathLike[bytes]],
    absent: list[LeftOut] | None = None,
) -> list[Top]:
    """Return what the named paths are called at the receiver.

    A path lands under its last name, with a slash behind it or not; ``.`` and ``..`` under the
    real name of that folder. A path that is a link stands for what the link leads to.

    Args:
        paths: as the user named them.
        absent: takes those that are absent or cannot be looked at, if others can.

    Raises:
        FileFailed: one is absent or cannot be looked at (3), and ``absent`` is None or it is
            so with all.
        ObjxferError: one has no name of its own, or one of objxfer's, or two have the same (2).
    """
    found: dict[bytes, Top] = {}
    first: FileFailed | None = None
    for path in paths:
        given = fsencode(path)
        if not given:
            raise ObjxferError("an empty path names nothing", exit_code=ExitCode.USAGE)
        location = given.rstrip(b"/") or given
        if os.path.basename(location) in (b"", b".", b".."):
            location = os.path.realpath(location)
        name = os.path.basename(location)
        try:
            os.stat(location)
        except OSError as error:
            reason = f"cannot send {shown(given)}: {why(error)}"
            failure = FileFailed(reason, exit_code=ExitCode.INCOMPLETE)
            if absent is None:
                raise failure from error
            first = first or failure
            absent.append(LeftOut(given, why(error), ExitCode.INCOMPLETE))
            continue
        if not name or is_ours(name):
            fault = "its name is objxfer's own" if name else "it has no name to land under"
            raise ObjxferError(f"cannot send {shown(given)}: {fault}", exit_code=ExitCode.USAGE)
        if name in found:
            raise ObjxferError(
                f"{shown(found[name].location)} and {shown(location)} would both land under "
                f"{shown(name)}",
                hint="send them one after the other, or into different folders",
                exit_code=ExitCode.USAGE,
            )
        found[name] = Top(name, location)
    if first is not None and not found:
        raise first
    return list(found.values())


def scan(tops: Sequence[Top], *, copy_links: bool = False) -> Iterator[Found | LeftOut]:
    """Walk over everything below ``tops``: all files, then all links, then all folders.

    Files come as they are found, in the order of their names within a folder (in runs of
    50,000 where it is larger than that); a folder comes after all folders below it. What is
    left out is said where it is found. Memory is bounded: links and folders wait in a
    temporary file once they are many.

    Args:
        tops: from ``tops()``.
        copy_links: send what links lead to instead of the links.

    Raises:
        OSError: the temporary file cannot be written.
    """
    names = {top.name for top in tops}
    with (
        tempfile.SpooledTemporaryFile(max_size=_SPOOL) as links,
        tempfile.SpooledTemporaryFile(max_size=_SPOOL) as folders,
    ):
        for step in _walk(tops, copy_links=copy_links):
            if isinstance(step, LeftOut):
                yield step
                continue
            kind, path, location, _ = step
            if kind is Kind.FILE:
                yield _found(step)
            elif kind is Kind.FOLDER:
                _put(folders, _found(step))
            else:
                try:
                    target = os.readlink(location)
                except OSError as error:
                    yield left_out(path, error)
                    continue
                if stays_inside(path.split(b"/")[:-1], target, names):
                    _put(links, _found(step, target))
                else:
                    yield LeftOut(path, "link leaves what is sent", ExitCode.INCOMPLETE)
        yield from _taken(links)
        yield from _taken(folders)


def files(tops: Sequence[Top]) -> Iterator[Found | LeftOut]:
    """Walk over the files alone, in the order in which ``scan`` finds them."""
    for step in _walk(tops, copy_links=False):
        if isinstance(step, LeftOut):
            yield step
        elif step[0] is Kind.FILE:
            yield _found(step)


def totals(
    tops: Sequence[Top], *, copy_links: bool = False, over: Callable[[], bool] = lambda: False
) -> tuple[int, int] | None:
    """Return how many files, and bytes in them, ``scan`` would find; any thread may call it.

    None where it takes until it is ``over``.
    """
    files = size = 0
    for step in _walk(tops, copy_links=copy_links):
        if over():
            return None
        if not isinstance(step, LeftOut) and step[0] is Kind.FILE:
            files += 1
            size += step[3].st_size
    return files, size


def known_totals(tops: Sequence[Top]) -> tuple[int, int] | None:
    """Return how many files, and bytes in them, where that takes no walk: tops without a folder."""
    size = 0
    for top in tops:
        try:
            status = os.stat(top.location)
        except OSError:
            return None  # the scan says why
        if stat.S_ISDIR(status.st_mode):
            return None
        size += status.st_size
    return len(tops), size


def left_out(path: bytes, error: OSError) -> LeftOut:
    """Return what to say of a path that an operation here failed on."""
    if isinstance(error, FileNotFoundError):
        return LeftOut(path, "vanished", ExitCode.VANISHED)
    return LeftOut(path, why(error), ExitCode.INCOMPLETE)


@dataclass(slots=True)
class _Walked:
    """A folder on the way from a top down to where the walk is."""

    path: bytes
    location: bytes
    status: os.stat_result
    listing: Iterator[os.DirEntry[bytes]]


_Step = tuple[Kind, bytes, bytes, os.stat_result]


def _walk(tops: Sequence[Top], *, copy_links: bool) -> Iterator[_Step | LeftOut]:
    """Visit everything below ``tops``, a folder after what it holds."""
    for top in tops:
        try:
            status = os.stat(top.location)
        except OSError as error:
            yield left_out(top.name, error)
            continue
        above: list[_Walked] = []
        step = _visit(top.name, top.location, status, above)
        if step:
            yield step
        while above:
            folder = above[-1]
            try:
                item = next(folder.listing, None)
            except OSError as error:
                # Whatever of it was listed is sent, but never as if it were the whole folder.
                above.pop()
                yield left_out(folder.path, error)
                continue
            if item is None:
                above.pop()
                yield Kind.FOLDER, folder.path, folder.location, folder.status
                continue
            path = folder.path + b"/" + item.name
            if is_ours(item.name):
                yield LeftOut(path, "is objxfer's own", ExitCode.OK)
                continue
            try:
                status = item.stat(follow_symlinks=copy_links)
            except OSError as error:
                if error.errno in _DANGLING and copy_links and os.path.islink(item.path):
                    yield LeftOut(path, "link leads nowhere", ExitCode.INCOMPLETE)
                else:
                    yield left_out(path, error)
                continue
            step = _visit(path, item.path, status, above)
            if step:
                yield step


def _found(step: _Step, target: bytes = b"") -> Found:
    kind, path, location, status = step
    size = status.st_size if kind is Kind.FILE else 0
    mtime_ns, mode = clamped(status.st_mtime_ns), status.st_mode & 0o777
    return Found(Entry(path, kind, size, mtime_ns, mode, target), location)


def _visit(
    path: bytes, location: bytes, status: os.stat_result, above: list[_Walked]
) -> _Step | LeftOut | None:
    """Say what a path is; a folder is put on ``above`` instead, to be walked."""
    if stat.S_ISREG(status.st_mode):
        return Kind.FILE, path, location, status
    if stat.S_ISLNK(status.st_mode):
        return Kind.LINK, path, location, status
    if not stat.S_ISDIR(status.st_mode):
        reason = _SPECIAL.get(stat.S_IFMT(status.st_mode), "is neither file nor folder")
        return LeftOut(path, reason, ExitCode.OK)
    if any(os.path.samestat(folder.status, status) for folder in above):
        return LeftOut(path, "link leads back to a folder around it", ExitCode.INCOMPLETE)
    above.append(_Walked(path, location, status, _listing(location)))
    return None


def _listing(location: bytes) -> Iterator[os.DirEntry[bytes]]:
    """List a folder by name; every OSError of it comes out of ``next``, behind what was listed."""
    with os.scandir(location) as listing:
        failure: OSError | None = None
        while failure is None:
            slab: list[os.DirEntry[bytes]] = []
            try:
                slab.extend(islice(listing, _SLAB))
            except OSError as error:
                failure = error
            if not slab and failure is None:
                return
            yield from sorted(slab, key=attrgetter("name"))
        raise failure


def _put(spool: IO[bytes], found: Found) -> None:
    entry = found.entry
    sizes = len(entry.path), len(found.location), len(entry.target)
    spool.write(_RECORD.pack(entry.kind, *sizes, entry.mtime_ns, entry.mode))
    spool.write(entry.path + found.location + entry.target)


def _taken(spool: IO[bytes]) -> Iterator[Found]:
    spool.seek(0)
    while head := spool.read(_RECORD.size):
        kind, path, location, target, mtime_ns, mode = _RECORD.unpack(head)
        entry_path, found_at = spool.read(path), spool.read(location)
        entry = Entry(entry_path, Kind(kind), 0, mtime_ns, mode, spool.read(target))
        yield Found(entry, found_at)
