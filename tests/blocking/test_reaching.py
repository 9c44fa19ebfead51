"""A peer is reached by its name, wherever it is, and nobody else is taken for it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer.blocking.reaching import Named
from objxfer.blocking.retrying import persist
from objxfer.blocking.terms import SAFE, Terms
from objxfer.discovery.announcing import announce
from objxfer.errors import AuthenticationError, CannotConnect, ExitCode, ObjxferError
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.protocol.hello import Role
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from support.connected import KEY, PATIENCE

LOOPBACK: Final = ["lo"]
NOWHERE: Final = "tls://127.0.0.1:9"

pytestmark = pytest.mark.skipif(
    "lo" not in {name for _, name in socket.if_nameindex()}, reason="its loopback is no lo"
)


class Two:
    """Anna's machine, which knows the nas; and the nas, which knows Anna."""

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        self.anna, self.nas = Peers(folder / "anna"), Peers(folder / "nas")
        self._exit_stack = exit_stack
        key, here, there = Key.generate(), self.anna.own_id(), self.nas.own_id()
        now = datetime.now(UTC)
        self.anna.add(Peer("nas", Pair(key, here, there), now, "127.0.0.1", (NOWHERE,)))
        self.nas.add(Peer("anna", Pair(key, there, here), now, "127.0.0.1"))

    def listen(self, into: Path | None = None) -> objxfer.Listener:
        """The nas, listening."""
        listener = objxfer.listen("tls://127.0.0.1:0", key=[KEY, self.nas], into=into)
        return self._exit_stack.enter_context(listener)

    def rogue(self) -> objxfer.Listener:
        return self._exit_stack.enter_context(objxfer.listen("tls://127.0.0.1:0", key=KEY))

    def announce(self, listener: objxfer.Listener) -> None:
        """Somebody says that the nas is where this listener is."""
        port = int(listener.url.rpartition(":")[2])
        instance = self.nas.own_id().hex()
        self._exit_stack.enter_context(announce(instance, port, interfaces=LOOPBACK)).wait(PATIENCE)

    def reach(self, target: str = "nas") -> objxfer.Connection:
        named = Named.read(target, self.anna)
        terms = Terms.check(
            target,
            role=Role.CLIENT,
            encrypted=True,
            key=named.peer.pair,
            peer_id=None,
            serializer="msgpack",
            accepts=SAFE,
            classes=None,
            timeout=10.0,
            into=None,
            if_exists=IfExists.RENAME,
            keep_partial=KEEP,
            limits=Limits(),
            insecure=False,
        )
        connection = named.reach(terms, 10.0, interfaces=LOOPBACK)
        self._exit_stack.callback(connection.abandon)
        return connection

    def know(self, *addresses: str) -> None:
        """Let Anna know the nas at these addresses, the last one first."""
        for address in addresses:
            self.anna.reached(self.anna.load("nas"), address)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as exit_stack:
        yield Two(tmp_path, exit_stack)


def test_it_is_found_where_it_is_announced_and_that_is_remembered(two: Two) -> None:
    listener = two.listen()
    two.announce(listener)
    with two.reach() as connection:
        assert connection.encrypted
        assert connection.url == listener.url
        there = listener.accept(PATIENCE)
        connection.send("hello", wait=False)
        assert there.recv(PATIENCE) == "hello"
        there.abandon()
        connection.abandon()
    assert two.anna.load("nas").addresses == (listener.url, NOWHERE)


def test_it_is_found_where_it_was_without_being_announced(two: Two) -> None:
    listener = two.listen()
    two.know(listener.url, NOWHERE)
    assert two.reach().url == listener.url
    assert two.anna.load("nas").addresses == (listener.url, NOWHERE)


