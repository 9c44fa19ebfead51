"""The serialisers of what has an obvious form: ``raw`` bytes, ``text``, and ``json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NoReturn

from objxfer.errors import LimitExceeded, NotSerializable, PeerError
from objxfer.limits import Limits
from objxfer.serializers.base import IN_BAND, Buffer, as_bytearray, writable
from objxfer.serializers.trail import (
    ITEM,
    NTH,
    ROOT,
    Step,
    check_depth,
    described,
    parts_of_plain,
    refusal,
    too_deep,
)


class Raw:
    """``bytes``, ``bytearray`` and ``memoryview`` as themselves.

    A ``memoryview`` is one of bytes (format ``B``, one dimension, contiguous), and arrives as a
    writable one. The head is the kind, one byte, and behind it whatever is under 64 KiB.
    """

    name: Final = "raw"
    executes: Literal[False] = False

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        """See ``Serializer``; the buffer is the object itself."""
        kind = _RAW_KINDS.get(type(obj))
        if kind is None:
            raise refusal(self.name, _WHOLE, described(obj))
        if isinstance(obj, memoryview) and not (
            obj.format == "B" and obj.ndim == 1 and obj.c_contiguous
        ):
            hint = 'send view.cast("B"), or bytes(view)'
            raise refusal(self.name, _WHOLE, "a memoryview of more than bytes", hint=hint)
        if len(obj) < IN_BAND:
            return b"".join((kind, obj)), []
        return kind, [obj]

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        """See ``Serializer``; ``bytes`` are a copy of their buffer, the others its memory."""
        if len(buffers) > 1 or (buffers and len(head) != 1):
            raise PeerError("raw: more than one buffer")
        data = buffers[0] if buffers else head[1:]
        match bytes(head[:1]):
            case b"b":
                return bytes(data)
            case b"a":
                return as_bytearray(data)
            case b"m":
                return memoryview(writable(data))
            case _:
                raise PeerError("raw: a head of no known kind")


class Text:
    """``str`` as UTF-8, in the head if it is under 64 KiB, else as a buffer."""

    name: Final = "text"
    executes: Literal[False] = False

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        """See ``Serializer``; a lone surrogate does not fit."""
        if type(obj) is not str:
            raise refusal(self.name, _WHOLE, described(obj))
        try:
            encoded = obj.encode()
        except UnicodeEncodeError as error:
            what = f"a str with a lone surrogate at index {error.start}"
            raise refusal(self.name, _WHOLE, what, hint=_MSGPACK_HINT) from None
        return (encoded, []) if len(encoded) < IN_BAND else (b"", [encoded])

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        """See ``Serializer``."""
        if buffers and (len(buffers) > 1 or head):
            raise PeerError("text: more than one part")
        try:
            return str(buffers[0] if buffers else head, "utf-8")
        except UnicodeDecodeError as error:
            raise PeerError("text: not UTF-8") from error


class Json:
    """What JSON (RFC 8259) holds and gives back equal.

    None, bool, int, finite float, str without lone surrogates, list, and dict with str keys: of
    exactly these types. Everything is in the head. Threads: any.

    Args:
        nesting: containers inside containers, at the most, both ways.
    """

    name: Final = "json"
    executes: Literal[False] = False

    def __init__(self, nesting: int = Limits().nesting) -> None:
        self._nesting = nesting

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        """See ``Serializer``."""
        try:
            _Check(self._nesting, leaves=False).run(obj)
            return _ENCODER.encode(obj).encode(), []
        except RecursionError as error:
            raise LimitExceeded("the object is nested deeper than Python's stack") from error
        except ValueError as error:
            _Check(self._nesting, leaves=True).run(obj)
            raise NotSerializable(f"obj cannot be held by json: {error}") from error

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        """See ``Serializer``. Of equal keys in one object the last holds."""
        if buffers:
            raise PeerError("json: a buffer, which it has no use for")
        try:
            text = str(head, "utf-8")
            obj = json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise PeerError("json: not JSON, or beyond what Python parses") from error
        except RecursionError as error:
            raise LimitExceeded("json: nested too deeply to be parsed") from error
        if text.count("[") + text.count("{") > self._nesting:
            check_depth(obj, self._nesting, (list, dict), parts_of_plain)
        return obj


class _Check:
    """A walk that stops at the first part JSON would not give back as it is.

    Whether the leaves can be written is left to the encoder, unless it failed.
    """

    def __init__(self, nesting: int, *, leaves: bool) -> None:
        self._nesting = nesting
        self._leaves = leaves
        self._trail: list[Step] = []

    def run(self, obj: object) -> None:
        self._each(None, [("", obj)], ROOT)

    def _each(self, container: object, keyed: Iterable[tuple[object, object]], step: str) -> None:
        for key, item in keyed:
            kind = type(item)
            if kind in _JSON_ATOMS and not self._leaves:
                continue
            self._trail.append((container, step, key))
            if kind is list or kind is dict:
                if len(self._trail) > self._nesting:
                    raise too_deep("json", self._trail, self._nesting)
                self._container(item)
            elif kind not in _JSON_ATOMS:
                raise refusal("json", self._trail, described(item), hint=_MSGPACK_HINT)
            else:
                self._leaf(item)
            self._trail.pop()

    def _container(self, item: Any) -> None:
        if type(item) is list:
            self._each(item, enumerate(item), ITEM)
            return
        for index, key in enumerate(item):
            if type(key) is not str:
                self._trail.append((item, NTH, index))
                raise refusal("json", self._trail, f"{described(key)} as a key")
            if self._leaves:
                self._each(item, [(index, key)], NTH)
        self._each(item, item.items(), ITEM)

    def _leaf(self, item: Any) -> None:
        what = ""
        if type(item) is float and not math.isfinite(item):
            what = f"the float {item}"
        elif type(item) is str:
            try:
                item.encode()
            except UnicodeEncodeError as error:
                what = f"a str with a lone surrogate at index {error.start}"
        elif type(item) is int:
            try:
                str(item)
            except ValueError:
                what = "an int of more digits than Python writes (sys.set_int_max_str_digits)"
        if what:
            raise refusal("json", self._trail, what, hint=_MSGPACK_HINT)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_WHOLE: Final[tuple[Step, ...]] = ((None, ROOT, ""),)
_RAW_KINDS: Final[dict[type, bytes]] = {bytes: b"b", bytearray: b"a", memoryview: b"m"}
_JSON_ATOMS: Final = frozenset({type(None), bool, int, float, str})
_MSGPACK_HINT: Final = 'serializer="msgpack" holds more'
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)

RAW: Final = Raw()
TEXT: Final = Text()
JSON: Final = Json()
