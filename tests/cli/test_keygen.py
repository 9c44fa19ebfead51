"""``objxfer keygen``."""

from __future__ import annotations

import re

import pytest

import objxfer
from support.commands import Commands

pytestmark = pytest.mark.timeout(60)


def test_the_default_file(commands: Commands) -> None:
    commands.key_file.unlink()
    made = commands.run("keygen")
    shown = commands.key_file.relative_to(commands.folder / "home")
    found = re.fullmatch(
        rf"wrote ~/{re.escape(str(shown))}  \(id (\w{{8}}), only you can read it\)\n", made.out
    )
    assert found is not None
    assert made.err == (
        "hint: the other machine needs the same file at the same place, by a way you trust"
        " (USB stick, scp)\n"
    )
    assert objxfer.Key.load(commands.key_file).id == found[1]
    assert commands.key_file.stat().st_mode & 0o777 == 0o600


def test_a_named_file(commands: Commands) -> None:
    made = commands.run("keygen", "spare.key")
    assert made.out.startswith("wrote spare.key  (id ")
    assert (commands.folder / "spare.key").exists()


def test_a_key_is_never_replaced(commands: Commands) -> None:
    before = commands.key_file.read_bytes()
    refused = commands.run("keygen")
    assert refused.code == 2
    assert "exists, and a key is never replaced" in refused.err
    assert commands.key_file.read_bytes() == before


def test_the_secret_is_shown_nowhere(commands: Commands) -> None:
    made = commands.run("keygen", "spare.key")
    secret = (commands.folder / "spare.key").read_text().partition(":")[2].strip()
    assert secret
    assert secret not in made.out + made.err
