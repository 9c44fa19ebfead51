"""How far a delivery is: counted here, shown elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from objxfer.errors import ConnectionLost


@dataclass(slots=True)
class Tally:
    """Running figures of one delivery.

    Written by the thread that drives the connection and read by any other, at any time, without
    a lock: each field is a number or name of its own.
    """

    name: str = ""
    """What is being delivered; may be the peer's words: escape it where it is shown."""
    bytes_done: int = 0
    """Verified, or handed over; unchanged files count as done."""
    bytes_total: int | None = None
    """None while it is not known."""
    files_done: int = 0
    files_total: int | None = None
    path: bytes = b""
    """The large file on its way, or empty."""
    path_done: int = 0
    path_total: int | None = None


class Progress(Protocol):
    """Shows a delivery; called twice by the thread that makes it, never per chunk.

    In between the implementation reads the tally in its own time.
    """

    def begin(self, tally: Tally) -> None:
        """A delivery starts; its figures are in ``tally`` from now on."""
        ...

    def end(self, tally: Tally) -> None:
        """It is over, one way or another."""
        ...


@contextmanager
def so_far(tally: Tally) -> Iterator[None]:
    """Let a ``ConnectionLost`` of the ``with`` block say how far an object had come."""
    try:
        yield
    except ConnectionLost as error:
        done, total = tally.bytes_done, tally.bytes_total or 0
        lost = ConnectionLost(
            f"{error}; {done:,} of {total:,} bytes of the object had gone",
            hint=error.hint,
            exit_code=error.exit_code,
        )
        lost.bytes_done, lost.bytes_total = done, total
        raise lost from error


@contextmanager
def shown(progress: Progress | None, tally: Tally) -> Iterator[None]:
    """Show a delivery while the ``with`` block makes it."""
    if progress is None:
        yield
        return
    progress.begin(tally)
    try:
        yield
    finally:
        progress.end(tally)
