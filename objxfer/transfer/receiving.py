"""The receiver's side of a tree: judge what is announced, write what comes, receipt it.

What has come is flushed in groups: when nothing more lies there to be read, when the sender asks,
and by count, bytes and time. A receipt leaves only after everything it states has happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from objxfer.errors import ExitCode, FileFailed, LimitExceeded, NoSpace, ObjxferError, PeerError
from objxfer.files.digest import NODE, Buffer
from objxfer.files.entries import Answer, Entry, Kind, Receipt, Verdict
from objxfer.files.paths import shown
from objxfer.files.sink import Arrived
from objxfer.limits import Limits
from objxfer.protocol.answers import Accept, Compared, Receipts, Wanted
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.messages import Data, Done, Message
from objxfer.protocol.trees import Entries, Fate, File, FileEnd, Flush, Nodes, Offer, Pack, Patch
from objxfer.transfer.buffers import Pool
from objxfer.transfer.group import Group
from objxfer.transfer.progress import Tally
from objxfer.transfer.report import (
    CARRIED,
    OUTCOMES,
    Account,
    EntryReport,
    OnEntry,
    Outcome,
    Report,
)
from objxfer.transfer.settling import Settling
from objxfer.transfer.steps import Port, Receive, Steps, Withdrawn, ask, run, send

_AHEAD: Final = 16_384
"""Files that may be announced and not sent yet: all of them are remembered."""

POOL: Final = Pool()
"""Memory for what comes for the disk, of all connections of this process together."""


class Part(Protocol):
    """A file on its way in; see ``files.part.Part``."""

    @property
    def failure(self) -> Receipt | None:
        """The receipt it will get, once it is known to have failed."""

    @property
    def brief(self) -> bool:
        """Whether writing is short work."""

    @property
    def surrendered(self) -> bool:
        """Whether a newer connection goes on with it."""

    def put(self, index: int, data: Buffer, node: bytes, /) -> None:
        """Write one node."""

    def compare(self, first: int, nodes: Sequence[bytes], /) -> list[bool]:
        """Say which nodes lie here already."""

    def finish(self, size: int, mtime_ns: int, mode: int, /) -> None:
        """Hear that it is whole."""

    def leave(self) -> None:
        """Hear that it will not be whole this time."""


class Taker(Protocol):
    """Where a tree goes; ``files.sink.Sink`` says what each method promises."""

    def judge(self, entries: Sequence[Entry], /) -> list[Verdict]:
        """Say what is wanted of announced files."""

    def forgo(self, entry: Entry, /) -> None:
        """Hear that a wanted file will not come."""

    def open(self, entry: Entry, held: int, /) -> Part:
        """Begin a file that comes piece by piece, or go on with it."""

    def pack(self, files: Sequence[Arrived], /) -> None:
        """Write small files."""

    def publish(self) -> list[tuple[Entry, Receipt]]:
        """Flush and name all files that are finished."""

    def links(self, entries: Sequence[Entry], /) -> list[Receipt]:
        """Make links."""

    def folders(self, entries: Sequence[Entry], /) -> list[Receipt]:
        """Make folders, or dress those that are there."""

    def close(self) -> None:
        """Let go of what was not published, and release what is held."""


OpenTaker = Callable[[Offer], Taker]
"""Opens the place for what is offered; raises to refuse it."""
OnOffer = Callable[[Offer, Withdrawn], None]
"""Told what is offered before any of it is accepted; raises to refuse it. It may take its time, and
is given what tells whether nobody waits for it any more: then it had better return."""


def receive_tree(
    port: Port,
    *,
    offer: Offer,
    open_taker: OpenTaker,
    on_offer: OnOffer | None,
    limits: Limits,
    tally: Tally,
    on_entry: OnEntry | None,
    report: Report,
) -> Steps[Report]:
    """Take what is offered.

    Args:
        port: this item's.
        offer: what opened it.
        open_taker: opens the place for it, in a worker.
        on_offer: asked before, there too, whether it is wanted; who is interrupted then refuses.
        limits: what this side accepts.
        tally: counts along.
        on_entry: told what became of each entry.
        report: told all; one that an attempt before has begun is gone on with.
    """
    receiver = _TreeReceiver(port, offer, limits, tally, on_entry, report)
    return (yield from receiver.receive(open_taker, on_offer))


class _TreeReceiver:
    def __init__(
        self,
        port: Port,
        offer: Offer,
        limits: Limits,
        tally: Tally,
        on_entry: OnEntry | None,
        report: Report,
    ) -> None:
        self._port = port
        self._offer = offer
        self._limits = limits
        self._tally = tally
        self._report = report
        self._account = Account(report, tally, on_entry)
        report.begin(offer.tops)
        self._kind = Kind.FILE
        self._wanted: deque[tuple[Entry, int]] = deque()
        """Files that will come, and how many of their nodes seem to lie here."""
        self._kept: dict[bytes, int] = {}
        """Bytes that lay here already, of the files of this group."""
        self._group = Group()

    def receive(self, open_taker: OpenTaker, on_offer: OnOffer | None) -> Steps[Report]:
        """Receive everything, from the answer to the offer to the last receipt."""
        offer = self._offer
        first = shown(offer.tops[0])
        more = len(offer.tops) - 1
        self._tally.name = f"{first} and {more} more" if more else first
        self._tally.files_total = None if offer.total_files == UNKNOWN else offer.total_files
        self._tally.bytes_total = None if offer.total_bytes == UNKNOWN else offer.total_bytes
        self._port.land = lambda _at, size: POOL.lease(size)
        if on_offer is not None:
            yield from ask(self._port, partial(on_offer, self._offer))
        begun = self._port.now
        taker = yield from run(lambda: open_taker(self._offer))
        try:
            yield from send(Accept(min(self._limits.entries, _AHEAD)))
            while not isinstance(message := (yield from self._next(taker)), Done):
                yield from self._take(taker, message)
            if self._wanted:
                raise PeerError("the tree ended before all wanted files came")
            yield from self._publish(taker)
            yield from run(taker.close)
            yield from send(Done())
        finally:
            taker.close()
            self._report.seconds += self._port.now - begun
        return self._report

    def _next(self, taker: Taker) -> Steps[Message]:
        """Wait for the next message; what is finished by then is not kept waiting."""
        message: Message | None = None
        if self._group.files:
            if not self._group.due(self._port.now):
                message = yield Receive(wait=False)
            if message is None:
                yield from self._publish(taker)
        return message or (yield Receive())

    def _take(self, taker: Taker, message: Message) -> Steps[None]:
        match message:
            case Entries(entries):
                yield from self._take_entries(taker, entries)
            case Pack():
                yield from self._take_pack(taker, message)
            case File():
                yield from self._take_file(taker, message)
            case Flush():
                yield from self._publish(taker)
            case _:
                raise PeerError(f"{message.type.name} in the middle of a tree")

    def _take_entries(self, taker: Taker, entries: Sequence[Entry]) -> Steps[None]:
        if len(entries) > self._limits.entries:
            raise LimitExceeded(f"{len(entries)} entries in one batch")
        kind = entries[0].kind
        if kind < self._kind or any(entry.kind is not kind for entry in entries):
            raise PeerError("a tree is announced in the order files, links, folders")
        if kind is Kind.FILE:
            if len(self._wanted) + len(entries) > _AHEAD:
                raise LimitExceeded(f"more than {_AHEAD} files announced and not sent")
            verdicts = yield from run(lambda: taker.judge(entries))
            for entry, verdict in zip(entries, verdicts, strict=True):
                if verdict.answer in (Answer.WANTED, Answer.PARTIAL):
                    self._wanted.append((entry, verdict.held))
                else:
                    self._tell_verdict(entry, verdict)
            for part in Wanted.split(verdicts):
                yield from send(part)
            return
        if kind is not self._kind:
            if self._wanted:
                raise PeerError("links and folders before all wanted files came")
            yield from self._publish(taker)
            self._kind = kind
        for part in Wanted.split([_WANTED] * len(entries)):
            yield from send(part)
        place = taker.links if kind is Kind.LINK else taker.folders
        yield from self._send_receipts(entries, (yield from run(lambda: place(entries))))

    def _take_pack(self, taker: Taker, pack: Pack) -> Steps[None]:
        contents = memoryview(b"")
        if pack.size:
            message = yield from self._next(taker)
            if not isinstance(message, Data):
                raise PeerError(f"{message.type.name} where a pack's contents should come")
            contents = memoryview(message.payload)
        if len(contents) != pack.size:
            raise PeerError("a pack is not as long as announced")
        arrived: list[Arrived] = []
        at = 0
        for file in pack.files:
            entry, _ = self._pop_wanted()
            if file.fate is Fate.LOST:
                taker.forgo(entry)
                continue
            read = Entry(
                entry.path, Kind.FILE, file.size, file.mtime_ns, file.mode, b"", entry.digest
            )
            arrived.append(Arrived(read, contents[at : at + file.size]))
            at += file.size
        done = 0
        while done < len(arrived):
            if not self._group.room:
                yield from self._publish(taker)
            some = arrived[done : done + self._group.room]
            yield from run(partial(taker.pack, some))
            done += len(some)
            self._group.add(len(some), sum(file.entry.size for file in some), self._port.now)
        POOL.give(contents)
        self._tally.bytes_done += at

    def _take_file(self, taker: Taker, file: File) -> Steps[None]:
        entry, held = self._pop_wanted()
        if file.held > held:
            raise PeerError("more of a file is held than was said")
        settling = Settling(file.size, file.held)
        # As it was announced: for that much there is space, whatever is said of it now.
        part = yield from run(lambda: taker.open(entry, file.held))
        tally = self._tally
        tally.path, tally.path_done, tally.path_total = entry.path, 0, file.size
        while not isinstance(message := (yield from self._next(taker)), FileEnd):
            yield from self._take_piece(part, settling, message)
            if part.surrendered or (file.size == UNKNOWN and part.failure):
                assert part.failure is not None
                raise _ended(part.failure)  # a stream may go on for ever
            del message
        tally.path, tally.path_total = b"", None
        if message.fate is Fate.LOST:
            yield from run(part.leave)
            return
        settling.end(message.size)
        size = message.size
        yield from run(lambda: part.finish(size, file.mtime_ns, file.mode), brief=not held)
        if settling.kept:
            self._kept[entry.path] = settling.kept
        self._group.add(1, size, self._port.now)

    def _take_piece(self, part: Part, settling: Settling, message: Message) -> Steps[None]:
        """Take what comes of a file: data, or what to compare with what lies here."""
        match message:
            case Data():
                index, size = settling.place(len(message.payload)), len(message.payload)
                yield from run(partial(_put, part, index, message), brief=part.brief)
                self._count(size)
            case Nodes(digests):
                first = settling.ask(len(digests))
                same = yield from run(lambda: part.compare(first, digests))
                settling.answer(first, same)
                self._count(same.count(True) * NODE)
                yield from send(Compared(same))
            case Patch(number):
                settling.patch(number)
            case _:
                raise PeerError(f"{message.type.name} in the middle of a file")

    def _count(self, size: int) -> None:
        self._tally.bytes_done += size
        self._tally.path_done += size

    def _publish(self, taker: Taker) -> Steps[None]:
        if self._group.files:
            self._group.clear()
            published = yield from run(taker.publish)
            yield from self._send_receipts(
                [entry for entry, _ in published], [receipt for _, receipt in published]
            )

    def _send_receipts(self, entries: Sequence[Entry], receipts: Sequence[Receipt]) -> Steps[None]:
        for entry, receipt in zip(entries, receipts, strict=True):
            self._tell_receipt(entry, receipt)
        if receipts:
            for part in Receipts.split(receipts):
                yield from send(part)

    def _pop_wanted(self) -> tuple[Entry, int]:
        if not self._wanted:
            raise PeerError("a file that was not wanted")
        return self._wanted.popleft()

    def _tell_verdict(self, entry: Entry, verdict: Verdict) -> None:
        outcome = _OUTCOMES.get(verdict.answer, Outcome.FAILED)
        report = EntryReport(
            entry.path,
            outcome,
            entry.size,
            entry.digest if outcome is Outcome.UNCHANGED else b"",
            durable=outcome is Outcome.UNCHANGED,
            stored_as=verdict.stored_as,
            code=_here(verdict.code),
            reason=verdict.reason,
        )
        self._account.tell(report, Kind.FILE)

    def _tell_receipt(self, entry: Entry, receipt: Receipt) -> None:
        kept = self._kept.pop(entry.path, 0)
        outcome, code, reason = OUTCOMES[receipt.action], _here(receipt.code), receipt.reason
        if outcome in CARRIED and not receipt.durable:
            code, reason = ExitCode.RECEIPT_MISSING, reason or "it could not be flushed"
        report = EntryReport(
            entry.path,
            Outcome.RESUMED if kept and outcome is Outcome.RECEIVED else outcome,
            receipt.size,
            receipt.digest,
            durable=receipt.durable,
            stored_as=receipt.stored_as,
            code=code,
            reason=reason,
            kept=kept,
        )
        self._account.tell(report, entry.kind)


_WANTED: Final = Verdict(Answer.WANTED)
_OUTCOMES: Final = {Answer.UNCHANGED: Outcome.UNCHANGED, Answer.SKIPPED: Outcome.SKIPPED}


def _here(code: ExitCode) -> ExitCode:
    """Return what a code for the sender means on this side: its peer's full disk is ours."""
    return ExitCode.NO_SPACE if code is ExitCode.PEER_NO_SPACE else code


def _ended(failure: Receipt) -> ObjxferError:
    """Return what a failed stream ends its delivery with."""
    if failure.code is ExitCode.PEER_NO_SPACE:
        return NoSpace(failure.reason)
    return FileFailed(failure.reason, exit_code=_here(failure.code))


def _put(part: Part, index: int, message: Data) -> None:
    part.put(index, message.payload, message.digest)
    POOL.give(message.payload)
