"""A receiving folder, and what must not change around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.inbox import fingerprint, ours_in


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the inbox that must be the same after the test."""
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_bytes(b"canary")
    (folder / "below" / "file").write_bytes(b"canary below")
    before = fingerprint(folder)
    yield folder
    assert fingerprint(folder) == before


@pytest.fixture
def inbox(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A receiving folder beside ``outside``; nothing of objxfer's own may be left in it."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    yield folder
    assert ours_in(folder) == []
    beside = {path.name for path in tmp_path.iterdir()}
    assert beside <= {"inbox", "outside", "source", "home"}
