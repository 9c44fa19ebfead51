"""The receiving folder: the one way from a safe path to a place on the disk.

Every step goes from a held descriptor to one name below it, and never through a link, so what
lies outside cannot be reached whatever the peer, or somebody beside it, puts in the way.

It also keeps account of what must be flushed before anything may be called durable: the
folders that a name was made in, up to the root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from types import TracebackType
from typing import Final

from objxfer.errors import FileFailed, ObjxferError, UnsafePath
from objxfer.files.entries import why
from objxfer.files.paths import OURS, SafePath, shown

_HELD: Final = 128
"""How many folders are kept open for the next path, and how many wait for a flush."""
_OPEN: Final = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_NO_FLUSH: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_SECOND: Final = 1_000_000_000
_GRAINS: Final = (1, 100, 1_000, 1_000_000, 10_000_000, _SECOND, 2 * _SECOND)
_ODD_TIME: Final = 1_234_567_891 * _SECOND + 123_456_789
"""An odd second, and no two digits alike after it: shows what a file system keeps of a time."""

_ODD_MODE: Final = 0o640


class Folder:
    """A folder at or below the root, held open by a ``Root``."""

    __slots__ = ("_cached", "_dirty", "_holds", "_rooted", "fd", "identity", "parts")

    def __init__(self, parts: tuple[bytes, ...], fd: int) -> None:
        status = os.fstat(fd)
        self.parts = parts
        self.fd = fd
        self.identity = status.st_dev, status.st_ino
        self._cached = True
        self._holds = 0
        self._dirty = False
        self._rooted = False


@dataclass(frozen=True, slots=True)
class Quirks:
    """How the receiving folder's file system takes names and times."""

    case: bool = False
    """``A`` and ``a`` are one name."""
    forms: bool = False
    """Composed and decomposed characters are one name."""
    windows: bool = False
    """A dot at the end of a name is dropped, and with it go the other rules of Windows."""
    modes: bool = True
    """Permission bits are kept."""
    grain_ns: int = 1
    """Times are kept in multiples of this."""

    def folded(self, path: bytes) -> bytes:
        """Return what all paths that are one to this file system have in common."""
        if not (self.case or self.forms):
            return path
        text = unicodedata.normalize("NFC", path.decode("utf-8", "surrogateescape"))
        if self.case:
            text = unicodedata.normalize("NFC", text.casefold())
        return text.encode("utf-8", "surrogateescape")

    def same_time(self, one_ns: int, other_ns: int) -> bool:
        """Tell whether a file given one time here may show the other."""
        return one_ns // self.grain_ns == other_ns // self.grain_ns


def can_flush(error: OSError) -> bool:
    """Tell a flush that failed from one that the file system does not know."""
    return error.errno not in _NO_FLUSH


