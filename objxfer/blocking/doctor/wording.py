"""What errors look like from outside, in plain words: what they mean, and what to do."""

from __future__ import annotations

import errno
import socket
from typing import Final, NamedTuple

from objxfer.transports.addresses import why
from objxfer.transports.urls import DEFAULT_PORT, Url


class Words(NamedTuple):
    """What happened, and what to do about it."""

    message: str
    advice: str


_LONGEST_LINE: Final = 60
TLS_ALERT: Final = b"\x15\x03"
"""How somebody begins who speaks TLS, and was called without (RFC 8446, section 5.1)."""
_HTTP: Final = (b"HTTP/", b"<!DOCTYPE", b"<html", b"<HTML")


def not_connected(error: OSError, port: int, seconds: float) -> Words:
    """Say what it means that an address did not connect.

    Args:
        error: what the system says.
        port: the TCP port that was asked for.
        seconds: how long it took.
    """
    opened = f'start "objxfer receive" there; if it runs, let its firewall allow TCP port {port}'
    match error.errno:
        case errno.ECONNREFUSED:
            return Words(
                f"connection refused: the machine is there, and nobody listens at port {port};"
                " or a firewall rejects",
                opened,
            )
        case errno.ETIMEDOUT:
            return Words(
                f"no answer in {seconds:.0f} s: a firewall drops what is sent there, the machine is"
                " off or asleep, or it is in another network (a VLAN, a guest Wi-Fi that keeps"
                " its devices apart)",
                "wake the machine, and bring both into one network; then let its firewall allow TCP"
                f" port {port}",
            )
        case errno.EHOSTUNREACH:
            return Words(
                "no route to host: no machine has this address now, or a firewall or router on the"
                " way rejects",
                "compare with the addresses that the other machine shows now; if it has this one,"
                f" let its firewall allow TCP port {port}",
            )
        case errno.ENETUNREACH:
            return Words(
                "network unreachable: this machine is in no network that leads there",
                'connect this machine to the network; "objxfer doctor" shows its addresses',
            )
        case errno.EACCES | errno.EPERM:
            return Words(
                "forbidden: a firewall of this machine, or one on the way, does not let it out",
                f"let the firewall allow TCP port {port}, in both directions",
            )
        case errno.ECONNRESET:
            return cut_off(port)
        case errno.EINVAL:
            return Words(
                "a link-local address, and it does not say on which interface",
                "name the interface of this machine, as in tls://[fe80::1%eth0]",
            )
        case errno.EADDRNOTAVAIL:
            return Words(
                "this machine has no address from which that one is reached",
                'use another address; "objxfer doctor" shows those of this machine',
            )
        case _:
            return Words(why(error), "try another address of the other machine")


def cut_off(port: int) -> Words:
    """Say what it means that a connection was reset as soon as it was made."""
    return Words(
        "accepted, and then reset: something in between lets nothing through (a firewall that looks"
        " inside, a proxy, a port of a container that leads to nobody), or the program there"
        " crashed",
        f'see whether "objxfer receive" runs there at port {port}, and what is in between',
    )


def no_such_name(error: OSError, host: str) -> Words:
    """Say what it means that a name has no address."""
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_NONAME:
        return Words(
            f"{host} could not be looked up: {why(error)}",
            "see whether this machine is in a network, or use the address",
        )
    if isinstance(error, socket.gaierror):
        return Words(
            f"there is no {host}: {why(error)}",
            "check the name, or use the address that the other machine shows",
        )
    return Words(
        f"{host} could not be looked up in time: no name server answers",
        "see whether this machine is in a network, or use the address",
    )


def another_program(said: bytes) -> Words | None:
    """Say which program it is that began like this; None where nobody can tell."""
    if said.startswith(b"SSH-"):
        return Words(
            f"an SSH server answers there: {_line(said)}",
            f"name the port of objxfer; without one it is {DEFAULT_PORT}",
        )
    if said.startswith(_HTTP):
        return Words(
            f"a web server answers there: {_line(said)}",
            f"name the port of objxfer; without one it is {DEFAULT_PORT}",
        )
    line = _line(said)
    if not line:
        return None
    return Words(
        f"another program answers there: {line}",
        f"name the port of objxfer; without one it is {DEFAULT_PORT}",
    )


def on_tcp(url: Url) -> Words:
    """Say that an objxfer listens without TLS where it was called with TLS."""
    other = Url("tcp", url.host, url.port).address
    return Words(
        "objxfer listens there on tcp://, which is not encrypted",
        f"start it there with --listen tls://:{url.port}; or, if that is meant, use {other}",
    )


def on_tls(url: Url) -> Words:
    """Say that somebody listens with TLS where it was called without."""
    other = Url("tls", url.host, url.port).address
    return Words("it speaks TLS, and was called by tcp://", f"use {other}")


def _line(said: bytes) -> str:
    """Return the first line of what somebody said, in quotes and harmless; "" for no text."""
    line = said.splitlines()[0] if said else b""
    if not line.strip() or any(byte < 32 and byte not in b"\t\x1b" for byte in line):
        return ""
    return ascii(line[:_LONGEST_LINE].decode("latin-1"))
