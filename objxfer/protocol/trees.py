"""The messages of a tree: offered, announced, wanted, streamed, receipted.

``docs/protocol.md`` is the norm for every layout here. Whatever cannot be read is a ``PeerError``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from objxfer.errors import PeerError
from objxfer.files.entries import Action, Answer, Entry, IfExists, Kind, Receipt, Verdict
from objxfer.protocol.chunks import CONTROL_LIMIT, Type
from objxfer.protocol.fields import (
    PATH_LIMIT,
    TEXT_LIMIT,
    Empty,
    Reader,
    bytes16,
    clip,
    exit_code,
    split,
)

_OFFER = struct.Struct(">BQQH")


@dataclass(frozen=True, slots=True)
class Offer:
    """Opens a tree: what is offered, before anything of it is announced."""

    tops: tuple[bytes, ...]
    folder: bytes
    """Where below the receiving folder it should land; empty for that folder itself."""
    if_exists: IfExists | None
    """What the sender asks for, or None for the receiver's own rule."""
    total_files: int
    """How many in all, or ``UNKNOWN``."""
    total_bytes: int
    """How many in all, or ``UNKNOWN``."""
    type: ClassVar = Type.OFFER
    whole: ClassVar = False
    receipt_wanted: ClassVar = True

    def pack(self) -> bytes:
        asked = self.if_exists or 0
        totals = (self.total_files, self.total_bytes)
        packed = [_OFFER.pack(asked, *totals, len(self.tops)), bytes16(self.folder)]
        packed += map(bytes16, self.tops)
        return b"".join(packed)

    @classmethod
    def unpack(cls, payload: bytes) -> Offer:
        reader = Reader(payload)
        asked, files, size, count = reader.unpack(_OFFER)
        folder = reader.bytes16(PATH_LIMIT)
        tops = tuple(reader.bytes16(255) for _ in range(count))
        reader.end()
        if not tops or not all(tops):
            raise PeerError("an offer of nothing")
        try:
            if_exists = IfExists(asked) if asked else None
        except ValueError:
            raise PeerError(f"an offer asks for an unknown rule {asked}") from None
        return cls(tops, folder, if_exists, files, size)


_ACCEPT = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Accept:
    """The offer is taken: announce."""

    entries: int
    """How many entries the receiver takes in one batch, at least one."""
    type: ClassVar = Type.ACCEPT

    def pack(self) -> bytes:
        return _ACCEPT.pack(self.entries)

    @classmethod
    def unpack(cls, payload: bytes) -> Accept:
        reader = Reader(payload)
        message = cls(reader.u32())
        reader.end()
        if not message.entries:
            raise PeerError("an offer is accepted with batches of nothing")
        return message


_ENTRY = struct.Struct(">BHQqHH")


@dataclass(frozen=True, slots=True)
class Entries:
    """Announces paths of a tree, in order; the receiver answers each with a verdict."""

    entries: Sequence[Entry]
    type: ClassVar = Type.ENTRIES

    def pack(self) -> bytes:
        packed = []
        for entry in self.entries:
            path, target = entry.path, entry.target
            packed.append(
                _ENTRY.pack(
                    entry.kind, entry.mode, entry.size, entry.mtime_ns, len(path), len(target)
                )
            )
            packed.append(path)
            packed.append(target)
        return b"".join(packed)

    @classmethod
    def unpack(cls, payload: bytes) -> Entries:
        entries = []
        at, end, step = 0, len(payload), _ENTRY.size
        unpack = _ENTRY.unpack_from
        while at < end:
            if at + step > end:
                raise PeerError("a message ends in the middle of a field")
            kind, mode, size, mtime_ns, path_size, target_size = unpack(payload, at)
            at += step
            path = payload[at : at + path_size]
            at += path_size
            target = payload[at : at + target_size]
            at += target_size
            if at > end or path_size > PATH_LIMIT or target_size > PATH_LIMIT:
                raise PeerError("a path is too long or cut off")
            if mode & ~0o777 or not 1 <= kind <= 3 or bool(target_size) != (kind == 2):
                raise PeerError("an entry of an unknown kind or mode")
            if size and kind != 1:
                raise PeerError("a size of what is no file")
            entries.append(Entry(path, _KINDS[kind], size, mtime_ns, mode, target))
        if not entries:
            raise PeerError("an empty batch of entries")
        return cls(entries)


