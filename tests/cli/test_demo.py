"""``objxfer demo``."""

from __future__ import annotations

import importlib
import re

import pytest

from objxfer_cli.commands import run
from objxfer_cli.terminal import Terminal
from support.commands import Commands

demo = importlib.import_module("objxfer_cli.demo")

pytestmark = pytest.mark.timeout(60)


def test_everything_once(commands: Commands) -> None:
    temporary = commands.folder / "tmp"
    temporary.mkdir()
    done = commands.run("demo", environment={"TMPDIR": str(temporary)})
    assert done.err == ""
    assert done.code == 0
    expected = [
        r"objxfer \d+\.\d+\.\d+ demo: two processes, tls://127\.0\.0\.1:\d+, a new key, a temporary"
        r" folder",
        r" folder         120 files, 64\.0 MB in .* s \(.*B/s\); every receipt durable, both trees"
        r" equal",
        r" object         a dict with 8 MB of buffers, there and back in \d+ ms; equal",
        r" signed pickle  accepted where the receiver asked for it",
        r" forged pickle  refused before it was parsed; nothing ran",
        r" wrong key      refused; nothing written",
        r"next: objxfer keygen · objxfer serve DIR · objxfer send PATH --to tls://HOST",
    ]
    lines = done.out.splitlines()
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert list(temporary.iterdir()) == []


def test_what_is_not_as_it_should_be_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_fingerprint", str)
    assert run(Terminal(), ["demo"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == " folder         FAILED: the trees differ"
    assert not lines[-1].startswith("next:")
