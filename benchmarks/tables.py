"""What was measured: figures of several rivals in one unit, and how they compare."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

_MARKS: Final = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of a run's time, where a timeline is shown."""
_KEPT: Final = 100
"""Samples of a timeline that the JSON keeps, about."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as it is shown."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


class Finding(Protocol):
    """What a part measured."""

    def grids(self) -> list[Grid]:
        """Return it for people."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figure of one row, divided by a rival's if there is one, and what it should be."""

    ours: str
    rival: str | None = None
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Figures by name, one a round; shown as medians.

    A goal is a lower bound where ``more_is_better``, and an upper one elsewhere.
    """

    title: str
    unit: str
    more_is_better: bool
    comparisons: Sequence[Comparison] = ()
    note: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, figure: float) -> None:
        self.figures.setdefault(name, []).append(figure)

    def grids(self) -> list[Grid]:
        if all(len(each) == 1 for each in self.figures.values()):
            headings: tuple[str, ...] = ("", self.unit)
            rows: list[tuple[str, ...]] = [
                (name, shown(*each)) for name, each in self.figures.items()
            ]
        else:
            headings = ("", f"{self.unit}, median", "range")
            rows = [
                (name, shown(statistics.median(each)), f"{shown(min(each))} to {shown(max(each))}")
                for name, each in self.figures.items()
            ]
        grids = [Grid(self.title, headings, rows, self.note)]
        compared = [
            (
                f"{each.ours} : {each.rival}" if each.rival else each.ours,
                f"{shown(value)} {'x' if each.rival else self.unit}",
                self._goal(each),
                "" if reached is None else "reached" if reached else "missed",
            )
            for each, value, reached in self._compared()
        ]
        if compared:
            grids.append(Grid("", ("compared", "here", "goal", ""), compared))
        return grids

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "more_is_better": self.more_is_better,
            "figures": self.figures,
            "medians": {name: statistics.median(each) for name, each in self.figures.items()},
            "compared": [
                {
                    "ours": each.ours,
                    "rival": each.rival,
                    "value": value,
                    "goal": each.goal,
                    "reached": reached,
                }
                for each, value, reached in self._compared()
            ],
        }

    def _compared(self) -> list[tuple[Comparison, float, bool | None]]:
        """Return the value of each comparison whose sides were measured, and if it is reached."""
        found = []
        for each in self.comparisons:
            if each.ours in self.figures and (each.rival is None or each.rival in self.figures):
                value = statistics.median(self.figures[each.ours])
                if each.rival is not None:
                    value /= statistics.median(self.figures[each.rival])
                found.append((each, value, self._reached(value, each.goal)))
        return found

    def _reached(self, value: float, goal: float | None) -> bool | None:
        if goal is None:
            return None
        return value >= goal if self.more_is_better else value <= goal

    def _goal(self, comparison: Comparison) -> str:
        if comparison.goal is None:
            return "none"
        unit = "x" if comparison.rival else self.unit
        return f"{'≥' if self.more_is_better else '≤'} {comparison.goal:g} {unit}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """How figures went while something ran, sampled at even distances."""

    title: str
    unit: str
    note: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    def grids(self) -> list[Grid]:
        rows = [
            (name, *(shown(each[round(mark * (len(each) - 1))]) for mark in _MARKS))
            for name, each in self.samples.items()
        ]
        headings = (f"{self.unit} after", *(f"{mark:.0%}" for mark in _MARKS))
        return [Grid(self.title, headings, rows, self.note)]

    def as_json(self) -> dict[str, Any]:
        thinned = {
            name: each[:: math.ceil(len(each) / _KEPT)] for name, each in self.samples.items()
        }
        return {"title": self.title, "unit": self.unit, "samples": thinned}


def shown(value: float) -> str:
    """Return a figure with three significant digits."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):,.{max(0, digits)}f}"
