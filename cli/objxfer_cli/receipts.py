"""Receipts as ``--json`` wrote them: read line by line, and compared with what lies here."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from objxfer.errors import ExitCode, FileFailed, ObjxferError, UnsafePath
from objxfer.files.digest import written
from objxfer.files.entries import why
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.files.source import SourceFile
from objxfer.limits import Limits
from objxfer_cli.terminal import shown

_LONGEST: Final = 2**16
"""Bytes of a line: two paths of 4,096 bytes and a reason, escaped, are less."""
_DIGEST: Final = re.compile(r"ox1:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one line says of a file."""

    path: bytes
    stored_as: bytes
    """Under which it lies at the receiver, where that is another."""
    action: str
    """What became of it, or empty: then it was not delivered, its digest was only taken."""
    size: int
    digest: str
    """As it is written; empty where nothing was carried, or it was no file."""


def read(file: BinaryIO, name: str) -> Iterator[Receipt]:
    """Read the receipts among JSON lines; lines of other types are passed over.

    Args:
        file: holds the lines.
        name: what it is called in an error.

    Raises:
        ObjxferError: a line is none that objxfer writes (2).
        OSError: it cannot be read.
    """
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        try:
            values = json.loads(line.decode())
            if values["type"] == "file":
                yield _receipt(values)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ObjxferError(
                f"{name}, line {number}, is no line that objxfer --json writes",
                hint="RECEIPTS is what send, receive, serve or digest wrote with --json",
                exit_code=ExitCode.USAGE,
            ) from error


def _receipt(values: dict[str, Any]) -> Receipt:
    digest = values.get("digest") or ""
    size, action = values.get("size", 0), values.get("action", "")
    if type(size) is not int or size < 0 or (digest and not _DIGEST.fullmatch(digest)):
        raise ValueError("a size or digest is none")
    if not isinstance(action, str):
        raise TypeError("an action is no text")
    return Receipt(
        path=_path(values, "path"),
        stored_as=_path(values, "stored_as") if "stored_as" in values else b"",
        action=action,
        size=size,
        digest=digest,
    )


def _path(values: dict[str, Any], key: str) -> bytes:
    if f"{key}_b64" in values:
        return base64.b64decode(values[f"{key}_b64"], validate=True)
    if not isinstance(values[key], str):
        raise TypeError(f"{key} is no text")
    return bytes(values[key], "utf-8")


def compare(root: Root, receipt: Receipt) -> None:
    """Compare a file with its receipt, under the name it is stored as or, without that, its own.

    Args:
        root: the folder it was delivered into, or sent from. Nothing outside is looked at, and
            no link is followed.
        receipt: one with a digest.

    Raises:
        FileFailed: it is another (30), has vanished (5), changed while it was read (4), or
            cannot be read (3).
    """
    if not receipt.stored_as:
        _compare_at(root, receipt.path, receipt)
        return
    try:
        _compare_at(root, receipt.stored_as, receipt)
    except FileFailed as error:
        if error.exit_code is not ExitCode.VANISHED:
            message = f"{shown(receipt.stored_as)}: {error}"
            raise FileFailed(message, exit_code=error.exit_code) from error
        try:
            _compare_at(root, receipt.path, receipt)
        except FileFailed as other:
            message = f"{other}; and there is no {shown(receipt.stored_as)}"
            raise FileFailed(message, exit_code=other.exit_code) from other


def _compare_at(root: Root, raw: bytes, receipt: Receipt) -> None:
    try:
        path = safe_path(raw, Limits())
        folder = root.parent(path, create=False).fd
        with SourceFile(path.name, time.time_ns(), follow=False, folder=folder) as source:
            if source.size != receipt.size:
                reason = f"has {source.size:,} bytes, and its receipt says {receipt.size:,}"
                raise FileFailed(reason, exit_code=ExitCode.INTEGRITY)
            if written(source.digest()) != receipt.digest:
                reason = "its contents are not those of its receipt"
                raise FileFailed(reason, exit_code=ExitCode.INTEGRITY)
    except UnsafePath as error:
        raise FileFailed(str(error), exit_code=ExitCode.INCOMPLETE) from error
    except FileNotFoundError as error:
        raise FileFailed("vanished", exit_code=ExitCode.VANISHED) from error
    except OSError as error:
        raise FileFailed(why(error), exit_code=ExitCode.INCOMPLETE) from error
