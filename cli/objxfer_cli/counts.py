"""What an inbox counts while it runs, for whoever watches over it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Final

from objxfer import EntryReport, Outcome
from objxfer.errors import ExitCode
from objxfer.transfer.report import CARRIED

BOUNDS: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Seconds that a delivery took at the most, to be counted with its kind."""
OUTCOMES: Final = (
    Outcome.RECEIVED,
    Outcome.REPLACED,
    Outcome.RESUMED,
    Outcome.UNCHANGED,
    Outcome.SKIPPED,
    Outcome.FAILED,
)
"""What becomes of the files of a delivery at its receiver."""


class Counts:
    """Counts since the server was started. Any thread may call any method.

    A peer is the name that it has here; "" stands for all who hold a key that has none. So there
    are no more of them than were paired, whoever comes.

    Attributes:
        deliveries: how many of which peer ended with which exit code.
        took: how many that were through took up to so long, longer than the bound before;
            the last one is for those beyond all bounds.
        seconds: what those took together.
        files: how many of which outcome.
        bytes: contents of files that are there by now, carried for which peer.
        succeeded: when the last delivery of a peer was through, and all well; Unix time.
        refused: how many were not let in, by exit code.
        connections: how many peers are connected.
        underway: how many deliveries are on their way.
        changed: set when any of them has.
    """

    def __init__(self) -> None:
        self.since = time.time()
        self.deliveries: Counter[tuple[str, ExitCode]] = Counter()
        self.took = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.files: Counter[Outcome] = Counter()
        self.bytes: Counter[str] = Counter()
        self.succeeded: dict[str, float] = {}
        self.refused: Counter[ExitCode] = Counter()
        self.connections = 0
        self.underway = 0
        self.changed = threading.Event()
        self.lock = threading.Lock()

    def refuse(self, code: ExitCode) -> None:
        """Somebody was not let in."""
        with self.lock:
            self.refused[code] += 1
        self.changed.set()

    def connect(self, more: int) -> None:
        """Somebody has connected, or has gone."""
        with self.lock:
            self.connections += more
        self.changed.set()

    def begin(self, more: int) -> None:
        """A delivery has begun, or is not on its way any more."""
        with self.lock:
            self.underway += more
        self.changed.set()

    def entry(self, peer: str, entry: EntryReport) -> None:
        """Something has become of one entry."""
        with self.lock:
            self.files[entry.outcome] += 1
            if entry.outcome in CARRIED:
                self.bytes[peer] += entry.size - entry.kept
        self.changed.set()

    def end(self, peer: str, code: ExitCode, seconds: float | None = None) -> None:
        """A delivery has ended; it was through, after so many seconds, or it failed."""
        with self.lock:
            self.deliveries[peer, code] += 1
            if seconds is not None:
                self.took[bisect_left(BOUNDS, seconds)] += 1
                self.seconds += seconds
            if code is ExitCode.OK:
                self.succeeded[peer] = time.time()
        self.changed.set()

    @property
    def standing(self) -> str:
        """How things are, in a line."""
        with self.lock:
            well = sum(count for (_, code), count in self.deliveries.items() if not code)
            ended = self.deliveries.total()
            # Who calls all addresses of this machine at once hangs up on all but one of them.
            refused = self.refused.total() - self.refused[ExitCode.CONNECTION_LOST]
            underway = self.underway
        deliveries = "1 delivery" if underway == 1 else f"{underway:,} deliveries"
        return (
            f"{deliveries} under way; {well:,} went well, {ended - well:,} did not,"
            f" {refused:,} connections refused"
        )


class Publisher:
    """Publishes counts in a thread of its own: at once, and then whenever they have changed.

    However much changes, that is once a second. ``stop`` publishes them a last time.

    Args:
        counts: what has changed.
        publish: does it.
    """

    PAUSE: Final = 1.0

    def __init__(self, counts: Counts, publish: Callable[[], None]) -> None:
        self._counts = counts
        self._publish = publish
        self._over = threading.Event()
        self._now()
        self._thread = threading.Thread(target=self._run, name="objxfer-publisher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish a last time; return when that is done."""
        self._over.set()
        self._counts.changed.set()
        self._thread.join()
        self._now()

    def _run(self) -> None:
        while self._counts.changed.wait() and not self._over.is_set():
            self._now()
            self._over.wait(self.PAUSE)

    def _now(self) -> None:
        self._counts.changed.clear()
        self._publish()
