"""Making connections and taking them: from a URL to sockets."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import queue
import socket
import sys
import threading
import time
from typing import Any, Final

from objxfer.errors import CannotConnect
from objxfer.transports.urls import Url

_BACKLOG: Final = 1024
# How often a port that is free for one family, but not for the other, is given back.
_PORT_TRIES: Final = 16
# Documentation addresses (RFC 5737, RFC 3849): nobody has them, and no packet is sent to them.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_OWN_NAME_SECONDS: Final = 1.0

_HINTS: Final = {
    errno.ECONNREFUSED: 'start "objxfer receive" there first',
    errno.ETIMEDOUT: "is the other machine on, and does no firewall lie in between?",
    errno.EHOSTUNREACH: "are both machines on the same network?",
    errno.ENETUNREACH: "is this machine on the network?",
}
_LISTEN_HINTS: Final = {
    errno.EADDRINUSE: "another objxfer may be listening there; name another port",
    errno.EACCES: "ports below 1024 are the system's; name a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; without one, all are listened on",
}

_Address = tuple[socket.AddressFamily, Any]
"""A family, and the socket address as its sockets take it."""


def dial(url: Url, deadline: float) -> socket.socket:
    """Connect to a peer: all addresses of its name are tried, in the order of the resolver.

    Each gets an even share of the time that is left, so that one that swallows packets does
    not use up what the next one needs. Also the look-up of the name ends at the deadline.

    Args:
        url: whom to connect to.
        deadline: when to give up, in seconds of ``time.monotonic()``.

    Returns:
        A connected, blocking socket.

    Raises:
        CannotConnect: none of the addresses answered in time; it says what the first one
            did, which the resolver thinks the likeliest.
    """
    first: OSError | None = None
    try:
        addresses = _look_up(url.host, url.port, deadline)
        for index, (family, address) in enumerate(addresses):
            share = (deadline - time.monotonic()) / (len(addresses) - index)
            try:
                return _connect(family, address, share)
            except OSError as error:
                first = first or error
    except OSError as error:
        first = error
    assert first is not None  # a look-up gives an address or fails
    raise CannotConnect(
        f"cannot connect to {url.address}: {_why(first)}", hint=_hint(first, _HINTS)
    ) from first


def bind(url: Url) -> list[socket.socket]:
    """Listen where ``url`` says.

    All interfaces means IPv6 and IPv4, a socket each, or the one that this machine has. A name
    with several addresses is listened on at each of them. Port 0 is the same free port for all.

    Returns:
        Listening, non-blocking sockets, at least one; the caller closes them.

    Raises:
        CannotConnect: it is not possible, and no socket is left open.
    """
    try:
        addresses = _to_listen_on(url)
        tries = 1 if url.port else _PORT_TRIES
        while True:
            try:
                return _bind_all(addresses, url.port)
            except OSError as error:
                tries -= 1
                if error.errno != errno.EADDRINUSE or not tries:
                    raise
    except OSError as error:
        raise CannotConnect(
            f"cannot listen on {url.address}: {_why(error)}", hint=_hint(error, _LISTEN_HINTS)
        ) from error


def local_addresses() -> list[str]:
    """Return addresses under which other machines reach this one, IPv4 first.

    The address of the way to the internet is asked of the routing table; without such a way
    this machine's own name is looked up, for a second at the most. No packet is sent by
    the first. Where nothing is found it is ``["127.0.0.1"]``.
    """
    found = []
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))
            found.append(sock.getsockname()[0])
    if not any(map(_reachable, found)):
        with contextlib.suppress(OSError):
            own = _look_up(socket.gethostname(), 0, time.monotonic() + _OWN_NAME_SECONDS)
            found += [address[0] for _, address in own]
    usable = sorted(filter(_reachable, dict.fromkeys(found)), key=lambda address: ":" in address)
    return usable or ["127.0.0.1"]


def _reachable(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local)


def _connect(family: socket.AddressFamily, address: Any, seconds: float) -> socket.socket:
    if seconds <= 0:
        raise _timed_out()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address)
        sock.settimeout(None)
    except TimeoutError:
        sock.close()
        raise _timed_out() from None
    except OSError:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int, deadline: float) -> list[_Address]:
    """Resolve a name. The resolver knows no deadline, so it is left behind where it hangs.

    Raises:
        OSError: there is no such name, or no answer by the deadline.
    """
    with contextlib.suppress(OSError):
        return _resolve(host, port, socket.AI_NUMERICHOST)
    outcomes: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            outcomes.put(_resolve(host, port))
        except OSError as error:
            outcomes.put(error)

    threading.Thread(target=resolve, name="objxfer-resolve", daemon=True).start()
    try:
        outcome = outcomes.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise _timed_out() from None
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def _resolve(host: str, port: int, flags: int = 0) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        # What IDNA says of a name with an empty label, or one that is too long.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return [(family, address) for family, _, _, _, address in found]


def _to_listen_on(url: Url) -> list[_Address]:
    if not url.host:
        return [(socket.AF_INET6, ("::", 0)), (socket.AF_INET, ("0.0.0.0", 0))]  # noqa: S104
    return _resolve(url.host, 0, socket.AI_PASSIVE)


def _bind_all(addresses: list[_Address], port: int) -> list[socket.socket]:
    """Listen on each address that this machine has; port 0 becomes the same one for all."""
    absent: OSError | None = None
    with contextlib.ExitStack() as on_failure:
        sockets: list[socket.socket] = []
        for family, (host, _, *rest) in addresses:
            try:
                sock = _listen(family, (host, port, *rest))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                absent = error
                continue
            sockets.append(on_failure.enter_context(sock))
            port = sock.getsockname()[1]
        if not sockets:
            assert absent is not None
            raise absent
        on_failure.pop_all()
        return sockets


def _listen(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # There SO_REUSEADDR would let anybody take the port over.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.settimeout(0)
    except OSError:
        sock.close()
        raise
    return sock


def _timed_out() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _hint(error: OSError, hints: dict[int, str]) -> str:
    if isinstance(error, socket.gaierror):
        return "check the name, or use the address"
    return hints.get(error.errno or 0, "")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
