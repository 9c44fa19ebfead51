"""What the two sides say, and how each message lies in the payload of its chunk.

``docs/protocol.md`` is the norm for every layout here. A message that cannot be read is a
``PeerError``: the peer is authenticated by then, so it is broken or hostile.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from objxfer.errors import ExitCode, PeerError
from objxfer.protocol.answers import Accept, Compared, Receipts, Wanted
from objxfer.protocol.chunks import CONTROL_LIMIT, Type
from objxfer.protocol.fields import (
    PATH_LIMIT,
    TEXT_LIMIT,
    Empty,
    Number,
    Reader,
    bytes16,
    clip,
    exit_code,
)
from objxfer.protocol.trees import Entries, File, FileEnd, Flush, Nodes, Offer, Pack, Patch


@dataclass(frozen=True, slots=True)
class End(Empty):
    """This direction ends here; nothing was cut off."""

    type: ClassVar = Type.END


@dataclass(frozen=True, slots=True)
class Ping(Number):
    """Are you there? The number comes back."""

    type: ClassVar = Type.PING


@dataclass(frozen=True, slots=True)
class Pong(Number):
    """Here; the number of the ping."""

    type: ClassVar = Type.PONG


@dataclass(frozen=True, slots=True)
class Failure(Empty):
    """This connection is dead; why is in the log of the side that says so."""

    type: ClassVar = Type.FAILURE


_OBJECT = struct.Struct(">BBIH")
_NAME_AT: Final = _OBJECT.size
_RECEIPT_WANTED, _INLINE = 1, 2
_KNOWN_FLAGS = _RECEIPT_WANTED | _INLINE


class _Object(NamedTuple):
    serializer: str
    head_size: int
    buffer_sizes: tuple[int, ...]
    receipt_wanted: bool
    content: bytes | None
    """Head and buffers, one after the other; None where they follow as data."""


class Object(_Object):
    """Opens an object: what it is made of, and all of it where it is small.

    A large one follows as data: the head, then each buffer, no chunk crossing the end of a
    part and each a full node but for the last of a part.
    """

    __slots__ = ()
    type: ClassVar = Type.OBJECT

    @property
    def whole(self) -> bool:
        """Whether nothing of it follows."""
        return self.content is not None

    @property
    def size(self) -> int:
        """Bytes of head and buffers."""
        return self.head_size + sum(self.buffer_sizes) if self.buffer_sizes else self.head_size

    def pack(self) -> bytes:
        name, head_size, buffers, receipt_wanted, content = self
        flags = _RECEIPT_WANTED if receipt_wanted else 0
        if content is not None:
            flags |= _INLINE
        packed = _OBJECT.pack(flags, len(name), head_size, len(buffers)) + name.encode("ascii")
        if buffers:
            packed += struct.pack(f">{len(buffers)}Q", *buffers)
        return packed + content if content is not None else packed

    @classmethod
    def unpack(cls, payload: bytes) -> Object:
        if len(payload) < _NAME_AT:
            raise PeerError("a message ends in the middle of a field")
        flags, name_size, head_size, count = _OBJECT.unpack_from(payload)
        at = _NAME_AT + name_size
        if flags > _KNOWN_FLAGS or not 0 < name_size <= 32:
            raise PeerError("an object with unknown flags or no serialiser's name")
        content_at = at + 8 * count
        if content_at > len(payload):
            raise PeerError("a message ends in the middle of a field")
        try:
            name = payload[_NAME_AT:at].decode("ascii")
        except UnicodeDecodeError:
            raise PeerError("a serialiser's name is not ASCII") from None
        sizes: tuple[int, ...] = ()
        size = head_size
        if count:
            sizes = struct.unpack_from(f">{count}Q", payload, at)
            size += sum(sizes)
            if 0 in sizes:
                raise PeerError("an object with an empty buffer")
        content = None
        if flags & _INLINE:
            content = payload[content_at:]
            if len(content) != size:
                raise PeerError("an object's content is not as long as announced")
        elif content_at != len(payload):
            raise PeerError("bytes too many in a message")
        return cls(name, head_size, sizes, flags & _RECEIPT_WANTED != 0, content)


@dataclass(frozen=True, slots=True)
class Objects:
    """Opens and ends several small objects at once; none of them wants a receipt."""

    objects: tuple[Object, ...]
    type: ClassVar = Type.OBJECTS
    whole: ClassVar = True
    receipt_wanted: ClassVar = False

    def pack(self) -> bytes:
        return b"".join(bytes16(one.pack()) for one in self.objects)

    @classmethod
    def unpack(cls, payload: bytes) -> Objects:
        reader = Reader(payload)
        objects = []
        left = len(payload)
        while left:
            packed = reader.bytes16(CONTROL_LIMIT)
            left -= 2 + len(packed)
            one = Object.unpack(packed)
            if one.content is None or one.receipt_wanted:
                raise PeerError("an object in a batch is not whole")
            objects.append(one)
        if not objects:
            raise PeerError("an empty batch of objects")
        return cls(tuple(objects))


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of an object or a file: at most one node, digested as one."""

    payload: bytearray | memoryview | bytes
    digest: bytes
    """The node digest of the payload, verified."""
    type: ClassVar = Type.DATA


@dataclass(frozen=True, slots=True)
class Done(Empty):
    """All has been said on this item from this side."""

    type: ClassVar = Type.DONE


@dataclass(frozen=True, slots=True)
class Abort:
    """This item ends here, undone; the connection goes on."""

    code: ExitCode
    path: bytes
    text: str
    type: ClassVar = Type.ABORT

    def pack(self) -> bytes:
        return bytes((self.code,)) + bytes16(self.path[:PATH_LIMIT]) + bytes16(clip(self.text))

    @classmethod
    def unpack(cls, payload: bytes) -> Abort:
        reader = Reader(payload)
        code = exit_code(reader.u8())
        message = cls(code, reader.bytes16(PATH_LIMIT), reader.text16(TEXT_LIMIT))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Credit(Number):
    """The opener of the item may send this many bytes more, at least one."""

    type: ClassVar = Type.CREDIT
    _least: ClassVar = 1


@dataclass(frozen=True, slots=True)
class Taken(Empty):
    """The receipt of an object: it was loaded and handed to the program there."""

    type: ClassVar = Type.TAKEN


Spoken = (
    End | Ping | Pong | Failure | Object | Objects | Offer | Entries | Pack | File | FileEnd
    | Nodes | Patch | Flush | Done | Abort | Accept | Credit | Wanted | Receipts | Taken | Compared
)  # fmt: skip
"""Messages whose payload is packed and unpacked."""
Message = Spoken | Data
Opening = Object | Objects | Offer
"""Messages that open an item."""

READERS: Final[dict[Type, type[Spoken]]] = {
    message.type: message
    for message in (
        *(End, Ping, Pong, Failure),
        *(Object, Objects, Offer, Entries, Pack, File, FileEnd, Nodes, Patch, Flush),
        *(Done, Abort, Accept, Credit, Wanted, Receipts, Taken, Compared),
    )
}
"""Which message a payload is read as; data is not read but passed through."""
