"""``python -m fuzz NAME``: look for inputs that a parser handles wrongly; see ``README.md``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Final

from fuzz.harness import NAMES, corpus, judging, named
from fuzz.mutate import mutants

_IN_MEMORY: Final = Path("/dev/shm")


def main() -> None:
    """Fuzz one parser, in a process of its own: libFuzzer ends it without further ado."""
    options = _options()
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="objxfer-fuzz-", dir=place) as folder:
        tempfile.tempdir = folder  # of the harnesses that work on files, too
        work = multiprocessing.get_context("fork").Process(target=_fuzz, args=(options,))
        work.start()
        work.join()
    sys.exit(work.exitcode)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz one of the parsers.")
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=600, help="for how long (default: 600)")
    parser.add_argument("--found", type=Path, metavar="DIR", help="keep inputs of new ways there")
    parser.add_argument("--input", metavar="HEX", help="feed this one input, and end")
    return parser.parse_args()


def _fuzz(options: argparse.Namespace) -> None:
    if options.input is not None:
        judging(named(options.name))(bytes.fromhex(options.input))
        return
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: inputs are made without a look into the parser")
        _without(options.name, options.seconds)
    else:
        _with(atheris, options)


def _with(atheris: Any, options: argparse.Namespace) -> None:
    """Let libFuzzer look for ways through the parser that no input has taken yet."""
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["objxfer", "objxfer_cli"]):
        harness = named(options.name)
        feed = judging(harness)  # whatever is imported late is, by now
    found = options.found or Path(tempfile.mkdtemp())
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*harness.seeds(), *corpus(options.name)]):
        (found / f"seed-{number}").write_bytes(data)
    settings = {
        "max_total_time": options.seconds,
        "max_len": 8192,
        "timeout": 10,
        "rss_limit_mb": 2048,
        "print_final_stats": 1,
        "artifact_prefix": f"{found}/",
    }
    arguments = [f"-{name}={value}" for name, value in settings.items()]
    atheris.Setup([sys.argv[0], *arguments, str(found)], feed)
    atheris.Fuzz()


def _without(name: str, seconds: int) -> None:
    harness = named(name)
    feed, count, end = judging(harness), 0, time.monotonic() + seconds
    inputs = [*harness.seeds(), *corpus(name)]
    for data in chain(inputs, mutants(inputs, Random())):
        if time.monotonic() > end:
            break
        feed(data)
        count += 1
    print(f"{count} inputs, and nothing found")


if __name__ == "__main__":
    main()
