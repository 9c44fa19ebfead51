"""What is said about the paths of a tree: entries, verdicts on them, receipts for them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from objxfer.errors import ExitCode


class Kind(IntEnum):
    """What an entry is. A tree is announced in this order: files, then links, then folders."""

    FILE = 1
    LINK = 2
    FOLDER = 3


class Entry(NamedTuple):
    """One path of a tree with its metadata, as it was when it was scanned."""

    path: bytes
    """Relative, joined by ``/``; the first component is the name of a top. Any bytes but NUL."""
    kind: Kind
    size: int = 0
    """Bytes of a file; ``UNKNOWN_SIZE`` for a stream."""
    mtime_ns: int = 0
    """Nanoseconds since 1970, in a signed 64-bit number; negative before."""
    mode: int = 0
    """Permission bits, ``& 0o777``."""
    target: bytes = b""
    """Where a link points to."""
    digest: bytes = b""
    """32 bytes for a file that is compared by its contents, not by size and time."""


UNKNOWN_SIZE = 2**64 - 1
KEEP = 7.0
"""Days that a partial file is kept, unless the receiver says otherwise."""


def clamped(mtime_ns: int) -> int:
    """Return a time as an entry can hold it: the year 2446 becomes 2262, 1601 becomes 1677."""
    return min(max(mtime_ns, -(2**63)), 2**63 - 1)


def why(error: OSError) -> str:
    """Return an operating system's error as a reason in a sentence."""
    return (error.strerror or str(error)).lower()


class IfExists(IntEnum):
    """What happens where a different file lies under a name, from mild to harsh."""

    FAIL = 1
    SKIP = 2
    RENAME = 3
    REPLACE = 4


class Answer(IntEnum):
    """The receiver's first word on an entry."""

    WANTED = 1
    UNCHANGED = 2
    SKIPPED = 3
    REFUSED = 4
    PARTIAL = 5
    """Wanted, and its beginning lies there."""


class Verdict(NamedTuple):
    """What the receiver wants done with an announced entry."""

    answer: Answer
    stored_as: bytes = b""
    """UNCHANGED: the path under which it lies, where that is not the entry's."""
    code: ExitCode = ExitCode.OK
    reason: str = ""
    """REFUSED and SKIPPED: why, at most 1 KiB."""
    held: int = 0
    """PARTIAL: how many of its first nodes seem to lie there."""


class Action(IntEnum):
    """What became of an entry."""

    RECEIVED = 1
    REPLACED = 2
    UNCHANGED = 3
    SKIPPED = 4
    FAILED = 5


class Receipt(NamedTuple):
    """The receiver's statement on one wanted entry."""

    action: Action
    size: int = 0
    digest: bytes = b""
    """32 bytes for a file that was received or replaced, else empty."""
    durable: bool = False
    """File, name and folder were flushed without an error."""
    stored_as: bytes = b""
    """The path under which it lies, where that is not the entry's."""
    code: ExitCode = ExitCode.OK
    reason: str = ""
    """FAILED and SKIPPED: why, at most 1 KiB."""
