"""The files that keys lie in: one line a key, for their owner's eyes only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Final, NoReturn

from objxfer.errors import KeyFileError
from objxfer.security import private

SECRET_SIZE: Final = 32
"""Bytes of a secret."""

StrPath = str | os.PathLike[str]

_KIND: Final = "key file"
_PREFIX: Final = b"objxfer-key-1:"
# A number and three words, whatever they are: a code that was misheard is not shown either. What
# may stand before them is what ``Code.parse`` passes over; a slash there names a folder.
_CODE: Final = r"[\s\-._\u2010-\u2015]*\d{1,4}([\W_]+[^\W\d_]+){3}[\W_]*"
_CHECK_SIZE: Final = 4
# Of a multiple of three bytes: base64 without padding, so there is one way to write a key.
_ENCODED_SIZE: Final = (SECRET_SIZE + _CHECK_SIZE) // 3 * 4
_BRING_IT_AGAIN: Final = 'copy the file again from where it was made with "objxfer keygen"'


def as_path(path: StrPath) -> Path:
    """Return the path, unless it is the text of a key or a code, which no message may show.

    Raises:
        KeyFileError: it is.
    """
    chosen = Path(path)
    if is_code(os.fspath(path)):
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


def is_code(text: str) -> bool:
    """Whether a text looks like a code, a misheard one too."""
    return re.fullmatch(_CODE, text) is not None


def read(path: Path) -> list[bytes]:
    """Return the secrets that a file holds, a line each; at least one.

    Raises:
        FileNotFoundError: there is no such file.
        KeyFileError: it is no regular file reached without a link, belongs to someone else,
            others may read it, or it is not well-formed throughout.
    """
    data = private.read(path, _KIND)
    if not data:
        refuse(path, "is empty", hint=_BRING_IT_AGAIN)
    found = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            found.append(decode(line))
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
    private.create(path, encode(secret) + b"\n", _KIND)


def refuse(path: Path, wrong: str, *, hint: str = "") -> NoReturn:
    """Raise the KeyFileError that says what is wrong with this file."""
    private.refuse(path, _KIND, wrong, hint=hint)


def encode(secret: bytes) -> bytes:
    """Return the line, without its end, that a secret is written as."""
    return _PREFIX + base64.b64encode(secret + _check(secret))


def decode(line: bytes) -> bytes:
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


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(b"objxfer/1 key check" + secret).digest()[:_CHECK_SIZE]
