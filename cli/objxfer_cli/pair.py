"""``objxfer pair``."""

from __future__ import annotations

import platform
import shlex
from typing import Final

import click

import objxfer
from objxfer.blocking.pairing import ACCEPTS, NAMELESS, become_peers
from objxfer.errors import ObjxferError
from objxfer.security.keyfiles import is_code
from objxfer.security.peerfiles import check_name, fitting
from objxfer.security.peers import Peers, name_taken
from objxfer_cli import codes, completion, options
from objxfer_cli.peers import facts
from objxfer_cli.terminal import Terminal

_STANDARD_INPUT: Final = "-"


@click.command()
@click.argument("arguments", metavar="[CODE] [NAME]", nargs=-1, shell_complete=completion.codes)
@click.option("--as", "own_name", metavar="NAME", help="What to be called there; the host name.")
@click.option(
    "--listen",
    "listen",
    metavar="URL",
    shell_complete=completion.among("tls://"),
    help="Wait there, without a CODE: tls://…",
)
@click.option(
    "--from",
    "url",
    metavar="URL",
    shell_complete=completion.among("tls://"),
    help="Where the one with the CODE is: tls://HOST[:PORT].",
)
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def pair(
    terminal: Terminal,
    arguments: tuple[str, ...],
    own_name: str | None,
    listen: str | None,
    url: str | None,
) -> None:
    """Remember another machine, and be remembered: from then on, no key and no code is needed.

    Without a CODE this shows one, which the other side gives. A CODE of - is read from standard
    input. NAME is what the other one is called here; without it, what it would like to be called.
    """
    text, name = _told_apart(arguments)
    if text is None and url is not None:
        raise click.UsageError("--from goes with a CODE")
    if text is not None and listen is not None:
        raise click.UsageError("--listen goes without a CODE")
    store = objxfer.peers()
    if name is not None:
        name = check_name(name)
        if store.find(name) is not None:
            raise name_taken(name)
    own = fitting(platform.node().partition(".")[0], NAMELESS)
    if own_name is not None:
        own = check_name(own_name)
    terms = {"peer_id": store.own_id(), "accepts": ACCEPTS}
    if text is not None:
        met = codes.meet(terminal, text, url, "--from", **terms)
        _keep(terminal, store, met, own, name)
        return
    where = listen or options.LISTEN
    invited = codes.Invited(terminal, where, "objxfer pair", "--from", qr=False, **terms)
    with invited.host as host:
        _keep(terminal, store, host.accept(), own, name)


def _told_apart(arguments: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return the text of the code and the name, whichever there are."""
    match arguments:
        case []:
            return None, None
        case [text, *rest] if text == _STANDARD_INPUT or is_code(text):
            if len(rest) > 1:
                raise click.UsageError("a code has one name behind it at the most")
            return text, rest[0] if rest else None
        case [name]:
            return None, name
        case _:
            raise click.UsageError("the first of two is a code, as in 4-walnut-copper-tiger")


def _keep(
    terminal: Terminal,
    store: Peers,
    connection: objxfer.Connection,
    own: str,
    name: str | None,
) -> None:
    peer: objxfer.Peer | None = None
    try:
        with connection:
            peer = become_peers(connection, store, own_name=own, name=name)
    except ObjxferError:
        if peer is None:
            raise
        # Both have said that they keep it: how the connection ends changes nothing any more.
    terminal.result(f"paired with {connection.peer}: {peer.name}, key {peer.pair.key.id}")
    terminal.record("peer", **facts(peer), action="paired")
    if not terminal.json:
        terminal.hint(
            f'objxfer send PATH --to {shlex.quote(peer.name)}, while "objxfer receive" runs there'
        )
