"""The service manager: the sockets that it passes, and what it is told.

It is the protocol of systemd, sd_listen_fds(3) and sd_notify(3), which others speak too. All of it
is in the environment; where there is nothing, nothing is passed and nobody is told.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from objxfer.errors import ExitCode, ObjxferError
from objxfer.escapes import escaped
from objxfer.transports.addresses import why, why_not_listening

_FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
_MOST: Final = 1024
"""More descriptors than this nobody passes."""
_PASSED: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_PATIENCE: Final = 5.0
"""Seconds that a manager gets to take a message."""
_LONGEST: Final = 1024
"""Characters of a status."""

OnUnheard = Callable[[str], None]
"""Told, once, why the service manager does not hear what it is told."""


def passed_sockets() -> list[socket.socket]:
    """Return the listening sockets that the service manager passed to this process, or none.

    They are the caller's, and are not inherited by the programs that it starts. The variables are
    gone from the environment afterwards, so that nobody takes the sockets a second time.

    Raises:
        ObjxferError: what was passed cannot be listened on (exit code ``USAGE``).
    """
    pid, count, names, _ = (os.environ.pop(name, "") for name in _PASSED)
    if pid != str(os.getpid()):  # it was meant for whoever started us
        return []
    if not (count.isascii() and count.isdecimal() and int(count) <= _MOST):
        raise _unusable(f"LISTEN_FDS is {count!r}, which is no number of sockets")
    descriptors = range(_FIRST, _FIRST + int(count))
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise _unusable(f"there is no descriptor {descriptor}: {why(error)}") from error
    named = dict(zip(descriptors, names.split(":"), strict=False))
    with ExitStack() as on_failure:
        sockets = [
            on_failure.enter_context(_socket(descriptor, named.get(descriptor, "")))
            for descriptor in descriptors
        ]
        on_failure.pop_all()
    return sockets


def _socket(descriptor: int, name: str) -> socket.socket:
    what = f"descriptor {descriptor}" + (f" ({name})" if name else "")
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _unusable(f"{what} is no socket") from error
    if wrong := why_not_listening(sock):
        sock.close()
        raise _unusable(f"{what}: {wrong}")
    return sock


def _unusable(reason: str) -> ObjxferError:
    return ObjxferError(
        f"what the service manager passed cannot be used: {reason}",
        hint="the socket unit has ListenStream=PORT, or ADDRESS:PORT, and Accept=no",
        exit_code=ExitCode.USAGE,
    )


class Manager:
    """The service manager, told how things are. Any thread may call any method.

    What it does not hear ends nothing.

    Args:
        on_unheard: told if it does not hear what it is told.
    """

    def __init__(self, on_unheard: OnUnheard) -> None:
        """Find it in the environment, which no other process that we start gets it from."""
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        self._on_unheard = on_unheard
        self._lock = threading.Lock()
        self._status = ""

    def ready(self, status: str) -> None:
        """Say that all is set up, and how things are."""
        self._tell("READY=1", status)

    def status(self, status: str) -> None:
        """Say, to who asks the manager, how things are: one line, whatever it holds."""
        if status != self._status:
            self._tell("", status)

    def stopping(self, status: str) -> None:
        """Say that we are about to end."""
        self._tell("STOPPING=1", status)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is read anew, and at the end of the block that it is."""
        # systemd compares this clock, whose origin is the machine's start, with its own.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}")
        try:
            yield
        finally:
            self._tell("READY=1")

    def _tell(self, assignments: str, status: str | None = None) -> None:
        with self._lock:
            if not self._address:
                return
            if status is not None:
                self._status = status
                assignments += f"\nSTATUS={escaped(status)[:_LONGEST]}"
            try:
                self._send(assignments.strip().encode(errors="backslashreplace"))
            except OSError as error:
                address, self._address = self._address, ""
                self._on_unheard(
                    f"the service manager at {address!r} is not told how things are: {why(error)}"
                )

    def _send(self, message: bytes) -> None:
        address = self._address
        if address[0] not in "/@":
            raise OSError("an address of an unknown kind")
        if address[0] == "@":  # a name that is in no folder, see unix(7)
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.sendto(message, address)
