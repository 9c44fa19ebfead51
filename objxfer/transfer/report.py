"""What became of a delivery: entry by entry while it runs, in sum at its end."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from objxfer.errors import ExitCode, worst
from objxfer.files.entries import Action, Kind
from objxfer.transfer.progress import Tally

_KEPT: Final = 100
"""How many entries out of the ordinary a report names."""


class Outcome(StrEnum):
    """What became of one entry; the values are those of the JSON lines."""

    SENT = "sent"
    RECEIVED = "received"
    REPLACED = "replaced"
    RESUMED = "resumed"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


CARRIED: Final = (Outcome.SENT, Outcome.RECEIVED, Outcome.REPLACED, Outcome.RESUMED)
"""Outcomes of what was carried, all of it or the rest."""


class EntryReport(NamedTuple):
    """What became of one file or link, or of a folder where it is worth a word."""

    path: bytes
    """As the sender calls it. The peer's words, at a receiver: escape it where it is shown."""
    outcome: Outcome
    size: int = 0
    digest: bytes = b""
    """32 bytes, or empty where nothing was carried; see ``files.digest``."""
    durable: bool = False
    stored_as: bytes = b""
    """The path under which it lies, where that is not ``path``."""
    code: ExitCode = ExitCode.OK
    """What this entry makes the command end with."""
    reason: str = ""
    """Why, where it is not as it should be. May be the peer's words."""
    kept: int = 0
    """Bytes of ``size`` that lay there from a time before, and were not carried again."""


OnEntry = Callable[[EntryReport], None]
Names = tuple[bytes, ...]


@dataclass(slots=True)
class Report:
    """What became of a delivery, in sum, in one attempt or several.

    ``problems`` and ``kept_both`` name the first hundred entries each, and ``problems`` the first
    of each exit code besides; ``on_entry`` of ``push`` tells of all.
    """

    tops: Names = ()
    """The names that were delivered. The peer's words, at a receiver."""
    files: int = 0
    """Files and links, whatever became of them."""
    bytes: int = 0
    """Contents that were carried."""
    kept: int = 0
    """Contents that lay there from a time before, and were not carried again."""
    bytes_on_wire: int = 0
    """Chunks both ways."""
    furthest: int = 0
    """How far the furthest attempt came: bytes of contents and files, unchanged ones included."""
    seconds: float = 0.0
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    """How many of which outcome."""
    problems: list[EntryReport] = field(default_factory=list)
    kept_both: list[EntryReport] = field(default_factory=list)
    """Stored under another name, because the one they have was taken."""
    codes: dict[ExitCode, int] = field(default_factory=dict)
    """How many entries made the command end with which code."""
    resumable: bool = False
    """Another attempt may follow: it is remembered, in eight bytes each, what was told of."""
    _told: array[int] = field(default_factory=lambda: array("q"), repr=False, compare=False)
    """The paths of what went well, as hashes."""
    _before: array[int] = field(default_factory=lambda: array("q"), repr=False, compare=False)
    """Those of the attempts before, in order."""
    _wrong: dict[Outcome, int] = field(default_factory=dict, repr=False, compare=False)
    """How many with a code had which outcome."""

    @property
    def exit_code(self) -> ExitCode:
        """What a command with this report ends with: 0 only if every file is durable."""
        return ExitCode(worst(set(map(int, self.codes))))

    def count(self, outcome: Outcome) -> int:
        """Return how many entries had this outcome."""
        return self.outcomes.get(outcome, 0)

    def begin(self, tops: Names) -> None:
        """Begin, or begin again after a lost connection.

        What went well is not told again. What did not is told of anew, by what becomes of it now.
        """
        self.tops = tops
        self._before = array("q", sorted(self._told))
        for outcome, count in self._wrong.items():
            self.files -= count
            self.outcomes[outcome] -= count
        self._wrong.clear()
        self.codes.clear()
        self.problems.clear()

    def add(self, entry: EntryReport, *, counts: bool = True) -> bool:
        """Take account of one more entry; a folder ``counts`` only where it is a problem.

        Returns:
            Whether it is news: an attempt before this one has not told that it went well.
        """
        told = hash(entry.path)
        if not entry.code and self._was_told(told):
            return False
        if counts or entry.code:
            if self.resumable and not entry.code:
                self._told.append(told)
            self.files += 1
            self.outcomes[entry.outcome] = self.outcomes.get(entry.outcome, 0) + 1
        if entry.outcome in CARRIED:
            self.bytes += entry.size - entry.kept
            self.kept += entry.kept
        if entry.code:
            self.codes[entry.code] = self.codes.get(entry.code, 0) + 1
            self._wrong[entry.outcome] = self._wrong.get(entry.outcome, 0) + 1
            if len(self.problems) < _KEPT or self.codes[entry.code] == 1:
                self.problems.append(entry)
        renamed = entry.stored_as and entry.outcome is not Outcome.UNCHANGED
        if renamed and len(self.kept_both) < _KEPT:
            self.kept_both.append(entry)
        return True

    def _was_told(self, told: int) -> bool:
        at = bisect_left(self._before, told)
        return at < len(self._before) and self._before[at] == told


class Account:
    """Where it is told what becomes of the entries of one delivery.

    Args:
        report: takes account of all.
        tally: counts along.
        on_entry: told of each, but for folders that are as they should be.
    """

    def __init__(self, report: Report, tally: Tally, on_entry: OnEntry | None) -> None:
        self.report = report
        self.tally = tally
        self._on_entry = on_entry

    def tell(self, entry: EntryReport, kind: Kind) -> None:
        """Tell of one entry."""
        counts = kind is not Kind.FOLDER
        new = self.report.add(entry, counts=counts)
        if counts:
            self.tally.files_done += 1
        if new and self._on_entry is not None and (counts or entry.code):
            self._on_entry(entry)


OUTCOMES: Final = {
    Action.RECEIVED: Outcome.RECEIVED,
    Action.REPLACED: Outcome.REPLACED,
    Action.UNCHANGED: Outcome.UNCHANGED,
    Action.SKIPPED: Outcome.SKIPPED,
    Action.FAILED: Outcome.FAILED,
}
"""From a receipt to what its receiver reports; its sender reports ``SENT`` for ``RECEIVED``."""
