"""What comes over multicast DNS: whole packets, names of services, and texts of TXT records."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final, cast

from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSRecord,
    DNSService,
    DNSText,
    RecordUpdate,
    Zeroconf,
    current_time_millis,
)

from fuzz.harness import Choices, Harness
from objxfer.discovery.finding import _Listener
from objxfer.discovery.multicast import Multicast
from objxfer.discovery.names import PEER_ID_SIZE, SERVICE, instance_of, is_instance, peer_id_in
from objxfer.discovery.sightings import MOST_ADDRESSES, MOST_SERVICES, Sightings
from objxfer.limits import KIB

_LOOPBACK: Final = 1
"""The scope of the first interface of all."""
_RESPONSE: Final = 0x8400
_HOST: Final = "objxfer-1.local."
_NOTHING: Final = cast("Zeroconf", None)
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # it tells of each packet that is none


def _feed(data: bytes) -> None:
    choices = Choices(data)
    what = choices.number()
    said = choices.rest()
    match what % 3:
        case 0:
            peer_id = peer_id_in(said)
            assert peer_id is None or len(peer_id) == PEER_ID_SIZE
        case 1:
            instance = instance_of(
                said.decode("utf-8", "surrogateescape" if what & 4 else "replace")
            )
            assert instance is None or _is_shown(instance)
        case _:
            _packets(said, loopback=bool(what & 4))


def _packets(said: bytes, *, loopback: bool) -> None:
    """All that is said is heard twice, then taken."""
    sightings = Sightings()
    multicast = cast("Multicast", SimpleNamespace(loopback=loopback))
    listener, now = _Listener(None, sightings, multicast), current_time_millis()
    for _ in range(2):
        packet = DNSIncoming(said, scope_id=_LOOPBACK if loopback else None)
        updates = [RecordUpdate(record, None) for record in packet.answers() if packet.valid]
        listener.async_update_records(_NOTHING, now, updates)
    taken = 0
    while (service := sightings.take(deadline=0)) is not None:
        taken += 1
        assert _is_shown(service.instance)
        assert 1 <= service.port <= 65535
        assert 0 < len(service.addresses) <= MOST_ADDRESSES
        assert service.peer_id is None or len(service.peer_id) == PEER_ID_SIZE
        for text in service.addresses:
            address = ipaddress.ip_address(text)
            assert not address.is_unspecified
            assert not address.is_multicast
            assert loopback or not address.is_loopback
    assert taken <= MOST_SERVICES


def _is_shown(instance: str) -> bool:
    return is_instance(instance) and instance.isprintable() and len(instance.encode()) <= 63


def _packet(*records: DNSRecord) -> bytes:
    said = DNSOutgoing(_RESPONSE)
    for record in records:
        said.add_answer_at_time(record, 0)
    return said.packets()[0]


def _seeds() -> Iterator[bytes]:
    text = b"\x23id=" + b"0123456789abcdef" * 2
    for record in (text, b"\0", b"\3a=b" + text, b"\xffid=", b"\5id=zz"):
        yield b"\0" + record
    for name in (f"4.{SERVICE}", f"nas.{SERVICE.upper()}", f"a\x1b[m.{SERVICE}", SERVICE, ".", ""):
        yield b"\1" + name.encode()
    name = f"nas.{SERVICE}"
    service = DNSService(name, 33, 1, 120, 0, 0, 6259, _HOST)
    for packed in (b"\xc0\xa8\0\1", b"\x7f\0\0\1", b"\0\0\0\0", b"\xff" * 4):
        address = DNSAddress(_HOST, 1, 1, 120, packed)
        for what in (b"\2", b"\5"):
            yield what + _packet(service, DNSText(name, 16, 1, 120, text), address)
    for packed in (b"\xfe\x80".ljust(16, b"\1"), b"\x20\1".ljust(16, b"\1"), bytes(15) + b"\1"):
        yield b"\5" + _packet(service, DNSAddress(_HOST, 28, 1, 120, packed))


HARNESS: Final = Harness(_feed, _seeds, at_most=512 * KIB, per_byte=256)
