"""Sockets that are passed to a command, as the service manager does it."""

from __future__ import annotations

import socket
import sys

_PASSING = """\
import os, socket, sys

def made(kind, port):
    if kind == "file":
        return os.open(os.devnull, os.O_RDONLY)
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"\\0objxfer-{os.getpid()}")
    else:
        udp, ipv4 = kind == "udp", kind not in ("ipv6", "both", "all")
        sock = socket.socket(
            socket.AF_INET if ipv4 else socket.AF_INET6,
            socket.SOCK_DGRAM if udp else socket.SOCK_STREAM,
        )
        if kind in ("both", "all"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        hosts = {"both": "::ffff:127.0.0.1", "ipv6": "::1", "all": "::"}
        sock.bind((hosts.get(kind, "127.0.0.1"), port))
    if kind not in ("udp", "deaf"):
        sock.listen()
    return sock.detach()

kinds, names, command = sys.argv[1].split(), sys.argv[2], sys.argv[3:]
passed, port = [], 0
for kind in kinds:
    passed.append(made(kind, port))
    if kind in ("ipv4", "ipv6"):
        port = socket.socket(fileno=os.dup(passed[-1])).getsockname()[1]
high = [os.dup2(each, 500 + each) for each in passed]
for number, each in enumerate(high, 3):
    os.dup2(each, number)
    os.set_inheritable(number, True)
    os.close(each)
os.closerange(3 + len(kinds), 1000)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(kinds))}
os.environ["LISTEN_FDNAMES"] = names
os.environ |= dict(one.split("=", 1) for one in os.environ.pop("INSTEAD", "").split())
os.execv(command[0], command)
"""


def passing(*kinds: str, names: str = "") -> list[str]:
    """Return what goes in front of a command to pass it descriptors from 3 on.

    Args:
        kinds: ``ipv4`` and ``ipv6`` listen on loopback, at the same port; ``both`` on IPv4 loopback
            as a socket of both families does; ``all`` for both on all interfaces; ``deaf`` does
            not listen, and ``udp``, ``unix`` and ``file`` are no TCP sockets.
        names: LISTEN_FDNAMES.

    What the environment has as ``INSTEAD``, ``NAME=VALUE NAME=VALUE``, it gets at the very end.
    """
    return [sys.executable, "-c", _PASSING, " ".join(kinds), names]


def has_ipv6() -> bool:
    """Whether this machine has IPv6 on loopback."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
