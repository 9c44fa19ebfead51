"""Memory of either side, sampled from /proc: a long stream, and a great many files."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from benchmarks import cli
from benchmarks.commands import CommandFailed, started
from benchmarks.files import write_many
from benchmarks.run import Missing, Run
from benchmarks.tables import Comparison, Table, Timeline

_GIB: Final = 2**30
_SMALL: Final = 100
_LIMIT: Final = 100.0
"""MiB, of either side."""
_SAMPLE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Form:
    stream: int
    """Bytes."""
    files: int


_FULL: Final = _Form(stream=20 * _GIB, files=200_000)
_HUGE: Final = _Form(stream=50 * _GIB, files=1_000_000)
_QUICK: Final = _Form(stream=2 * _GIB, files=10_000)

_Traces = Mapping[str, "_Trace"]


@dataclass(slots=True)
class _Trace:
    """What one process held while it was watched, in MiB."""

    resident: list[float] = field(default_factory=list)
    peak: float = 0.0


def measure(run: Run) -> Iterator[Table | Timeline]:
    """Yield the tables of this part.

    Raises:
        Missing: the system has no /proc.
    """
    if not Path("/proc/self/status").exists():
        raise Missing("this system has no /proc")
    form = _QUICK if run.quick else _HUGE if run.huge else _FULL
    key = cli.new_key(run.folder / "memory-key")
    traces = {**_stream(run, form, key), **_many_files(run, form, key)}
    peaks = Table(
        "Memory of either side, TLS: the peak of the resident set",
        "MiB",
        more_is_better=False,
        comparisons=[Comparison(name, goal=_LIMIT) for name in traces],
    )
    for name, trace in traces.items():
        peaks.add(name, trace.peak)
    yield peaks
    yield Timeline(
        "Memory of either side over time",
        "MiB",
        samples={name: trace.resident for name, trace in traces.items()},
    )


def _stream(run: Run, form: _Form, key: Path) -> _Traces:
    what = f"stream of {form.stream // _GIB} GiB"
    run.say(f"memory: {what}")
    with (
        cli.receiving_stream("tls", key) as receiver,
        subprocess.Popen(
            ["head", "-c", str(form.stream), "/dev/zero"], stdout=subprocess.PIPE
        ) as generator,
    ):
        assert generator.stdout is not None
        argv = receiver.send("-", "--name", "zeros")
        return _watched(what, argv, receiver.process, stdin=generator.stdout)


def _many_files(run: Run, form: _Form, key: Path) -> _Traces:
    what = f"{form.files:,} files"
    run.say(f"memory: {what}")
    many, landing = run.folder / "small", run.folder / "landed"
    write_many(many, form.files, _SMALL)
    landing.mkdir()
    with cli.serving("tls", landing, key) as receiver:
        return _watched(what, receiver.send(str(many)), receiver.process)


def _watched(
    what: str,
    argv: Sequence[str],
    receiver: subprocess.Popen[bytes],
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> _Traces:
    """Run the sending command, and watch both sides until it ends."""
    traces = {f"{what}, sender": _Trace(), f"{what}, receiver": _Trace()}
    with (
        tempfile.TemporaryFile() as stderr,
        started(argv, stdin=stdin, stderr=stderr) as sender,
    ):
        while sender.poll() is None:
            for process, trace in zip((sender, receiver), traces.values(), strict=True):
                _sample(process, trace)
            time.sleep(_SAMPLE_SECONDS)
        if sender.returncode:
            raise CommandFailed(argv, f"exit {sender.returncode}", stderr)
    return traces


def _sample(process: subprocess.Popen[bytes], trace: _Trace) -> None:
    """Add what a process holds now; nothing where it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        # proc_pid_status(5). The peak is the kernel's own, so none between two samples is missed.
        sizes = {
            name: int(value.split()[0]) / 1024
            for name, _, value in (line.partition(":") for line in status.splitlines())
            if name in ("VmRSS", "VmHWM")
        }
        if sizes:  # a process that ended but was not waited for has none
            trace.resident.append(sizes["VmRSS"])
            trace.peak = max(trace.peak, sizes["VmHWM"])
