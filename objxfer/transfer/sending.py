"""The sender's side of a tree: offer, announce, send what is wanted, collect the receipts.

Batches are announced ahead of the data, so no answer is waited for while there is something to
send; and no entry is kept longer than until its receipt is there, so memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from objxfer.errors import FileFailed, LimitExceeded, PeerError
from objxfer.files.digest import NODE, node_digest
from objxfer.files.entries import (
    Entry,
    IfExists,
    Kind,
)
from objxfer.files.paths import shown
from objxfer.files.scan import Found, LeftOut, Top
from objxfer.files.source import SmallFile, Source
from objxfer.files.tree import Tree
from objxfer.limits import KIB, MIB
from objxfer.protocol.answers import Accept, Compared, Receipts, Wanted
from objxfer.protocol.chunks import OFFER_LIMIT, UNKNOWN
from objxfer.protocol.fields import PATH_LIMIT
from objxfer.protocol.messages import Data, Done
from objxfer.protocol.trees import Entries, Fate, File, FileEnd, Flush, Offer, Pack, Packed
from objxfer.transfer.contents import Contents
from objxfer.transfer.ledger import Ledger, Owed
from objxfer.transfer.progress import Tally
from objxfer.transfer.report import Account, OnEntry, Report
from objxfer.transfer.steps import Port, Receive, Steps, receive, run, send

SMALL: Final = 256 * KIB
"""Files up to this size are packed together."""
_PACK_FILES: Final = 200
_PACK_BYTES: Final = 1 * MIB
_BATCH: Final = 500
_BATCH_BYTES: Final = 128 * KIB
_BATCH_HASHED: Final = 64 * MIB
"""Contents that are read for the digests of one batch."""
_AHEAD: Final = 4 * _BATCH
"""Entries that are announced and not sent yet."""
_OWED: Final = 20_000
"""Files that are sent and not receipted yet."""

_TOPS: Final = 2**16 - 1


@dataclass(frozen=True, slots=True)
class _Read:
    """The contents of a pack, and what is owed for them."""

    files: list[Packed]
    contents: bytes
    digest: bytes
    owed: list[Owed]
    lost: list[tuple[Entry, FileFailed]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a delivery is asked for, whatever is delivered."""

    folder: bytes
    """Where below the receiving folder it lands."""
    if_exists: IfExists | None
    """The rule that is asked for, or None for the receiver's own."""
    tally: Tally
    """Counts along."""
    on_entry: OnEntry | None
    """Told what became of each entry."""
    clock: Callable[[], int]
    """As ``time.time_ns``; tells a file that is being written to."""
    report: Report
    """Told all; one that an attempt before has begun is gone on with."""


def send_tree(port: Port, delivery: Delivery, tree: Tree, *, count: float = 0.0) -> Steps[Report]:
    """Deliver files and folders: each path lands under its last name.

    Args:
        port: this item's.
        delivery: how it is asked for.
        tree: what is delivered.
        count: seconds to take for counting, so that the offer says how much it is.
    """

    def look() -> tuple[Sequence[Top], tuple[int, int]]:
        tops, until = tree.begin(), delivery.clock() + count * 1e9
        totals = tree.known() or tree.count(lambda: delivery.clock() >= until)
        return tops, totals or (UNKNOWN, UNKNOWN)

    tops, totals = yield from run(look)
    if len(tops) > _TOPS or sum(len(top.name) + 2 for top in tops) > OFFER_LIMIT - PATH_LIMIT - 32:
        raise LimitExceeded(f"{len(tops)} paths are too many at once", hint="send their folder")
    more = len(tops) - 1
    delivery.tally.name = shown(tops[0].name) + (f" and {more} more" if more else "")
    names = tuple(top.name for top in tops)
    sender = _Sender(port, delivery, names, tree.entries(), tree.small, tree.open)
    return (yield from sender.send(*totals))