class Root:
    """A receiving folder, held open. For one delivery; not for use by two threads at once."""

    def __init__(self, folder: str | bytes | PathLike[str] | PathLike[bytes]) -> None:
        """Open the folder; the path is the operator's own and may be a link.

        Raises:
            FileFailed: it is absent, no folder, or closed to us.
            ObjxferError: this system has no descriptors of folders.
        """
        if os.open not in os.supports_dir_fd:
            raise ObjxferError(
                "files cannot be received on this system yet",
                hint="objects can; or receive on Linux or macOS",
            )
        try:
            fd = os.open(folder, _OPEN & ~os.O_NOFOLLOW)
        except OSError as error:
            raise FileFailed(
                f"cannot receive into {shown(os.fsencode(folder))}: {why(error)}"
            ) from error
        self._start(fd)

    def _start(self, fd: int) -> None:
        self._top = Folder((), fd)
        self._top._holds = 1
        self._cache: OrderedDict[tuple[bytes, ...], Folder] = OrderedDict({(): self._top})
        self._dirty: list[Folder] = []
        self._unflushed: dict[tuple[bytes, ...], OSError] = {}
        self._quirks: Quirks | None = None
        self.trial: Callable[[], bytes] = _trial
        """Says how names begin by which the file system is tried out."""

    @property
    def fd(self) -> int:
        """The folder's descriptor, for questions about its file system."""
        return self._top.fd

    def below(self, folder: SafePath) -> Root:
        """Return a ``Root`` of its own for a folder below this one, which is made if missing.

        What is made gets the mode that the umask leaves, and is flushed before this returns,
        where the file system knows how.

        Raises:
            UnsafePath: something else than a folder is in the way.
            FileFailed: it cannot be made, opened or flushed.
        """
        self.takes(folder)
        fd = os.dup(self._top.fd)
        try:
            for part in folder.components:
                _make(part, 0o777, fd)
                above, fd = fd, _step(folder.components, part, fd)
                try:
                    os.fsync(above)
                except OSError as error:
                    if can_flush(error):
                        raise
                finally:
                    os.close(above)
        except BaseException as error:  # whatever it is, the descriptor must not leak
            os.close(fd)
            if isinstance(error, OSError):
                message = f"cannot receive into {shown(bytes(folder))}: {why(error)}"
                raise FileFailed(message) from error
            raise
        root = Root.__new__(Root)
        root._start(fd)
        return root

    def parent(self, path: SafePath, *, create: bool) -> Folder:
        """Return the folder that ``path`` lies in; the same as ``folder`` otherwise."""
        return self._walk(path.components[:-1], create=create)

    def folder(self, path: SafePath, *, create: bool) -> Folder:
        """Return the folder at ``path``.

        Folders that are made on the way are closed to others (0700) until they are given
        their mode.

        Returns:
            A folder that stays open until the next call; ``hold`` keeps it longer.

        Raises:
            UnsafePath: something else than a folder is in the way.
            FileNotFoundError: it is absent, and ``create`` is false.
            OSError: it cannot be made or opened.
        """
        return self._walk(path.components, create=create)

    def _walk(self, parts: tuple[bytes, ...], *, create: bool) -> Folder:
        folder = self._cache.get(parts)
        if folder is not None:
            self._cache.move_to_end(parts)
            return folder
        above = self._walk(parts[:-1], create=create)
        try:
            fd = _step(parts, parts[-1], above.fd)
        except FileNotFoundError:
            if not create:
                raise
            _make(parts[-1], 0o700, above.fd)
            fd = _step(parts, parts[-1], above.fd)
            self.touch(above)
        folder = self._cache[parts] = Folder(parts, fd)
        if len(self._cache) > _HELD:
            self._evict(folder)
        return folder

    def _evict(self, newest: Folder) -> None:
        idle = (
            folder for folder in self._cache.values() if not folder._holds and folder is not newest
        )
        for folder in list(islice(idle, len(self._cache) - _HELD)):
            self._drop(folder)

    def _drop(self, folder: Folder) -> None:
        del self._cache[folder.parts]
        folder._cached = False
        if not folder._holds:
            os.close(folder.fd)

    def hold(self, folder: Folder) -> None:
        """Keep a folder open until ``release`` is called as often."""
        folder._holds += 1

    def release(self, folder: Folder) -> None:
        """Take back one ``hold``."""
        folder._holds -= 1
        if not folder._holds and not folder._cached:
            os.close(folder.fd)

    @contextlib.contextmanager
    def holding(self, folder: Folder) -> Iterator[Folder]:
        """Keep a folder open for a ``with`` block, whatever else is opened meanwhile."""
        self.hold(folder)
        try:
            yield folder
        finally:
            self.release(folder)

    def moved(self, folders: Iterable[Folder]) -> set[Folder]:
        """Return those of the folders that do not lie under their path any more.

        Somebody moved or replaced them, or a folder above them, while they were held open.
        The next path through there is walked afresh.
        """
        known = {self._top: False}
        for folder in folders:
            self._moved(folder, known)
        return {folder for folder, moved in known.items() if moved}

    def _moved(self, folder: Folder, known: dict[Folder, bool]) -> bool:
        if folder not in known:
            try:
                above = self._walk(folder.parts[:-1], create=False)
                status = os.stat(folder.parts[-1], dir_fd=above.fd, follow_symlinks=False)
                known[folder] = (
                    self._moved(above, known) or (status.st_dev, status.st_ino) != folder.identity
                )
            except (OSError, UnsafePath):
                known[folder] = True
            if known[folder] and folder._cached:
                self._drop(folder)
        return known[folder]

    def touch(self, folder: Folder) -> None:
        """Remember that a name was made in ``folder``, or its metadata set, for the next flush."""
        if not folder._dirty:
            folder._dirty = True
            self.hold(folder)
            self._dirty.append(folder)
            if len(self._dirty) > _HELD:
                self.flush()

    def touch_chain(self, folder: Folder) -> None:
        """Remember that ``folder`` and all above it must be durable, whoever made them.

        A run before this one may have made a folder and been cut before its flush.
        """
        self.touch(folder)
        if not folder._rooted:
            for depth in range(len(folder.parts)):
                self.touch(self._walk(folder.parts[:depth], create=False))
            folder._rooted = True

    def flush(self) -> None:
        """Flush every folder that was touched; ``unflushed`` tells of those that failed."""
        waiting, self._dirty = self._dirty, []
        for folder in waiting:
            folder._dirty = False
            try:
                os.fsync(folder.fd)
            except OSError as error:
                # For good: a second flush may succeed though the first one lost what was written.
                self._unflushed[folder.parts] = error
            self.release(folder)

    def unflushed(self, path: bytes) -> OSError | None:
        """Return why ``path`` is not durable, if a flush failed of it or of a folder above it."""
        if self._unflushed:
            parts = tuple(path.split(b"/"))
            for depth in range(len(parts) + 1):
                error = self._unflushed.get(parts[:depth])
                if error is not None:
                    return error
        return None

    @property
    def quirks(self) -> Quirks:
        """How the file system takes names and times; tried out once, with a file of ours."""
        if self._quirks is None:
            self._quirks = _probe(self._top.fd, self.trial())
        return self._quirks

    def takes(self, path: SafePath) -> None:
        """Let a path pass that means to this file system what it says.

        Raises:
            UnsafePath: a component of it is reserved, or would be changed.
        """
        if not path.portable and self.quirks.windows:
            raise UnsafePath(f"{shown(bytes(path))} is no name for this file system")

    def close(self) -> None:
        """Release every descriptor. Calling it again does nothing."""
        for folder in {*self._cache.values(), *self._dirty}:
            os.close(folder.fd)
        self._cache.clear()
        self._dirty.clear()

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _make(name: bytes, mode: int, above: int) -> None:
    with contextlib.suppress(FileExistsError):  # whether it is a folder shows when it is opened
        os.mkdir(name, mode, dir_fd=above)


