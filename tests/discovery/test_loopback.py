"""Announcing and finding within one process, on the loopback interface alone."""

from __future__ import annotations

import ipaddress
import logging
import queue
import socket
import threading
import time
from typing import Any, Final

import pytest
from zeroconf import DNSAddress

from objxfer.discovery import finding, multicast
from objxfer.discovery.announcing import announce
from objxfer.discovery.finding import browse, find
from objxfer.discovery.sightings import Service
from objxfer.errors import CannotConnect, ExitCode, NameTaken, ObjxferError, Timeout
from objxfer.interfaces import Interface, interfaces
from support.streams import PATIENCE

LOOPBACK: Final = next(each.name for each in interfaces() if each.loopback)
PEER_ID: Final = bytes(range(16))


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_what_is_announced_is_found() -> None:
    with announce("4", 6259, peer_id=PEER_ID, interfaces=[LOOPBACK]) as announcement:
        announcement.wait(PATIENCE)
        with find("4", PATIENCE, interfaces=[LOOPBACK]) as services:
            service = next(services)
        assert service == Service("4", 6259, service.addresses, PEER_ID)
        assert "127.0.0.1" in service.addresses
        with browse(PATIENCE, interfaces=[LOOPBACK]) as services:
            assert next(services).instance == "4"
        assert "objxfer-discovery" in threads()
    assert "objxfer-discovery" not in threads()


def test_another_name_is_not_found() -> None:
    with announce("nas", 7000, interfaces=[LOOPBACK]) as announcement:
        with (
            find("na", None, interfaces=[LOOPBACK]) as others,
            find("NAS", PATIENCE, interfaces=[LOOPBACK]) as services,
        ):
            announcement.wait(PATIENCE)
            assert next(services) == Service("nas", 7000, ("127.0.0.1",))
        assert list(others) == []


def test_the_search_ends_in_time_and_with_its_block() -> None:
    with find("4", 0.01, interfaces=[LOOPBACK]) as services:
        assert list(services) == []
    with find("4", None, interfaces=[LOOPBACK]) as services:
        pass
    assert list(services) == []
    assert "objxfer-discovery" not in threads()


def test_a_name_is_announced_once() -> None:
    with announce("4", 1, interfaces=[LOOPBACK]) as first:
        first.wait(PATIENCE)
        with announce("4", 2, interfaces=[LOOPBACK]) as second:
            with pytest.raises(NameTaken) as caught:
                second.wait(PATIENCE)
            assert caught.value.exit_code == ExitCode.CANNOT_CONNECT
            assert caught.value.hint == "choose another name"
    with announce("4", 3, interfaces=[LOOPBACK]) as third:
        third.wait(PATIENCE)  # whoever had it has said goodbye


def test_an_announcement_that_nobody_asks_about_fails_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with announce("4", 1, interfaces=[LOOPBACK]) as first:
        first.wait(PATIENCE)
        with announce("4", 2, interfaces=[LOOPBACK]) as second:
            with pytest.raises(NameTaken):
                second.wait(PATIENCE)
            second._asked = False
    assert "another machine on the network announces '4'" in caplog.text


def test_who_asks_to_be_told_is_told_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    with announce("4", 1, interfaces=[LOOPBACK]) as first:
        first.wait(PATIENCE)
        with announce("4", 2, interfaces=[LOOPBACK], on_failed=told.put):
            assert isinstance(told.get(timeout=PATIENCE), NameTaken)
    assert caplog.text == ""


def test_waiting_is_not_longer_than_one_likes() -> None:
    with announce("4", 1, interfaces=[LOOPBACK]) as announcement, pytest.raises(Timeout):
        announcement.wait(0)
    with pytest.raises(Timeout, match="ended before it began"):
        announcement.wait()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"port": 0}, "a port is 1 to 65535, not 0"),
        ({"port": 65536}, "a port is 1 to 65535"),
        ({"port": 1, "peer_id": b"short"}, "a peer id has 16 bytes, not 5"),
    ],
)
def test_what_cannot_be_announced(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says), announce("4", **arguments):
        pass


