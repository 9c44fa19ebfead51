from __future__ import annotations

import os
from pathlib import Path

import pytest

from objxfer.files.entries import Entry, IfExists, Kind
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from support.partials import partials


def sink(inbox: Path, folder: bytes = b"") -> Sink:
    with Root(inbox) as root:
        kept = partials(root, folder=folder)
    return Sink(
        Root(inbox / os.fsdecode(folder)),
        kept,
        tops=[b"top"],
        if_exists=IfExists.REPLACE,
        asked=None,
        limits=Limits(),
    )


def killed(inbox: Path, folder: bytes = b"") -> None:
    """Leave what a receiver leaves that is killed while it writes three files and a link."""
    child = os.fork()
    if child == 0:
        taking = sink(inbox, folder)
        for path in (b"top/a", b"top/b", b"top/deep/c"):
            taking.open(Entry(path, Kind.FILE, 3)).put(0, b"new", bytes(32))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def ours(inbox: Path) -> list[str]:
    return sorted(str(path.relative_to(inbox)) for path in inbox.rglob(".objxfer*"))


@pytest.mark.parametrize("folder", [b"", b"2026"])
def test_what_a_killed_receiver_left_is_removed(inbox: Path, folder: bytes) -> None:
    (inbox / os.fsdecode(folder)).mkdir(exist_ok=True)
    killed(inbox, folder)
    assert len(ours(inbox)) == 4
    sink(inbox).close()
    assert ours(inbox) == []


def test_what_is_still_at_work_is_left_alone(inbox: Path) -> None:
    at_work = sink(inbox)
    at_work.open(Entry(b"top/a", Kind.FILE, 3)).put(0, b"new", bytes(32))
    before = ours(inbox)
    sink(inbox).close()
    assert ours(inbox) == before
    at_work.close()
    assert ours(inbox) == []


def test_nobody_elses_files_are_removed(inbox: Path) -> None:
    killed(inbox)
    (inbox / "top/.objxfer-of-another").write_bytes(b"theirs")
    (inbox / ".objxfer/of-another").write_bytes(b"theirs")
    sink(inbox).close()
    assert ours(inbox) == [".objxfer", "top/.objxfer-of-another"]
    assert os.listdir(inbox / ".objxfer") == ["of-another"]
    (inbox / "top/.objxfer-of-another").unlink()
    (inbox / ".objxfer/of-another").unlink()
    (inbox / ".objxfer").rmdir()


@pytest.mark.parametrize(
    "hostile",
    [b"../source\0", b"/etc\0", b"link\0", b"top\0\0\0", b"\xff" * 5000 + b"\0", b"torn"],
)
def test_a_note_leads_nowhere_else(inbox: Path, tmp_path: Path, hostile: bytes) -> None:
    outside = tmp_path / "source"
    outside.mkdir()
    victim = outside / ".objxfer-0123456789abcdef-1"
    victim.write_bytes(b"theirs")
    (inbox / "link").symlink_to(outside)
    (inbox / ".objxfer").mkdir(0o700)
    (inbox / ".objxfer/at-0123456789abcdef").write_bytes(hostile)
    sink(inbox).close()
    assert victim.read_bytes() == b"theirs"
    assert ours(inbox) == []


def test_without_a_place_for_notes_files_come_all_the_same(inbox: Path, tmp_path: Path) -> None:
    outside = tmp_path / "source"
    outside.mkdir()
    (inbox / ".objxfer").symlink_to(outside)
    taking = sink(inbox)
    part = taking.open(Entry(b"top/a", Kind.FILE, 3))
    part.put(0, b"new", bytes(32))
    part.finish(3, 0, 0o644)
    assert taking.publish()[0][1].durable
    taking.close()
    assert os.listdir(outside) == []
    (inbox / ".objxfer").unlink()
