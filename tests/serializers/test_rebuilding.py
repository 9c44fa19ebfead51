"""Heads that somebody made by hand give an error of ours, soon, and take no memory."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath

import msgpack
import pytest

from objxfer.errors import LimitExceeded, NotAllowed, ObjxferError, PeerError
from objxfer.serializers.base import IN_BAND
from objxfer.serializers.msgpack import MSGPACK


def mark(code: int) -> msgpack.ExtType:
    return msgpack.ExtType(code, b"")


def marked(obj: object) -> bytes:
    packed: bytes = msgpack.packb(obj)
    return b"\xc1" + packed


HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 0),
    "never used": (b"\xc1\xc1", 0),
    "a mark in a plain head": (msgpack.packb([mark(1)]), 0),
    "a mark alone": (marked(mark(1)), 0),
    "a mark later": (marked([1, mark(1)]), 0),
    "a mark in a mark": (marked([mark(1), mark(1)]), 0),
    "a mark as a key": (marked({mark(1): 1}), 0),
    "an unknown mark": (marked([mark(99)]), 0),
    "a mark with content": (marked([msgpack.ExtType(1, b"x"), 1]), 0),
    "an unhashable key": (b"\x81\x90\x01", 0),
    "an unhashable marked key": (marked([mark(4), [], 1]), 0),
    "an unhashable key in a map": (b"\xc1\x81\x90\x01", 0),
    "an unhashable element": (marked([mark(2), []]), 0),
    "an odd dict": (marked([mark(4), 1]), 0),
    "too much": (b"\x01\x01", 0),
    "no UTF-8": (b"\xa1\xff", 0),
    "a buffer too many": (marked([mark(1)]), 1),
    "a plain head's buffer": (msgpack.packb(1), 1),
    "a missing buffer": (marked([mark(5), 0]), 0),
    "a negative buffer": (marked([mark(5), -1]), 1),
    "a bool for a buffer": (marked([mark(5), False]), 1),
    "a buffer twice": (marked([[mark(5), 0], [mark(6), 0]]), 1),
    "a float's int": (marked([mark(16), 1.5]), 0),
    "no values": (marked([mark(16)]), 0),
    "a month 13": (marked([mark(20), 2024, 13, 1]), 0),
    "a pickled date": (marked([mark(20), b"\x07\xe8\x01\x01"]), 0),
    "a decimal of nothing": (marked([mark(18), "x"]), 0),
    "a fraction of zero": (marked([mark(19), 1, 0]), 0),
    "a fraction without end": (marked([mark(19), [mark(16), b"\1" * 4096], 3]), 0),
    "a zone outside": (marked([mark(25), "../../etc/passwd"]), 0),
    "a zone of NUL": (marked([mark(25), "a\0"]), 0),
    "a zone not there": (marked([mark(25), "Mars/Olympus"]), 0),
    "a zone that is a folder": (marked([mark(25), "Europe"]), 0),
    "an offset of days": (marked([mark(24), [mark(23), 5, 0, 0], None]), 0),
    "a uuid of 2 bytes": (marked([mark(26), b"xx", None]), 0),
    "a range of step 0": (marked([mark(31), 0, 1, 0]), 0),
    "an array of objects": (marked([mark(7), "|O", [1], "C", b"12345678"]), 0),
    "an array of an expression": (marked([mark(7), "f8,O", [1], "C", b"12345678"]), 0),
    "an array of a tuple": (marked([mark(7), "(2,)f8", [1], "C", bytes(16)]), 0),
    "an array too long": (marked([mark(7), "<f8", [2**40], "C", b""]), 0),
    "an array whose size wraps": (marked([mark(7), "<f8", [2**61], "C", b""]), 0),
    "an array too short": (marked([mark(7), "<f8", [1], "C", bytes(16)]), 0),
    "an array of negative shape": (marked([mark(7), "<f8", [-1, -1], "C", bytes(8)]), 0),
    "an array of nothings": (marked([mark(7), "|S0", [2**40], "C", b""]), 0),
    "an array of 65 dimensions": (marked([mark(7), "|u1", [1] * 65, "C", b"x"]), 0),
    "an array without order": (marked([mark(7), "|u1", [1], "K", b"x"]), 0),
    "an array of text": (marked([mark(7), "|u1", [1], "C", "x"]), 0),
    "a scalar of text": (marked([mark(8), "|u1", "x"]), 0),
    "a struct of objects": (
        marked([mark(7), {"names": ["a"], "formats": ["|O"]}, [1], "C", bytes(8)]),
        0,
    ),
    "a struct without formats": (marked([mark(7), {"names": ["a"]}, [1], "C", bytes(8)]), 0),
    "a struct that overlaps its end": (
        marked(
            [
                mark(7),
                {"names": ["a"], "formats": ["<f8"], "offsets": [4], "itemsize": 8},
                [1],
                "C",
                bytes(8),
            ]
        ),
        0,
    ),
    "a class of no name": (marked([mark(9), 1]), 0),
    "an unknown class": (marked([mark(9), "os:system", "a", 1]), 0),
    "an unknown enum": (marked([mark(10), "os:system", 1]), 0),
    "a timestamp": (marked([mark(1), 1]) + b"\xd6\xff\0\0\0\0", 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_heads_raise_objxfers_errors(name: str) -> None:
    head, buffers = HOSTILE[name]
    with pytest.raises(ObjxferError):
        MSGPACK.load(head, [memoryview(bytearray(IN_BAND)) for _ in range(buffers)])


def test_announced_lengths_are_not_believed() -> None:
    lists = (b"\xdd" + (900_000).to_bytes(4, "big")) * 200
    head = lists.ljust(1_000_000, b"\xc0")
    tracemalloc.start()
    try:
        for each in (head, b"\xc1" + head):
            with pytest.raises(PeerError):
                MSGPACK.load(each, [])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prefix", [b"", b"\xc1"])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\x92\xc7\x00\x01"])
@pytest.mark.parametrize("depth", [300, 5000])
def test_depth_is_an_error_of_ours(prefix: bytes, opening: bytes, depth: int) -> None:
    with pytest.raises((LimitExceeded, PeerError)):
        MSGPACK.load(prefix + opening * depth + b"\xc0", [])


def colliding(count: int) -> Iterator[int]:
    modulus = sys.hash_info.modulus
    return (2**70 // modulus * modulus + modulus * number for number in range(count))


@pytest.mark.parametrize("code", [2, 3, 4, None])
def test_keys_that_collide_by_design_are_refused(code: int | None) -> None:
    """A hundred thousand of them would take minutes to put into a dict."""
    keys = [[mark(16), number.to_bytes(16, "big")] for number in colliding(100_000)]
    if code is None:
        packer = msgpack.Packer()
        packed = packer.pack_map_pairs([(key, None) for key in keys])
        head = b"\xc1" + packed
    elif code == 4:
        head = marked([mark(4), *(part for key in keys for part in (key, None))])
    else:
        head = marked([mark(code), *keys])
    with pytest.raises(PeerError, match="collide"):
        MSGPACK.load(head, [])


def test_keys_that_collide_by_chance_arrive() -> None:
    # To Python, -1 and -2 have the same hash.
    grid = {(x, y): x * y for x in range(-50, 50) for y in range(-50, 50)}
    apart = [{frozenset((-1, -2)): frozenset((-1, -2)), frozenset((-1, 5)): {-1, -2}}] * 100
    for obj in (grid, set(grid), apart):
        head, buffers = MSGPACK.dump(obj)
        assert MSGPACK.load(head, buffers) == obj


@pytest.mark.parametrize("wrap", [lambda key: key, lambda key: ((key,), 1)])
@pytest.mark.parametrize("deeper", [lambda key: key, lambda key: frozenset((key, "and more"))])
def test_sets_that_collide_inside_of_sets_are_refused(
    wrap: Callable[[object], object], deeper: Callable[[object], object]
) -> None:
    """Comparing two costs the square of their size; three levels of it in 1 MB, minutes."""

    def of_one_hash(number: int) -> object:
        return deeper(frozenset((*colliding(2), (1 << 70 | number) * sys.hash_info.modulus)))

    keys = [wrap(of_one_hash(number)) for number in range(2)]
    assert hash(keys[0]) == hash(keys[1])
    for obj in (set(keys), frozenset(keys), dict.fromkeys(keys)):
        with pytest.raises(PeerError, match="collide"):
            MSGPACK.load(*MSGPACK.dump(obj))
    for key in keys:
        assert MSGPACK.load(*MSGPACK.dump({key})) == {key}


def test_equal_keys_too_deep_to_compare_are_an_error_of_ours() -> None:
    deep = (b"\x92" + msgpack.packb(mark(1))) * 1000 + b"\x01"
    head = b"\xc1\x93" + msgpack.packb(mark(2)) + deep + deep
    with pytest.raises((LimitExceeded, PeerError)):
        MSGPACK.load(head, [])


def test_a_concrete_path_of_another_system_is_not_allowed() -> None:
    foreign = 30 if Path is PosixPath or isinstance(Path(), PosixPath) else 29
    with pytest.raises(NotAllowed):
        MSGPACK.load(marked([mark(foreign), "x"]), [])
