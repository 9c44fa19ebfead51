"""The counts of an inbox as a file of metrics, for the textfile collector of a Prometheus exporter.

https://prometheus.io/docs/instrumenting/exposition_formats, the text format 0.0.4.
"""

from __future__ import annotations

import contextlib
import os
import platform
import stat
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Final

import objxfer
from objxfer.errors import ExitCode, ObjxferError
from objxfer.escapes import escaped
from objxfer.transports.addresses import why
from objxfer_cli.counts import BOUNDS, OUTCOMES, Counts

_MODE: Final = 0o644
_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_REFUSALS: Final = (
    ExitCode.NOT_AUTHENTICATED,
    ExitCode.MISMATCH,
    ExitCode.TIMEOUT,
    ExitCode.CONNECTION_LOST,
)
"""Why somebody is most often not let in; there from the start, as 0."""

Sample = tuple[Mapping[str, str], float]
"""Labels, and a value."""


def exposition(counts: Counts, *, up: bool) -> str:
    """Return the metrics; ``up`` while it is listened."""
    with counts.lock:
        underway, connections = counts.underway, counts.connections
        deliveries = {("", ExitCode.OK): 0, **counts.deliveries}
        files, refused = counts.files.copy(), counts.refused.copy()
        carried, succeeded = {"": 0, **counts.bytes}, dict(counts.succeeded)
        took, seconds = list(accumulate(counts.took)), counts.seconds
    build = {"version": objxfer.__version__, "python": platform.python_version()}
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    families = [
        _family("build_info", "gauge", "What runs.", [(build, 1)]),
        _family("start_time_seconds", "gauge", "When it was started.", [({}, counts.since)]),
        _family("up", "gauge", "1 until it has ended, then 0.", [({}, int(up))]),
        _family(
            "deliveries_total",
            "counter",
            "Deliveries that ended, by the name of their exit code.",
            [
                ({"peer": peer, "result": code.name.lower()}, count)
                for (peer, code), count in deliveries.items()
            ],
        ),
        _family(
            "delivery_seconds",
            "histogram",
            "How long the deliveries took that were through.",
            [({"le": bound}, count) for bound, count in zip(bounds, took, strict=True)],
            sums=(seconds, took[-1]),
        ),
        _family(
            "last_success_timestamp_seconds",
            "gauge",
            "When a delivery was last through, and all well.",
            [({"peer": peer}, when) for peer, when in succeeded.items()],
        ),
        _family(
            "files_total",
            "counter",
            "What became of the files of deliveries.",
            [({"action": outcome.value}, files[outcome]) for outcome in OUTCOMES],
        ),
        _family(
            "received_bytes_total",
            "counter",
            "Contents that were carried, of files that are there.",
            [({"peer": peer}, count) for peer, count in carried.items()],
        ),
        _family(
            "refused_total",
            "counter",
            "Connections that were not let in, by the name of their exit code.",
            [
                ({"reason": code.name.lower()}, refused[code])
                for code in dict.fromkeys((*_REFUSALS, *refused))
            ],
        ),
        _family("connections", "gauge", "Peers that are connected.", [({}, connections)]),
        _family("deliveries_underway", "gauge", "Deliveries on their way.", [({}, underway)]),
    ]
    return "".join(families)


class MetricsFile:
    """The file, which whoever reads it finds whole at each moment.

    It is written under another name beside it, ``.NAME.objxfer``, and renamed. It is not flushed:
    after a power cut nobody wants to know what was counted before. Not for two threads at once.

    Args:
        path: of the file; a symbolic link stands for what it points to.
        on_failed: told when it cannot be written, and again only after it could be.

    Raises:
        ObjxferError: something else than a file lies there (exit code ``USAGE``).
    """

    def __init__(self, path: str, on_failed: Callable[[str], None]) -> None:
        self._path = os.path.realpath(path)
        folder, name = os.path.split(self._path)
        self._temporary = os.path.join(folder, f".{name}.objxfer")
        self._on_failed = on_failed
        self._fails = False
        with contextlib.suppress(OSError):  # which writing it tells of
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise ObjxferError(
                    f"metrics cannot be written to {path!r}: it is no file",
                    hint="name a file; it is replaced each time",
                    exit_code=ExitCode.USAGE,
                )

    def write(self, metrics: str) -> None:
        """Replace what the file holds."""
        try:
            self._replace(metrics.encode(errors="backslashreplace"))
        except OSError as error:
            if not self._fails:
                self._on_failed(
                    f"metrics cannot be written to {self._path!r}: {why(error)}; it is tried again"
                )
            self._fails = True
        else:
            self._fails = False

    def _replace(self, contents: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)  # of one that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW
        try:
            with open(os.open(self._temporary, flags, _MODE), "wb") as file:
                os.fchmod(file.fileno(), _MODE)  # whatever the umask leaves of it
                file.write(contents)
            os.replace(self._temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise


def _family(
    name: str,
    kind: str,
    words: str,
    samples: Iterable[Sample],
    sums: tuple[float, int] | None = None,
) -> str:
    """Return the lines of one metric.

    Args:
        name: without the prefix of all.
        kind: the TYPE.
        words: the HELP.
        samples: of a histogram, its buckets.
        sums: of a histogram: the sum of all that was observed, and how often.
    """
    name = f"objxfer_{name}"
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    each = name if sums is None else f"{name}_bucket"
    lines += [f"{each}{_labels(labels)} {_number(value)}" for labels, value in samples]
    if sums is not None:
        lines += [f"{name}_sum {_number(sums[0])}", f"{name}_count {sums[1]}"]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    """Return labels, with values that hold nothing but printable characters."""
    pairs = [f'{name}="{_quoted(value)}"' for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _quoted(value: str) -> str:
    return escaped(value).replace("\\", r"\\").replace('"', r"\"")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else str(round(value, 3))
