"""Names and link targets of a peer: what is let through obeys every rule.

An input is how strict the limits are, a path, a NUL, and what a link of that path points to.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from fuzz.harness import Choices, Harness
from objxfer.errors import UnsafePath
from objxfer.files.paths import SafePath, safe_path, safe_target, shown
from objxfer.limits import Limits

_LIMITS: Final = (Limits(), Limits(path=40, name=12, depth=3))
_TOPS: Final = (b"photos", b"a")
_SHOWN: Final = 200
_CONTROLS: Final = {*range(0x20), *range(0x7F, 0xA0)}


def _feed(data: bytes) -> None:
    choices = Choices(data)
    limits = choices.one_of(_LIMITS)
    raw, _, target = choices.rest().partition(b"\0")
    for path in (raw, raw + b"\0" + target):
        _judge(path, limits)
    try:
        link = safe_path(raw, limits)
        written = safe_target(link, target, _TOPS, limits)
    except UnsafePath as error:
        _check_shown(str(error))
    else:
        assert written is target
        _check_target(link, target, limits)


def _judge(raw: bytes, limits: Limits) -> None:
    text = shown(raw)
    _check_shown(text)
    try:
        path = safe_path(raw, limits)
    except UnsafePath as error:
        _check_shown(str(error))
        return
    assert bytes(path) == raw
    assert b"/".join((*path.folder, path.name)) == raw
    assert 0 < len(raw) <= limits.path
    assert 0 < len(path.components) <= limits.depth
    assert not _controls(raw)
    assert posixpath.normpath(raw) == raw, "it is not what it seems"
    assert not raw.startswith((b"/", b"\\"))
    assert raw[1:2] != b":" or not raw[:1].isalpha(), "a drive"
    for component in path.components:
        assert 0 < len(component) <= limits.name
        assert not component.lower().startswith(b".objxfer")
        assert b".." not in component.split(b"\\")
        if path.portable:
            assert not set(component) & set(b'<>:"|?*\\')
            assert component[-1:] not in (b".", b" ")
            assert component.split(b".")[0].strip().lower() not in (b"con", b"nul", b"com1", b"aux")


def _check_target(link: SafePath, target: bytes, limits: Limits) -> None:
    """A link is inside what is sent, by the reckoning of the standard library."""
    assert 0 < len(target) <= limits.path
    assert not _controls(target)
    place = posixpath.normpath(posixpath.join(b"/", *link.folder, target))
    outside = posixpath.normpath(posixpath.join(*link.folder, target))
    assert not outside.startswith(b".."), "it leaves the receiving folder"
    assert place.split(b"/")[1] in _TOPS


def _controls(raw: bytes) -> bool:
    text = raw.decode("utf-8", "surrogateescape")
    return any(ord(letter) in _CONTROLS for letter in text)


def _check_shown(text: str) -> None:
    assert text.isprintable()
    assert len(text) <= _SHOWN + 100


def _seeds() -> Iterator[bytes]:
    for number in range(len(_LIMITS)):
        begin = bytes((number,))
        for path in (
            *(b"photos/2026/a.jpg", b"a", b"../a", b"a/../b", b"/etc", b"C:a", b"\\\\host\\a"),
            *(b"a\\..\\b", b".objxfer-1", b"a/.OBJXFER", b"con.txt", b"a/NUL .x", b"end.", b"a//b"),
            *("é\u202e".encode(), b"\xc2\x9b31m", b"\xff\x9b", b"a" * 256, b"a/" * 130 + b"a"),
            *(b"com\xc2\xb9", b"a:b", b"a\nb", b"a/.", b""),
        ):
            yield begin + path
        for link, target in (
            *((b"photos/l", b"a"), (b"photos/d/l", b"../../a/b"), (b"photos/l", b"../../b")),
            *((b"photos/l", b"/etc"), (b"photos/l", b"b/../../a"), (b"photos/l", b"./x//y")),
        ):
            yield begin + link + b"\0" + target


HARNESS: Final = Harness(_feed, _seeds)