def _step(parts: tuple[bytes, ...], name: bytes, above: int) -> int:
    """Open a folder in the folder ``above``, and nothing else."""
    try:
        return os.open(name, _OPEN, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath(
                f"{shown(b'/'.join(parts))} leads through something that is no folder"
            ) from error
        raise


def _trial() -> bytes:
    return OURS + b"-" + os.urandom(8).hex().encode()


def _probe(fd: int, stem: bytes) -> Quirks:
    """Try a file out; where that cannot be done nothing is taken to be special."""
    name = stem + "-é".encode()
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(name, flags, 0o600, dir_fd=fd)
        try:
            os.utime(file, ns=(_ODD_TIME, _ODD_TIME))
            with contextlib.suppress(PermissionError):
                os.fchmod(file, _ODD_MODE)
            kept = os.fstat(file)
            return Quirks(
                case=_lies(stem.upper() + "-é".encode(), fd),
                forms=_lies(stem + "-e\u0301".encode(), fd),
                windows=_lies(name + b".", fd),
                modes=stat.S_IMODE(kept.st_mode) == _ODD_MODE,
                grain_ns=next(
                    (grain for grain in _GRAINS if _ODD_TIME // grain * grain == kept.st_mtime_ns),
                    _GRAINS[-1],
                ),
            )
        finally:
            os.close(file)
            os.unlink(name, dir_fd=fd)
    except OSError:
        return Quirks()


def _lies(name: bytes, fd: int) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    return True
