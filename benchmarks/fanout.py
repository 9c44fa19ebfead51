"""One source to several receivers: at once by one command, beside one after the other."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.cli import Receiver, new_key, serving
from benchmarks.commands import timed
from benchmarks.files import NotTheSame, write_many, write_random
from benchmarks.run import Run
from benchmarks.tables import Comparison, Table

AT_ONCE: Final = "all at once, TLS"
IN_TURN: Final = "one after the other, TLS"
_RECEIVERS: Final = 8
_GOAL: Final = 0.8
_MIB: Final = 1024 * 1024
_SMALL: Final = 4096


@dataclass(frozen=True, slots=True)
class _Form:
    rounds: int
    large: int
    """Bytes; a whole number of MiB."""
    small: int
    """How many small files."""


_FULL: Final = _Form(rounds=5, large=256 * _MIB, small=5000)
_QUICK: Final = _Form(rounds=2, large=8 * _MIB, small=200)


def measure(run: Run) -> Iterator[Table]:
    """Yield the tables of this part."""
    form = _QUICK if run.quick else _FULL
    landing = run.folder / "fanout"
    with ExitStack() as at_end:
        key = new_key(run.folder / "fanout.key")
        receivers = []
        for number in range(_RECEIVERS):
            into = landing / str(number)
            into.mkdir(parents=True)
            receivers.append(at_end.enter_context(serving("tls", into, key)))
        large = run.folder / "large"
        write_random(large, form.large)
        what = f"One file of {form.large // _MIB} MiB to {_RECEIVERS} receivers"
        yield _compared(run, what, "GB/s", form.large / 1e9, large, landing, receivers, form)
        large.unlink()
        many = run.folder / "many"
        write_many(many, form.small, _SMALL)
        what = f"{form.small:,} files of {_SMALL // 1024} KiB to {_RECEIVERS} receivers"
        yield _compared(run, what, "files/s", form.small, many, landing, receivers, form)
        shutil.rmtree(many)
    shutil.rmtree(landing)


def _compared(
    run: Run,
    what: str,
    unit: str,
    amount: float,
    source: Path,
    landing: Path,
    receivers: list[Receiver],
    form: _Form,
) -> Table:
    table = Table(
        what,
        unit,
        more_is_better=True,
        comparisons=[Comparison(AT_ONCE, IN_TURN, _GOAL)],
        note="What all of them got, over the time until the last had it.",
    )
    total = amount * len(receivers)
    for number in range(form.rounds):
        run.say(f"{table.title}, round {number + 1} of {form.rounds}")
        at_once = receivers[0].send(str(source))
        for each in receivers[1:]:
            at_once += ["--to", each.url]
        table.add(AT_ONCE, total / timed(at_once))
        _take_away(source, landing, compare=number == 0)
        seconds = sum(timed(each.send(str(source))) for each in receivers)
        table.add(IN_TURN, total / seconds)
        _take_away(source, landing, compare=False)
    return table


def _take_away(source: Path, landing: Path, *, compare: bool) -> None:
    """Remove what was delivered to each, and see to it that it is what was sent."""
    for number in range(_RECEIVERS):
        landed = landing / str(number) / source.name
        if compare:
            for folder, _, names in os.walk(source):
                there = landed / Path(folder).relative_to(source)
                if filecmp.cmpfiles(folder, there, names, shallow=False)[0] != names:
                    raise NotTheSame(f"{there} is not what was sent")
            if source.is_file() and not filecmp.cmp(source, landed, shallow=False):
                raise NotTheSame(f"{landed} is not what was sent")
        if landed.is_dir():
            shutil.rmtree(landed)
        else:
            landed.unlink()
