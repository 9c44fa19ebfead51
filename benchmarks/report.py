"""A run as text, as the page ``docs/performance.md``, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from benchmarks.tables import Finding, Grid

_PAGE: Final = """\
# Performance

objxfer beside what one would take instead, **side by side in one run**: sender and receiver on one
machine, over loopback, sharing its cores. Absolute figures move from machine to machine and from
run to run; what counts is how they compare here. This page is what one run printed:

```
pip install -e '.[bench]'                            # openssh-server and rsync from the system
python -m benchmarks --markdown > docs/performance.md
```

- The rounds are interleaved (A B C A B C …), every figure is a median, and the range is that of
  all rounds.
- Files: the clock runs from the start of the sending command to its exit. The receiving side runs
  already, as sshd does. Destinations are fresh in each round, and what each command delivered was
  compared with what was sent.
- objxfer authenticates, hashes and verifies in every row, and flushes every file before its
  receipt. ssh checks what crosses the network, rsync also the file; cp, multiprocessing.connection
  and pyzmq check nothing, and nobody else flushes.
  Where the work folder is in memory, flushing costs next to nothing; on a disk it does.
- Bare `ssl` sockets are the ceiling of Python over TLS: one stream, whose sink throws it away.
- A goal is what a release has to reach. No test fails for it: a busy machine is not a bug.
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found, and where."""

    machine: dict[str, str]
    quick: bool
    left_out: list[str]
    findings: list[Finding] = field(default_factory=list)
    when: datetime = field(default_factory=lambda: datetime.now(UTC))

    def text(self) -> str:
        """Return it for a terminal."""
        return "\n".join(self._lines(_text_table, heading="\n{}\n"))

    def page(self) -> str:
        """Return it as a page of the documentation, in Markdown."""
        return "\n".join([_PAGE, *self._lines(_markdown_table, heading="\n## {}\n")])

    def json(self) -> str:
        """Return it for programs, with the figure of each round."""
        return json.dumps(
            {
                "when": self.when.isoformat(timespec="seconds"),
                "quick": self.quick,
                "machine": self.machine,
                "left_out": self.left_out,
                "findings": [each.as_json() for each in self.findings],
            },
            ensure_ascii=False,
            indent=1,
        )

    def _lines(self, table: Callable[[Grid], Iterator[str]], heading: str) -> Iterator[str]:
        form = "in the quick form, too small to mean anything" if self.quick else "in the full form"
        yield f"Measured {self.when:%Y-%m-%d}, {form}, on:\n"
        yield from (f"- {name}: {value}" for name, value in self.machine.items())
        for grid in (grid for finding in self.findings for grid in finding.grids()):
            yield heading.format(grid.title) if grid.title else ""
            if grid.note:
                yield f"{grid.note}\n"
            yield from table(grid)
        if self.left_out:
            yield heading.format("Left out")
            yield from (f"- {each}" for each in self.left_out)


def _markdown_table(grid: Grid) -> Iterator[str]:
    yield _markdown_row(grid.headings)
    # Names to the left, figures to the right.
    yield _markdown_row(["---", *("---:" for _ in grid.headings[1:])])
    yield from (_markdown_row(row) for row in grid.rows)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text_table(grid: Grid) -> Iterator[str]:
    rows = [grid.headings, *grid.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        yield "  ".join(cells).rstrip()
