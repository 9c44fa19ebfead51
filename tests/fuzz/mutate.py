"""Other inputs, made of good ones: where there is no fuzzer that looks into the parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

_EXTREMES: Final = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def mutants(inputs: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """Yield inputs without end, each one of those with one to eight changes."""
    while True:
        data = bytearray(random.choice(inputs))
        for _ in range(random.choice((1, 1, 2, 4, 8))):
            random.choice(_CHANGES)(data, random, random.choice(inputs))
        yield bytes(data)


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _flip(data: bytearray, random: Random, _: bytes) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(data: bytearray, random: Random, _: bytes) -> None:
    """Set a number of one to eight bytes to the least, the largest, or something near."""
    at, size = _place(data, random), random.choice((1, 2, 4, 8))
    data[at : at + size] = bytes([random.choice(_EXTREMES)]) * size


def _insert(data: bytearray, random: Random, _: bytes) -> None:
    at = _place(data, random)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))


def _remove(data: bytearray, random: Random, _: bytes) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 16))]


def _repeat(data: bytearray, random: Random, _: bytes) -> None:
    begin, end = sorted((_place(data, random), _place(data, random)))
    data[end:end] = data[begin:end]


def _cross(data: bytearray, random: Random, other: bytes) -> None:
    at = _place(data, random)
    data[at:] = other[random.randrange(len(other) + 1) :]


def _cut(data: bytearray, random: Random, _: bytes) -> None:
    del data[_place(data, random) :]


_CHANGES: Final[tuple[Callable[[bytearray, Random, bytes], None], ...]] = (
    *(_flip, _set, _insert, _remove, _repeat, _cross, _cut),
)
