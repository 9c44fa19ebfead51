"""Machines that pair: commands of a home of their own, without a key."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from support.commands import Commands, Finished, Running
from support.neighbours import HERE_IPV4, THERE_IPV4, Neighbour

MOVED_IPV4: Final = "10.213.78.77"
"""Where a neighbour may move to."""
ANNOUNCE: Final = """
import sys
from objxfer.discovery.announcing import announce
with announce(sys.argv[1], int(sys.argv[2])) as announcement:
    announcement.wait()
    print("announced", flush=True)
    sys.stdin.read()
"""
"""A program that announces a service until its input ends."""


class Machine:
    """Somebody's machine: commands of a home of its own, without a key, perhaps on a cable."""

    def __init__(
        self, folder: Path, exit_stack: ExitStack, neighbour: Neighbour | None = None
    ) -> None:
        folder.mkdir()
        self.commands = Commands(folder, exit_stack)
        self.commands.key_file.unlink()
        self.inbox = self.commands.inbox
        self.peers = Peers(self.commands.key_file.with_name("peers"))
        self._inside = neighbour.inside if neighbour else []

    def start(self, *arguments: str) -> Running:
        return self.commands.start(*arguments, inside=self._inside)

    def run(self, *arguments: str, stdin: bytes = b"") -> Finished:
        return self.start(*arguments).finish(stdin)

    def listen(self, *arguments: str) -> Running:
        """Start what listens; return it when it does."""
        running = self.start(*arguments)
        while not (line := running.err_line()).startswith("listening on "):
            assert line, "it ended before it listened"
        running.url = line.removeprefix("listening on ").partition(",")[0]
        return running

    def wait_with_code(self, *arguments: str) -> tuple[Running, str, str]:
        """Start ``pair`` without a code; return it, the code, and where it waits."""
        waiting = self.start("pair", *arguments)
        code = waiting.err_line().removeprefix("code: ")
        assert waiting.err_line() == f"there: objxfer pair {code}"
        other = re.fullmatch(r"if that finds nobody, add: --from (tls://\S+)", waiting.err_line())
        assert other
        return waiting, code, other[1]


def acquaint(here: Machine, here_is: str, there: Machine, there_is: str) -> None:
    """Let two on a cable know each other, as ``objxfer pair`` would, by these names."""
    key, when = Key.generate(), datetime.now(UTC)
    own, other = here.peers.own_id(), there.peers.own_id()
    for machine, name, address, pair in (
        (here, there_is, THERE_IPV4, Pair(key, own, other)),
        (there, here_is, HERE_IPV4, Pair(key, other, own)),
    ):
        machine.peers.add(Peer(name, pair, when, address, (f"tls://{address}:6259",)))
