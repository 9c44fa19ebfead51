"""What an interrupted delivery costs: until it goes on, and in bytes that are sent twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import urlsplit

from benchmarks import cli
from benchmarks.commands import timed
from benchmarks.relay import Relay, relayed
from benchmarks.run import Missing, Run
from benchmarks.tables import Comparison, Table

_MIB: Final = 2**20
_GIB: Final = 2**30
_PART: Final = 0.9
_CONTENTS: Final = 128 * 1024
"""More than this passes only once contents do."""
_KILLS: Final = 10
_LOST: Final = 8.0
"""MiB that a kill may cost."""
_SEED: Final = 1
_SECONDS: Final = 300
_FIRST: Final = "until the first new byte"
_TWICE: Final = "sent twice for each kill"


@dataclass(frozen=True, slots=True)
class _Form:
    large: int
    killed: int


_FULL: Final = _Form(large=8 * _GIB, killed=2 * _GIB)
_QUICK: Final = _Form(large=128 * _MIB, killed=128 * _MIB)


def measure(run: Run) -> Iterator[Table]:
    """Yield the tables of this part."""
    form = _QUICK if run.quick else _FULL
    yield _going_on(run, form.large)
    yield _killed(run, form.killed)


def _going_on(run: Run, size: int) -> Table:
    table = Table(
        f"Going on with a file of {size / _GIB:g} GiB that was cut at {_PART:.0%}, TLS",
        "s",
        more_is_better=False,
        comparisons=[Comparison(_FIRST, goal=1.0)],
        note="From the start of the command. All that lies there is read again by both sides.",
    )
    run.say(table.title)
    with _wire(run, size, "tls") as (relay, command):
        _run_until(relay, command, int(_PART * size))
        begun = time.perf_counter()
        seen: list[float] = []
        relay.call(lambda: seen.append(time.perf_counter() - begun), _CONTENTS)
        whole = timed(command)
    table.add(_FIRST, seen[0])
    table.add("until it is through", whole)
    return table


def _killed(run: Run, size: int) -> Table:
    table = Table(
        f"A file of {size / _GIB:g} GiB whose sender is killed {_KILLS} times",
        "MiB",
        more_is_better=False,
        comparisons=[Comparison(_TWICE, goal=_LOST)],
        note="At random; what passes both ways, handshakes and headers included.",
    )
    run.say(table.title)
    with _wire(run, size, "tcp") as (relay, command):
        for mark in sorted(Random(_SEED).sample(range(size), _KILLS)):
            _run_until(relay, command, max(1, mark - relay.passed))
        timed(command)
        table.add("passed in all", relay.passed / _MIB)
        table.add(_TWICE, (relay.passed - size) / _KILLS / _MIB)
    return table


@contextmanager
def _wire(run: Run, size: int, scheme: str) -> Iterator[tuple[Relay, list[str]]]:
    """Set up a receiver behind a relay, and the command that sends it a file of zeros.

    Raises:
        Missing: there is no room for it.
    """
    if shutil.disk_usage(run.folder).free < size * 1.1:
        raise Missing(f"a file of {size / _GIB:g} GiB has no room in {run.folder}")
    work = run.folder / "resume"
    landing = work / "landing"
    landing.mkdir(parents=True)
    source = work / "zeros"
    with source.open("wb") as file:
        file.truncate(size)
    try:
        with cli.serving(scheme, landing, cli.new_key(work / "key")) as receiver:
            port = urlsplit(receiver.url).port
            assert port is not None
            with relayed(port) as relay:
                through = cli.Receiver(
                    receiver.process, f"{scheme}://127.0.0.1:{relay.port}", receiver.key
                )
                yield relay, through.send(str(source), "--retry", "0")
    finally:
        shutil.rmtree(work)


def _run_until(relay: Relay, command: list[str], passed: int) -> None:
    """Run a command, and kill it when so much has passed."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        relay.call(process.kill, passed)
        process.wait(_SECONDS)
