"""From a URL to addresses, and to the sockets that listen there."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from objxfer.errors import CannotConnect
from objxfer.transports.urls import Url

_BACKLOG: Final = 1024
# How often a port that is free for one family, but not for the other, is given back.
_PORT_TRIES: Final = 16
_MAPPED: Final = "::ffff:"
_UNSPECIFIED: Final = ("::", "0.0.0.0")  # noqa: S104
_LISTEN_HINTS: Final = {
    errno.EADDRINUSE: "another objxfer may be listening there; name another port",
    errno.EACCES: "ports below 1024 are the system's; name a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; without one, all are listened on",
}

Address = tuple[socket.AddressFamily, Any]
"""A family, and the socket address as its sockets take it."""


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
            f"cannot listen on {url.address}: {why(error)}", hint=hint(error, _LISTEN_HINTS)
        ) from error


def why_not_listening(sock: socket.socket) -> str | None:
    """Return what keeps a socket from being one that ``bind`` could have returned, or None."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return "it is no TCP socket"
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
        return "it is no TCP socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen"
    return None


def listened_at(sock: socket.socket) -> tuple[str, int]:
    """Return the host and the port that a socket listens on; "" stands for all interfaces."""
    address = sock.getsockname()
    return "" if address[0] in _UNSPECIFIED else host_of(address), address[1]


def resolve(host: str, port: int, flags: int = 0) -> list[Address]:
    """Ask the resolver, which knows no deadline, for the addresses of a name, at least one.

    Args:
        host: a name, or an address; one that is IPv6 may have a scope, as in ``fe80::1%eth0``.
        port: becomes part of the addresses.
        flags: of ``getaddrinfo``.

    Raises:
        OSError: there is no such name, or no answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        # What IDNA says of a name with an empty label, or one that is too long.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return [(family, address) for family, _, _, _, address in found]


def resolve_aside(url: Url, told: Callable[[list[Address] | OSError], None]) -> None:
    """Ask the resolver in a thread of its own: it knows no deadline, and is left where it hangs."""

    def ask() -> None:
        try:
            told(resolve(url.host, url.port))
        except OSError as error:
            told(error)

    threading.Thread(target=ask, name="objxfer-resolve", daemon=True).start()


def look_up(url: Url, deadline: float) -> list[Url]:
    """Return a URL for each address of the host of another, in the resolver's order.

    Args:
        url: of which only the folder is dropped.
        deadline: when to give up, in seconds of ``time.monotonic()``.

    Raises:
        OSError: there is no such name, or no answer in time.
    """
    outcome: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    resolve_aside(url, outcome.put)
    try:
        found = outcome.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise timed_out() from None
    if isinstance(found, OSError):
        raise found
    hosts = dict.fromkeys(host_of(address) for _, address in found)
    return [Url(url.scheme, host, url.port) for host in hosts]


def host_of(address: Any) -> str:
    """Return the host of a socket address, with the scope that some IPv6 addresses need."""
    host, _, *rest = address
    scope = rest[1] if rest else 0
    if not scope or "%" in host:
        return _unmapped(host)
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:
        return f"{host}%{scope}"


def _unmapped(host: str) -> str:
    """Return an address as its family writes it.

    A socket for both families, as a service manager may pass it, gives IPv4 as ``::ffff:10.0.0.1``
    (RFC 4291).
    """
    return host.removeprefix(_MAPPED) if "." in host else host


def timed_out() -> OSError:
    """Return the error of a wait that took too long."""
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def why(error: OSError) -> str:
    """Return what the system says of an error, to stand in a sentence."""
    return (error.strerror or str(error)).lower()


def hint(error: OSError, hints: Mapping[int, str]) -> str:
    """Return what to do about an error: of these hints by ``errno``, or about a name; or ""."""
    if isinstance(error, socket.gaierror):
        return "check the name, or use the address"
    return hints.get(error.errno or 0, "")


def _to_listen_on(url: Url) -> list[Address]:
    if not url.host:
        return [(socket.AF_INET6, ("::", 0)), (socket.AF_INET, ("0.0.0.0", 0))]  # noqa: S104
    return resolve(url.host, 0, socket.AI_PASSIVE)


def _bind_all(addresses: list[Address], port: int) -> list[socket.socket]:
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
