"""import-linter holds the floors, and would notice: each of its contracts is broken here once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
LINTER = Path(sys.executable).with_name("lint-imports")

UPWARD = [
    ("objxfer.errors", "objxfer.files.digest"),
    ("objxfer.errors", "objxfer.limits"),
    ("objxfer.limits", "objxfer.security.keys"),
    ("objxfer.interfaces", "objxfer.errors"),
    ("objxfer.interfaces", "objxfer.transports.urls"),
    ("objxfer.discovery.finding", "objxfer.security.keys"),
    ("objxfer.discovery.finding", "objxfer.transports.urls"),
    ("objxfer.files.digest", "objxfer.discovery.names"),
    ("objxfer.files.digest", "objxfer.security.keys"),
    ("objxfer.files.digest", "objxfer.protocol.chunks"),
    ("objxfer.security.keys", "objxfer.files.digest"),
    ("objxfer.security.keys", "objxfer.transports.base"),
    ("objxfer.protocol.chunks", "objxfer.serializers.base"),
    ("objxfer.protocol.chunks", "objxfer.transfer.steps"),
    ("objxfer.serializers.base", "objxfer.protocol.chunks"),
    ("objxfer.serializers.base", "objxfer.transfer.steps"),
    ("objxfer.transports.base", "objxfer.protocol.chunks"),
    ("objxfer.transports.base", "objxfer.transfer.steps"),
    ("objxfer.transfer.steps", "objxfer.blocking.pump"),
    ("objxfer.transfer.steps", "objxfer.bars"),
    ("objxfer.blocking.pump", "objxfer.bars"),
    ("objxfer.blocking.pump", "objxfer_cli.terminal"),
    ("objxfer.bars", "objxfer.blocking.pump"),
    ("objxfer.bars", "objxfer_cli.terminal"),
]
"""Each floor, and one above it or beside it."""

FLOORS = "floors: nothing imports upward"
SANS_IO = "sans-I/O: protocol, serializers and transfer touch neither network nor clock"
PICKLE = "pickle is imported in serializers.pickle alone"

PURE = ("objxfer.protocol.chunks", "objxfer.serializers.base", "objxfer.transfer.steps")
NETWORK_AND_CLOCK = (
    *("asyncio", "select", "selectors", "socket", "ssl", "threading", "time"),
    "objxfer.transports.base",
)
LISTED_BY_MODULE = {"objxfer", "objxfer.serializers"}
"""Packages whose modules a contract names one by one; they themselves hold no code."""


class Copy:
    """The packages in a folder of their own, to be broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copy(PROJECT / "pyproject.toml", folder)
        for package in ("objxfer", "cli"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / package, folder / package, ignore=ignored)

    def modules(self) -> list[str]:
        found = []
        for root in (self._folder, self._folder / "cli"):
            for path in root.glob("objxfer*/**/*.py"):
                found.append(".".join(path.relative_to(root).with_suffix("").parts))
        return [module.removesuffix(".__init__") for module in found]

    def add_import(self, module: str, imported: str) -> None:
        root = self._folder / "cli" if module.startswith("objxfer_cli") else self._folder
        path = root.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        with path.open("a") as file:
            file.write(f"\nimport {imported}\n")

    def lint(self) -> tuple[set[str], set[tuple[str, str]]]:
        """Return the contracts that are broken, and the imports that break them."""
        linted = subprocess.run(
            [LINTER, "--no-cache"],
            cwd=self._folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(self._folder), str(self._folder / "cli")]),
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        broken = set(re.findall(r"^(.*) BROKEN$", linted.stdout, re.MULTILINE))
        assert bool(broken) == bool(linted.returncode), linted.stdout + linted.stderr
        return broken, set(re.findall(r"(\S+) -> (\S+) \(l\.\d+\)", linted.stdout))


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    if not LINTER.exists():
        pytest.skip("needs import-linter")
    return Copy(tmp_path)


def test_all_contracts_are_kept(copy: Copy) -> None:
    assert copy.lint() == (set(), set())


@pytest.mark.parametrize(("module", "imported"), UPWARD)
def test_an_import_upward_or_sideward_is_noticed(copy: Copy, module: str, imported: str) -> None:
    copy.add_import(module, imported)
    broken, by = copy.lint()
    assert FLOORS in broken
    assert (module, imported) in by


def test_the_network_and_the_clock_are_noticed(copy: Copy) -> None:
    expected = {(module, imported) for module in PURE for imported in NETWORK_AND_CLOCK}
    for module, imported in expected:
        copy.add_import(module, imported)
    broken, by = copy.lint()
    assert SANS_IO in broken
    assert expected <= by


@pytest.mark.parametrize("imported", ["pickle", "cloudpickle"])
def test_pickle_is_noticed_in_every_module_but_its_own(copy: Copy, imported: str) -> None:
    modules = set(copy.modules()) - LISTED_BY_MODULE - {"objxfer.serializers.pickle"}
    for module in modules:
        copy.add_import(module, imported)
    broken, by = copy.lint()
    assert broken == {PICKLE}
    assert by == {(module, imported) for module in modules}
