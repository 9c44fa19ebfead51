from __future__ import annotations

import ipaddress
import socket
from typing import Any

import ifaddr
import pytest

from objxfer.interfaces import interfaces, local_addresses


class Unrouted(socket.socket):
    def connect(self, address: Any) -> None:
        raise OSError(101, "Network is unreachable")


class Routed(socket.socket):
    def connect(self, address: Any) -> None:
        pass

    def getsockname(self) -> Any:
        return ("10.0.0.7" if self.family == socket.AF_INET else "fd00::7", 9)


def give(monkeypatch: pytest.MonkeyPatch, **addresses: list[tuple[str, int]]) -> None:
    """Give this machine interfaces, and no way to the internet."""

    def adapter(index: int, name: str) -> ifaddr.Adapter:
        ips = [
            ifaddr.IP((ip, 0, 0) if ":" in ip else ip, prefix, name)
            for ip, prefix in addresses[name]
        ]
        return ifaddr.Adapter(name, name, ips, index)

    adapters = [adapter(index, name) for index, name in enumerate(addresses, 1)]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)
    monkeypatch.setattr(socket, "socket", Unrouted)


def test_the_interfaces_of_this_machine() -> None:
    (loopback,) = (each for each in interfaces() if each.loopback)
    assert ipaddress.ip_interface("127.0.0.1/8") in loopback.addresses
    assert loopback.index == socket.if_nametoindex(loopback.name)


def test_an_interface_without_an_address_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, eth0=[], eth1=[("10.0.0.1", 8)])
    (interface,) = interfaces()
    assert (interface.name, interface.index, interface.loopback) == ("eth1", 2, False)


def test_the_addresses_are_ones_that_others_can_reach() -> None:
    addresses = local_addresses()
    assert addresses
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        assert not parsed.is_unspecified
        assert addresses == ["127.0.0.1"] or not parsed.is_loopback


def test_a_cable_between_two_machines_has_addresses_too(monkeypatch: pytest.MonkeyPatch) -> None:
    give(
        monkeypatch,
        lo=[("127.0.0.1", 8), ("::1", 128)],
        eth0=[("169.254.3.4", 16), ("fe80::1", 64)],
    )
    assert local_addresses() == ["169.254.3.4"]


def test_the_likeliest_addresses_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    give(
        monkeypatch,
        eth0=[("169.254.3.4", 16), ("fd00::1", 64), ("192.168.7.9", 24)],
        wlan0=[("fd00::7", 64), ("10.0.0.7", 8), ("192.168.7.9", 24)],
    )
    monkeypatch.setattr(socket, "socket", Routed)
    assert local_addresses() == ["10.0.0.7", "192.168.7.9", "fd00::7", "fd00::1", "169.254.3.4"]


def test_without_anything_it_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, lo=[("127.0.0.1", 8), ("::1", 128)])
    assert local_addresses() == ["127.0.0.1"]


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(ifaddr, "get_adapters", fail)
    assert local_addresses() == ["127.0.0.1"]
