"""Finding services on the local network.

What is found is a hint where somebody may be reached, and never who that is: anybody on the
network can announce any name, with any address. Who answers there proves itself in the
handshake, or is not the one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from zeroconf import (
    DNSAddress,
    DNSOutgoing,
    DNSQuestion,
    DNSService,
    DNSText,
    RecordUpdate,
    RecordUpdateListener,
    Zeroconf,
)

from objxfer.discovery.multicast import FOLLOW, Multicast
from objxfer.discovery.names import SERVICE, full_name, instance_of, peer_id_in
from objxfer.discovery.sightings import Service, Sightings
from objxfer.interfaces import Interface

# RFC 1035, section 3.2.2; RFC 2782; RFC 6762, section 18.12.
_PTR: Final = 12
_TXT: Final = 16
_SRV: Final = 33
_IN: Final = 1
_UNICAST_WELCOME: Final = 0x8000
_QUERY: Final = 0

# RFC 6762, section 5: questions that are answered to all, as rarely as the RFC wants it. The second
# may be answered to us alone, and so at once, also where all were told a moment ago. The first may
# not: such an answer goes astray where another program of this machine shares the port.
_SECOND_QUESTION: Final = 0.25
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 3600.0


@contextmanager
def find(
    instance: str, timeout: float | None, *, interfaces: Sequence[str] | None = None
) -> Iterator[Iterator[Service]]:
    """Look for a service by its name, until the ``with`` block ends.

    Several machines may announce the same name, and the first need not be the honest one:
    all are handed out as they are heard of, each with the addresses that are new. One that has gone
    away is not heard of; one that goes away within the block may be.

    Looking for it goes on in a thread of its own, which is gone with the block. What is
    remembered is bounded, however much is announced: see ``Sightings``.

    Args:
        instance: the public number of a code, as text, or the name of a service; large and small
            letters of ASCII are the same.
        timeout: seconds after which the iterator ends; None for as long as the block lasts.
        interfaces: as for ``announce``.

    Yields:
        An iterator, for one thread, that waits for the next service. It raises CannotConnect where
        looking for it fails on the way.

    Raises:
        ObjxferError: there can be no such name (exit code ``USAGE``).
        CannotConnect: multicast is not possible, and why.
    """
    with _look(f"look for {instance!r}", full_name(instance), timeout, interfaces) as services:
        yield services


@contextmanager
def browse(
    timeout: float | None, *, interfaces: Sequence[str] | None = None
) -> Iterator[Iterator[Service]]:
    """Look for all services of objxfer; as ``find`` does for one."""
    with _look("look around", None, timeout, interfaces) as services:
        yield services


@contextmanager
def _look(
    what: str, name: str | None, timeout: float | None, interfaces: Sequence[str] | None
) -> Iterator[Iterator[Service]]:
    deadline = None if timeout is None else time.monotonic() + timeout
    sightings = Sightings()

    async def work(multicast: Multicast) -> None:
        multicast.zeroconf.zeroconf.async_add_listener(_Listener(name, sightings, multicast), None)
        while True:  # from the beginning, whenever the network has changed
            await _ask(multicast, name)

    def heard_of() -> Iterator[Service]:
        while (service := sightings.take(deadline)) is not None:
            addresses = sorted(service.addresses, key=_Nearness(multicast.interfaces))
            yield replace(service, addresses=tuple(addresses))

    multicast = Multicast(what, interfaces, work, sightings.fail)
    try:
        yield heard_of()
    finally:
        sightings.close()
        multicast.close()


async def _ask(multicast: Multicast, name: str | None) -> None:
    """Ask again and again, for all services or one; return when the network has changed."""
    pause, unicast = _SECOND_QUESTION, 0
    while True:
        question = DNSOutgoing(_QUERY)
        if name is None:
            question.add_question(DNSQuestion(SERVICE, _PTR, _IN | unicast))
        else:
            # Not for who announces the name: the answer to that would be the same of all who do.
            question.add_question(DNSQuestion(name, _SRV, _IN | unicast))
            question.add_question(DNSQuestion(name, _TXT, _IN | unicast))
        multicast.zeroconf.zeroconf.async_send(question)
        ask_at = time.monotonic() + pause
        while (left := ask_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left, FOLLOW))
            if await multicast.follow():
                return
        if pause == _SECOND_QUESTION:
            pause, unicast = _FIRST_PAUSE, _UNICAST_WELCOME
        else:
            pause, unicast = min(2 * pause, _LONGEST_PAUSE), 0


class _Listener(RecordUpdateListener):
    """Picks what is looked for out of all that is said on the network.

    What zeroconf remembers is not asked: there, who speaks last takes the place of who spoke
    before. That somebody says goodbye is not believed either, it may be somebody else.
    """

    def __init__(self, name: str | None, sightings: Sightings, multicast: Multicast) -> None:
        self._name = None if name is None else name.lower()
        self._sightings = sightings
        self._multicast = multicast

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Take in the records of one packet."""
        said = [update.new for update in records if not update.new.is_expired(now)]
        texts = {record.key: record.text for record in said if isinstance(record, DNSText)}
        for record in said:
            if isinstance(record, DNSService) and self._name in (None, record.key):
                instance = instance_of(record.name)
                if instance is not None and record.port:
                    peer_id = peer_id_in(texts.get(record.key, b""))
                    self._sightings.add_service(instance, record.server_key, record.port, peer_id)
        for record in said:
            if isinstance(record, DNSAddress):
                address = _usable(record, loopback=self._multicast.loopback)
                if address is not None:
                    self._sightings.add_address(record.key, address)


def _usable(record: DNSAddress, *, loopback: bool) -> str | None:
    """Return the address of a record as it stands in a URL; None where none of others is."""
    try:
        address = ipaddress.ip_address(record.address)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return None
    if address.is_loopback and not loopback:
        return None  # it would lead to whatever listens on this machine
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return None
    if not address.is_link_local:
        return str(address)
    if not record.scope_id:
        return None  # it came over IPv4, which does not say from which interface
    try:
        return f"{address}%{socket.if_indextoname(record.scope_id)}"
    except OSError:
        return f"{address}%{record.scope_id}"


class _Nearness:
    """Sorts addresses: on our networks, then elsewhere, and our own last.

    Many machines have the same address on a network of their own, that of containers, say.
    """

    def __init__(self, interfaces: list[Interface]) -> None:
        every = [address for interface in interfaces for address in interface.addresses]
        self._own = {address.ip for address in every}
        self._networks = [address.network for address in every]

    def __call__(self, text: str) -> tuple[bool, bool]:
        address = ipaddress.ip_address(text.partition("%")[0])
        near = any(address in network for network in self._networks)
        return address in self._own, not near
