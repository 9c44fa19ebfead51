"""Turns Python values into what msgpack holds exactly: plain values and marked lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Flag
from gc import get_referents
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

from msgpack import ExtType

from objxfer.errors import LimitExceeded, NotSerializable
from objxfer.serializers import arrays, classes
from objxfer.serializers.base import IN_BAND, Buffer
from objxfer.serializers.leaves import LEAVES
from objxfer.serializers.marks import Mark
from objxfer.serializers.trail import (
    ATTRIBUTE,
    ITEM,
    NTH,
    ROOT,
    Step,
    described,
    refusal,
    too_deep,
)

_Parts = TypeVar("_Parts", bound=list[Any] | dict[Any, Any])

_ATOMS: Final = frozenset({type(None), bool, int, float, str})
_PLAIN: Final = _ATOMS | {list, dict}
_GLANCE: Final = 1024
"""Parts in one level of an object that are looked at together."""
_PLAIN_KEYS: Final = _ATOMS | {bytes}
_PICKLE: Final = 'send it with serializer="pickle" to a receiver that accepts pickle'
_LEAVES: Final = {leaf.kind: leaf for leaf in LEAVES}
_MARKS: Final = {code: ExtType(code, b"") for code in (*Mark, *(leaf.mark for leaf in LEAVES))}


class Lowering:
    """The lowering of one object. What needs no lowering is passed on, not copied.

    Attributes:
        buffers: what is too large for the head, in order.
        marked: whether the lowered object has marks.
    """

    __slots__ = ("_nesting", "_trail", "buffers", "marked")

    def __init__(self, nesting: int) -> None:
        self._nesting = nesting
        self._trail: list[Step] = []
        self.buffers: list[Buffer] = []
        self.marked = False

    def lower(self, obj: object) -> object:
        """Return what to pack in place of the object.

        Raises:
            NotSerializable: a part does not fit; ``path`` says which.
            LimitExceeded: it is nested too deeply.
        """
        if _needs_none(obj, self._nesting):
            return obj
        try:
            [lowered] = self._parts(None, [obj], ROOT)
        except RecursionError as error:
            raise LimitExceeded("the object is nested deeper than Python's stack") from error
        return lowered

    def large_int(self, number: Any) -> object:
        """Return what to pack in place of an int of more than 64 bits."""
        return self._leaf(number)

    def _parts(self, container: object, parts: _Parts, step: str) -> _Parts:
        """Return the parts with each lowered; the same list or dict if nothing changes."""
        lowered: Any = parts
        keyed: Iterable[tuple[Any, Any]] = (
            parts.items() if isinstance(parts, dict) else enumerate(parts)
        )
        trail = self._trail
        for key, part in keyed:
            kind = type(part)
            if kind not in _ATOMS:
                trail.append((container, step, key))
                if len(trail) > self._nesting:
                    raise too_deep("msgpack", trail, self._nesting)
                lower = _LOWER.get(kind) or _lower_unusual(kind)
                replacement = lower(self, part)
                trail.pop()
                if replacement is not part:
                    if lowered is parts:
                        lowered = parts.copy()
                    lowered[key] = replacement
        result: _Parts = lowered
        return result

    def _mark(self, mark: int, *values: object) -> list[object]:
        self.marked = True
        return [_MARKS[mark], *values]

    def _held(self, data: Buffer) -> bytes | int:
        """Return small bytes themselves, and for large ones the index of their buffer."""
        if len(data) < IN_BAND:
            return bytes(data)
        self.buffers.append(data)
        return len(self.buffers) - 1

    def _refusal(self, what: str, hint: str = "") -> NotSerializable:
        return refusal("msgpack", self._trail, what, hint=hint)

    def _list(self, items: list[Any]) -> object:
        if _ATOMS.issuperset(map(type, items)):
            return items
        return self._parts(items, items, ITEM)

    def _dict(self, mapping: dict[Any, Any]) -> object:
        lowered = self._parts(mapping, mapping, ITEM)
        if _PLAIN_KEYS.issuperset(map(type, mapping)):
            return lowered
        keys = self._parts(mapping, list(mapping), NTH)
        in_turn = zip(keys, lowered.values(), strict=True)
        return self._mark(Mark.DICT, *chain.from_iterable(in_turn))

    def _tuple(self, items: tuple[Any, ...]) -> object:
        return self._mark(Mark.TUPLE, *self._parts(items, list(items), ITEM))

    def _set(self, items: set[Any]) -> object:
        return self._mark(Mark.SET, *self._parts(items, list(items), NTH))

    def _frozenset(self, items: frozenset[Any]) -> object:
        return self._mark(Mark.FROZENSET, *self._parts(items, list(items), NTH))

    def _bytes(self, data: bytes) -> object:
        held = self._held(data)
        return held if type(held) is bytes else self._mark(Mark.BYTES, held)

    def _bytearray(self, data: bytearray) -> object:
        return self._mark(Mark.BYTEARRAY, self._held(data))

    def _leaf(self, leaf: object) -> object:
        how = _LEAVES[type(leaf)]
        try:
            values = how.values(leaf)
        except ValueError as error:
            raise self._refusal(str(error)) from None
        named = dict(zip(how.names, values, strict=True))
        return self._mark(how.mark, *self._parts(leaf, named, ATTRIBUTE).values())

    def _array(self, array: Any) -> object:
        try:
            form, shape, order, data = arrays.array_parts(array)
        except arrays.NoFormError as error:
            raise self._refusal(str(error), _PICKLE) from None
        return self._mark(Mark.ARRAY, form, shape, order, self._held(data))

    def _scalar(self, scalar: Any) -> object:
        try:
            return self._mark(Mark.SCALAR, *arrays.scalar_parts(scalar))
        except arrays.NoFormError as error:
            raise self._refusal(str(error)) from None

    def _instance(self, instance: object) -> object:
        registered = classes.of_class(type(instance))
        assert registered is not None
        assert registered.fields is not None
        fields = registered.fields
        for name in getattr(instance, "__dict__", ()):
            if name not in fields:
                self._trail.append((instance, ATTRIBUTE, name))
                raise self._refusal("an attribute that is no field")
        for name in fields:
            if not hasattr(instance, name):
                self._trail.append((instance, ATTRIBUTE, name))
                raise self._refusal("a field that is not set")
        named = {name: getattr(instance, name) for name in fields}
        lowered = self._parts(instance, named, ATTRIBUTE)
        return self._mark(Mark.INSTANCE, registered.name, *chain.from_iterable(lowered.items()))

    def _member(self, member: Any) -> object:
        registered = classes.of_class(type(member))
        assert registered is not None
        value = member.value if isinstance(member, Flag) else member.name
        return self._mark(Mark.MEMBER, registered.name, value)

    def _unknown(self, item: object) -> object:
        name = type(item).__name__
        raise self._refusal(
            described(item), f"register_class({name}) if it is a dataclass or Enum, or {_PICKLE}"
        )


def _needs_none(obj: object, nesting: int) -> bool:
    """Tell at a glance that an object needs no lowering; False is for those that need a look.

    Most small objects are plain throughout. They are gone through level by level, with every
    level in a few calls whatever it holds.
    """
    level: Sequence[object] = (obj,)
    for _ in range(nesting):
        kinds = set(map(type, level))
        if kinds <= _ATOMS:
            return True
        if not kinds <= _PLAIN or len(level) > _GLANCE:
            return False
        level = get_referents(*level)
    return False


_Lower: TypeAlias = Callable[[Lowering, Any], object]

_LOWER: Final[dict[type, _Lower]] = {
    **dict.fromkeys(_LEAVES, Lowering._leaf),
    list: Lowering._list,
    dict: Lowering._dict,
    tuple: Lowering._tuple,
    set: Lowering._set,
    frozenset: Lowering._frozenset,
    bytes: Lowering._bytes,
    bytearray: Lowering._bytearray,
}


def _lower_unusual(kind: type) -> _Lower:
    """Return how a type is lowered that is not Python's own."""
    registered = classes.of_class(kind)
    if registered is not None:
        return Lowering._member if registered.fields is None else Lowering._instance
    if arrays.is_array(kind):
        return Lowering._array
    if arrays.is_scalar(kind):
        return Lowering._scalar
    return Lowering._unknown
