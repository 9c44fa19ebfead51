"""What the proofs of reliability share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import objxfer
from support.nursery import Nursery


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key"
    objxfer.Key.generate().save(file)
    return file


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery"), key_file) as nursery:
        yield nursery
