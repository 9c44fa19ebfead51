"""What the shell may complete: handed to click as ``shell_complete=``.

Nothing here looks at the network or writes anything, and little is imported: somebody waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from objxfer.security.peers import Peers

Complete = Callable[[click.Context, click.Parameter, str], list[str]]

_BEGUN: Final = re.compile(r"([0-9]{1,4}-(?:[a-z]+-){0,2})([a-z]*)", re.IGNORECASE)
"""A code up to a word, and that word as far as it is typed."""
_WORDS: Final = 3


def among(*values: str) -> Complete:
    """Return what completes one of these."""
    return lambda _context, _parameter, typed: [
        value for value in values if value.startswith(typed)
    ]


def codes(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Complete the next word of a code, and no other argument than the first."""
    from objxfer.security.words import WORDS

    begun = _BEGUN.fullmatch(typed)
    if begun is None or context.params.get(parameter.name or ""):
        return []
    before, word = begun.groups()
    after = "-" if before.count("-") < _WORDS else ""
    return [f"{before}{each}{after}" for each in WORDS if each.startswith(word.casefold())]


def files(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Let the shell complete the path of a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


def peers(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Complete the name of a peer."""
    import objxfer
    from objxfer.security.peerfiles import normal

    store: Peers = objxfer.peers()
    return [name for name in store.names() if name.startswith(normal(typed))]


def targets(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Complete a TARGET: the name of a peer, or the beginning of a URL."""
    begun = among("tls://", "tcp://")(context, parameter, typed)
    return [*peers(context, parameter, typed), *begun]
