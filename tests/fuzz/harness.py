"""What a harness is: bytes go into a parser of ours, and what comes out is judged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from objxfer.limits import KIB

NAMES: Final = (
    "hello",
    "chunks",
    "messages",
    "names",
    "trees",
    "journals",
    "keyfiles",
    "receipts",
    "codes",
    "discovery",
    "heads",
)
"""Every harness; each is the module of this name."""

_CORPUS: Final = Path(__file__).parent / "corpus"

T = TypeVar("T")


class Harness(NamedTuple):
    """One parser, how it is fed, and how much memory it may take for that."""

    feed: Callable[[bytes], object]
    """Parses an input. Errors that are documented are caught; whatever is raised is a finding."""
    seeds: Callable[[], Iterable[bytes]]
    """Good inputs, from which others are made."""
    at_most: int = 256 * KIB
    """Bytes of memory that any input may take."""
    per_byte: int = 64
    """Bytes of memory more for each byte of an input."""
    mutants: int = 200
    """How many are made of good inputs in the short form."""


def named(name: str) -> Harness:
    """Return the harness of a name."""
    found: Harness = import_module(f"fuzz.{name}").HARNESS
    return found


def corpus(name: str) -> list[bytes]:
    """Return the inputs of a harness that are kept: one a line, in hexadecimal digits."""
    lines = (_CORPUS / f"{name}.txt").read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


class GrewError(Exception):
    """An input took more memory than it may."""


def judging(harness: Harness) -> Callable[[bytes], None]:
    """Return ``feed``, with an eye on the memory that it takes; it prints what is a finding.

    All seeds are fed once before, so that what is loaded and cached for good does not count.
    """
    for seed in harness.seeds():
        harness.feed(seed)
    if not tracemalloc.is_tracing():
        tracemalloc.start()

    def feed(data: bytes) -> None:
        try:
            judge(data)
        except BaseException:
            print(f"\nfound: {data.hex()}", flush=True)
            raise

    def judge(data: bytes) -> None:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        harness.feed(data)
        grown = tracemalloc.get_traced_memory()[1] - before
        allowed = harness.at_most + harness.per_byte * len(data)
        if grown > allowed:
            raise GrewError(f"{grown:,} bytes for an input of {len(data):,}, not {allowed:,}")

    return feed


class Choices:
    """The choices that an input makes, byte by byte; where it ends, all are zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next bytes, at most so many."""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def number(self, size: int = 1) -> int:
        """Return the next number of so many bytes, big-endian."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "big")

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of these."""
        return choices[self.number() % len(choices)]

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Yield pieces of that size."""
    for at in range(0, len(data), size):
        yield data[at : at + size]
