"""The benchmarks run, and say what they found in every form they have. No figure is judged."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cli import program
from benchmarks.run import Missing, TookTooLong, at_most
from benchmarks.tables import Comparison, Table, Timeline, shown

ROOT = Path(__file__).parent.parent


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--dir", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_quick_form_gives_a_page_and_json(tmp_path: Path) -> None:
    try:
        program()
    except Missing as reason:
        pytest.skip(str(reason))
    work, figures = tmp_path / "work", tmp_path / "figures.json"
    work.mkdir()
    done = run(work, "start", "objects", "--markdown", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []

    assert done.stdout.startswith("# Performance\n")
    for title in ("Start", "A small dict there and back", "Small dicts one way"):
        assert f"\n## {title}" in done.stdout
    assert "| objxfer --version | " in done.stdout
    assert "| objxfer, signed, TCP : multiprocessing.connection, TCP | " in done.stdout

    found = json.loads(figures.read_text())
    assert found["quick"]
    assert {"CPU", "memory", "system", "Python", "work folder on"} <= found["machine"].keys()
    tables = {each["title"]: each for each in found["findings"]}
    assert len(tables["Start"]["figures"]["objxfer --version"]) >= 10
    round_trip = tables["A small dict there and back"]
    names = {"objxfer, signed, TCP", "multiprocessing.connection, TCP"}
    assert names <= round_trip["figures"].keys()
    assert all(figure > 0 for each in round_trip["figures"].values() for figure in each)
    for package, trace in (("zmq", "pyzmq"), ("numpy", "ndarray")):
        measured = trace in "".join([*tables, *round_trip["figures"]])
        left_out = trace in "".join(found["left_out"])
        installed = importlib.util.find_spec(package) is not None
        assert (measured, left_out) == (installed, not installed)


def test_a_part_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path, "speed")
    assert done.returncode == 2
    assert "'speed' is no part" in done.stderr


@pytest.mark.parametrize(
    ("more_is_better", "goal", "reached"),
    [(True, 2.0, True), (True, 2.1, False), (False, 2.0, True), (False, 1.9, False)],
)
def test_a_ratio_is_that_of_the_medians(
    *, more_is_better: bool, goal: float, reached: bool
) -> None:
    table = Table("", "s", more_is_better, [Comparison("a", "b", goal)])
    for a, b in ((4, 2), (90, 0.1), (1, 30)):
        table.add("a", a)
        table.add("b", b)
    compared = only(table.as_json()["compared"])
    assert (compared["value"], compared["reached"]) == (2.0, reached)


def test_a_figure_alone_is_held_against_its_goal() -> None:
    table = Table("", "ms", more_is_better=False, comparisons=[Comparison("a", goal=100)])
    table.add("a", 100.5)
    assert only(table.grids()[1].rows) == ("a", "100 ms", "≤ 100 ms", "missed")


def test_nothing_is_compared_with_a_rival_that_was_left_out() -> None:
    table = Table("", "s", more_is_better=False, comparisons=[Comparison("a", "b", 1)])
    table.add("a", 1)
    assert len(table.grids()) == 1
    assert table.as_json()["compared"] == []


def test_a_timeline_shows_its_course_from_few_samples_and_keeps_few_of_many() -> None:
    timeline = Timeline(
        "", "MiB", samples={"short": [7.0], "long": [float(n) for n in range(1001)]}
    )
    short, long = only(timeline.grids()).rows
    assert short == ("short", "7.00", "7.00", "7.00", "7.00", "7.00")
    assert long == ("long", "100", "250", "500", "750", "1,000")
    assert len(timeline.as_json()["samples"]["long"]) <= 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04213, "0.0421"), (1.0, "1.00"), (45.67, "45.7"), (279_876, "280,000")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_part_ends_when_its_time_is_up() -> None:
    with pytest.raises(TookTooLong), at_most(0.05):
        threading.Event().wait(60)


def only(values: Any) -> Any:
    (value,) = values
    return value
