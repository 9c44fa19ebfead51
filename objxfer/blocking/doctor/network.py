"""Checks of the network as this machine sees it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Final

from objxfer.blocking.doctor.checks import Check, ok, warning
from objxfer.blocking.doctor.visiting import Visit, connected_of, terms_of
from objxfer.discovery.sightings import Service
from objxfer.errors import CannotConnect, ObjxferError, Timeout
from objxfer.interfaces import Interface, interfaces
from objxfer.security.keys import Key
from objxfer.transports.addresses import bind
from objxfer.transports.probing import dial_all
from objxfer.transports.urls import DEFAULT_PORT, Url

_MOST: Final = 8
"""Interfaces that multicast is tried on."""
_COMES_BACK: Final = 4.0
"""Seconds in which what is announced has to come back; it takes one."""
_LOOK_AROUND: Final = 1.5
"""Seconds to look who is there."""
_NOBODY: Final = 9
"""The port that is announced: that of the discard service (RFC 863), at which nobody listens."""
_NEAR: Final = 2.0
"""Seconds for who holds the port of this machine."""
_TOOL_SECONDS: Final = 3.0
_UFW: Final = "/etc/ufw/ufw.conf"
_FIREWALLD: Final = ("/run/firewalld.pid", "/var/run/firewalld.pid")
_LET_IN: Final = (
    f"if others cannot reach this machine, let it allow TCP port {DEFAULT_PORT}, and UDP port 5353"
    " to be found"
)


def check_interfaces() -> Iterator[Check]:
    """Look at the network interfaces and their addresses."""
    try:
        found = interfaces()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        yield warning("interface", f"the system does not say which there are: {why}")
        return
    for each in found:
        addresses = ", ".join(str(address) for address in each.addresses)
        shown = f"{each.name}: {addresses}"
        # RFC 3927: what a machine gives itself where nobody else gave it one.
        alone = [one for one in each.addresses if one.version == 4 and one.is_link_local]
        if alone and not any(one.version == 4 and one not in alone for one in each.addresses):
            yield warning(
                "interface",
                f"{shown}: it gave itself an address, because no router gave it one",
                "see whether the cable or Wi-Fi leads to a router; between two machines on one"
                " cable it is as it should be",
            )
        else:
            yield ok("interface", shown)
    if all(each.loopback for each in found):
        yield warning(
            "interface",
            "there is none but the loopback: this machine reaches nobody but itself",
            "connect it to a network",
        )


def check_multicast() -> Iterator[Check]:
    """Announce something on each interface and see whether it comes back; look who is there."""
    try:
        found = interfaces()
    except OSError:
        return
    chosen = [each for each in found if not each.loopback] or found
    if not chosen:
        yield warning("multicast", "no interface has an address to try it on")
        return
    from objxfer.discovery.finding import browse

    instance = f"doctor-{secrets.token_hex(8)}"
    services: Iterator[Service] | None = None
    with ExitStack() as at_end:
        # Both take their time, and so are done at the same one.
        with suppress(ObjxferError):
            services = at_end.enter_context(browse(_LOOK_AROUND))
        for echo in [_Echo(each, instance, at_end) for each in chosen[:_MOST]]:
            yield echo.check()
        if len(chosen) > _MOST:
            yield ok("multicast", f"not tried on {len(chosen) - _MOST} more interfaces")
        if services is not None:
            yield from _who_is_there(services)


class _Echo:
    """Something that is announced on one interface, and listened for."""

    def __init__(self, interface: Interface, instance: str, at_end: ExitStack) -> None:
        from objxfer.discovery.announcing import announce
        from objxfer.discovery.finding import find

        self._name = interface.name
        self._failed: ObjxferError | None = None
        names = [interface.name]
        instance = f"{instance}-{interface.index}"
        try:
            self._heard = at_end.enter_context(find(instance, _COMES_BACK, interfaces=names))
            announcing = announce(instance, _NOBODY, interfaces=names, on_failed=_no_matter)
            self._announcement = at_end.enter_context(announcing)
        except ObjxferError as error:
            self._failed = error

    def check(self) -> Check:
        """Wait for it to come back."""
        error = self._failed
        if error is None:
            try:
                if next(self._heard, None) is not None:
                    return ok(
                        "multicast",
                        f"{self._name}: what is announced here comes back; whether it reaches"
                        " others, only they can see",
                    )
                self._announcement.wait(0.0)
            except Timeout:
                pass
            except ObjxferError as failure:
                error = failure
        if error is not None:
            message = f"{self._name}: {error}"
        else:
            message = f"{self._name}: what is announced here does not come back"
        return warning(
            "multicast",
            message,
            "let the firewall allow UDP port 5353; without multicast nobody is found, and"
            " addresses are named: tls://HOST",
        )


def _no_matter(_: Exception) -> None:
    """The check says it."""


def _who_is_there(services: Iterator[Service]) -> Iterator[Check]:
    seen = set()
    with suppress(ObjxferError):
        for service in services:
            if service.port != _NOBODY:  # which is one that looks, too
                seen.add(service.instance.casefold())
        count = "1 objxfer is" if len(seen) == 1 else f"{len(seen) or 'no'} objxfers are"
        yield ok("services", f"{count} announced on the network now")


# --- the port ---


def check_port(key: Key | None) -> Check:
    """See whether the usual port is free; if not, call who holds it.

    Args:
        key: what to prove oneself with, there.
    """
    try:
        for sock in bind(Url("tls", "", DEFAULT_PORT)):
            sock.close()
    except CannotConnect as error:
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if not taken:
            return warning("port", str(error), error.hint)
    else:
        return ok("port", f"{DEFAULT_PORT} is free: objxfer can listen there")
    return _who_holds(key)


def _who_holds(key: Key | None) -> Check:
    hosts = ["127.0.0.1", "::1"]
    with suppress(OSError):
        hosts += [
            f"{address.ip}%{each.name}"
            if address.version == 6 and address.is_link_local
            else str(address.ip)
            for each in interfaces()
            for address in each.addresses
            if not address.is_loopback
        ]
    urls = [Url("tls", host, DEFAULT_PORT) for host in hosts]
    other = f"name another port: --listen tls://:{DEFAULT_PORT + 1}, and name it there, too"
    deadline = time.monotonic() + _NEAR
    with ExitStack() as at_end:
        connected = connected_of(dial_all(urls, deadline, 0.0), at_end)
        if not connected:
            return warning(
                "port",
                f"a program holds {DEFAULT_PORT}, and does not answer at any address of this"
                " machine",
                other,
            )
        terms = terms_of("this machine", key, encrypted=True)
        visit = Visit.make(connected[0], terms, time.monotonic() + _NEAR)
        at_end.callback(visit.close)
        if visit.theirs is not None:
            if visit.established:
                visit.round_trip()
            return ok("port", f"{DEFAULT_PORT} is held by an objxfer that listens here")
        words = visit.words
        said = f": {words.message}" if words else ""
        return warning("port", f"another program holds {DEFAULT_PORT}{said}", other)


# --- the firewall ---


def check_firewall() -> Check:
    """Look for a firewall of this machine, as far as it shows itself."""
    if sys.platform != "linux":
        return ok("firewall", "cannot be seen from here; the settings of the system show it")
    seen = ["ufw is enabled"] if _ufw_enabled() else []
    if any(os.path.exists(path) for path in _FIREWALLD):
        seen.append("firewalld runs")
    rules = _input_rules()
    if rules:
        seen.append(rules)
    elif rules is None:
        seen = seen or ["none shows itself"]
        seen.append("rules are shown to root only" if os.geteuid() else "nft is not there to ask")
    if not seen:
        return ok("firewall", "none filters what comes in")
    return ok("firewall", "; ".join(seen), _LET_IN)


def _ufw_enabled() -> bool:
    with suppress(OSError), open(_UFW, encoding="utf-8", errors="replace") as lines:
        return any(line.strip().lower() == "enabled=yes" for line in lines)
    return False


def _input_rules() -> str | None:
    """Return what filters what comes in, "" for nothing, or None where that does not show."""
    ruleset = _output("nft", "list", "ruleset")
    if ruleset is not None:
        # A chain ends where a brace stands alone in a line; those of sets do not.
        chains = [part.partition("\n\t}")[0] for part in ruleset.split("\tchain ")[1:]]
        filtering = [one.split()[0] for one in chains if "hook input" in one and _filters(one)]
        named = ", ".join(dict.fromkeys(filtering))
        return f"nftables filters what comes in (chain {named})" if filtering else ""
    rules = _output("iptables", "-S", "INPUT")
    if rules is None:
        return None
    return "iptables filters what comes in" if _filters(rules) else ""


def _filters(chain: str) -> bool:
    """Tell whether a chain, as nft or iptables shows it, may let something not pass."""
    words = chain.lower().replace(";", " ").split()
    return not {"drop", "reject", "jump", "goto", "-j"}.isdisjoint(words)


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program of the system says; None where it does not say."""
    path = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program of the system
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TOOL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
