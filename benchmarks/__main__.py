"""``python -m benchmarks``: measure, print the tables."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from benchmarks import cli, contact, fanout, files, machine, memory, objects, resume, start
from benchmarks.report import Report
from benchmarks.run import Missing, Run, at_most
from benchmarks.tables import Finding

_PARTS: Final[dict[str, Callable[[Run], Iterable[Finding]]]] = {
    "files": files.measure,
    "fanout": fanout.measure,
    "resume": resume.measure,
    "objects": objects.measure,
    "memory": memory.measure,
    "start": start.measure,
    "contact": contact.measure,
}
_IN_MEMORY: Final = Path("/dev/shm")
_PART_SECONDS: Final = 1200
_QUICK_PART_SECONDS: Final = 120
_ROOM: Final = 3 * 2**30
_QUICK_ROOM: Final = 2**28


def main() -> int:
    """Run the parts that were asked for; 1 if one of them failed."""
    options = _options()
    # As Ctrl-C does: what was started is stopped, and the work folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failed = False
    with tempfile.TemporaryDirectory(prefix="objxfer-bench-", dir=options.dir) as folder:
        run = Run(Path(folder), options.quick, options.huge, options.tree)
        cli.compile_all()
        report = Report(machine.describe(run.folder), run.quick, run.left_out)
        for name in dict.fromkeys(options.parts or _PARTS):
            try:
                with at_most(_QUICK_PART_SECONDS if run.quick else _PART_SECONDS):
                    report.findings.extend(_PARTS[name](run))
            except Missing as reason:
                run.leave_out(f"{name}: {reason}")
            except Exception as error:  # noqa: BLE001  # what the other parts measure is kept
                run.leave_out(f"{name} failed: {type(error).__name__}: {error}")
                failed = True
    print(report.page() if options.markdown else report.text())
    if options.json:
        options.json.write_text(report.json() + "\n")
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure objxfer beside scp, rsync, cp, multiprocessing.connection and pyzmq.",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)}; all unless named"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it all work?")
    parser.add_argument(
        "--huge", action="store_true", help="memory: 50 GiB and a million files; takes minutes"
    )
    parser.add_argument(
        "--tree",
        type=Path,
        default=Path(sysconfig.get_path("stdlib")),
        help="real files to send (default: Python's own library)",
    )
    parser.add_argument("--dir", type=Path, help="where to work (default: in memory, or /tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", action="store_true", help="print docs/performance.md")
    options = parser.parse_args()
    for each in options.parts:
        if each not in _PARTS:
            parser.error(f"{each!r} is no part; there are {', '.join(_PARTS)}")
    room = _QUICK_ROOM if options.quick else _ROOM
    if options.dir is None:
        usable = os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free >= room
        options.dir = _IN_MEMORY if usable else Path(tempfile.gettempdir())
    if not options.dir.is_dir():
        parser.error(f"{options.dir} is not a folder")
    if not options.tree.is_dir():
        parser.error(f"{options.tree} is not a folder")
    if shutil.disk_usage(options.dir).free < room:
        parser.error(f"{options.dir} has less than {room / 2**30:g} GiB free")
    return options


if __name__ == "__main__":
    sys.exit(main())
