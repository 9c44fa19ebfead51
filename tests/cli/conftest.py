"""What the tests of the command line share."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.commands import Commands
from support.neighbours import Cable


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as exit_stack:
        yield Commands(tmp_path, exit_stack)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """Two machines on one cable."""
    with Cable() as cable:
        yield cable
