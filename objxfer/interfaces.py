"""The network interfaces of this machine, and the addresses under which others reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

# Documentation addresses (RFC 5737, RFC 3849): nobody has them, and no packet is sent to them.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface
"""An address and the network it lies in, without a scope."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface that has an address."""

    name: str
    """As the system calls it: ``eth0``."""
    index: int
    """What the system counts it as; the scope of IPv6 link-local addresses."""
    addresses: tuple[Address, ...]
    """At least one, in the system's order."""

    @property
    def loopback(self) -> bool:
        """Whether it leads nowhere but to this machine."""
        return all(address.is_loopback for address in self.addresses)


def interfaces() -> list[Interface]:
    """Return the interfaces of this machine that have addresses, in the system's order.

    Raises:
        OSError: the system does not say.
    """
    import ifaddr  # it looks for the C library in a process of its own, which takes its time

    return [
        Interface(
            adapter.nice_name,
            adapter.index or 0,
            tuple(
                ipaddress.ip_interface(
                    (ip.ip if isinstance(ip.ip, str) else ip.ip[0], ip.network_prefix)
                )
                for ip in adapter.ips
            ),
        )
        for adapter in ifaddr.get_adapters()
        if adapter.ips
    ]


def local_addresses() -> list[str]:
    """Return the addresses under which other machines reach this one, the likeliest first.

    IPv4 comes before IPv6, and of each family the address that the way to the internet begins
    at, if there is one. IPv4 link-local addresses (RFC 3927) come last. IPv6 link-local ones are
    left out: what their scope is called is known to the other machine alone. No packet is
    sent. Where nothing is found it is ``["127.0.0.1"]``.
    """
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    with contextlib.suppress(OSError):
        found += [address.ip for each in interfaces() for address in each.addresses]
    first = _preferred()
    usable = [address for address in dict.fromkeys(found) if _reachable(address)]
    usable.sort(key=lambda one: (one.is_link_local, one.version, str(one) not in first))
    return [str(address) for address in usable] or ["127.0.0.1"]


def _preferred() -> list[str]:
    """Return the own addresses at which the ways to the internet begin."""
    found = []
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))
            found.append(sock.getsockname()[0])
    return found


def _reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    return address.version == 4 or not address.is_link_local
