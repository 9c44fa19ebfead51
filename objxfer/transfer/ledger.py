"""The sender's book of a tree: what was announced, is wanted, and is owed a receipt."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from objxfer.errors import ExitCode, FileFailed, PeerError
from objxfer.files.entries import UNKNOWN_SIZE, Action, Answer, Entry, Kind, Receipt, Verdict
from objxfer.files.scan import Found, LeftOut
from objxfer.transfer.report import OUTCOMES, Account, EntryReport, Outcome


class Owed(NamedTuple):
    """An entry whose receipt is to come, and what was read of it."""

    entry: Entry
    size: int = 0
    digest: bytes = b""
    changed: bool = False
    kept: int = 0
    """Bytes of it that lay there already."""


class Due(NamedTuple):
    """A wanted file that is not sent yet."""

    found: Found
    held: int
    """How many of its first nodes seem to lie there."""


class Ledger:
    """Keeps each entry from its announcement to its receipt, no longer, and reports on it.

    The three lists are in the order of the wire: verdicts and receipts name nothing.
    """

    def __init__(self, account: Account) -> None:
        self.announced: deque[Found] = deque()
        """No verdict yet."""
        self.wanted: deque[Due] = deque()
        self.owed: deque[Owed] = deque()
        """Sent, no receipt yet."""
        self._account = account

    def take_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Hear what is wanted of the next announced entries."""
        if len(verdicts) > len(self.announced):
            raise PeerError("more verdicts than entries")
        for verdict in verdicts:
            found = self.announced.popleft()
            entry = found.entry
            if verdict.answer in (Answer.WANTED, Answer.PARTIAL):
                if entry.kind is Kind.FILE:
                    self.wanted.append(Due(found, verdict.held))
                else:
                    self.owed.append(Owed(entry))
                continue
            outcome, code = _VERDICTS[verdict.answer], verdict.code
            if verdict.answer is Answer.REFUSED and code is ExitCode.OK:
                code = ExitCode.REFUSED
            self._account.tell(
                EntryReport(
                    entry.path,
                    outcome,
                    entry.size,
                    entry.digest if verdict.answer is Answer.UNCHANGED else b"",
                    durable=verdict.answer is Answer.UNCHANGED,
                    stored_as=verdict.stored_as,
                    code=code,
                    reason=verdict.reason,
                ),
                entry.kind,
            )
            if entry.size != UNKNOWN_SIZE:
                self._account.tally.bytes_done += entry.size

    def take_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Hear what became of the next owed entries."""
        if len(receipts) > len(self.owed):
            raise PeerError("more receipts than files")
        for receipt in receipts:
            self._take_receipt(self.owed.popleft(), receipt)

    def _take_receipt(self, owed: Owed, receipt: Receipt) -> None:
        """Compare what the receiver states with what was read."""
        code, reason = receipt.code, receipt.reason
        outcome = OUTCOMES[receipt.action]
        if receipt.action in (Action.RECEIVED, Action.REPLACED):
            if outcome is Outcome.RECEIVED:
                outcome = Outcome.RESUMED if owed.kept else Outcome.SENT
            if owed.entry.kind is Kind.FILE and (
                receipt.size != owed.size or receipt.digest != owed.digest
            ):
                outcome = Outcome.FAILED
                code, reason = ExitCode.INTEGRITY, "what lies there is not what was sent"
            elif not receipt.durable:
                code, reason = ExitCode.RECEIPT_MISSING, reason or "the receiver could not flush it"
            elif owed.changed:
                code, reason = ExitCode.CHANGED, "changed while it was read"
        elif receipt.action is Action.FAILED and code is ExitCode.OK:
            code = ExitCode.FAILED
        self._account.tell(
            EntryReport(
                owed.entry.path,
                outcome,
                owed.size,
                receipt.digest,
                durable=receipt.durable,
                stored_as=receipt.stored_as,
                code=code,
                reason=reason,
                kept=owed.kept,
            ),
            owed.entry.kind,
        )

    def tell_left_out(self, one: LeftOut) -> None:
        """Report a path that the scan left out."""
        entry = EntryReport(one.path, Outcome.SKIPPED, code=one.code, reason=one.reason)
        self._account.tell(entry, Kind.FILE)

    def tell_lost(self, entry: Entry, error: FileFailed) -> None:
        """Report a wanted file that could not be read."""
        report = EntryReport(
            entry.path, Outcome.FAILED, entry.size, code=error.exit_code, reason=str(error)
        )
        self._account.tell(report, Kind.FILE)

    def tell_missing(self, owed: Owed) -> None:
        """Report an entry that the receiver said nothing of."""
        report = EntryReport(
            owed.entry.path,
            Outcome.FAILED,
            owed.size,
            owed.digest,
            code=ExitCode.RECEIPT_MISSING,
            reason="the receiver sent no receipt",
        )
        self._account.tell(report, owed.entry.kind)


_VERDICTS: Final = {
    Answer.UNCHANGED: Outcome.UNCHANGED,
    Answer.SKIPPED: Outcome.SKIPPED,
    Answer.REFUSED: Outcome.FAILED,
}