def send_stream(port: Port, delivery: Delivery, source: Source, *, name: bytes) -> Steps[Report]:
    """Deliver a stream as a file of that name."""
    entry = Entry(name, Kind.FILE, source.size, source.mtime_ns, source.mode)
    delivery.tally.name = shown(name)
    scanner = iter([Found(entry, b"")])
    sender = _Sender(port, delivery, (name,), scanner, _never, lambda _: source)
    return (yield from sender.send(1, UNKNOWN))


def _never(batch: Sequence[Found], _limit: int) -> Iterator[SmallFile]:
    raise AssertionError(f"{batch[0].entry.path!a} is a stream, and never packed")


class _Sender:
    def __init__(
        self,
        port: Port,
        delivery: Delivery,
        tops: tuple[bytes, ...],
        scanner: Iterator[Found | LeftOut],
        read: Callable[[Sequence[Found], int], Iterator[SmallFile | FileFailed | None]],
        open_source: Callable[[Found], Source],
    ) -> None:
        self._port = port
        self._delivery = delivery
        self._tally = delivery.tally
        self._scanner = scanner
        self._read = read
        self._open = open_source
        delivery.report.begin(tops)
        self._ledger = Ledger(Account(delivery.report, delivery.tally, delivery.on_entry))
        self._put_back: Found | None = None
        self._scanned = False
        self._files = self._bytes = 0
        self._kind = Kind.FILE
        self._batch = _BATCH
        self._flushed = False
        self._done = False
        self._contents = Contents(port, delivery.tally, self._listen)

    def send(self, total_files: int, total_bytes: int) -> Steps[Report]:
        """Send everything, from the offer to the last receipt."""
        begun, report, delivery = self._port.now, self._delivery.report, self._delivery
        totals = (total_files, total_bytes)
        offer = Offer(report.tops, delivery.folder, delivery.if_exists, *totals)
        try:
            yield from send(offer)
            accepted = yield from receive(Accept)
            begun = self._port.now  # somebody there may have been asked, and taken their time
            self._batch = min(_BATCH, accepted.entries)
            while (yield from self._go_on()):
                pass
            yield from send(Done())
            while not self._done:
                yield from self._listen(wait=True)
        finally:
            report.seconds += self._port.now - begun
        for owed in self._ledger.owed:
            self._ledger.tell_missing(owed)
        return report

    def _go_on(self) -> Steps[bool]:
        """Do the next thing there is to do; False when all is announced, answered and sent."""
        yield from self._listen(wait=False)
        if self._may_announce():
            yield from self._announce()
        elif self._ledger.wanted:
            if len(self._ledger.owed) > _OWED and not self._flushed:
                self._flushed = True
                yield from send(Flush())
            while len(self._ledger.owed) > _OWED:
                yield from self._listen(wait=True)
            self._flushed = False
            if self._ledger.wanted[0].found.entry.size <= SMALL:
                yield from self._send_pack()
            else:
                yield from self._send_file(*self._ledger.wanted.popleft())
        elif self._ledger.announced:
            yield from self._listen(wait=True)
        else:
            return not self._scanned
        return True

    def _may_announce(self) -> bool:
        if self._scanned:
            return False
        waiting = len(self._ledger.announced) + len(self._ledger.wanted)
        if self._put_back is not None and self._put_back.entry.kind is not self._kind:
            return not waiting  # links come when all files are sent, folders after all links
        return waiting <= _AHEAD - self._batch

    def _announce(self) -> Steps[None]:
        found, left_out = yield from run(self._next_batch)
        for one in left_out:
            self._ledger.tell_left_out(one)
        if found:
            yield from send(Entries([one.entry for one in found]))
            self._ledger.announced.extend(found)
            self._count(found)

    def _count(self, found: Sequence[Found]) -> None:
        """Tell how much there is, once all files were found."""
        for one in found:
            self._files += one.entry.kind is Kind.FILE
            self._bytes += one.entry.size
        if (self._scanned or self._put_back is not None) and self._bytes < UNKNOWN:
            self._tally.files_total, self._tally.bytes_total = self._files, self._bytes

    def _next_batch(self) -> tuple[list[Found], list[LeftOut]]:
        """Scan on: entries of one kind, as many as go into one message."""
        found: list[Found] = []
        left_out: list[LeftOut] = []
        size = hashed = 0
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
            hashed += one.entry.size if one.entry.digest else 0
            if len(found) >= self._batch or size >= _BATCH_BYTES or hashed >= _BATCH_HASHED:
                return found, left_out
        self._scanned = True
        return found, left_out

    # --- what the receiver says ---

    def _listen(self, *, wait: bool) -> Steps[None]:
        """Take what the receiver said: all that is there, or at least one message."""
        while (message := (yield Receive(wait))) is not None:
            match message:
                case Wanted(verdicts):
                    self._ledger.take_verdicts(verdicts)
                case Receipts(receipts):
                    self._ledger.take_receipts(receipts)
                case Compared(same):
                    self._contents.answered(same)
                case Done():
                    self._done = True
                    return
                case _:
                    raise PeerError(f"{message.type.name} in the middle of a tree")
            wait = False

    # --- what is sent ---

    def _send_pack(self) -> Steps[None]:
        """Send the next small files together."""
        batch: list[Found] = []
        size = 0
        while self._ledger.wanted and len(batch) < _PACK_FILES:
            entry = self._ledger.wanted[0].found.entry
            if entry.size > SMALL or (batch and size + entry.size > _PACK_BYTES):
                break
            size += entry.size
            batch.append(self._ledger.wanted.popleft().found)
        read, grown = yield from run(lambda: self._read_pack(batch))
        if read.files:
            self._ledger.owed.extend(read.owed)
            yield from send(Pack(read.files))
            if read.contents:
                yield from send(Data(read.contents, read.digest))
            self._tally.bytes_done += len(read.contents)
        for entry, error in read.lost:
            self._ledger.tell_lost(entry, error)
        for found in grown:
            yield from self._send_file(found)

    def _read_pack(self, batch: Sequence[Found]) -> tuple[_Read, list[Found]]:
        """Read small files; what has grown too large, and all behind it, is left for later."""
        read = _Read([], b"", b"", [], [])
        contents: list[bytes] = []
        room = _PACK_BYTES
        rest: list[Found] = []
        for at, file in enumerate(self._read(batch, SMALL)):
            entry = batch[at].entry
            if isinstance(file, FileFailed):
                read.files.append(_LOST)
                read.lost.append((entry, file))
                continue
            if file is None or file.size > room:
                rest = list(batch[at:])
                break
            contents.append(file.contents)
            room -= file.size
            read.files.append(Packed(Fate.READ, file.size, file.mtime_ns, file.mode))
            read.owed.append(Owed(entry, file.size, file.digest, file.changed))
        joined = b"".join(contents)
        digest = node_digest(joined) if joined else b""
        return _Read(read.files, joined, digest, read.owed, read.lost), rest

    def _send_file(self, found: Found, held: int = 0) -> Steps[None]:
        """Send one file piece by piece; its first ``held`` nodes seem to lie there."""
        entry = found.entry
        try:
            source = yield from run(lambda: self._open(found))
        except FileFailed as error:
            yield from send(Pack([_LOST]))
            self._ledger.tell_lost(entry, error)
            return
        with closing(source):
            tally = self._tally
            tally.path, tally.path_done, tally.path_total = entry.path, 0, source.size
            held = min(held, source.size // NODE)
            yield from send(File(source.size, source.mtime_ns, source.mode, held))
            try:
                gone = yield from self._contents.send(source, held)
                changed = yield from run(source.changed, brief=True)
            except FileFailed as error:
                yield from send(FileEnd(Fate.LOST, 0))
                self._ledger.tell_lost(entry, error)
                return
            finally:
                tally.path, tally.path_total = b"", None
            yield from send(FileEnd(Fate.READ, gone.size))
            self._ledger.owed.append(Owed(entry, gone.size, gone.digest, changed, gone.kept))


_LOST: Final = Packed(Fate.LOST, 0, 0, 0)
