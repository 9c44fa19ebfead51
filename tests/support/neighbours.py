"""Two machines on one cable: networks of their own, joined by a pair of virtual interfaces."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import Final, Self

import pytest

from support.links import HOLD, why_no_networks

HERE_IPV4, THERE_IPV4 = "10.213.78.1", "10.213.78.2"
"""The addresses of the two, where they have such."""
HERE_IPV6, THERE_IPV6 = "fe80::213:1", "fe80::213:2"
"""Their link-local ones."""
NOBODY: Final = "02:00:00:00:00:99"
WIRE: Final = "wire0"
"""What both call the interface to the other."""


class Neighbour:
    """A network that programs can be run in; all of them end with it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(HOLD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._programs: list[Program] = []
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"there\n"
        self.pid = self._holder.pid
        self.inside = ["nsenter", f"--target={self.pid}", "--net", "--"]

    def run(self, *command: str) -> None:
        """Run a command to its end."""
        subprocess.run([*self.inside, *command], check=True)

    def python(self, program: str, *arguments: str) -> Program:
        """Start a Python program; it is told to end by the end of its input."""
        started = Program(
            [*self.inside, sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments]
        )
        self._programs.append(started)
        return started

    def swallow(self, address: str) -> None:
        """Let what is sent to an address on the cable arrive nowhere, and nobody be told so."""
        self.run("ip", "neighbour", "replace", address, "lladdr", NOBODY, "dev", WIRE)

    def close(self) -> None:
        """End all programs, and the network."""
        for program in self._programs:
            program.kill()
        self._holder.communicate()


class Program:
    """A program that says something a line at a time."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ended = False

    def line(self) -> str:
        """Return the next line it says, or "" where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def finish(self) -> list[str]:
        """Tell it to end; return what else it said, on standard error, too."""
        if self._ended:
            return []
        self._ended = True
        out, err = self._process.communicate()
        return [*out.splitlines(), *err.splitlines()]

    def kill(self) -> None:
        """End it without a word to anybody."""
        self._process.kill()
        self.finish()


class Cable:
    """Two networks, joined; leaving its ``with`` block removes both.

    Attributes:
        here, there: the two.
    """

    def __init__(self, *, ipv4: bool = True, ipv6: bool = True) -> None:
        with ExitStack() as exit_stack:
            self.here, self.there = Neighbour(), Neighbour()
            exit_stack.callback(self.here.close)
            exit_stack.callback(self.there.close)
            here, there = (("netns", str(each.pid)) for each in (self.here, self.there))
            link = ("ip", "link", "add", WIRE, *here, "type", "veth", "peer", "name", WIRE, *there)
            subprocess.run(link, check=True)
            for each, address4, address6 in (
                (self.here, HERE_IPV4, HERE_IPV6),
                (self.there, THERE_IPV4, THERE_IPV6),
            ):
                each.run("ip", "link", "set", "lo", "up")
                # Link-local addresses of our choice, and none that has to prove itself first.
                each.run("ip", "link", "set", WIRE, "addrgenmode", "none")
                each.run("ip", "link", "set", WIRE, "up")
                if ipv4:
                    each.run("ip", "address", "add", f"{address4}/24", "dev", WIRE)
                if ipv6:
                    each.run("ip", "address", "add", f"{address6}/64", "dev", WIRE, "nodad")
            self._exit_stack = exit_stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()


def _why_not() -> str:
    if reason := why_no_networks(device=False):
        return reason
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", WIRE, "type", "veth"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "no pair of virtual interfaces can be made here"


_WHY_NOT: Final = _why_not()
needs_cable = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
