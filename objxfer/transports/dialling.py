"""Making connections: of all addresses of a peer, the one that answers first (RFC 8305)."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from objxfer.errors import CannotConnect
from objxfer.transports.addresses import (
    Address,
    hint,
    host_of,
    resolve,
    resolve_aside,
    timed_out,
    why,
)
from objxfer.transports.urls import Url

# RFC 8305, section 5: the delay between attempts, and the least that it may be.
_DELAY: Final = 0.25
_LEAST_DELAY: Final = 0.01
# How long a look-up that is over may go unnoticed while attempts are on their way.
_LOOK_UP_TICK: Final = 0.05
# Addresses that a message names for one reason.
_NAMED: Final = 4

_MORE: Final = '"objxfer doctor TARGET" says more'
# The more telling of several stands before the less.
_HINTS: Final = {
    errno.ECONNREFUSED: 'start "objxfer receive" there first',
    errno.ETIMEDOUT: f"is the other machine on, and does no firewall lie in between? {_MORE}",
    errno.EHOSTUNREACH: f"are both machines on the same network? {_MORE}",
    errno.ENETUNREACH: "is this machine on the network?",
    errno.EINVAL: "a link-local address needs its interface, as in tls://[fe80::1%eth0]",
}


def dial(url: Url, deadline: float) -> socket.socket:
    """Connect to a peer; as ``dial_each`` for the addresses of one name.

    Args:
        url: whom to connect to.
        deadline: when to give up, in seconds of ``time.monotonic()``.

    Returns:
        A connected, blocking socket.

    Raises:
        CannotConnect: none of the addresses answered in time; it says what each did.
    """
    return next(dial_each([[url]], deadline, most=1, name=url.address))


def dial_each(
    services: Sequence[Sequence[Url]], deadline: float, *, most: int, name: str
) -> Iterator[socket.socket]:
    """Connect to the one of several services that answers first; if it is not the one, go on.

    Who accepts a connection need not be who is meant. The caller finds out, closes the socket,
    and takes the next, or none: an address that connected is not tried again.

    Addresses are tried as in RFC 8305: of each service in turn, its families in turn, the next
    250 ms after the last or when one fails; sooner where the time would not do for all. The
    first that connects wins. The attempts on their way are closed then, and made again
    when another socket is asked for: between two sockets nothing is open. The thread that asks
    does all of this, with one selector; only for looking up names that are no addresses are
    there threads, one a name, left behind where the resolver hangs.

    Args:
        services: each the URLs of one service, of which scheme and folder do not matter here.
        deadline: when to give up, for all of them together, in seconds of ``time.monotonic()``.
        most: sockets that are yielded at the most.
        name: what the services are called in messages.

    Yields:
        Connected, blocking sockets; they are the caller's to close.

    Raises:
        CannotConnect: not one of the addresses answered in time; it says what each did.
    """
    race = _Race(services, deadline)
    for yielded in range(most):
        winner = race.run()
        if winner is None:
            if not yielded:
                raise race.lost(name)
            return
        yield winner


class _Service:
    """The addresses of one service that are still to be tried."""

    def __init__(self) -> None:
        self._waiting: deque[Address] = deque()
        self._known: set[Address] = set()
        self._last: socket.AddressFamily | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, addresses: Sequence[Address]) -> None:
        for address in addresses:
            if address not in self._known:
                self._known.add(address)
                self._waiting.append(address)

    def take(self) -> Address:
        """Return the next, of another family than the last one if there is any."""
        for address in self._waiting:
            if address[0] != self._last:
                break
        else:
            address = self._waiting[0]
        self._waiting.remove(address)
        self._last = address[0]
        return address

    def put_back(self, address: Address) -> None:
        self._waiting.appendleft(address)


class _Race:
    """Tries addresses until one connects, and again from there."""

    def __init__(self, services: Sequence[Sequence[Url]], deadline: float) -> None:
        self._deadline = deadline
        self._services = deque(_Service() for _ in services)
        self._errors: list[tuple[str, OSError]] = []
        self._outcomes: queue.SimpleQueue[tuple[_Service, str, list[Address] | OSError]]
        self._outcomes = queue.SimpleQueue()
        self._looked_up: list[str] = []
        for service, urls in zip(tuple(self._services), services, strict=True):
            for url in urls:
                self._add(service, url)

    def run(self) -> socket.socket | None:
        """Return the next socket that connects, or None if there will be none."""
        with contextlib.ExitStack() as exit_stack:
            selector = exit_stack.enter_context(selectors.DefaultSelector())
            exit_stack.callback(self._stop, selector)
            start_at = 0.0
            while True:
                under_way = len(selector.get_map())
                self._take_outcomes(wait=not under_way and not self._waiting())
                now = time.monotonic()
                if now >= self._deadline:
                    self._time_out(selector)
                    return None
                if self._waiting() and (now >= start_at or not under_way):
                    if (winner := self._start(selector)) is not None:
                        return winner
                    if len(selector.get_map()) == under_way:  # it failed at once
                        start_at = 0.0
                        continue
                    start_at = now + self._delay(now)
                elif not under_way and not self._looked_up:
                    return None
                for key, _ in selector.select(self._pause(now, start_at)):
                    if (winner := self._finish(selector, key)) is not None:
                        return winner
                    start_at = 0.0

    def lost(self, name: str) -> CannotConnect:
        """Return the error that says what each address did."""
        if not self._errors:
            return CannotConnect(f"cannot connect to {name}: it has no address")
        reasons: dict[str, list[str]] = {}
        for where, error in self._errors:
            reasons.setdefault(why(error), []).append(where)
        if len(self._errors) == 1:
            said = next(iter(reasons))
        else:
            said = "; ".join(f"{reason} ({_listed(where)})" for reason, where in reasons.items())
        errors = [error for _, error in self._errors]
        rank = {number: index for index, number in enumerate(_HINTS)}
        telling = min(errors, key=lambda error: rank.get(error.errno or 0, len(rank)))
        lost = CannotConnect(f"cannot connect to {name}: {said}", hint=hint(telling, _HINTS))
        lost.__cause__ = telling
        return lost

    # --- names ---

    def _add(self, service: _Service, url: Url) -> None:
        """Add the addresses of a URL, now or when its name is looked up."""
        with contextlib.suppress(OSError):
            service.add(resolve(url.host, url.port, socket.AI_NUMERICHOST))
            return

        self._looked_up.append(url.host)
        resolve_aside(url, lambda outcome: self._outcomes.put((service, url.host, outcome)))

    def _take_outcomes(self, *, wait: bool) -> None:
        """Take in what was looked up; wait for it until the deadline if nothing else goes on."""
        while self._looked_up:
            try:
                left = max(0.0, self._deadline - time.monotonic())
                service, host, outcome = self._outcomes.get(timeout=left if wait else 0)
            except queue.Empty:
                return
            self._looked_up.remove(host)
            if isinstance(outcome, OSError):
                self._errors.append((host, outcome))
            else:
                service.add(outcome)
                wait = False

    # --- attempts ---

    def _waiting(self) -> int:
        return sum(map(len, self._services))

    def _delay(self, now: float) -> float:
        return max(_LEAST_DELAY, min(_DELAY, (self._deadline - now) / (self._waiting() + 1)))

    def _pause(self, now: float, start_at: float) -> float:
        until = min(start_at, self._deadline) if self._waiting() else self._deadline
        if self._looked_up:
            until = min(until, now + _LOOK_UP_TICK)
        return max(0.0, until - now)

    def _start(self, selector: selectors.BaseSelector) -> socket.socket | None:
        """Begin the next attempt; return the socket if it is connected already."""
        while not self._services[0]:
            self._services.rotate(-1)
        service = self._services[0]
        self._services.rotate(-1)
        address = service.take()
        try:
            return begin(address, selector, (service, address))
        except OSError as error:
            self._errors.append((host_of(address[1]), error))
            return None

    def _finish(
        self, selector: selectors.BaseSelector, key: selectors.SelectorKey
    ) -> socket.socket | None:
        """End an attempt that is over; return the socket if it is connected."""
        outcome = end(selector, key)
        if isinstance(outcome, OSError):
            self._errors.append((host_of(key.data[1][1]), outcome))
            return None
        return outcome

    def _stop(self, selector: selectors.BaseSelector) -> None:
        """Close the attempts on their way, as if they had not been begun."""
        for key in selector.get_map().values():
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
            service, address = key.data
            service.put_back(address)

    def _time_out(self, selector: selectors.BaseSelector) -> None:
        late = [host_of(key.data[1][1]) for key in selector.get_map().values()]
        for service in self._services:
            late += [host_of(service.take()[1]) for _ in range(len(service))]
        late += self._looked_up
        self._looked_up.clear()
        self._errors += [(where, timed_out()) for where in late]


def begin(address: Address, selector: selectors.BaseSelector, data: object) -> socket.socket | None:
    """Begin to connect; return the socket if it is connected already, or let it be watched.

    Raises:
        OSError: it failed at once.
    """
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.connect(address[1])
    except BlockingIOError:
        selector.register(sock, selectors.EVENT_WRITE, data)
        return None
    except BaseException:
        sock.close()
        raise
    sock.settimeout(None)
    return sock


def end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> socket.socket | OSError:
    """End an attempt that is over: return the connected socket, or why there is none."""
    sock = key.fileobj
    assert isinstance(sock, socket.socket)
    selector.unregister(sock)
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        sock.close()
        return OSError(number, os.strerror(number))
    sock.settimeout(None)
    return sock


def _listed(where: list[str]) -> str:
    named, more = where[:_NAMED], len(where) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
