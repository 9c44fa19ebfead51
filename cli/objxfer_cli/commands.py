"""Finds the command, runs it, and turns whatever happens into lines and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import click

import objxfer
from objxfer.errors import ExitCode
from objxfer_cli import failures
from objxfer_cli.signals import Interrupted, Signals
from objxfer_cli.terminal import Terminal, discard

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_NAME: Final = "objxfer"
_OBJECTS: Final = 50_000
"""How many new ones let the garbage collector look for cycles."""
_COMMANDS: Final = {
    "send": "Deliver files and folders and wait for the receipts.",
    "receive": "Take one delivery, then end.",
    "serve": "Keep an inbox that others may send into.",
    "digest": "Show the digests of files here, or check them against receipts.",
    "pair": "Remember another machine, and be remembered.",
    "peers": "Show, rename and remove the machines that are remembered.",
    "doctor": "Say why it does not connect, and what to do.",
    "keygen": "Make a new key.",
    "demo": "Show everything once, on this machine.",
}


class _Commands(click.Group):
    """Imports a command's module when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"objxfer_cli.{cmd_name}"), cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        described = (CompletionItem(name, help=words) for name, words in _COMMANDS.items())
        found = [item for item in described if item.value.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(objxfer.__version__, message="objxfer %(version)s")
def objxfer_command() -> None:
    """Move files, folders and streams between machines: verified, authenticated, over TLS."""


def execute() -> NoReturn:
    """Run the command line of this process, and exit."""
    if instruction := os.environ.get("_OBJXFER_COMPLETE"):
        from objxfer_cli import shells

        sys.exit(shells.answer(objxfer_command, _NAME, instruction))
    # What is made for every file has no cycles: looking for some costs 3 % of a delivery.
    gc.set_threshold(_OBJECTS)
    terminal = Terminal()
    try:
        signals = Signals(terminal)
        try:
            code = run(terminal, sys.argv[1:])
        finally:
            signals.over()
    except Interrupted as interrupted:
        code = failures.say(terminal, interrupted)
    _let_go()
    sys.exit(code)


def _let_go() -> None:
    """Forget what our streams did not take, so that the exit code stays ours."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            discard(stream)


def run(terminal: Terminal, arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever it raised is said."""
    # Not through click's main(): to it every EOFError, and so a lost connection, is a Ctrl-D.
    try:
        with objxfer_command.make_context(_NAME, list(arguments), obj=terminal) as context:
            code: int | None = objxfer_command.invoke(context)
    except click.exceptions.Exit as exited:
        return exited.exit_code
    except (Interrupted, Exception) as error:  # noqa: BLE001 - the last place to say what happened
        return failures.say(terminal, error)
    return code or ExitCode.OK