@pytest.mark.long
def test_one_that_answers_in_its_place_is_refused_loudly(two: Two) -> None:
    rogue = two.rogue()
    two.announce(rogue)
    with pytest.raises(AuthenticationError) as caught:
        two.reach()
    assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    assert rogue.url in str(caught.value)
    assert "'nas'" in str(caught.value)
    assert "pair again" in caught.value.hint
    assert two.anna.load("nas").addresses == (NOWHERE,)


def test_one_that_answers_where_it_was_is_refused_loudly(two: Two) -> None:
    rogue = two.rogue()
    two.know(rogue.url)
    with pytest.raises(AuthenticationError, match=rogue.url):
        two.reach()


def test_another_is_passed_by_with_a_warning(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    rogue, listener = two.rogue(), two.listen()
    two.know(listener.url)
    two.announce(rogue)
    with caplog.at_level(logging.WARNING):
        assert two.reach().url == listener.url
    assert f"{rogue.url}, announced as 'nas', is another" in caplog.text


def test_one_that_says_nothing_does_not_keep_it_from_being_found(two: Two) -> None:
    listener = two.listen()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        two.know(listener.url, f"tls://127.0.0.1:{silent.getsockname()[1]}")
        assert two.reach().url == listener.url


@pytest.mark.long
def test_who_removed_us_does_not_let_us_in(two: Two) -> None:
    listener = two.listen()
    two.know(listener.url)
    two.reach().abandon()
    two.nas.remove("anna")
    with pytest.raises(AuthenticationError, match="'nas'"):
        two.reach()


@pytest.mark.long
def test_who_is_paired_later_is_let_in_by_who_listens_already(two: Two) -> None:
    anna = two.nas.load("anna")
    two.nas.remove("anna")
    listener = two.listen()
    two.know(listener.url)
    with pytest.raises(AuthenticationError):
        two.reach()
    two.nas.add(anna)
    assert two.reach().key_id == anna.pair.key.id


@pytest.mark.long
def test_a_delivery_that_is_cut_goes_on_where_the_peer_is_now(two: Two, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "a.bin").write_bytes(bytes(3_000_000))
    first = two.listen()
    two.know(first.url)
    connection = two.reach()
    first.accept(PATIENCE).abandon()
    first.close()
    second = two.listen(into=tmp_path / "inbox")
    two.announce(second)
    received = []

    def take() -> None:
        with second.accept(PATIENCE) as there:
            received.append(there.recv(PATIENCE))

    thread = threading.Thread(target=take)
    thread.start()
    report = objxfer.Report(resumable=True)
    persist(
        connection,
        two.reach,
        lambda each: each.push(tmp_path / "a.bin", report=report),
        report=report,
        retries=3,
    )
    thread.join()
    assert report.exit_code == 0
    assert (tmp_path / "inbox" / "a.bin").stat().st_size == 3_000_000
    assert two.anna.load("nas").addresses[0] == second.url


def test_nobody_is_there(two: Two) -> None:
    with pytest.raises(CannotConnect, match="'nas' is not found on the network; cannot connect"):
        two.reach()


def test_a_folder_goes_with_it(two: Two) -> None:
    assert Named.read("nas:a/b", two.anna).folder == b"a/b"
    assert Named.read("nas:", two.anna).folder == Named.read("nas", two.anna).folder == b""


@pytest.mark.parametrize("text", ["ben", "192.168.1.20", "ben:7000", "", "..", "/etc/passwd"])
def test_who_is_no_peer(two: Two, text: str) -> None:
    with pytest.raises(ObjxferError, match="it has no scheme, and there is no peer") as caught:
        Named.read(text, two.anna)
    assert caught.value.exit_code is ExitCode.USAGE
    assert f"tls://{text}" in caught.value.hint


def test_a_peer_has_a_key_of_its_own(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("objxfer.security.peers.default_folder", lambda: two.anna.folder)
    with pytest.raises(ValueError, match="'nas' has a key of its own"):
        objxfer.connect("nas", key=KEY)
    with pytest.raises(ValueError, match="'nas' has a key of its own"):
        objxfer.push("x", to="nas:folder", insecure=True)
