"""Big-endian, fixed-width, length-prefixed fields: written and read, every byte accounted for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self, TypeVar

from objxfer.errors import ExitCode, PeerError

TEXT_LIMIT: Final = 1024
"""Bytes of any text one side says to the other."""
PATH_LIMIT: Final = 4096
"""Bytes of a path on the wire; ``Limits.path`` can only be lower."""

_EXIT_CODES = {int(code): code for code in ExitCode}
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")


def bytes16(value: bytes) -> bytes:
    """Return ``value`` behind its length as a 16-bit number."""
    return _U16.pack(len(value)) + value


class Reader:
    """Reads fields from one payload; whatever does not fit is a ``PeerError``."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise PeerError("a message ends in the middle of a field")
        value = self._data[self._at : end]
        self._at = end
        return value

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the next fields of a fixed layout."""
        if self._at + layout.size > len(self._data):
            raise PeerError("a message ends in the middle of a field")
        values = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return values

    def u8(self) -> int:
        """Return the next 8-bit number."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next 16-bit number."""
        return int(self.unpack(_U16)[0])

    def u32(self) -> int:
        """Return the next 32-bit number."""
        return int(self.unpack(_U32)[0])

    def u64(self) -> int:
        """Return the next 64-bit number."""
        return int(self.unpack(_U64)[0])

    def bytes16(self, limit: int) -> bytes:
        """Return the next length-prefixed bytes, at most ``limit`` of them."""
        size = self.u16()
        if size > limit:
            raise PeerError(f"a field of {size} bytes is over its limit of {limit}")
        return self.take(size)

    def text16(self, limit: int) -> str:
        """Return the next length-prefixed UTF-8 text of at most ``limit`` bytes."""
        try:
            return self.bytes16(limit).decode()
        except UnicodeDecodeError:
            raise PeerError("a text is not UTF-8") from None

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise PeerError(f"{len(self._data) - self._at} bytes too many in a message")


def clip(text: str) -> bytes:
    """Return ``text`` as UTF-8 of at most ``TEXT_LIMIT`` bytes, no character cut in half."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= TEXT_LIMIT:
        return encoded
    return encoded[:TEXT_LIMIT].decode(errors="ignore").encode()


def exit_code(number: int) -> ExitCode:
    """Return the exit code that a peer named; one that is not known is a plain failure."""
    return _EXIT_CODES.get(number, ExitCode.FAILED)


@dataclass(frozen=True, slots=True)
class Empty:
    """A message without a payload."""

    def pack(self) -> bytes:
        """Return the payload."""
        return b""

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read a payload."""
        Reader(payload).end()
        return cls()


@dataclass(frozen=True, slots=True)
class Number:
    """A message that is one 64-bit number."""

    number: int
    _layout: ClassVar = struct.Struct(">Q")
    _least: ClassVar = 0

    def pack(self) -> bytes:
        """Return the payload."""
        return self._layout.pack(self.number)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read a payload."""
        reader = Reader(payload)
        number = reader.u64()
        reader.end()
        if number < cls._least:
            raise PeerError(f"a {cls.__name__.lower()} of {number}")
        return cls(number)


T = TypeVar("T")


def split(values: Sequence[T], size: Callable[[T], int], limit: int) -> list[Sequence[T]]:
    """Cut ``values`` into runs of which none is over a limit."""
    runs, begin, filled = [], 0, 0
    for at, value in enumerate(values):
        filled += size(value)
        if filled > limit:
            runs.append(values[begin:at])
            begin, filled = at, size(value)
    if begin < len(values):
        runs.append(values[begin:])
    return runs
