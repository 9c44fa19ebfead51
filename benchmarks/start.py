"""How long a command takes that has nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from benchmarks import cli
from benchmarks.commands import timed
from benchmarks.run import Run
from benchmarks.tables import Comparison, Table

_ROUNDS: Final = 11
_VERSION: Final = "objxfer --version"


def measure(run: Run) -> Iterator[Table]:
    """Yield the table of this part."""
    table = Table(
        "Start",
        "ms",
        more_is_better=False,
        comparisons=[Comparison(_VERSION, goal=100)],
    )
    run.say("start")
    for _ in range(_ROUNDS):
        table.add(_VERSION, timed([cli.program(), "--version"]) * 1e3)
        table.add("python -c pass", timed([sys.executable, "-c", "pass"]) * 1e3)
    yield table
