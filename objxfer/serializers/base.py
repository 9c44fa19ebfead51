"""What a serialiser is, and how one is found by its name.

A serialiser turns an object into a *head*, which it parses itself, and *buffers*, which travel
untouched. Two kinds exist, and the type checker tells them apart: a ``Serializer`` cannot run
code while it loads; an ``ExecutingSerializer`` can, and so takes nothing but ``Verified``.

Built-in serialisers are imported when they are first asked for, plug-ins (entry points of the
group ``objxfer.serializers``) only for a name that nobody else has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Literal, Protocol, TypeAlias

from objxfer.limits import KIB, Limits
from objxfer.security.sealing import Verified

Buffer: TypeAlias = bytes | bytearray | memoryview

IN_BAND: Final = 64 * KIB
"""Buffers under this size are kept in the head: an own buffer costs more than their copy."""

GROUP: Final = "objxfer.serializers"
"""The entry-point group; an entry point's object is a serialiser of the entry point's name."""

NESTING: Final = Limits().nesting
_NESTING_MATTERS: Final = frozenset({"json", "msgpack"})
_NAME_SIZE: Final = 32
_EXECUTING: Final = frozenset({"pickle", "cloudpickle"})
_BUILT_IN: Final = {
    "raw": ("objxfer.serializers.plain", "RAW"),
    "text": ("objxfer.serializers.plain", "TEXT"),
    "json": ("objxfer.serializers.plain", "JSON"),
    "msgpack": ("objxfer.serializers.msgpack", "MSGPACK"),
    "pickle": ("objxfer.serializers.pickle", "PICKLE"),
    "cloudpickle": ("objxfer.serializers.pickle", "CLOUDPICKLE"),
}


class _Dumps(Protocol):
    @property
    def name(self) -> str:
        """An ASCII identifier of at most 32 characters; it goes over the wire."""

    def dump(self, obj: Any, /) -> tuple[bytes, Sequence[Buffer]]:
        """Return head and buffers of an object.

        The buffers are C-contiguous, one-dimensional, of format ``B``, in an order that ``load``
        gets again. They may share memory with the object, which must not change until they are
        sent.

        Raises:
            NotSerializable: the object cannot be held exactly; nothing is left behind.
            LimitExceeded: the object is nested too deeply.
        """


class Serializer(_Dumps, Protocol):
    """A serialiser that cannot run code while it loads. Usable by several threads at once."""

    @property
    def executes(self) -> Literal[False]:
        """False: whatever is loaded, no code of the peer's choice runs."""

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        """Return the object that was dumped.

        The buffers pass to the serialiser: what is returned may share their memory, and is
        writable where they are.

        Raises:
            PeerError: head and buffers are malformed.
            NotAllowed: they name what this side does not know.
            LimitExceeded: the object is nested too deeply.
        """


class ExecutingSerializer(_Dumps, Protocol):
    """A serialiser whose loading can run code. Usable by several threads at once."""

    @property
    def executes(self) -> Literal[True]:
        """True: whoever made the bytes decides what runs."""

    def load(self, verified: Verified, /, *, classes: Collection[str] | None) -> Any:
        """Return the object that was dumped.

        Args:
            verified: head and buffers with the proof that a holder of the secret made them.
            classes: the ``module:qualname`` that may be named, exactly; None for any.

        Raises:
            PeerError: the head is malformed.
            NotAllowed: it names what ``classes`` do not, or what is not here; none of that ran.
            Exception: what the code that was run raised, unchanged.
        """


AnySerializer: TypeAlias = Serializer | ExecutingSerializer

_registered: dict[str, AnySerializer] = {}


def register(serializer: AnySerializer) -> None:
    """Make a serialiser known by its name, in this process.

    Registering the same object twice changes nothing. May be called by any thread.

    Raises:
        ValueError: the name is none, is a built-in's, or is another serialiser's.
    """
    name = serializer.name
    if not (name.isascii() and name.isidentifier() and len(name) <= _NAME_SIZE):
        raise ValueError(
            f"a serialiser's name is an ASCII identifier of at most {_NAME_SIZE} characters, "
            f"not {name!r}"
        )
    if not isinstance(serializer.executes, bool):
        raise ValueError(f"serialiser {name!r} must say whether it executes: True or False")
    if name in _BUILT_IN:
        raise ValueError(f"{name!r} is a built-in serialiser")
    if _registered.setdefault(name, serializer) is not serializer:
        raise ValueError(f"another serialiser is registered as {name!r}")


def get(name: str, nesting: int = NESTING) -> AnySerializer:
    """Return the serialiser of a name: built-in, registered, or an entry point's.

    Built-in ones go so many containers deep; others decide for themselves. Tell the two kinds
    apart by ``executes``; the type checker follows.

    Raises:
        ValueError: no serialiser has this name, or an entry point's object is none of this name.
        Exception: what importing a plug-in raises, unchanged.
    """
    if name in _BUILT_IN:
        return _built_in(name, nesting)
    if name not in _registered:
        _register_plug_in(name)
    return _registered[name]


def executes(name: str) -> bool:
    """Tell whether loading what the serialiser of a name made can run code.

    A built-in one is not imported for that: a connection may carry files only.

    Raises:
        ValueError: as ``get``.
        Exception: as ``get``.
    """
    return name in _EXECUTING if name in _BUILT_IN else get(name).executes


@cache
def _built_in(name: str, nesting: int) -> AnySerializer:
    module, attribute = _BUILT_IN[name]
    found: AnySerializer = getattr(import_module(module), attribute)
    if nesting == NESTING or name not in _NESTING_MATTERS:
        return found
    kind: Callable[[int], AnySerializer] = type(found)
    return kind(nesting)


def _register_plug_in(name: str) -> None:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    for entry_point in entry_points(group=GROUP, name=name):
        serializer = entry_point.load()
        if serializer.name != name:
            raise ValueError(f"entry point {name!r} holds a serialiser named {serializer.name!r}")
        register(serializer)
        return
    known = {*_BUILT_IN, *_registered, *(point.name for point in entry_points(group=GROUP))}
    raise ValueError(f"no serialiser is named {name!r}; known are {', '.join(sorted(known))}")


def check_classes(classes: Collection[str] | None) -> None:
    """Check what a user gives as ``classes`` before a connection is made with it.

    Raises:
        ValueError: it is one string, or holds something that is no ``module:qualname``.
    """
    if isinstance(classes, str):
        raise ValueError(f"classes is a list of module:qualname, not the string {classes!r}")
    for each in classes or ():
        module, colon, qualname = each.partition(":")
        if not (module and colon and qualname) or ":" in qualname:
            raise ValueError(f"classes holds module:qualname, not {each!r}")


def writable(buffer: Buffer) -> bytearray | memoryview:
    """Return a buffer's memory to write to: its own where that is possible, else a copy."""
    if isinstance(buffer, bytearray) or (isinstance(buffer, memoryview) and not buffer.readonly):
        return buffer
    return bytearray(buffer)


def as_bytearray(buffer: Buffer) -> bytearray:
    """Return a buffer as a ``bytearray``: the one it is a view of as a whole, else a copy."""
    whole: object = buffer
    if isinstance(buffer, memoryview) and buffer.c_contiguous:
        whole = buffer.obj
    if isinstance(whole, bytearray) and len(whole) == len(buffer):
        return whole
    return bytearray(buffer)
