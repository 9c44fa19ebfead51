"""Puts marked lists together again, from bytes that anybody may have made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from enum import Enum
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from objxfer.errors import NotAllowed, PeerError
from objxfer.serializers import arrays, classes
from objxfer.serializers.base import Buffer, as_bytearray
from objxfer.serializers.leaves import LEAVES, Leaf
from objxfer.serializers.marks import Mark

MISFITS: Final = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError)
"""What building with values that do not fit can raise."""

_COLLISIONS: Final = 64
"""Keys of one hash. On a grid that crosses zero, -1 and -2 alone make two for each dimension."""


class Rebuilding:
    """The rebuilding of one object; its methods are the hooks of the unpacker.

    The unpacker calls them from the inside out, so nothing here recurses.
    """

    __slots__ = ("_buffers", "_open", "_slow")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers: list[Buffer | None] = list(buffers)
        self._open = 0
        self._slow: dict[int, frozenset[Any]] = {}

    def mark(self, code: int, data: bytes) -> object:
        """Return what stands for a mark until its array is complete."""
        build = _BUILDS.get(code)
        if build is None or data:
            raise PeerError(f"msgpack: no mark {code}")
        self._open += 1
        return _Open(build)

    def array(self, items: list[Any]) -> object:
        """Return what a complete array stands for: itself, unless it begins with a mark."""
        if not items or type(items[0]) is not _Open:
            return items
        self._open -= 1
        opened, *values = items
        try:
            return opened.build(self, values)
        except NotImplementedError as error:
            raise NotAllowed(f"a received object cannot exist on this system: {error}") from error
        except MISFITS as error:
            raise PeerError("msgpack: values that do not fit their mark") from error

    def map(self, pairs: list[tuple[Any, Any]]) -> object:
        """Return the dict of a complete map."""
        self._check_hashes([key for key, _ in pairs])
        return dict(pairs)

    def finish(self) -> None:
        """Check that every mark and every buffer was put to use.

        Raises:
            PeerError: one was not.
        """
        if self._open:
            raise PeerError("msgpack: a mark that is not at the beginning of an array")
        if any(buffer is not None for buffer in self._buffers):
            raise PeerError("msgpack: a buffer that nothing refers to")

    def _take(self, index: object) -> Buffer:
        if type(index) is not int or not 0 <= index < len(self._buffers):
            raise ValueError("no index of a buffer")
        buffer, self._buffers[index] = self._buffers[index], None
        if buffer is None:
            raise ValueError("a buffer that is used twice")
        return buffer

    def _held(self, held: object) -> Buffer:
        return held if type(held) is bytes else self._take(held)

    def _tuple(self, values: list[Any]) -> object:
        return tuple(values)

    def _set(self, values: list[Any]) -> object:
        self._check_hashes(values)
        return set(values)

    def _frozenset(self, values: list[Any]) -> object:
        self._check_hashes(values)
        built = frozenset(values)
        if len(set(map(hash, values))) < len(values) or (
            self._slow and any(map(self._is_slow, values))
        ):
            self._slow[id(built)] = built
        return built

    def _dict(self, values: list[Any]) -> object:
        keys = values[::2]
        self._check_hashes(keys)
        return dict(zip(keys, values[1::2], strict=True))

    def _bytes(self, values: list[Any]) -> object:
        [index] = values
        return bytes(self._take(index))

    def _bytearray(self, values: list[Any]) -> object:
        [held] = values
        return as_bytearray(self._held(held))

    def _array(self, values: list[Any]) -> object:
        form, shape, order, held = values
        return arrays.build_array(form, shape, order, self._held(held))

    def _scalar(self, values: list[Any]) -> object:
        form, data = values
        return arrays.build_scalar(form, data)

    def _instance(self, values: list[Any]) -> object:
        name, *named = values
        registered = _registered(name)
        if registered.fields is None or registered.fields != tuple(named[::2]):
            raise NotAllowed(
                f"a received {name!a} has other fields than here",
                hint="bring both sides to the same version of it",
            )
        instance: object = object.__new__(registered.cls)
        for field, value in zip(registered.fields, named[1::2], strict=True):
            object.__setattr__(instance, field, value)
        return instance

    def _member(self, values: list[Any]) -> object:
        name, member = values
        registered = _registered(name)
        if not issubclass(registered.cls, Enum):
            raise TypeError("a member of what is no enum")
        if type(member) is str:
            return registered.cls[member]
        if type(member) is int:
            return registered.cls(member)
        raise TypeError("no name and no value of a member")

    def _check_hashes(self, keys: Collection[Any]) -> None:
        """Check that keys do not collide by design, which would take for ever to put into a dict.

        A chain of keys of one hash is walked for each of them. Where two of these are frozensets
        with such chains of their own, each step walks chains again, and so on all the way down.
        """
        if len(keys) <= _COLLISIONS and not self._slow:
            return
        hashes = list(map(hash, keys))
        if len(set(hashes)) == len(hashes):
            return
        counts = Counter(hashes)
        if max(counts.values()) > _COLLISIONS or any(
            counts[one] > 1 and self._is_slow(key) for one, key in zip(hashes, keys, strict=True)
        ):
            raise PeerError("msgpack: keys whose hashes collide")

    def _is_slow(self, key: object) -> bool:
        """Tell whether a frozenset is in a key, or is the key, whose elements collide."""
        if type(key) is frozenset:
            return id(key) in self._slow
        return any(map(self._is_slow, parts_of(key)))


def _registered(name: object) -> classes.Registered:
    if type(name) is not str:
        raise TypeError("no name of a class")
    return classes.of_name(name)


_Build: TypeAlias = Callable[[Rebuilding, list[Any]], object]


class _Open(NamedTuple):
    """A mark whose array is not complete yet."""

    build: _Build


def _leaf_build(leaf: Leaf) -> _Build:
    def build(_: Rebuilding, values: list[Any]) -> object:
        if len(values) != len(leaf.types):
            raise ValueError("too few or too many values")
        if not all(type(value) in types for value, types in zip(values, leaf.types, strict=True)):
            raise TypeError("values of other types")
        return leaf.build(*values)

    return build


_BUILDS: Final[dict[int, _Build]] = {
    Mark.TUPLE: Rebuilding._tuple,
    Mark.SET: Rebuilding._set,
    Mark.FROZENSET: Rebuilding._frozenset,
    Mark.DICT: Rebuilding._dict,
    Mark.BYTES: Rebuilding._bytes,
    Mark.BYTEARRAY: Rebuilding._bytearray,
    Mark.ARRAY: Rebuilding._array,
    Mark.SCALAR: Rebuilding._scalar,
    Mark.INSTANCE: Rebuilding._instance,
    Mark.MEMBER: Rebuilding._member,
    **{leaf.mark: _leaf_build(leaf) for leaf in LEAVES},
}


def containers() -> Container[type]:
    """Return the types of what has parts that count as nested."""
    return {*_PARTS, *classes.registered_classes()}


def parts_of(container: Any) -> Iterable[object]:
    """Return the parts of one of these."""
    find = _PARTS.get(type(container))
    if find is not None:
        return find(container)
    registered = classes.of_class(type(container))
    fields = registered.fields if registered is not None else None
    return [getattr(container, name) for name in fields or ()]


def _dict_parts(mapping: dict[Any, Any]) -> Iterable[object]:
    return chain(mapping, mapping.values())


_PARTS: Final[dict[type, Callable[[Any], Iterable[object]]]] = {
    **dict.fromkeys((list, tuple, set, frozenset), iter),
    dict: _dict_parts,
}
