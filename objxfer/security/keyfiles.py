"""The files that keys lie in: one line a key, for their owner's eyes only."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import hmac
import os
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import Final, NoReturn

from objxfer.errors import KeyFileError

SECRET_SIZE: Final = 32
"""Bytes of a secret."""

StrPath = str | os.PathLike[str]

_PREFIX: Final = b"objxfer-key-1:"
# A number and three words, whatever they are: a code that was misheard is not shown either.
_CODE: Final = r"\s*\d{1,4}([\W_]+[^\W\d_]+){3}[\W_]*"
_CHECK_SIZE: Final = 4
# Of a multiple of three bytes: base64 without padding, so there is one way to write a key.
_ENCODED_SIZE: Final = (SECRET_SIZE + _CHECK_SIZE) // 3 * 4
_LARGEST_FILE: Final = 4096

# A FIFO must not hold up the opening, and a link must not lead elsewhere. Windows has neither.
_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_NO_BLOCK: Final[int] = getattr(os, "O_NONBLOCK", 0)
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)

_TOO_LARGE: Final = f"is no key file: it is larger than {_LARGEST_FILE} bytes"
_BRING_IT_AGAIN: Final = 'copy the file again from where it was made with "objxfer keygen"'


def as_path(path: StrPath) -> Path:
    """Return the path, unless it is the text of a key or a code, which no message may show.

    Raises:
        KeyFileError: it is.
    """
    chosen = Path(path)
    if re.fullmatch(_CODE, os.fspath(path)):
        raise KeyFileError(
            "a code was given where the path of a key file belongs",
            hint="Code.parse(…) reads a code; if it is a file, name its folder too",
        )
    if _PREFIX.decode() in str(chosen):
        raise KeyFileError(
            "a key was given where the path of a key file belongs",
            hint="write it to a file that only you can read, and name that",
        )
    return chosen


def read(path: Path) -> list[bytes]:
    """Return the secrets that a file holds, a line each; at least one.

    Raises:
        FileNotFoundError: there is no such file.
        KeyFileError: it is no regular file reached without a link, belongs to someone else,
            others may read it, or it is not well-formed throughout.
    """
    data = _read_private(path)
    if not data:
        refuse(path, "is empty", hint=_BRING_IT_AGAIN)
    found = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            found.append(_decode(line))
        except ValueError as error:
            refuse(path, f"holds no key in line {number}: {error}", hint=_BRING_IT_AGAIN)
    return found


def write(path: Path, secret: bytes) -> None:
    """Write a secret to a new file that only its owner can read, flushed to the disk.

    Missing folders on the way are made, for the owner only.

    Raises:
        KeyFileError: something lies there already (it is never replaced), or the file cannot
            be written; nothing of it is left then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
    try:
        _make_folder(path.parent)
    except OSError as error:
        refuse(path, f"has no folder to lie in: {_why(error)}")
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        refuse(
            path,
            "exists, and a key is never replaced",
            hint="move it away first, or name another file",
        )
    except OSError as error:
        refuse(path, f"cannot be made: {_why(error)}")
    try:
        with open(descriptor, "wb") as file:
            file.write(_encode(secret))
            file.flush()
            os.fsync(file.fileno())
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        refuse(path, f"cannot be written: {_why(error)}")


def refuse(path: Path, wrong: str, *, hint: str = "") -> NoReturn:
    """Raise the KeyFileError that says what is wrong with this file."""
    # From None: the message says all that the cause does, and the cause may hold what was read.
    raise KeyFileError(f"key file {str(path)!r} {wrong}", hint=hint) from None


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(b"objxfer/1 key check" + secret).digest()[:_CHECK_SIZE]


def _encode(secret: bytes) -> bytes:
    return _PREFIX + base64.b64encode(secret + _check(secret)) + b"\n"


def _decode(line: bytes) -> bytes:
    """Return the secret that a line holds; ValueError, without a word of it, says what is wrong."""
    if not line.startswith(_PREFIX):
        raise ValueError(f"it does not begin with {_PREFIX.decode()}")
    encoded = line[len(_PREFIX) :]
    malformed = f"it is not {_ENCODED_SIZE} letters of base64 after {_PREFIX.decode()}"
    if len(encoded) != _ENCODED_SIZE:
        raise ValueError(malformed)
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError(malformed) from None
    secret, check = decoded[:SECRET_SIZE], decoded[SECRET_SIZE:]
    if not hmac.compare_digest(_check(secret), check):
        raise ValueError("it was damaged on its way, its check bytes do not match")
    if not any(secret):
        raise ValueError("a secret of zeros is none")
    return secret


def _read_private(path: Path) -> bytes:
    """Return what a small file holds that only its owner can read.

    All is judged on the open descriptor: what was looked at is what is read.

    Raises:
        FileNotFoundError: there is none.
        KeyFileError: it is anything else than that.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_BLOCK | _BINARY)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        if error.errno == errno.ELOOP:
            refuse(path, "is a symbolic link", hint="name the file it points to")
        refuse(path, f"cannot be read: {_why(error)}")
    try:
        _judge(path, os.fstat(descriptor))
        data = b""
        while len(data) <= _LARGEST_FILE and (more := os.read(descriptor, _LARGEST_FILE + 1)):
            data += more
    except OSError as error:
        refuse(path, f"cannot be read: {_why(error)}")
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST_FILE:
        refuse(path, _TOO_LARGE)
    return data


def _judge(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        refuse(path, "is not a regular file")
    if sys.platform != "win32":
        quoted = shlex.quote(str(path))
        if status.st_uid not in (os.geteuid(), 0):
            refuse(
                path,
                f"belongs to another user (uid {status.st_uid})",
                hint=f"chown {os.geteuid()} {quoted}, if you trust what it holds",
            )
        if status.st_mode & 0o077:
            refuse(
                path,
                f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod 600 {quoted}",
            )
    if status.st_size > _LARGEST_FILE:
        refuse(path, _TOO_LARGE)


def _make_folder(folder: Path) -> None:
    # One by one: mkdir(parents=True) gives the mode to the last one only.
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _flush_folder(folder: Path) -> None:
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
