"""Codes, as somebody typed or pasted them; and that they are not shown where they do not belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fuzz.harness import Harness
from objxfer.errors import ExitCode, KeyFileError, ObjxferError
from objxfer.security import keyfiles, peerfiles
from objxfer.security.pairing import LARGEST_ROOM, Code
from objxfer.security.words import WORDS


def _feed(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        code = Code.parse(text)
    except ObjxferError as error:
        assert error.exit_code is ExitCode.USAGE
        message = f"{error} {error.hint}"
        assert message.isprintable()
        assert len(message) < 200
        return
    assert 1 <= code.room <= LARGEST_ROOM
    _, *words = code.spoken().split("-")
    assert len(words) == 3
    assert all(word in WORDS for word in words)
    assert Code.parse(code.spoken()) == code
    assert Code.parse(code.spoken().upper()) == code
    assert not any(word in repr(code) for word in words)
    _check_silent(text)


def _check_silent(text: str) -> None:
    """Whoever takes something else in its place knows a code, and does not repeat it."""
    assert keyfiles.is_code(text)
    for take in (keyfiles.as_path, peerfiles.check_name):
        try:
            take(text)
        except (KeyFileError, ObjxferError) as error:
            parts = [part for part in text.split("-") if len(part) > 3]
            assert not any(part in str(error) for part in parts)
        else:
            raise AssertionError(f"a code is taken for something else by {take.__name__}")


def _seeds() -> Iterator[bytes]:
    for text in (
        *("4-walnut-copper-tiger", "9999 WALN copp.tige", " 4_walnut--copper\u2013tiger\n"),
        *("4-walnut-copper", "0-walnut-copper-tiger", "4-walnut-copper-tigre", "walnut"),
        *("\u0664-walnut-copper-tiger", "4-\u212aiwi-copper-tiger", "-4-walnut-copper-tiger", ""),
    ):
        yield text.encode()
    yield b"4-walnut-copper-\xff"
    yield b"4-walnut-copper-tiger" * 20


HARNESS: Final = Harness(_feed, _seeds)
