"""``objxfer keygen``."""

from __future__ import annotations

from pathlib import Path

import click

import objxfer
from objxfer.security.keys import default_path
from objxfer_cli.terminal import Terminal


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def keygen(terminal: Terminal, file: Path | None) -> None:
    """Make a new key, in FILE or where all commands look for it; never replace one."""
    path = file or default_path()
    key = objxfer.Key.generate()
    key.save(path)
    terminal.result(f"wrote {_at_home(path)}  (id {key.id}, only you can read it)")
    terminal.hint(
        "the other machine needs the same file at the same place, by a way you trust"
        " (USB stick, scp)"
    )


def _at_home(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
