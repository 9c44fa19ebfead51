"""Payloads of chunks, as messages; the first byte of an input says which message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fuzz.harness import Harness
from objxfer.errors import PeerError
from objxfer.limits import MIB
from objxfer.protocol.answers import Receipts, Wanted
from objxfer.protocol.chunks import CONTROL_LIMIT, PAYLOAD_LIMIT, Type
from objxfer.protocol.messages import READERS, Abort, Spoken
from support.messages import EXAMPLES
from support.pair import packed

_KINDS: Final = tuple(READERS)


def _feed(data: bytes) -> None:
    if not data:
        return
    kind, payload = _KINDS[data[0] % len(_KINDS)], data[1:]
    if len(payload) > PAYLOAD_LIMIT[kind]:
        return
    read = READERS[kind]
    try:
        message = read.unpack(payload)
    except PeerError:
        return
    again = message.pack()
    assert read.unpack(again) == message
    # An exit code that is not known is read as one that is; all else has one way to be written.
    assert len(again) == len(payload)
    assert again == payload or isinstance(message, Abort | Wanted | Receipts)
    _split(message)


def _split(message: Spoken) -> None:
    """What is said in several messages, because it is long, is the same all together."""
    parts: Sequence[Wanted | Receipts] = ()
    if isinstance(message, Wanted):
        parts = verdicts = Wanted.split(message.verdicts)
        assert [one for part in verdicts for one in part.verdicts] == message.verdicts
    elif isinstance(message, Receipts):
        parts = receipts = Receipts.split(message.receipts)
        assert [one for part in receipts for one in part.receipts] == message.receipts
    assert all(len(part.pack()) <= CONTROL_LIMIT for part in parts)


def _seeds() -> Iterator[bytes]:
    for number, kind in enumerate(_KINDS):
        yield bytes((number,)) + packed(EXAMPLES[kind])
    yield bytes((_KINDS.index(Type.WANTED),)) + bytes((1, 2, 0, 0)) * 9


HARNESS: Final = Harness(_feed, _seeds, at_most=1 * MIB)
