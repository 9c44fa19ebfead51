"""What the doctor says of this machine, where it is another than the one tests run on."""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import objxfer
from objxfer.blocking.doctor import machine, network
from objxfer.blocking.doctor.checks import Status
from objxfer.blocking.doctor.identity import check_config, check_key, check_peers
from objxfer.blocking.doctor.wording import not_connected
from objxfer.errors import CannotConnect, ExitCode
from objxfer.interfaces import Interface
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers


@pytest.mark.parametrize("now", [0.0, 1e9, 5e9, 1e300, -1.0])
def test_a_clock_that_cannot_be_right(now: float) -> None:
    check = machine._clock(now)
    assert check.status is Status.WARNING
    assert check.advice


def test_a_clock_that_may_be_right() -> None:
    check = machine._clock(1.8e9)
    assert check.status is Status.OK
    assert check.message.startswith("2027-01-15 08:00:00 UTC")


class TestFolder:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_one_with_room(self, tmp_path: Path) -> None:
        check = machine._folder()
        assert check.status is Status.OK
        assert check.message.startswith(f"{tmp_path}: ")

    def test_one_with_little_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        assert "that is little" in machine._folder().message

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux says what kind it is")
    def test_one_that_holds_no_large_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = machine._file_system(os.getcwd())
        assert kind
        monkeypatch.setattr(machine, "_SMALL_FILES", (kind,))
        assert "more than 4 GiB" in machine._folder().message

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_one_that_cannot_be_written(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        assert "cannot be written" in machine._folder().message

    def test_one_that_is_gone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        check = machine._folder()
        assert check.status is Status.FAILED
        assert check.exit_code is ExitCode.FAILED


class TestIdentity:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.delenv("OBJXFER_KEY_FILE", raising=False)
        return tmp_path

    def test_nothing_is_there_and_nothing_is_made(self, home: Path) -> None:
        assert check_config().status is Status.OK
        assert check_key(None, insecure=False, needed=False).check.status is Status.OK
        assert [check.status for check in check_peers(Peers())] == [Status.OK]
        assert Peers().known_id() is None
        assert not list(home.iterdir())

    def test_the_environment_names_a_key(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OBJXFER_KEY_FILE", str(home / "other"))
        held = check_key(None, insecure=False, needed=False)
        assert (held.key, held.check.exit_code) == (None, ExitCode.USAGE)
        assert f"{home}/other' is not there" in held.check.message
        key = Key.generate()
        key.save(home / "other")
        held = check_key(None, insecure=False, needed=True)
        assert held.key == key
        assert held.check.message == f"{key.id}, in {home}/other"

    @pytest.mark.parametrize("given", ["4-walnut-copper-tiger", "objxfer-key-1:AAAA"])
    def test_a_secret_in_the_place_of_a_path_is_not_repeated(self, given: str) -> None:
        check = check_key(given, insecure=False, needed=True).check
        assert check.status is Status.FAILED
        assert given not in check.message + check.advice

    def test_an_id_that_is_known_is_shown(self) -> None:
        own = Peers().own_id()
        (check,) = check_peers(Peers())
        assert check.message == f"0 peers; this machine goes by the id {own.hex()}"

    def test_a_name_is_quoted_where_it_is_to_be_typed(self, home: Path) -> None:
        """It may be what the other side would like to be called."""
        pair = Pair(Key.generate(), bytes([1]) * 16, bytes([2]) * 16)
        peers = Peers()
        peers.own_id()
        peers.add(Peer("old $(touch laptop)", pair, datetime.now(UTC), "192.168.1.20"))
        _, check = check_peers(peers)
        assert check.advice == "\"objxfer peers remove 'old $(touch laptop)'\", and pair again"
        with pytest.raises(objxfer.ObjxferError) as taken:
            peers.add(Peer("old $(touch laptop)", pair, datetime.now(UTC), "192.168.1.20"))
        assert "\"objxfer peers rename 'old $(touch laptop)' …\"" in taken.value.hint

    def test_a_config_folder_that_is_none(self, home: Path) -> None:
        (home / "objxfer").write_text("a file")
        check = check_config()
        assert check.status is Status.FAILED
        assert "not a directory" in check.message


class TestInterfaces:
    @staticmethod
    def give(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        found = tuple(ipaddress.ip_interface(address) for address in addresses)
        monkeypatch.setattr(network, "interfaces", lambda: [Interface("eth0", 2, found)])

    def test_one_that_gave_itself_an_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.give(monkeypatch, "169.254.7.7/16", "fe80::1/64")
        (check,) = network.check_interfaces()
        assert check.status is Status.WARNING
        assert "no router gave it one" in check.message

    def test_one_with_two_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.give(monkeypatch, "169.254.7.7/16", "192.168.1.20/24")
        (check,) = network.check_interfaces()
        assert check.status is Status.OK

    def test_a_system_that_does_not_say(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(network, "interfaces", fail)
        (check,) = network.check_interfaces()
        assert "operation not permitted" in check.message
        assert list(network.check_multicast()) == []


def test_a_port_that_may_not_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise CannotConnect("cannot listen on tls://:6259: permission denied", hint="do that")

    monkeypatch.setattr(network, "bind", fail)
    check = network.check_port(None)
    assert (check.status, check.advice) == (Status.WARNING, "do that")


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
class TestFirewall:
    @pytest.fixture(autouse=True)
    def nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(network, "_UFW", str(tmp_path / "ufw.conf"))
        monkeypatch.setattr(network, "_FIREWALLD", (str(tmp_path / "firewalld.pid"),))
        monkeypatch.setattr(network, "_output", lambda *_: None)

    def test_what_cannot_be_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        check = network.check_firewall()
        assert check.message == "none shows itself; rules are shown to root only"
        assert "TCP port 6259" in check.advice

    def test_ufw_and_firewalld_show_themselves(self, tmp_path: Path) -> None:
        (tmp_path / "ufw.conf").write_text("# comment\nENABLED=yes\nLOGLEVEL=low\n")
        (tmp_path / "firewalld.pid").touch()
        assert network.check_firewall().message.startswith("ufw is enabled; firewalld runs; ")
        (tmp_path / "ufw.conf").write_text("ENABLED=no\n")
        assert network.check_firewall().message.startswith("firewalld runs; ")

    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            ("", "none filters what comes in"),
            (
                "table ip t {\n\tchain in {\n\t\ttype filter hook input priority 0; policy accept;"
                "\n\t}\n\tchain f {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}",
                "none filters what comes in",
            ),
            (
                "table ip t {\n\tchain in {\n\t\ttype filter hook input priority 0; policy drop;"
                "\n\t}\n}",
                "nftables filters what comes in (chain in)",
            ),
            (
                "table ip t {\n\tchain in {\n\t\ttype filter hook input priority 0; policy accept;"
                "\n\t\ttcp dport { 22, 80 } accept\n\t\ttcp dport 1-65535 drop\n\t}\n}",
                "nftables filters what comes in (chain in)",
            ),
        ],
    )
    def test_the_rules_of_nftables(
        self, shown: str, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "_output", says(nft=shown))
        assert network.check_firewall().message == expected

    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            ("-P INPUT ACCEPT\n", "none filters what comes in"),
            ("-P INPUT DROP\n", "iptables filters what comes in"),
            ("-P INPUT ACCEPT\n-A INPUT -j REJECT\n", "iptables filters what comes in"),
        ],
    )
    def test_the_rules_of_iptables(
        self, shown: str, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "_output", says(iptables=shown))
        assert network.check_firewall().message == expected


def says(**programs: str) -> Callable[..., str | None]:
    return lambda program, *_: programs.get(program)


def test_a_program_that_fails_or_is_not_there_says_nothing() -> None:
    assert network._output("no-such-program") is None
    assert network._output("false") is None
    assert network._output("true") == ""


@pytest.mark.parametrize(
    "number",
    [
        *(errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH),
        *(errno.EACCES, errno.EPERM, errno.ECONNRESET, errno.EINVAL, errno.EADDRNOTAVAIL),
        *(errno.EAFNOSUPPORT, errno.EMFILE),
    ],
)
def test_each_error_says_what_to_do(number: int) -> None:
    words = not_connected(OSError(number, os.strerror(number)), 6259, 10.0)
    assert words.message
    assert words.advice
