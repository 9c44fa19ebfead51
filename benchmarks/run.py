"""What the parts of one run share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class Missing(Exception):
    """Something that is measured is not installed here, or cannot run; the text says why."""


class TookTooLong(Exception):
    """A part did not end within its time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: where it works, in which form, and what it had to leave out."""

    folder: Path
    quick: bool
    huge: bool
    tree: Path
    """A folder with files such as one has."""
    left_out: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(f"… {text}", file=sys.stderr, flush=True)

    def leave_out(self, text: str) -> None:
        self.left_out.append(text)
        print(f"left out: {text}", file=sys.stderr, flush=True)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in the ``with`` block, whatever it waits for, when the time is up.

    Raised by an alarm in the main thread: of the rivals, not all take a timeout.
    """

    def give_up(_signal: int, _frame: object) -> None:
        raise TookTooLong(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
