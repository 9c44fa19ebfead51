"""What the sender of a tree says: offered, announced, streamed; ``answers`` has the other side.

``docs/protocol.md`` is the norm for every layout here. Whatever cannot be read is a ``PeerError``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

from objxfer.errors import PeerError
from objxfer.files.digest import SIZE
from objxfer.files.entries import Entry, IfExists, Kind
from objxfer.protocol.chunks import Type
from objxfer.protocol.fields import PATH_LIMIT, Empty, Number, Reader, bytes16

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
            kind = _DIGESTED if entry.digest else entry.kind
            packed.append(
                _ENTRY.pack(kind, entry.mode, entry.size, entry.mtime_ns, len(path), len(target))
            )
            packed += (path, target, entry.digest)
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
            digest = b""
            if kind == _DIGESTED:
                kind, digest = 1, payload[at : at + SIZE]
                at += SIZE
            if at > end or path_size > PATH_LIMIT or target_size > PATH_LIMIT:
                raise PeerError("a path is too long or cut off")
            if mode & ~0o777 or not 1 <= kind <= 3 or bool(target_size) != (kind == 2):
                raise PeerError("an entry of an unknown kind or mode")
            if size and kind != 1:
                raise PeerError("a size of what is no file")
            entries.append(Entry(path, _KINDS[kind], size, mtime_ns, mode, target, digest))
        if not entries:
            raise PeerError("an empty batch of entries")
        return cls(entries)


_DIGESTED = 4
"""The kind of a file with its digest behind it."""
_KINDS = {int(kind): kind for kind in Kind}


class Fate(IntEnum):
    """What became of a wanted file at the sender."""

    READ = 1
    LOST = 2
    """It vanished or could not be read: there will be no receipt for it."""


class Packed(NamedTuple):
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


_FILE = struct.Struct(">QqHI")


@dataclass(frozen=True, slots=True)
class File:
    """The next wanted file begins; data chunks follow, each a full node but the last."""

    size: int
    """As it was opened, or ``UNKNOWN``."""
    mtime_ns: int
    mode: int
    held: int = 0
    """How many nodes at its beginning are compared with those that lie there, and not sent."""
    type: ClassVar = Type.FILE

    def pack(self) -> bytes:
        return _FILE.pack(self.size, self.mtime_ns, self.mode, self.held)

    @classmethod
    def unpack(cls, payload: bytes) -> File:
        reader = Reader(payload)
        size, mtime_ns, mode, held = reader.unpack(_FILE)
        reader.end()
        if mode & ~0o777:
            raise PeerError("a file of an unknown mode")
        return cls(size, mtime_ns, mode, held)


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
class Nodes:
    """Digests of the next held nodes of the file, to be compared with what lies there."""

    digests: Sequence[bytes]
    type: ClassVar = Type.NODES

    def pack(self) -> bytes:
        return b"".join(self.digests)

    @classmethod
    def unpack(cls, payload: bytes) -> Nodes:
        if not payload or len(payload) % SIZE:
            raise PeerError("a message ends in the middle of a field")
        return cls([payload[at : at + SIZE] for at in range(0, len(payload), SIZE)])


@dataclass(frozen=True, slots=True)
class Patch(Number):
    """The one data chunk behind it is the held node of this number, which differed."""

    type: ClassVar = Type.PATCH