@pytest.mark.parametrize("instance", ["", "a.b", "\x1b[31m", "x" * 64])
def test_a_name_that_is_none(instance: str) -> None:
    with pytest.raises(ObjxferError, match="cannot be announced") as caught, announce(instance, 1):
        pass
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(ObjxferError, match="cannot be announced"), find(instance, 1):
        pass


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(CannotConnect) as caught, find("4", 1, interfaces=["\x1b[31m"]):
        pass
    assert str(caught.value) == (
        "cannot look for '4': there is no network interface '\\x1b[31m' with an address"
    )
    assert "tls://HOST[:PORT]" in caught.value.hint


def test_multicast_that_is_not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def sendto(self, *_: Any) -> int:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(CannotConnect) as caught, announce("4", 1, interfaces=[LOOPBACK]):
        pass
    assert str(caught.value) == "cannot announce '4': multicast is not permitted here"
    assert "objxfer-discovery" not in threads()


def test_no_error_of_the_thread_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(finding, "_ask", fail)
    with (
        find("4", None, interfaces=[LOOPBACK]) as services,
        pytest.raises(ZeroDivisionError, match="a fault of ours"),
    ):
        next(services)
    assert "objxfer-discovery" not in threads()


def test_no_error_in_a_callback_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(finding._Listener, "async_update_records", fail)
    with find("4", None, interfaces=[LOOPBACK]), announce("4", 1, interfaces=[LOOPBACK]) as other:
        other.wait(PATIENCE)
        assert failed.wait(PATIENCE)
    assert "a fault of ours" in caplog.text


def test_a_network_that_changes_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [each for each in interfaces() if each.loopback]
    monkeypatch.setattr(finding, "FOLLOW", 0.01)
    monkeypatch.setattr(multicast, "all_interfaces", lambda: list(present))
    asked = threading.Semaphore(0)
    ask = finding._ask

    async def noted(*arguments: Any) -> None:
        asked.release()
        await ask(*arguments)

    monkeypatch.setattr(finding, "_ask", noted)
    with find("4", PATIENCE):
        assert asked.acquire(timeout=PATIENCE)
        present[:] = [Interface("elsewhere", 1, present[0].addresses)]
        assert asked.acquire(timeout=PATIENCE)


# --- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "scope", "expected"),
    [
        ("192.168.1.5", None, "192.168.1.5"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("fe80::1", 1, f"fe80::1%{LOOPBACK}"),
        ("fe80::1", 0x7FFFFFFF, "fe80::1%2147483647"),
        ("fe80::1", None, None),
        ("127.0.0.1", None, None),
        ("::1", None, None),
        ("0.0.0.0", None, None),
        ("::", None, None),
        ("224.0.0.251", None, None),
        ("ff02::fb", 1, None),
        ("255.255.255.255", None, None),
        ("::ffff:192.168.1.5", None, None),
    ],
)
def test_which_addresses_are_usable(address: str, scope: int | None, expected: str | None) -> None:
    packed = ipaddress.ip_address(address).packed
    record = DNSAddress("a.local.", 1, 1, 120, packed, scope_id=scope, created=time.time())
    assert finding._usable(record, loopback=False) == expected


def test_loopback_addresses_are_usable_where_there_are_no_others() -> None:
    record = DNSAddress("a.local.", 1, 1, 120, bytes([127, 0, 0, 1]))
    assert finding._usable(record, loopback=True) == "127.0.0.1"


def test_the_nearest_addresses_come_first() -> None:
    addresses = tuple(map(ipaddress.ip_interface, ("192.168.1.5/24", "172.17.0.1/16")))
    key = finding._Nearness([Interface("eth0", 1, addresses)])
    found = ["172.17.0.1", "10.0.0.1", "fe80::1%eth0", "192.168.1.9"]
    assert sorted(found, key=key) == ["192.168.1.9", "10.0.0.1", "fe80::1%eth0", "172.17.0.1"]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "objxfer")
