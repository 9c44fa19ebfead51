"""The default serialiser: Python values, exactly or not at all, and nothing that runs.

A head is plain msgpack as long as the object consists of what msgpack holds exactly: None, bool,
int of 64 bits, float, str, bytes, list, and dict with keys of these. Otherwise it begins with a
byte that msgpack never uses, and arrays may begin with a mark (``marks``): ``[mark 1, "a", "b"]``
is the tuple ``("a", "b")``. So nothing is packed twice, and no depth is hidden from the parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NoReturn

import msgpack

from objxfer.errors import LimitExceeded, NotSerializable, PeerError
from objxfer.limits import KIB, Limits
from objxfer.serializers.base import Buffer
from objxfer.serializers.lowering import Lowering
from objxfer.serializers.marks import EXTENDED
from objxfer.serializers.rebuilding import MISFITS, Rebuilding, containers, parts_of
from objxfer.serializers.trail import check_depth, parts_of_plain

_SMALL: Final = 1 * KIB
_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
"""The bytes that begin a map or an array."""


class Msgpack:
    """Values of exactly these types, and no others, come back equal and of the same type.

    None, bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict with
    any key, range, slice of ints, Ellipsis; Decimal, Fraction (up to 16,384 bits), UUID; date,
    time, datetime, timedelta, timezone, ZoneInfo with a key; pathlib's paths, concrete ones on a
    system that has them; dataclasses and enums after ``register_class``; numpy's arrays and
    scalars without objects. Arrays keep C or F order, lose strides, and are writable. What is
    shared is repeated; a cycle does not fit, nor does a memoryview. A set or dict is refused where
    it arrives if more than 64 of its keys have one hash, or if two of them do that hold a frozenset
    of which two elements do. Threads: any.

    Args:
        nesting: containers inside containers, at the most, both ways.
    """

    name: Final = "msgpack"
    executes: Literal[False] = False

    def __init__(self, nesting: int = Limits().nesting) -> None:
        self._nesting = nesting

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        """See ``Serializer``; bytes, bytearrays and arrays of 64 KiB and more are buffers."""
        lowering = Lowering(self._nesting)
        lowered = lowering.lower(obj)
        try:
            body = _pack(lowering, lowered)
        except UnicodeEncodeError:
            body = _pack(lowering, lowered, unicode_errors="surrogatepass")
        except (ValueError, TypeError) as error:
            # A part of more than 4 GiB, or one that another thread changed meanwhile.
            raise NotSerializable(f"obj cannot be packed by msgpack: {error}") from error
        return (bytes((EXTENDED,)) + body if lowering.marked else body), lowering.buffers

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        """See ``Serializer``."""
        extended = len(head) > 0 and head[0] == EXTENDED
        body = memoryview(head)[1:] if extended else head
        try:
            _check_complete(body)
            obj = _unpack_extended(body, buffers) if extended else _unpack_plain(body, buffers)
        except MISFITS as error:
            raise PeerError("msgpack: malformed") from error
        except RecursionError as error:
            raise LimitExceeded("msgpack: keys are nested too deeply to be compared") from error
        if _may_be_deeper(body, self._nesting):
            if extended:
                check_depth(obj, self._nesting, containers(), parts_of)
            else:
                check_depth(obj, self._nesting, (list, dict), parts_of_plain)
        return obj


def _pack(lowering: Lowering, lowered: object, unicode_errors: str | None = None) -> bytes:
    packer = msgpack.Packer(
        strict_types=True, default=lowering.large_int, unicode_errors=unicode_errors
    )
    packed: bytes = packer.pack(lowered)
    return packed


def _check_complete(body: Buffer) -> None:
    """Check that all that is announced is there, before lists of announced lengths are made."""
    if len(body) > _SMALL:
        unpacker = msgpack.Unpacker(max_buffer_size=len(body))
        unpacker.feed(body)
        try:
            unpacker.skip()
        except msgpack.OutOfData as error:
            raise PeerError("msgpack: cut short") from error


def _unpack_plain(body: Buffer, buffers: Sequence[Buffer]) -> object:
    if buffers:
        raise PeerError("msgpack: a buffer that nothing refers to")
    return _unpack(body, ext_hook=_no_mark)


def _unpack_extended(body: Buffer, buffers: Sequence[Buffer]) -> object:
    rebuilding = Rebuilding(buffers)
    obj = _unpack(
        body,
        ext_hook=rebuilding.mark,
        list_hook=rebuilding.array,
        object_pairs_hook=rebuilding.map,
    )
    rebuilding.finish()
    return obj


def _unpack(body: Buffer, **hooks: Any) -> object:
    # Keys need not be text: only a few hundred of a plain head's keys can be made to have one hash,
    # and an extended one's are checked. Timestamps cannot be hooked: as floats they are plain.
    obj: object = msgpack.unpackb(
        body, strict_map_key=False, unicode_errors="surrogatepass", timestamp=1, **hooks
    )
    return obj


def _no_mark(code: int, data: bytes) -> NoReturn:
    raise PeerError("msgpack: a mark in a plain head")


def _may_be_deeper(body: Buffer, nesting: int) -> bool:
    """Tell whether there are so many containers that they could be nested too deeply."""
    return (
        len(body) > nesting and len(body) - len(bytes(body).translate(None, _CONTAINERS)) > nesting
    )


MSGPACK: Final = Msgpack()