_KINDS = {int(kind): kind for kind in Kind}


class Fate(IntEnum):
    """What became of a wanted file at the sender."""

    READ = 1
    LOST = 2
    """It vanished or could not be read: there will be no receipt for it."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A small file of a pack, as it was when it was read."""

    fate: Fate
    size: int
    mtime_ns: int
    mode: int


_PACKED = struct.Struct(">BIqH")


@dataclass(frozen=True, slots=True)
class Pack:
    """The next wanted files, all small; one data chunk behind it holds their contents."""

    files: Sequence[Packed]
    type: ClassVar = Type.PACK

    @property
    def size(self) -> int:
        """Bytes of all contents together; where there are none, no data chunk follows."""
        return sum(file.size for file in self.files)

    def pack(self) -> bytes:
        return b"".join(
            _PACKED.pack(file.fate, file.size, file.mtime_ns, file.mode) for file in self.files
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Pack:
        if not payload or len(payload) % _PACKED.size:
            raise PeerError("a message ends in the middle of a field")
        files = []
        for fate, size, mtime_ns, mode in _PACKED.iter_unpack(payload):
            if mode & ~0o777 or fate not in (1, 2) or (fate == Fate.LOST and size):
                raise PeerError("a packed file of an unknown fate or mode")
            files.append(Packed(Fate.READ if fate == 1 else Fate.LOST, size, mtime_ns, mode))
        return cls(files)


_FILE = struct.Struct(">QqH")


@dataclass(frozen=True, slots=True)
class File:
    """The next wanted file begins; data chunks follow, each a full node but the last."""

    size: int
    """As it was opened, or ``UNKNOWN``."""
    mtime_ns: int
    mode: int
    type: ClassVar = Type.FILE

    def pack(self) -> bytes:
        return _FILE.pack(self.size, self.mtime_ns, self.mode)

    @classmethod
    def unpack(cls, payload: bytes) -> File:
        reader = Reader(payload)
        size, mtime_ns, mode = reader.unpack(_FILE)
        reader.end()
        if mode & ~0o777:
            raise PeerError("a file of an unknown mode")
        return cls(size, mtime_ns, mode)


_FILE_END = struct.Struct(">BQ")


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file ends: it is as long as what was sent of it, or it is lost."""

    fate: Fate
    size: int
    type: ClassVar = Type.FILE_END

    def pack(self) -> bytes:
        return _FILE_END.pack(self.fate, self.size)

    @classmethod
    def unpack(cls, payload: bytes) -> FileEnd:
        reader = Reader(payload)
        fate, size = reader.unpack(_FILE_END)
        reader.end()
        if fate not in (1, 2) or (fate == Fate.LOST and size):
            raise PeerError("a file of an unknown fate")
        return cls(Fate(fate), size)


@dataclass(frozen=True, slots=True)
class Flush(Empty):
    """Send the receipts of all that has arrived: the sender is about to wait for them."""

    type: ClassVar = Type.FLUSH


@dataclass(frozen=True, slots=True)
class Wanted:
    """Verdicts on the next announced entries, in their order."""

    verdicts: Sequence[Verdict]
    type: ClassVar = Type.WANTED

    def pack(self) -> bytes:
        packed = bytearray()
        for verdict in self.verdicts:
            packed.append(verdict.answer)
            if verdict.answer is Answer.UNCHANGED:
                packed += bytes16(verdict.stored_as)
            elif verdict.answer is not Answer.WANTED:
                packed.append(verdict.code)
                packed += bytes16(clip(verdict.reason))
        return bytes(packed)

    @classmethod
    def unpack(cls, payload: bytes) -> Wanted:
        reader = Reader(payload)
        verdicts: list[Verdict] = []
        left = len(payload)
        while left:
            answer = reader.u8()
            left -= 1
            if answer == Answer.WANTED:
                verdicts.append(_WANTED)
            elif answer == Answer.UNCHANGED:
                stored_as = reader.bytes16(PATH_LIMIT)
                left -= 2 + len(stored_as)
                verdicts.append(Verdict(Answer.UNCHANGED, stored_as))
            elif answer in (Answer.SKIPPED, Answer.REFUSED):
                code = exit_code(reader.u8())
                reason = reader.text16(TEXT_LIMIT)
                left -= 3 + len(reason.encode())
                verdicts.append(Verdict(Answer(answer), code=code, reason=reason))
            else:
                raise PeerError(f"an unknown verdict {answer}")
        if not verdicts:
            raise PeerError("an empty list of verdicts")
        return cls(verdicts)

    @classmethod
    def split(cls, verdicts: Sequence[Verdict]) -> list[Wanted]:
        """Return messages that say all of ``verdicts``, none over the limit of a payload."""
        return [
            cls(part)
            for part in split(
                verdicts,
                lambda one: 4 + len(one.stored_as) + min(4 * len(one.reason), TEXT_LIMIT),
                CONTROL_LIMIT,
            )
        ]


_WANTED = Verdict(Answer.WANTED)
_RECEIPT = struct.Struct(">BBBQ32sHH")


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts for the next wanted entries, in their order, lost ones left out."""

    receipts: Sequence[Receipt]
    type: ClassVar = Type.RECEIPTS

    def pack(self) -> bytes:
        packed = []
        for receipt in self.receipts:
            reason = clip(receipt.reason)
            packed.append(
                _RECEIPT.pack(
                    receipt.action,
                    receipt.durable,
                    receipt.code,
                    receipt.size,
                    receipt.digest,
                    len(receipt.stored_as),
                    len(reason),
                )
            )
            packed += (receipt.stored_as, reason)
        return b"".join(packed)

    @classmethod
    def unpack(cls, payload: bytes) -> Receipts:
        receipts: list[Receipt] = []
        at, end = 0, len(payload)
        while at < end:
            if at + _RECEIPT.size > end:
                raise PeerError("a message ends in the middle of a field")
            action, durable, code, size, digest, path_size, text_size = _RECEIPT.unpack_from(
                payload, at
            )
            at += _RECEIPT.size
            stored_as = payload[at : at + path_size]
            at += path_size
            reason = payload[at : at + text_size]
            at += text_size
            if at > end or path_size > PATH_LIMIT or text_size > TEXT_LIMIT:
                raise PeerError("a receipt's text is too long or cut off")
            if action not in _ACTIONS or durable > 1:
                raise PeerError(f"an unknown receipt {action}")
            if digest == _NO_DIGEST:
                digest = b""
            receipts.append(
                Receipt(
                    _ACTIONS[action],
                    size,
                    digest,
                    bool(durable),
                    stored_as,
                    exit_code(code),
                    _text(reason),
                )
            )
        if not receipts:
            raise PeerError("an empty list of receipts")
        return cls(receipts)

    @classmethod
    def split(cls, receipts: Sequence[Receipt]) -> list[Receipts]:
        """Return messages that say all of ``receipts``, none over the limit of a payload."""
        return [cls(part) for part in split(receipts, _receipt_size, CONTROL_LIMIT)]


_ACTIONS = {int(action): action for action in Action}
_NO_DIGEST = bytes(32)


def _receipt_size(receipt: Receipt) -> int:
    return _RECEIPT.size + len(receipt.stored_as) + min(4 * len(receipt.reason), TEXT_LIMIT)


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise PeerError("a text is not UTF-8") from None
