"""Small files that only their owner may read: how they are judged, read and written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
import sys
from pathlib import Path
from typing import Final, NoReturn

from objxfer.errors import KeyFileError

TEMPORARY: Final = ".objxfer-"
"""What a file is called that is being written begins so."""

_NOWHERE: Final = Path("/nonexistent/objxfer")
"""What systems call the home of who has none (Debian Policy, 9.2.3)."""
_LARGEST_FILE: Final = 4096
_TOO_LARGE: Final = f"is none: it is larger than {_LARGEST_FILE} bytes"

# A FIFO must not hold up the opening, and a link must not lead elsewhere. Windows has neither.
_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_NO_BLOCK: Final[int] = getattr(os, "O_NONBLOCK", 0)
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY


def config_folder() -> Path:
    """Return the folder of objxfer in the user's config folder.

    Who has no home folder has none of these: never one below the current folder, where others may
    have put it.
    """
    from platformdirs import user_config_path

    try:
        folder = user_config_path("objxfer", appauthor=False)
    except RuntimeError:  # older versions return one that begins with a tilde
        return _NOWHERE
    return _NOWHERE if folder.parts[0] == "~" else folder


def read(path: Path, kind: str) -> bytes:
    """Return what a small file holds that only its owner can read.

    All is judged on the open descriptor: what was looked at is what is read.

    Args:
        path: the file.
        kind: what it is called in errors: "key file".

    Raises:
        FileNotFoundError: there is none.
        KeyFileError: it is no regular file reached without a link, belongs to someone else,
            others may read it, or it is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_BLOCK | _BINARY)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        if error.errno == errno.ELOOP:
            refuse(path, kind, "is a symbolic link", hint="name the file it points to")
        refuse(path, kind, f"cannot be read: {why(error)}")
    try:
        _judge(path, kind, os.fstat(descriptor))
        data = b""
        while len(data) <= _LARGEST_FILE and (more := os.read(descriptor, _LARGEST_FILE + 1)):
            data += more
    except OSError as error:
        refuse(path, kind, f"cannot be read: {why(error)}")
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST_FILE:
        refuse(path, kind, _TOO_LARGE)
    return data


def create(path: Path, data: bytes, kind: str) -> None:
    """Write a new file that only its owner can read, flushed to the disk.

    Missing folders on the way are made, for the owner only.

    Raises:
        KeyFileError: something lies there already (it is never replaced), or the file cannot
            be written; nothing of it is left then.
    """
    make_folder(path.parent, path, kind)
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except FileExistsError:
        refuse(
            path,
            kind,
            "exists, and a key is never replaced",
            hint="move it away first, or name another file",
        )
    except OSError as error:
        refuse(path, kind, f"cannot be made: {why(error)}")
    try:
        _write(descriptor, data)
        flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        refuse(path, kind, f"cannot be written: {why(error)}")


def replace(path: Path, data: bytes, kind: str) -> None:
    """Write a file that only its owner can read in the place of what lies there, if anything does.

    Who opens it sees the whole of the old or of the new one; so does who looks after a crash.

    Raises:
        KeyFileError: it cannot be written; what lay there is intact.
    """
    temporary = path.with_name(TEMPORARY + secrets.token_hex(8))
    try:
        try:
            _write(os.open(temporary, _NEW, 0o600), data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        flush_folder(path.parent)
    except OSError as error:
        refuse(path, kind, f"cannot be written: {why(error)}")


def make_folder(folder: Path, path: Path, kind: str) -> None:
    """Make a folder, and those above it that are missing, for the owner only.

    Raises:
        KeyFileError: that is not possible; it names ``path``, which was to lie there.
    """
    try:
        _make_folder(folder)
    except OSError as error:
        refuse(path, kind, f"has no folder to lie in: {why(error)}")


def flush_folder(folder: Path) -> None:
    """Let what was made, renamed or removed in a folder last through a power cut; or OSError."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refuse(path: Path, kind: str, wrong: str, *, hint: str = "") -> NoReturn:
    """Raise the KeyFileError that says what is wrong with this file."""
    # From None: the message says all that the cause does, and the cause may hold what was read.
    raise KeyFileError(f"{kind} {str(path)!r} {wrong}", hint=hint) from None


def why(error: OSError) -> str:
    """Return what the system says of an error, to stand in a sentence."""
    return (error.strerror or str(error)).lower()


def _judge(path: Path, kind: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        refuse(path, kind, "is not a regular file")
    if sys.platform != "win32":
        quoted = shlex.quote(str(path))
        if status.st_uid not in (os.geteuid(), 0):
            refuse(
                path,
                kind,
                f"belongs to another user (uid {status.st_uid})",
                hint=f"chown {os.geteuid()} {quoted}, if you trust what it holds",
            )
        if status.st_mode & 0o077:
            refuse(
                path,
                kind,
                f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod 600 {quoted}",
            )
    if status.st_size > _LARGEST_FILE:
        refuse(path, kind, _TOO_LARGE)


def _write(descriptor: int, data: bytes) -> None:
    """Write all of a file to the disk, and close it."""
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    # One by one: mkdir(parents=True) gives the mode to the last one only.
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
