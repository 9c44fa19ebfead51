"""The classes that msgpack may carry: dataclasses and enums that both sides registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from objxfer.errors import NotAllowed

_NAME_SIZE: Final = 255

_Class = TypeVar("_Class", bound=type)


class Registered(NamedTuple):
    """A class under the name that goes over the wire."""

    cls: type
    name: str
    fields: tuple[str, ...] | None
    """The fields of a dataclass, in order; None for an enum."""


_by_class: dict[type, Registered] = {}
_by_name: dict[str, Registered] = {}


def register_class(cls: _Class, name: str | None = None) -> _Class:
    """Let msgpack carry instances of a dataclass or members of an enum. Usable as a decorator.

    Both sides register the class under one name. An instance is rebuilt field by field as it was
    sent: ``__init__``, ``__post_init__``, ``__new__`` and ``__setattr__`` are not called, so check
    invariants where they matter. ``__hash__`` and ``__eq__`` are, where it is a key or an element.
    Subclasses are not included. Registering again under the same name changes nothing.

    Args:
        cls: the class.
        name: what it is called on the wire; ``module:qualname`` unless given.

    Returns:
        The class.

    Raises:
        TypeError: it is neither a dataclass nor an enum, or extends a built-in such as ``dict``.
        ValueError: the name is another class's, or the class has another name already.
    """
    if name is None:
        name = f"{cls.__module__}:{cls.__qualname__}"
    if not 0 < len(name) <= _NAME_SIZE:
        raise ValueError(f"a class's name has 1 to {_NAME_SIZE} characters")
    registered = Registered(cls, name, _fields(cls))
    if _by_class.get(cls, registered) != registered:
        raise ValueError(f"{cls.__qualname__} is registered as {_by_class[cls].name!r}")
    if _by_name.setdefault(name, registered) != registered:
        raise ValueError(f"another class is registered as {name!r}")
    _by_class[cls] = registered
    return cls


def _fields(cls: type[Any]) -> tuple[str, ...] | None:
    if issubclass(cls, Enum):
        return None
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__qualname__} is neither a dataclass nor an Enum")
    object.__new__(cls)  # refuses what it cannot make: an extended built-in, an abstract class
    return tuple(field.name for field in dataclasses.fields(cls))


def registered_classes() -> Collection[type]:
    """Return all registered classes."""
    return _by_class.keys()


def of_class(cls: type) -> Registered | None:
    """Return the registration of exactly this class."""
    return _by_class.get(cls)


def of_name(name: str) -> Registered:
    """Return the registration under a name that came from the peer.

    Raises:
        NotAllowed: there is none.
    """
    registered = _by_name.get(name)
    if registered is None:
        raise NotAllowed(
            f"a received object needs the class {name!a}, which is not registered here",
            hint="register_class it on this side too, under the same name",
        )
    return registered
