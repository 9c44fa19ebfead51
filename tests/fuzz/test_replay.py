"""The short form: what is kept, and some inputs made of it, through every harness."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from fuzz.harness import NAMES, GrewError, Harness, corpus, judging, named
from fuzz.mutate import mutants


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_what_is_kept_and_what_is_like_it(name: str) -> None:
    harness = named(name)
    inputs = [*harness.seeds(), *corpus(name)]
    assert inputs
    feed = judging(harness)
    for data in (*inputs, *islice(mutants(inputs, Random(name)), harness.mutants)):
        feed(data)


def test_every_harness_is_listed() -> None:
    here = Path(__file__).parent
    texts = {path.stem for path in (here / "corpus").iterdir()}
    assert texts == set(NAMES) == set(re.findall(r"^\| `(\w+)`", _readme(), re.MULTILINE))


def _readme() -> str:
    return (Path(__file__).parent / "README.md").read_text()


# --- what the harnesses stand on ---


def test_an_input_that_takes_more_memory_than_it_may_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def believe(data: bytes) -> None:
        bytearray(int.from_bytes(data, "big"))

    feed = judging(Harness(believe, lambda: [b"\0"], at_most=4096, per_byte=8))
    feed(b"\x01\x00")
    with pytest.raises(GrewError, match="for an input of 2"):
        feed(b"\xff\xff")
    assert capsys.readouterr().out == "\nfound: ffff\n"


def test_mutants_follow_from_their_seed() -> None:
    first, second = (list(islice(mutants([b"an input", b""], Random(5)), 200)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 100
