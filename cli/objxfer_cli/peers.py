"""``objxfer peers``."""

from __future__ import annotations

import click

import objxfer
from objxfer.errors import ExitCode
from objxfer_cli import completion, failures, options
from objxfer_cli.terminal import Terminal, listed


@click.group(invoke_without_command=True)
@options.json
@options.quiet
@options.verbose
@click.pass_context
def peers(context: click.Context) -> int:
    """Show the peers that this machine is paired with."""
    if context.invoked_subcommand is not None:
        return ExitCode.OK
    terminal = context.find_object(Terminal)
    assert terminal is not None
    found, damaged = objxfer.peers().survey()
    width = max((len(peer.name) for peer in found), default=0)
    for peer in found:
        terminal.answer(f"{peer.name:<{width}}  {_described(peer)}")
        terminal.record("peer", **facts(peer))
    if not found and not damaged:
        terminal.notice("there are no peers")
        if not terminal.json:
            terminal.hint('run "objxfer pair" on two machines')
    for error in damaged:
        failures.say(terminal, error)
    return ExitCode.USAGE if damaged else ExitCode.OK


@peers.command()
@click.argument("old", shell_complete=completion.peers)
@click.argument("new")
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def rename(terminal: Terminal, old: str, new: str) -> None:
    """Call the peer OLD by the name NEW from now on."""
    store = objxfer.peers()
    store.rename(old, new)
    peer = store.load(new)
    terminal.result(f"{old} is called {peer.name} now")
    terminal.record("peer", **facts(peer), action="renamed")


@peers.command()
@click.argument("name", shell_complete=completion.peers)
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def remove(terminal: Terminal, name: str) -> None:
    """Forget the peer NAME: it is not let in any more."""
    objxfer.peers().remove(name)
    terminal.result(f"{name} is no peer any more, and is not let in")
    terminal.record("peer", name=name, action="removed")


def facts(peer: objxfer.Peer) -> dict[str, object]:
    """Return what the JSON line of a peer holds."""
    return {
        "name": peer.name,
        "id": peer.pair.peer.hex(),
        "key": peer.pair.key.id,
        "paired_at": peer.paired_at.isoformat(),
        "paired_from": peer.paired_from,
        "addresses": list(peer.addresses),
    }


def _described(peer: objxfer.Peer) -> str:
    when = f"{peer.paired_at.astimezone():%Y-%m-%d %H:%M}"
    where = listed(peer.addresses, len(peer.addresses), at_most=1) or "nowhere"
    return f"paired {when} with {peer.paired_from}, last at {where}, key {peer.pair.key.id}"
