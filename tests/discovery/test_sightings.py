from __future__ import annotations

import threading
import time

import pytest

from objxfer.discovery.sightings import MOST_ADDRESSES, MOST_SERVICES, Service, Sightings
from support.streams import PATIENCE


def soon() -> float:
    return time.monotonic() + PATIENCE


NOW = 0.0
"""A deadline that is over: only what is there already is taken."""


def all_of(sightings: Sightings) -> list[Service]:
    found = []
    while (service := sightings.take(NOW)) is not None:
        found.append(service)
    return found


def test_a_service_is_handed_out_with_its_addresses() -> None:
    sightings = Sightings()
    sightings.add_service("4", "a.local.", 6259, b"p" * 16)
    assert sightings.take(NOW) is None
    sightings.add_address("a.local.", "10.0.0.1")
    sightings.add_address("a.local.", "fe80::1%eth0")
    assert sightings.take(NOW) == Service("4", 6259, ("10.0.0.1", "fe80::1%eth0"), b"p" * 16)
    assert sightings.take(NOW) is None


def test_what_was_handed_out_is_not_again() -> None:
    sightings = Sightings()
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        sightings.add_service("4", "a.local.", 6259, None)
        sightings.add_address("a.local.", address)
        sightings.add_address("a.local.", address)
    assert sightings.take(NOW) == Service("4", 6259, ("10.0.0.1", "10.0.0.2"))
    sightings.add_address("a.local.", "10.0.0.3")
    assert sightings.take(NOW) == Service("4", 6259, ("10.0.0.3",))


def test_several_services_at_one_host_share_its_addresses() -> None:
    sightings = Sightings()
    sightings.add_service("4", "a.local.", 1, None)
    sightings.add_service("5", "a.local.", 2, None)
    sightings.add_address("a.local.", "10.0.0.1")
    assert {service.port for service in all_of(sightings)} == {1, 2}


def test_addresses_of_who_announces_nothing_are_forgotten() -> None:
    sightings = Sightings()
    sightings.add_address("a.local.", "10.0.0.1")
    sightings.add_service("4", "a.local.", 1, None)
    assert all_of(sightings) == []


def test_a_peer_id_is_told_with_the_service_or_never() -> None:
    sightings = Sightings()
    sightings.add_service("nas", "a.local.", 1, None)
    sightings.add_service("nas", "a.local.", 1, b"p" * 16)
    sightings.add_address("a.local.", "10.0.0.1")
    assert [service.peer_id for service in all_of(sightings)] == [None]


def test_a_flood_is_bounded() -> None:
    sightings = Sightings()
    for number in range(4 * MOST_SERVICES):
        sightings.add_service("4", f"{number}.local.", 1, None)
        for last in range(3 * MOST_ADDRESSES if number % 100 == 0 else 1):
            sightings.add_address(f"{number}.local.", f"10.0.0.{last}")
    found = all_of(sightings)
    assert len(found) == MOST_SERVICES
    assert max(len(service.addresses) for service in found) <= MOST_ADDRESSES


def test_the_first_come_do_not_keep_the_others_out() -> None:
    sightings = Sightings()
    for number in range(MOST_SERVICES):
        sightings.add_service("4", f"{number}.local.", 1, None)
        sightings.add_address(f"{number}.local.", "10.0.0.1")
    sightings.add_service("4", "honest.local.", 6259, None)
    sightings.add_address("honest.local.", "10.0.0.2")
    assert Service("4", 6259, ("10.0.0.2",)) in all_of(sightings)


def test_many_addresses_do_not_keep_the_others_out() -> None:
    sightings = Sightings()
    sightings.add_service("4", "a.local.", 1, None)
    for last in range(MOST_ADDRESSES):
        sightings.add_address("a.local.", f"10.0.0.{last}")
    sightings.add_address("a.local.", "10.0.1.1")
    (service,) = all_of(sightings)
    assert "10.0.1.1" in service.addresses


def test_another_thread_is_waited_for() -> None:
    sightings = Sightings()
    sightings.add_service("4", "a.local.", 1, None)
    other = threading.Thread(target=sightings.add_address, args=("a.local.", "10.0.0.1"))
    other.start()
    assert sightings.take(soon()) is not None
    other.join()


def test_whoever_waits_is_told_of_the_end() -> None:
    sightings = Sightings()
    other = threading.Thread(target=sightings.close)
    other.start()
    assert sightings.take(None) is None
    other.join()


def test_whoever_waits_is_told_of_an_error() -> None:
    sightings = Sightings()
    other = threading.Thread(target=sightings.fail, args=(OSError("it is gone"),))
    other.start()
    with pytest.raises(OSError, match="it is gone"):
        sightings.take(None)
    sightings.fail(OSError("and again"))
    with pytest.raises(OSError, match="it is gone"):
        sightings.take(NOW)
    other.join()
