"""What a run was measured on: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import ssl
from importlib import metadata
from pathlib import Path

from benchmarks.commands import said


def describe(folder: Path) -> dict[str, str]:
    """Return what the machine is, which versions are measured, and where files lie."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {
        "CPU": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{ram / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "work folder on": file_system(folder),
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "objxfer": _package("objxfer"),
        "ssh": said(["ssh", "-V"]),
        "rsync": said(["rsync", "--version"]),
        "cp": said(["cp", "--version"]),
        "pyzmq": _package("pyzmq"),
        "numpy": _package("numpy"),
    }
    return {name: value or "not installed" for name, value in found.items()}


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, where the system tells it."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    types = {
        Path(_unescaped(where)): kind for _, where, kind, *_ in (line.split() for line in mounts)
    }
    above = [folder.resolve(), *folder.resolve().parents]
    return next((types[each] for each in above if each in types), "unknown")


def _unescaped(where: str) -> str:
    # proc_pid_mounts(5): blanks, tabs, line ends and backslashes are written in octal.
    return where.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
