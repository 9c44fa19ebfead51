"""What the receiver of a tree says: accepted, wanted, compared, receipted.

``docs/protocol.md`` is the norm for every layout here. Whatever cannot be read is a ``PeerError``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from objxfer.errors import PeerError
from objxfer.files.entries import Action, Answer, Receipt, Verdict
from objxfer.protocol.chunks import CONTROL_LIMIT, Type
from objxfer.protocol.fields import (
    PATH_LIMIT,
    TEXT_LIMIT,
    Reader,
    bytes16,
    clip,
    exit_code,
    split,
)

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


_HELD = struct.Struct(">I")


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
            elif verdict.answer is Answer.PARTIAL:
                packed += _HELD.pack(verdict.held)
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
            elif answer == Answer.PARTIAL:
                held = reader.u32()
                left -= 4
                if not held:
                    raise PeerError("a partial file of nothing")
                verdicts.append(Verdict(Answer.PARTIAL, held=held))
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
                lambda one: 5 + len(one.stored_as) + min(4 * len(one.reason), TEXT_LIMIT),
                CONTROL_LIMIT,
            )
        ]


_WANTED = Verdict(Answer.WANTED)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing the next nodes that were asked about, in their order."""

    same: Sequence[bool]
    type: ClassVar = Type.COMPARED

    def pack(self) -> bytes:
        return bytes(self.same)

    @classmethod
    def unpack(cls, payload: bytes) -> Compared:
        if not payload or max(payload) > 1:
            raise PeerError("an unknown answer about a node")
        return cls(list(map(bool, payload)))


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
