"""What the listening commands say of where they listen and of who is not let in."""

from __future__ import annotations

from objxfer.errors import ObjxferError, WrongKey
from objxfer_cli import failures
from objxfer_cli.terminal import Terminal


def refusal(error: ObjxferError, peer: str) -> str:
    """Return why somebody was not let in, in short."""
    if isinstance(error, WrongKey):
        return "wrong key"
    return str(error).removeprefix(f"{peer}: ").removeprefix(f"{peer} ")


def place(url: str, key_id: str | None) -> str:
    """Return where it is listened, and for whom."""
    return f"listening on {url}, " + (f"key {key_id}" if key_id else "without a key")


def say_idle(terminal: Terminal, peer: str, error: ObjxferError, when: str = "") -> None:
    """Say that somebody came and delivered nothing; ``when`` goes in front."""
    terminal.visitor(f"{when}{peer} delivered nothing: {error}")
    failures.record(terminal, error, error.exit_code, str(error), peer=peer)


def say_refused(terminal: Terminal, peer: str, error: ObjxferError, when: str = "") -> None:
    """Say that somebody was not let in; ``when`` goes in front."""
    reason = refusal(error, peer)
    terminal.visitor(f"{when}{peer} refused: {reason}")
    failures.record(terminal, error, error.exit_code, reason, peer=peer)
