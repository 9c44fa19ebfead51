"""An inbox with a canary tree beside it, and what fills it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from objxfer.files.entries import IfExists
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from support.inbox import MakeSink, descriptors, fingerprint, ours_in
from support.partials import partials


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the inbox that must be the same after the test."""
    canary = tmp_path / "outside"
    (canary / "folder").mkdir(parents=True)
    (canary / "file").write_bytes(b"canary")
    (canary / "folder" / "file").write_bytes(b"canary below")
    before = fingerprint(canary)
    around = sorted(os.listdir(tmp_path))
    yield canary
    assert fingerprint(canary) == before
    assert set(os.listdir(tmp_path)) <= {*around, "inbox", "source"}


@pytest.fixture
def inbox(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A receiving folder; nothing of objxfer's own may be left in it."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    yield folder
    assert ours_in(folder) == []


@pytest.fixture
def root(inbox: Path) -> Iterator[Root]:
    before = descriptors()
    with Root(inbox) as opened:
        yield opened
    assert descriptors() == before


@pytest.fixture
def make_sink(root: Root) -> Iterator[MakeSink]:
    made: list[Sink] = []

    def make(
        if_exists: IfExists = IfExists.RENAME,
        *,
        asked: IfExists | None = None,
        tops: tuple[bytes, ...] = (b"top",),
        limits: Limits = Limits(),  # noqa: B008 -- it is frozen
    ) -> Sink:
        sink = Sink(
            root, partials(root), tops=tops, if_exists=if_exists, asked=asked, limits=limits
        )
        made.append(sink)
        return sink

    yield make
    for sink in made:
        sink.close()


@pytest.fixture
def sink(make_sink: MakeSink) -> Sink:
    return make_sink()
