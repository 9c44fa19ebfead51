"""A delivery that goes on for as long as a test wants it to."""

from __future__ import annotations

from support.commands import Commands, Running

BEGINNING = bytes(range(256)) * 12_000
"""What has been sent when it has begun."""


def streaming(commands: Commands, listening: Running, *arguments: str) -> Running:
    """Send standard input into the inbox; return when it has begun to lie there.

    ``finish`` ends it, with the rest.
    """
    before = len(list(commands.inbox.glob(".objxfer-*")))
    sending = commands.start("send", "-", "--to", listening.url, *arguments)
    sending.write(BEGINNING)
    while len(list(commands.inbox.glob(".objxfer-*"))) == before:
        assert listening.process.poll() is None
        assert sending.process.poll() is None
    return sending
