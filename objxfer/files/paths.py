"""What a peer may call a file: names are rejected, never cleaned.

Nothing here touches the disk; ``root`` takes a ``SafePath`` to a place on it. Rules that hold
on some file systems only (reserved names, trailing dots, folding) are ``root``'s too: here such
a name only loses the mark ``portable``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from objxfer.errors import UnsafePath
from objxfer.escapes import escaped
from objxfer.limits import Limits

OURS: Final = b".objxfer"
"""How every name begins that objxfer makes for itself in a receiving folder."""

_SHOWN: Final = 160
_MINT: Final = object()

# Control characters are C0, DEL, and C1 where it is encoded as UTF-8. A lone 0x80 to 0x9f is
# part of some other encoding: it is carried, and escaped wherever it is shown.
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]")
_DRIVE: Final = re.compile(rb"[A-Za-z]:")
# On Windows these are devices, also with a suffix or spaces behind them.
_RESERVED: Final = (
    rb"(?:con(?:in\$|out\$)?|prn|aux|nul|(?:com|lpt)(?:[0-9]|\xc2[\xb2\xb3\xb9]))"
    rb"[ ]*(?:[./]|\Z)"
)
_UNPORTABLE: Final = re.compile(rb'[<>:"|?*\\]|[. ](?:/|\Z)|(?:\A|/)' + _RESERVED, re.IGNORECASE)
# What matches needs no other look: one pass is all that an ordinary path costs.
_ORDINARY: Final = re.compile(
    rb"(?:(?!\.objxfer|" + _RESERVED + rb")"
    rb'[^\x00-\x1f\x7f\xc2<>:"|?*\\/]+(?<![. ])(?:/(?!\Z)|\Z))+',
    re.IGNORECASE,
)


def shown(raw: bytes) -> str:
    """Return a path as a message may hold it: nothing in it acts on a terminal, and it is short."""
    text = escaped(raw.decode("utf-8", "surrogateescape"))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def is_ours(name: bytes) -> bool:
    """Tell whether a name is one that only objxfer makes, in whichever case it is written."""
    return name[: len(OURS)].lower() == OURS


@dataclass(frozen=True, slots=True)
class SafePath:
    """A relative path that obeys the rules; only ``safe_path`` makes one."""

    components: tuple[bytes, ...]
    """At least one."""
    portable: bool
    """False where some file systems take a component for something else than it says."""
    mint: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mint is not _MINT:
            raise TypeError("a SafePath comes from safe_path, it cannot be made")

    @property
    def folder(self) -> tuple[bytes, ...]:
        """The components of the folder it lies in; none for the root."""
        return self.components[:-1]

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.components[-1]

    def __bytes__(self) -> bytes:
        return b"/".join(self.components)

    def beside(self, name: bytes) -> bytes:
        """Return the path of ``name`` in the same folder, as a receipt says it."""
        return b"/".join((*self.components[:-1], name))


def safe_path(raw: bytes, limits: Limits) -> SafePath:
    """Return a peer's path with the proof that it may be used below a receiving folder.

    Raises:
        UnsafePath: it may not; the message says why, with the path escaped.
    """
    if len(raw) > limits.path:
        raise UnsafePath(f"{shown(raw)} is longer than {limits.path} bytes")
    if raw.count(b"/") >= limits.depth:
        raise UnsafePath(f"{shown(raw)} is deeper than {limits.depth} folders")
    components = tuple(raw.split(b"/"))
    if len(raw) > limits.name and max(map(len, components)) > limits.name:
        raise UnsafePath(f"{shown(raw)} holds a name longer than {limits.name} bytes")
    if _ORDINARY.fullmatch(raw):
        return SafePath(components, portable=True, mint=_MINT)
    fault = _fault(raw, components)
    if fault:
        raise UnsafePath(f"{shown(raw) or 'a path'} {fault}")
    portable = _UNPORTABLE.search(raw) is None
    return SafePath(components, portable=portable, mint=_MINT)


def _fault(raw: bytes, components: Sequence[bytes]) -> str:
    """Return what is wrong with a path everywhere, or ""."""
    if not raw:
        return "is empty"
    if raw.startswith((b"/", b"\\")):
        return "is absolute"
    if _DRIVE.match(raw):
        return "begins with a drive"
    if _CONTROL.search(raw):
        return "holds a control character"
    for component in components:
        if not component:
            return "holds an empty name"
        if component == b"." or b".." in component.split(b"\\"):
            return "holds . or .."
        if is_ours(component):
            return "holds a name that is objxfer's own"
    return ""


def stays_inside(folder: Sequence[bytes], target: bytes, tops: Collection[bytes]) -> bool:
    """Tell whether a link in ``folder`` leads, read as text, to something below one of ``tops``.

    ``..`` counts only in front: behind a name it could step out of wherever a link of that
    name leads to.
    """
    if not target or target.startswith(b"/"):
        return False
    place = list(folder)
    named = False
    for component in target.split(b"/"):
        if component == b"..":
            if named or not place:
                return False
            place.pop()
        elif component not in (b"", b"."):
            named = True
            place.append(component)
    return bool(place) and place[0] in tops


def safe_target(link: SafePath, target: bytes, tops: Collection[bytes], limits: Limits) -> bytes:
    """Return a peer's link target, unchanged, which may be written at ``link``.

    Raises:
        UnsafePath: it is absolute, leaves what is sent, is too long or holds control characters.
    """
    if len(target) > limits.path:
        raise UnsafePath(f"{shown(bytes(link))} points to more than {limits.path} bytes")
    if _CONTROL.search(target):
        raise UnsafePath(f"{shown(bytes(link))} points to a name with a control character")
    if not stays_inside(link.folder, target, tops):
        raise UnsafePath(f"{shown(bytes(link))} points outside what is sent")
    return target
