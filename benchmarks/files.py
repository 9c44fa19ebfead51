"""Files from command to command: one large one, many small ones, the same again, a real tree."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.commands import timed
from benchmarks.rivals import BARE_TLS, CP, PLAIN, RSYNC, SCP, TLS, Rival, file_rivals
from benchmarks.run import Run
from benchmarks.tables import Comparison, Table

_MIB: Final = 1024 * 1024
_SMALL: Final = 4096
_A_FOLDER: Final = 200
"""How many small files lie in one folder."""


@dataclass(frozen=True, slots=True)
class _Form:
    rounds: int
    large: int
    """Bytes; a whole number of MiB."""
    small: int
    """How many small files."""
    tree: int
    """Files of the real tree at the most."""


_FULL: Final = _Form(rounds=5, large=1024 * _MIB, small=20_000, tree=50_000)
_QUICK: Final = _Form(rounds=2, large=32 * _MIB, small=400, tree=400)


class NotTheSame(Exception):
    """What was delivered differs from what was sent."""


def measure(run: Run) -> Iterator[Table]:
    """Yield the tables of this part."""
    form = _QUICK if run.quick else _FULL
    landing = run.folder / "landing"
    landing.mkdir()
    with file_rivals(run, landing) as rivals:
        large = run.folder / "large"
        write_random(large, form.large)
        yield _one_large(run, rivals, large, landing, form)
        large.unlink()
        many = run.folder / "many"
        write_many(many, form.small, _SMALL)
        yield from _many_small(run, rivals, many, landing, form)
        shutil.rmtree(many)
        tree = run.folder / "tree"
        tree.mkdir()
        yield _real_tree(run, rivals, tree, landing, form)
        shutil.rmtree(tree)


def write_random(path: Path, size: int) -> None:
    """Write a file of so many bytes, a whole number of MiB, that nothing can compress."""
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            file.write(os.urandom(_MIB))


def write_many(folder: Path, count: int, size: int) -> None:
    """Write so many files of so many bytes, 200 to a folder."""
    for first in range(0, count, _A_FOLDER):
        below = folder / f"{first:06}"
        below.mkdir(parents=True)
        for number in range(first, min(first + _A_FOLDER, count)):
            (below / f"{number:06}.bin").write_bytes(os.urandom(size))


def _one_large(run: Run, rivals: list[Rival], source: Path, landing: Path, form: _Form) -> Table:
    table = Table(
        f"One file of {form.large // _MIB} MiB",
        "GB/s",
        more_is_better=True,
        comparisons=[
            Comparison(TLS, SCP, 2.0),
            Comparison(TLS, RSYNC),
            Comparison(TLS, BARE_TLS),
            Comparison(PLAIN, SCP, 3.0),
            Comparison(PLAIN, CP),
        ],
        note="From the start of the sending command to its exit; the receiver runs already.",
    )
    for number in range(form.rounds):
        run.say(f"{table.title}, round {number + 1} of {form.rounds}")
        for rival in rivals:
            into = landing / "fresh"
            into.mkdir()
            table.add(rival.name, form.large / 1e9 / timed(rival.command(source, into)))
            if number == 0 and rival.keeps:
                _compare_files(rival, source, into / source.name)
            shutil.rmtree(into)
    return table


def _many_small(
    run: Run, rivals: list[Rival], source: Path, landing: Path, form: _Form
) -> Iterator[Table]:
    what = f"{form.small:,} files of {_SMALL // 1024} KiB"
    first = Table(
        what,
        "files/s",
        more_is_better=True,
        comparisons=[
            Comparison(TLS, RSYNC, 1.2),
            Comparison(TLS, SCP, 8.0),
            Comparison(TLS, CP),
        ],
        note=f"In folders of {_A_FOLDER}; timed as above.",
    )
    again = Table(
        f"The same {what} again, unchanged",
        "s",
        more_is_better=False,
        comparisons=[Comparison(TLS, RSYNC, 1.0)],
    )
    for number in range(form.rounds):
        run.say(f"{what}, round {number + 1} of {form.rounds}")
        for rival in rivals:
            if rival.keeps:
                into = landing / "fresh"
                into.mkdir()
                command = rival.command(source, into)
                first.add(rival.name, form.small / timed(command))
                if rival.skips_unchanged:
                    again.add(rival.name, timed(command))
                if number == 0:
                    _compare_trees(rival, source, into / source.name)
                shutil.rmtree(into)
    yield first
    yield again


def _real_tree(run: Run, rivals: list[Rival], source: Path, landing: Path, form: _Form) -> Table:
    count, size = copy_files(run.tree, source, form.tree)
    table = Table(
        f"A real tree: {run.tree.name}, {count:,} files, {size / 1e6:,.0f} MB",
        "s",
        more_is_better=False,
        comparisons=[Comparison(TLS, RSYNC, 1.0), Comparison(PLAIN, RSYNC)],
        note="Its files, without links, as they lie there; timed as above.",
    )
    for number in range(form.rounds):
        run.say(f"{table.title}, round {number + 1} of {form.rounds}")
        for rival in rivals:
            if rival.keeps and rival.name != SCP:  # it takes minutes
                into = landing / "fresh"
                into.mkdir()
                table.add(rival.name, timed(rival.command(source, into)))
                if number == 0:
                    _compare_trees(rival, source, into / source.name)
                shutil.rmtree(into)
    return table


def copy_files(tree: Path, into: Path, at_most: int) -> tuple[int, int]:
    """Copy what can be read of a tree's files, and return how many they are and their bytes."""
    count = size = 0
    for folder, below, names in os.walk(tree):
        below.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if count < at_most and path.is_file() and not path.is_symlink():
                target = into / path.relative_to(tree)
                with suppress(PermissionError):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
                    count += 1
                    size += target.stat().st_size
    return count, size


def _compare_trees(rival: Rival, sent: Path, landed: Path) -> None:
    names = _names(sent)
    if _names(landed) != names:
        raise NotTheSame(f"{rival.name}: other names were delivered than were sent")
    for name in names:
        if (sent / name).is_file():
            _compare_files(rival, sent / name, landed / name)


def _names(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def _compare_files(rival: Rival, sent: Path, landed: Path) -> None:
    if not filecmp.cmp(sent, landed, shallow=False):
        raise NotTheSame(f"{rival.name}: {landed.name} is not what was sent")
