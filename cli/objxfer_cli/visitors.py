"""What the listening commands say of where they listen and of who is not let in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import objxfer
from objxfer.blocking import presence
from objxfer.errors import ConnectionLost, ObjxferError, WrongKey
from objxfer.security.peers import Peers
from objxfer_cli import events, failures
from objxfer_cli.terminal import Terminal, listed


def refusal(error: ObjxferError, peer: str) -> str:
    """Return why somebody was not let in, in short."""
    if isinstance(error, WrongKey):
        return "wrong key"
    return str(error).removeprefix(f"{peer}: ").removeprefix(f"{peer} ")


def place(
    url: str, key_id: str | None, peers: Peers | None, rules: objxfer.Rules | None = None
) -> str:
    """Return where it is listened, and for whom."""
    if rules is not None:
        named = [grant.name for grant in rules.grants]
        return f"listening on {url}, for {listed(named, len(named)) or 'nobody'}"
    welcome = [f"key {key_id}"] if key_id else []
    if peers is not None:
        count = len(peers.survey()[0])
        welcome.append("1 peer" if count == 1 else f"{count:,} peers")
    return f"listening on {url}, " + (" and ".join(welcome) or "without a key")


def caller(address: str, name: str | None) -> str:
    """Return who has come: the address, and the name of a peer."""
    return f"{name} ({address})" if name else address


def findable(
    terminal: Terminal, listener: objxfer.Listener | objxfer.Server, peers: Peers | None
) -> AbstractContextManager[None]:
    """Let peers find a listener by name until the ``with`` block ends."""
    if peers is None:
        return nullcontext()
    return presence.findable(
        listener.hosts,
        listener.url,
        peers.own_id(),
        lambda reason: terminal.warning(f"peers do not find this one by its name: {reason}"),
    )


def say_idle(
    terminal: Terminal, peer: str, error: ObjxferError, when: str = "", name: str | None = None
) -> None:
    """Say that somebody came, and delivered nothing; ``when`` goes in front."""
    terminal.visitor(f"{when}{caller(peer, name)} delivered nothing: {error}")
    failures.record(terminal, error, error.exit_code, str(error), peer=peer)


def say_refused(
    terminal: Terminal, peer: str, error: ObjxferError, when: str = "", name: str | None = None
) -> None:
    """Say that somebody was not let in, or may not send; ``when`` goes in front.

    Of who vanished nothing is said: one who calls all addresses of this machine at once hangs up
    on all but the first that answers.
    """
    if isinstance(error, ConnectionLost):
        return
    reason = refusal(error, peer)
    terminal.visitor(f"{when}{caller(peer, name)} refused: {reason}")
    named = {"name": name} if name else {}
    terminal.event("refused", peer=peer, **named, **events.reason(error, reason))
    failures.record(terminal, error, error.exit_code, reason, peer=peer)
