"""``objxfer pair``."""

from __future__ import annotations

import platform
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

import objxfer
from objxfer.blocking.meeting import Host, meet
from objxfer.blocking.pairing import ACCEPTS, NAMELESS, become_peers
from objxfer.errors import CannotConnect, ObjxferError
from objxfer.security.keyfiles import is_code
from objxfer.security.peerfiles import check_name, fitting
from objxfer.security.peers import Peers, name_taken
from objxfer_cli import completion, options, visitors
from objxfer_cli.peers import facts
from objxfer_cli.terminal import Terminal

_STANDARD_INPUT = "-"
_ANY_PORT = "tls://:0"
_UNFOUND_SECONDS = 5.0
"""After which somebody who waits is told what else there is."""


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
    if text is None:
        _wait(terminal, store, listen, own, name)
    else:
        _come(terminal, store, objxfer.Code.parse(_read(text)), url, own, name)


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


def _read(text: str) -> str:
    if text != _STANDARD_INPUT:
        return text
    if sys.stdin is None:
        raise click.UsageError("-: there is no standard input")
    if sys.stdin.isatty():
        answer: str = click.prompt("code", err=True)
        return answer
    return sys.stdin.readline().strip()


def _wait(terminal: Terminal, store: Peers, url: str | None, own: str, name: str | None) -> None:
    """Show a code, and pair with the one who comes with it."""

    def burnt(code: objxfer.Code | None) -> None:
        if code is not None:
            terminal.warning("somebody tried a wrong code, and it is of no more use")
            show(code)

    def unannounced(error: Exception) -> None:
        terminal.warning(f"the other side has to name the address with --from: {error}")

    def show(code: objxfer.Code) -> None:
        spoken, where = code.spoken(), host.urls[0]
        # Where results are JSON or nothing at all, it is needed all the same.
        terminal.visitor(f"code: {spoken}")
        terminal.notice(f"on the other machine:  objxfer pair {spoken}")
        terminal.notice(f"if it finds nobody:    objxfer pair {spoken} --from {where}")

    def listening(at: str) -> Host:
        return Host(
            at,
            on_burnt=burnt,
            on_refused=lambda peer, error: visitors.say_refused(terminal, peer, error),
            on_unannounced=unannounced,
            peer_id=store.own_id(),
            accepts=ACCEPTS,
        )

    try:
        host = listening(url or options.LISTEN)
    except CannotConnect:
        if url is not None:
            raise
        host = listening(_ANY_PORT)  # an inbox has the usual one, most likely
    with host:
        terminal.record("listening", url=host.urls[0])
        code = host.code
        assert code is not None
        show(code)
        _keep(terminal, store, host.accept(), own, name)


def _come(
    terminal: Terminal,
    store: Peers,
    code: objxfer.Code,
    url: str | None,
    own: str,
    name: str | None,
) -> None:
    """Find who waits with the code, and pair."""
    if url is not None:
        connection = objxfer.connect(url, key=code, peer_id=store.own_id(), accepts=ACCEPTS)
    else:

        def strange(where: str, error: ObjxferError) -> None:
            terminal.visitor(f"{where} is not the one: {visitors.refusal(error, where)}")

        with _told_if_unfound(terminal, code):
            connection = meet(code, on_failed=strange, peer_id=store.own_id(), accepts=ACCEPTS)
    _keep(terminal, store, connection, own, name)


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


@contextmanager
def _told_if_unfound(terminal: Terminal, code: objxfer.Code) -> Iterator[None]:
    """Say what else there is, if nobody is found for a while."""
    timer = threading.Timer(
        _UNFOUND_SECONDS,
        terminal.remark,
        [
            f"nobody found yet who waits in room {code.room}; where the network does not say it:"
            " --from tls://HOST[:PORT], as the other screen shows"
        ],
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
