"""The first contact: how soon a code is shown, how soon it is found, and what many peers cost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final, Self

from benchmarks import cli
from benchmarks.run import Missing, Run
from benchmarks.tables import Comparison, Table
from objxfer.security.keys import Key
from objxfer.security.peers import Peers

_ROUNDS: Final = 7
_QUICK_ROUNDS: Final = 2
_PEERS: Final = 1000
_QUICK_PEERS: Final = 20
_SETTLED: Final = 3.0
"""Seconds in which a network comes to know who has just come."""
_APART: Final = 1.5
"""Seconds between two searches for one name: asked again within one, a responder keeps silent (RFC
6762, section 6), and it is reached where it was last, a while later."""
_HOLD: Final = "ip link set lo up && echo there; exec cat"
_CODE: Final = "send until its code is shown"
_AT_ONCE: Final = "receive CODE until the first byte, typed at once"
_LATER: Final = "receive CODE until the first byte, typed later"


def measure(run: Run) -> Iterator[Table]:
    """Yield the tables of this part."""
    run.say("first contact")
    rounds = _QUICK_ROUNDS if run.quick else _ROUNDS
    with _Network() as network:
        file = run.folder / "contact"
        file.write_bytes(b"first contact\n")
        yield _codes(run, network, file, rounds)
        yield _names(run, network, file, rounds, _QUICK_PEERS if run.quick else _PEERS)


def _codes(run: Run, network: _Network, file: Path, rounds: int) -> Table:
    table = Table(
        "First contact by a code",
        "ms",
        more_is_better=False,
        comparisons=[
            Comparison(_CODE, goal=300),
            Comparison(_AT_ONCE, goal=1500),
            Comparison(_LATER, goal=1500),
        ],
        note="From the start of the command, over loopback, found by mDNS.",
    )
    home = run.folder / "contact-home"
    for _ in range(rounds):
        for name, wait in ((_AT_ONCE, 0.0), (_LATER, _SETTLED)):
            begin = time.perf_counter()
            with network.start(home, "send", str(file)) as sending:
                code = _after(sending.stderr, b"code: ")
                table.add(_CODE, (time.perf_counter() - begin) * 1e3)
                time.sleep(wait)
                begin = time.perf_counter()
                with network.start(home, "receive", code, "--yes", "--stdout") as receiving:
                    assert receiving.stdout is not None
                    if not receiving.stdout.read(1):
                        raise Missing("nobody was found by mDNS over loopback")
                    table.add(name, (time.perf_counter() - begin) * 1e3)
    return table


def _names(run: Run, network: _Network, file: Path, rounds: int, count: int) -> Table:
    few, many = "send --to NAME, one peer", f"send --to NAME, {count:,} peers"
    more = f"what {count - 1:,} more peers add"
    table = Table(
        "Names",
        "ms",
        more_is_better=False,
        comparisons=[Comparison(more, goal=50)],
        note="A file of 14 bytes, over loopback, found by mDNS.",
    )
    nas, alone, among = (run.folder / each for each in ("nas", "one-peer", "many-peers"))
    with network.start(nas, "pair", "ben") as waiting:
        code = _after(waiting.stderr, b"code: ")
        with network.start(alone, "pair", code, "nas") as coming:
            coming.wait()
        waiting.wait()
    among.mkdir()
    subprocess.run(["cp", "-a", f"{alone}/.", str(among)], check=True)
    store = Peers(among / "objxfer" / "peers")
    known = store.load("nas")
    for number in range(1, count):
        pair = replace(known.pair, key=Key.generate(), peer=os.urandom(len(known.pair.peer)))
        store.add(replace(known, name=f"peer-{number}", pair=pair))
    inbox = run.folder / "contact-inbox"
    inbox.mkdir()
    with network.start(nas, "serve", str(inbox)) as serving:
        _after(serving.stderr, b"listening on ")
        time.sleep(_SETTLED)
        for _ in range(rounds):
            took = []
            for name, home in ((few, alone), (many, among)):
                time.sleep(_APART)
                begin = time.perf_counter()
                with network.start(home, "send", str(file), "--to", "nas") as sending:
                    if sending.wait():
                        raise Missing("the peer was not reached")
                took.append((time.perf_counter() - begin) * 1e3)
                table.add(name, took[-1])
            table.add(more, took[1] - took[0])
    return table


class _Network:
    """A network of its own, with nothing in it but loopback; commands run in it."""

    def __init__(self) -> None:
        user = [] if os.geteuid() == 0 else ["--user"]
        hold = ["unshare", *user, *(["--map-root-user"] if user else []), "--net", "sh", "-c"]
        try:
            self._holder = subprocess.Popen(
                [*hold, _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise Missing(f"no network of its own can be made: {error.strerror}") from error
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"there\n":
            self._holder.communicate()
            raise Missing("no network of its own can be made")
        kept = [*user, "--preserve-credentials"] if user else []
        self._inside = ["nsenter", f"--target={self._holder.pid}", *kept, "--net", "--"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    @contextmanager
    def start(self, home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start objxfer as somebody with a home of their own; it is ended with the block."""
        command: Sequence[str] = [*self._inside, cli.program(), *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def _after(stream: IO[bytes] | None, beginning: bytes) -> str:
    """Return the rest of the first line that begins so."""
    assert stream is not None
    for line in stream:
        if line.startswith(beginning):
            return line.removeprefix(beginning).decode().strip()
    raise Missing("a command ended before it said what was waited for")
