"""What is heard of services on the network, until it is handed out: bounded, whatever is said."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Final

MOST_SERVICES: Final = 256
"""Services that are remembered at the same time."""
MOST_ADDRESSES: Final = 16
"""Addresses of one service that are remembered."""


@dataclass(frozen=True, slots=True)
class Service:
    """A hint where somebody may be reached, told by anybody: no statement about who it is."""

    instance: str
    """The name under which it is announced; printable, at most 63 bytes in UTF-8."""
    port: int
    """The TCP port, 1 to 65535."""
    addresses: tuple[str, ...]
    """IPv4 and IPv6, at least one, as they stand in a URL; link-local ones with their scope, as
    in ``fe80::1%eth0``. The likelier come first."""
    peer_id: bytes | None = None
    """The public id, 16 bytes, of the peer that it claims to be; None where it claims none."""


@dataclass(slots=True)
class _Seen:
    instance: str
    peer_id: bytes | None
    waiting: list[str] = field(default_factory=list)
    handed_out: list[str] = field(default_factory=list)


class Sightings:
    """The services that were heard of; one thread says what it hears, another one takes them.

    There is room for ``MOST_SERVICES``. A new one takes the place of another. Which one that is,
    and which of several is handed out next, is left to chance: so nobody who says much, or
    speaks first, can be sure to be the only one who is heard. One whose place was taken may be
    handed out again when it is heard again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: dict[tuple[str, str, int], _Seen] = {}
        self._closed = False
        self._error: Exception | None = None

    def add_service(self, instance: str, host: str, port: int, peer_id: bytes | None) -> None:
        """Say that a service is announced, at a host whose addresses are told by ``add_address``.

        The peer id is told with it or never: another packet may be somebody else's.
        """
        key = (instance.casefold(), host, port)
        with self._changed:
            if key not in self._seen:
                if len(self._seen) >= MOST_SERVICES:
                    del self._seen[random.choice(list(self._seen))]  # noqa: S311
                self._seen[key] = _Seen(instance, peer_id)

    def add_address(self, host: str, address: str) -> None:
        """Say that a host has an address; of hosts that no service is at, nothing is kept."""
        with self._changed:
            for (_, at, _), seen in self._seen.items():
                if at != host or address in seen.waiting or address in seen.handed_out:
                    continue
                if len(seen.waiting) + len(seen.handed_out) >= MOST_ADDRESSES:
                    among = seen.handed_out or seen.waiting
                    among.remove(random.choice(among))  # noqa: S311
                seen.waiting.append(address)
                self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """End it: whoever takes gets this error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """End it: whoever takes gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, deadline: float | None) -> Service | None:
        """Return a service that was heard of, with those of its addresses that were not handed out.

        Args:
            deadline: in seconds of ``time.monotonic()``; None waits until it is closed.

        Returns:
            None where it is closed, or nothing was heard by the deadline.

        Raises:
            Exception: what it failed with.
        """
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    return None
                waiting = [item for item in self._seen.items() if item[1].waiting]
                if waiting:
                    (_, _, port), seen = random.choice(waiting)  # noqa: S311
                    addresses = tuple(seen.waiting)
                    seen.handed_out += seen.waiting
                    seen.waiting.clear()
                    return Service(seen.instance, port, addresses, seen.peer_id)
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
