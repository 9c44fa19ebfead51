"""Checks of this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Final

from objxfer import __version__
from objxfer.blocking.doctor.checks import Check, failed, ok, warning
from objxfer.blocking.doctor.identity import check_config, check_key, check_peers
from objxfer.blocking.doctor.network import (
    check_firewall,
    check_interfaces,
    check_multicast,
    check_port,
)
from objxfer.blocking.terms import SAFE
from objxfer.errors import ExitCode
from objxfer.protocol.chunks import VERSION
from objxfer.security.keyfiles import StrPath
from objxfer.security.peers import Peers
from objxfer.serializers.base import GROUP

_YEARS: Final = range(2025, 2100)
"""Years that a clock may show: it was not sooner when this was written."""
_LITTLE: Final = 100_000_000
"""Bytes of free space that are few."""
_MOUNTS: Final = "/proc/self/mountinfo"
_SMALL_FILES: Final = ("vfat", "msdos")
"""File systems whose files end at 4 GiB."""


def examine_machine(*, key_file: StrPath | None = None, insecure: bool = False) -> Iterator[Check]:
    """Look at all on this machine that a delivery depends on, and say how each thing is.

    A service of a name that means nothing is announced for a second or two, to see whether that
    comes back; and the usual port is bound, or who holds it is called. Nothing is written.

    Args:
        key_file: where the key lies, as for ``Key.find``.
        insecure: use no key.
    """
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    yield ok("objxfer", f"{__version__}, Python {platform.python_version()}, {system}")
    yield _features()
    yield check_config()
    peers = Peers()
    key, check = check_key(key_file, insecure=insecure, needed=False)
    yield check
    yield from check_peers(peers)
    yield from check_interfaces()
    yield from check_multicast()
    yield check_port(key)
    yield check_firewall()
    yield _clock(time.time())
    yield _folder()


def _features() -> Check:
    try:
        import numpy as np
    except ImportError:
        arrays = "no numpy, which is not needed"
    else:
        arrays = f"numpy {np.__version__}"
    accepted = ", ".join(SAFE)
    plug_ins = sorted({entry_point.name for entry_point in entry_points(group=GROUP)})
    more = ", ".join(["pickle, cloudpickle", *plug_ins])
    return ok(
        "features",
        f"protocol version {VERSION}; objects as {accepted}, and where a receiver asks for it as"
        f" {more}; {arrays}",
    )


def _clock(now: float) -> Check:
    """Look at the clock. No handshake goes by it; the dates of files do, and what is kept how long.

    So it is compared with nobody's: it only has to be one that can be true.
    """
    with contextlib.suppress(OverflowError, OSError, ValueError):
        shown = datetime.fromtimestamp(now, UTC)
        if shown.year in _YEARS:
            return ok("clock", f"{shown:%Y-%m-%d %H:%M:%S} UTC; the other machine's may differ")
        return warning(
            "clock",
            f"it shows {shown:%Y-%m-%d}, which it cannot be: files here get such dates, and parts"
            " of files that were cut off are kept for too long, or too short",
            "set it; machines do that by themselves with NTP",
        )
    return warning("clock", f"it shows {now:g} s since 1970", "set it")


def _folder() -> Check:
    """Look at the current folder, where deliveries land unless told otherwise."""
    try:
        folder = os.getcwd()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return failed("folder", f"the current folder: {why}", "go to another", ExitCode.FAILED)
    kind = _file_system(folder)
    shown = f"{folder}: {free / 1e9:,.1f} GB free" + (f", {kind}" if kind else "")
    if not os.access(folder, os.W_OK | os.X_OK):
        return warning(
            "folder",
            f"{shown}; nothing can be received here, it cannot be written",
            'receive somewhere else: "objxfer receive --into DIR"',
        )
    if free < _LITTLE:
        return warning("folder", f"{shown}: that is little", "make room, or use --into DIR")
    if kind in _SMALL_FILES:
        return warning(
            "folder", f"{shown}: no file there can have more than 4 GiB", "use --into DIR for such"
        )
    return ok("folder", shown)


def _file_system(folder: str) -> str:
    """Return what kind of file system a folder lies on, or ""; Linux says."""
    if sys.platform != "linux":
        return ""
    with contextlib.suppress(OSError, ValueError):
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                # proc(5): the device is the third; behind a lone dash stands the kind.
                before, _, behind = line.partition(" - ")
                if before.split()[2] == number:
                    return behind.split()[0]
    return ""
