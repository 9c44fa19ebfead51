"""The sender's side of a tree: offer, announce, send what is wanted, collect the receipts.

Batches are announced ahead of the data, so no answer is waited for while there is something to
send; and no entry is kept longer than until its receipt is there, so memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Final

from objxfer.errors import ExitCode, FileFailed, PeerError
from objxfer.files import scan
from objxfer.files.digest import FileDigest, file_digest, node_digest
from objxfer.files.entries import Action, Answer, Entry, IfExists, Kind, Receipt, Verdict
from objxfer.files.scan import Found, LeftOut, Top
from objxfer.files.source import SourceFile, read_small
from objxfer.limits import KIB, MIB
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.messages import Data, Done
from objxfer.protocol.trees import (
    Accept,
    Entries,
    Fate,
    File,
    FileEnd,
    Flush,
    Offer,
    Pack,
    Packed,
    Receipts,
    Wanted,
)
from objxfer.transfer.buffers import Ring
from objxfer.transfer.exchange import UNSENT
from objxfer.transfer.progress import Tally
from objxfer.transfer.report import OUTCOMES, EntryReport, OnEntry, Outcome, Report
from objxfer.transfer.steps import Port, Receive, Steps, receive, run, send

SMALL: Final = 256 * KIB
"""Files up to this size are packed together."""
_PACK_FILES: Final = 200
_PACK_BYTES: Final = 1 * MIB
_BATCH: Final = 500
_BATCH_BYTES: Final = 128 * KIB
_AHEAD: Final = 4 * _BATCH
"""Entries that are announced and not sent yet."""
_OWED: Final = 20_000
"""Files that are sent and not receipted yet."""

Path = str | bytes | PathLike[str] | PathLike[bytes]


@dataclass(frozen=True, slots=True)
class _Owed:
    """An entry whose receipt is to come, and what was read of it."""

    entry: Entry
    size: int = 0
    digest: bytes = b""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """The contents of a pack, and what is owed for them."""

    files: list[Packed]
    contents: bytes
    digest: bytes
    owed: list[_Owed]
    lost: list[tuple[Entry, FileFailed]]


def send_tree(
    port: Port,
    *,
    paths: Sequence[Path],
    folder: bytes,
    if_exists: IfExists | None,
    copy_links: bool,
    tally: Tally,
    on_entry: OnEntry | None,
    clock: Callable[[], int],
) -> Steps[Report]:
    """Deliver files and folders.

    Args:
        port: this item's.
        paths: what is sent; each lands under its last name.
        folder: below the receiving folder.
        if_exists: the rule that is asked for, or None.
        copy_links: send what links point to.
        tally: counts along.
        on_entry: told what became of each entry.
        clock: as ``time.time_ns``; tells a file that is being written to.
    """
    sender = _TreeSender(port, copy_links, tally, on_entry, clock)
    return (yield from sender.send(paths, folder, if_exists))


class _TreeSender:
    def __init__(
        self,
        port: Port,
        copy_links: bool,  # noqa: FBT001 - handed on by name just above
        tally: Tally,
        on_entry: OnEntry | None,
        clock: Callable[[], int],
    ) -> None:
        self._port = port
        self._copy_links = copy_links
        self._tally = tally
        self._on_entry = on_entry
        self._clock = clock
        self._report = Report()
        self._scanner: Iterator[Found | LeftOut] = iter(())
        self._put_back: Found | None = None
        self._scanned = False
        self._kind = Kind.FILE
        self._batch = _BATCH
        self._announced: deque[Found] = deque()
        self._wanted: deque[Found] = deque()
        self._owed: deque[_Owed] = deque()
        self._flushed = False
        self._done = False
        self._ring: Ring | None = None

    def send(
        self, paths: Sequence[Path], folder: bytes, if_exists: IfExists | None
    ) -> Steps[Report]:
        """Send everything, from the offer to the last receipt."""
        tops = yield from run(lambda: scan.tops(paths))
        self._report.tops = tuple(top.name for top in tops)
        self._tally.name = _name(tops)
        begun = self._port.now
        self._scanner = scan.scan(tops, copy_links=self._copy_links)
        yield from send(Offer(self._report.tops, folder, if_exists, UNKNOWN, UNKNOWN))
        accepted = yield from receive(Accept)
        self._batch = min(_BATCH, accepted.entries)
        while (yield from self._go_on()):
            pass
        yield from send(Done())
        while not self._done:
            yield from self._listen(wait=True)
        for owed in self._owed:
            self._tell_missing(owed)
        self._report.seconds = self._port.now - begun
        return self._report

    def _go_on(self) -> Steps[bool]:
        """Do the next thing there is to do; False when all is announced, answered and sent."""
        yield from self._listen(wait=False)
        if self._may_announce():
            yield from self._announce()
        elif self._wanted:
            if len(self._owed) > _OWED and not self._flushed:
                self._flushed = True
                yield from send(Flush())
            while len(self._owed) > _OWED:
                yield from self._listen(wait=True)
            self._flushed = False
            if self._wanted[0].entry.size <= SMALL:
                yield from self._send_pack()
            else:
                yield from self._send_file(self._wanted.popleft())
        elif self._announced:
            yield from self._listen(wait=True)
        else:
            return not self._scanned
        return True

    def _may_announce(self) -> bool:
        if self._scanned:
            return False
        waiting = len(self._announced) + len(self._wanted)
        if self._put_back is not None and self._put_back.entry.kind is not self._kind:
            return not waiting  # links come when all files are sent, folders after all links
        return waiting <= _AHEAD - self._batch

    def _announce(self) -> Steps[None]:
        found, left_out = yield from run(self._next_batch)
        for one in left_out:
            self._tell_left_out(one)
        if found:
            yield from send(Entries([one.entry for one in found]))
            self._announced.extend(found)

    def _next_batch(self) -> tuple[list[Found], list[LeftOut]]:
        """Scan on: entries of one kind, as many as go into one message."""
        found: list[Found] = []
        left_out: list[LeftOut] = []
        size = 0
        if self._put_back is not None:
            found.append(self._put_back)
            self._kind, self._put_back = self._put_back.entry.kind, None
        for one in self._scanner:
            if isinstance(one, LeftOut):
                left_out.append(one)
                if len(left_out) >= _BATCH:
                    return found, left_out
                continue
            if one.entry.kind is not self._kind:
                self._put_back = one
                return found, left_out
            found.append(one)
            size += len(one.entry.path) + len(one.entry.target)
            if len(found) >= self._batch or size >= _BATCH_BYTES:
                return found, left_out
        self._scanned = True
        return found, left_out

    # --- what the receiver says ---

    def _listen(self, *, wait: bool) -> Steps[None]:
        """Take what the receiver said: all that is there, or at least one message."""
        while (message := (yield Receive(wait))) is not None:
            match message:
                case Wanted(verdicts):
                    self._take_verdicts(verdicts)
                case Receipts(receipts):
                    self._take_receipts(receipts)
                case Done():
                    self._done = True
                    return
                case _:
                    raise PeerError(f"{message.type.name} in the middle of a tree")
            wait = False

    def _take_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        if len(verdicts) > len(self._announced):
            raise PeerError("more verdicts than entries")
        for verdict in verdicts:
            found = self._announced.popleft()
            entry = found.entry
            if verdict.answer is Answer.WANTED:
                if entry.kind is Kind.FILE:
                    self._wanted.append(found)
                else:
                    self._owed.append(_Owed(entry))
                continue
            outcome, code = _VERDICTS[verdict.answer], verdict.code
            if verdict.answer is Answer.REFUSED and code is ExitCode.OK:
                code = ExitCode.REFUSED
            self._tell(
                EntryReport(
                    entry.path,
                    outcome,
                    entry.size,
                    durable=verdict.answer is Answer.UNCHANGED,
                    stored_as=verdict.stored_as,
                    code=code,
                    reason=verdict.reason,
                ),
                entry.kind,
            )
            self._tally.bytes_done += entry.size

    def _take_receipts(self, receipts: Sequence[Receipt]) -> None:
        if len(receipts) > len(self._owed):
            raise PeerError("more receipts than files")
        for receipt in receipts:
            self._take_receipt(self._owed.popleft(), receipt)

    def _take_receipt(self, owed: _Owed, receipt: Receipt) -> None:
        """Compare what the receiver states with what was read."""
        code, reason = receipt.code, receipt.reason
        outcome = OUTCOMES[receipt.action]
        if receipt.action in (Action.RECEIVED, Action.REPLACED):
            if outcome is Outcome.RECEIVED:
                outcome = Outcome.SENT
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
        self._tell(
            EntryReport(
                owed.entry.path,
                outcome,
                owed.size,
                receipt.digest,
                durable=receipt.durable,
                stored_as=receipt.stored_as,
                code=code,
                reason=reason,
            ),
            owed.entry.kind,
        )

    # --- what is sent ---

    def _send_pack(self) -> Steps[None]:
        """Send the next small files together."""
        batch: list[Found] = []
        size = 0
        while self._wanted and len(batch) < _PACK_FILES:
            entry = self._wanted[0].entry
            if entry.size > SMALL or (batch and size + entry.size > _PACK_BYTES):
                break
            size += entry.size
            batch.append(self._wanted.popleft())
        read, grown = yield from run(lambda: self._read_pack(batch))
        if read.files:
            self._owed.extend(read.owed)
            yield from send(Pack(read.files))
            if read.contents:
                yield from send(Data(read.contents, read.digest))
            self._tally.bytes_done += len(read.contents)
        for entry, error in read.lost:
            self._tell_lost(entry, error)
        for found in grown:
            yield from self._send_file(found)

    def _read_pack(self, batch: Sequence[Found]) -> tuple[_Read, list[Found]]:
        """Read small files; what has grown too large, and all behind it, is left for later."""
        read = _Read([], b"", b"", [], [])
        contents: list[bytes] = []
        now_ns, room = self._clock(), _PACK_BYTES
        for at, found in enumerate(batch):
            entry = found.entry
            try:
                file = read_small(
                    found.location, min(SMALL, room), now_ns, follow=self._follows(found)
                )
            except FileFailed as error:
                read.files.append(_LOST)
                read.lost.append((entry, error))
                continue
            if file is None:
                rest = list(batch[at:])
                break
            contents.append(file.contents)
            room -= file.size
            read.files.append(Packed(Fate.READ, file.size, file.mtime_ns, file.mode))
            read.owed.append(_Owed(entry, file.size, file_digest(file.contents), file.changed))
        else:
            rest = []
        joined = b"".join(contents)
        digest = node_digest(joined) if joined else b""
        return _Read(read.files, joined, digest, read.owed, read.lost), rest

    def _send_file(self, found: Found) -> Steps[None]:
        """Send one file piece by piece."""
        entry = found.entry
        try:
            source = yield from run(
                lambda: SourceFile(found.location, self._clock(), follow=self._follows(found))
            )
        except FileFailed as error:
            yield from send(Pack([_LOST]))
            self._tell_lost(entry, error)
            return
        with source:
            tally = self._tally
            tally.path, tally.path_done, tally.path_total = entry.path, 0, source.size
            yield from send(File(source.size, source.mtime_ns, source.mode))
            try:
                digest, size = yield from self._send_contents(source)
                changed = yield from run(source.changed, brief=True)
            except FileFailed as error:
                yield from send(FileEnd(Fate.LOST, 0))
                self._tell_lost(entry, error)
                return
            finally:
                tally.path, tally.path_total = b"", None
            yield from send(FileEnd(Fate.READ, size))
            self._owed.append(_Owed(entry, size, digest, changed))

    def _send_contents(self, source: SourceFile) -> Steps[tuple[bytes, int]]:
        """Send what a file gives; return its digest and size."""
        digest, size, tally = FileDigest(), 0, self._tally
        self._ring = self._ring or Ring(UNSENT)
        while True:
            buffer = self._ring.turn()

            def read(buffer: memoryview = buffer) -> Data | None:
                got = source.read_into(buffer)
                return Data(buffer[:got], node_digest(buffer[:got])) if got else None

            piece = yield from run(read, brief=True)
            if piece is None:
                return digest.value(size), size
            yield from send(piece)
            digest.add(piece.digest)
            size += len(piece.payload)
            tally.bytes_done += len(piece.payload)
            tally.path_done = size

    def _follows(self, found: Found) -> bool:
        """Tell whether a location may be a link: a path named by the user may."""
        return self._copy_links or b"/" not in found.entry.path

    # --- what is reported ---

    def _tell(self, entry: EntryReport, kind: Kind) -> None:
        counts = kind is not Kind.FOLDER
        self._report.add(entry, counts=counts)
        if counts:
            self._tally.files_done += 1
        if self._on_entry is not None and (counts or entry.code):
            self._on_entry(entry)

    def _tell_left_out(self, one: LeftOut) -> None:
        entry = EntryReport(one.path, Outcome.SKIPPED, code=one.code, reason=one.reason)
        self._tell(entry, Kind.FILE)

    def _tell_lost(self, entry: Entry, error: FileFailed) -> None:
        report = EntryReport(
            entry.path, Outcome.FAILED, entry.size, code=error.exit_code, reason=str(error)
        )
        self._tell(report, Kind.FILE)

    def _tell_missing(self, owed: _Owed) -> None:
        report = EntryReport(
            owed.entry.path,
            Outcome.FAILED,
            owed.size,
            owed.digest,
            code=ExitCode.RECEIPT_MISSING,
            reason="the receiver sent no receipt",
        )
        self._tell(report, owed.entry.kind)


_LOST: Final = Packed(Fate.LOST, 0, 0, 0)
_VERDICTS: Final = {
    Answer.UNCHANGED: Outcome.UNCHANGED,
    Answer.SKIPPED: Outcome.SKIPPED,
    Answer.REFUSED: Outcome.FAILED,
}


def _name(tops: Sequence[Top]) -> str:
    """Return what a bar calls the delivery."""
    first = tops[0].name.decode(errors="surrogateescape") if tops else ""
    return first if len(tops) == 1 else f"{first} and {len(tops) - 1} more"
