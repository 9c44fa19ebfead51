"""Two that met by a code keep each other, both or neither, whatever the other one says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import objxfer
from objxfer import Connection, Invitation
from objxfer.blocking.pairing import ACCEPTS, become_peers
from objxfer.errors import (
    ConnectionLost,
    KeyFileError,
    ObjxferError,
    ProtocolMismatch,
    RefusedByPeer,
)
from objxfer.security.peers import Peers
from support.connected import PATIENCE


@contextmanager
def met(host: Peers, guest: Peers) -> Iterator[tuple[Connection, Connection]]:
    """The two sides of a connection that was made by a code."""
    invitation = Invitation()
    with objxfer.listen(
        "tls://127.0.0.1:0", key=invitation, peer_id=host.own_id(), accepts=ACCEPTS
    ) as listener:
        connection = objxfer.connect(
            listener.url, key=invitation.code, peer_id=guest.own_id(), accepts=ACCEPTS
        )
        there = listener.accept(PATIENCE)
    try:
        yield there, connection
    finally:
        connection.abandon()
        there.abandon()


@pytest.fixture
def anna(tmp_path: Path) -> Peers:
    return Peers(tmp_path / "anna")


@pytest.fixture
def ben(tmp_path: Path) -> Peers:
    return Peers(tmp_path / "ben")


def together(call: Callable[[], Any], other: Callable[[], Any]) -> tuple[Any, Any]:
    """Do both at once; return what came of each, or what it raised."""
    outcomes: dict[int, Any] = {}

    def run(number: int, each: Callable[[], Any]) -> None:
        try:
            outcomes[number] = each()
        except ObjxferError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate((call, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes[0], outcomes[1]


def test_both_keep_the_pair(anna: Peers, ben: Peers) -> None:
    with met(anna, ben) as (there, here):
        kept = together(
            lambda: become_peers(there, anna, own_name="anna"),
            lambda: become_peers(here, ben, own_name="ben", name="nas"),
        )
    assert [peer.name for peer in kept] == ["ben", "nas"]
    assert list(anna) == [kept[0]]
    assert list(ben) == [kept[1]]
    pair = ben.load("nas").pair
    with (
        objxfer.listen("tls://127.0.0.1:0", key=anna) as listener,
        objxfer.connect(listener.url, key=pair) as connection,
    ):
        assert connection.key_id == pair.key.id
        connection.abandon()


@pytest.mark.parametrize(
    ("proposed", "called"),
    [
        ("Ben's laptop", "Ben's laptop"),
        ("../key", "peer"),
        (".objxfer-id", "peer"),
        ("\x1b[31mred", "peer"),
        ("\u202egnp", "peer"),
        ("x" * 10_000, "peer"),
        ("", "peer"),
        ("-r", "peer"),
        ("4-walnut-copper-tiger", "peer"),
    ],
)
def test_a_name_is_only_a_proposal(anna: Peers, ben: Peers, proposed: str, called: str) -> None:
    with met(anna, ben) as (there, here):
        kept, _ = together(
            lambda: become_peers(there, anna, own_name="anna"),
            lambda: become_peers(here, ben, own_name=proposed),
        )
    assert kept.name == called
    assert [peer.name for peer in anna] == [called]


@pytest.mark.parametrize(
    "said", [None, 7, [], {}, {"name": 7}, {"name": None}, "anna", {"kept": True}]
)
def test_who_says_something_else_does_not_want_to_pair(
    anna: Peers, ben: Peers, said: object
) -> None:
    with met(anna, ben) as (there, here):
        here.send(said, serializer="json")
        with pytest.raises(ProtocolMismatch, match="does not want to pair"):
            become_peers(there, anna, own_name="anna")
    assert list(anna) == []


def test_who_takes_no_objects_does_not_want_to_pair(anna: Peers) -> None:
    invitation = Invitation()
    with objxfer.listen("tls://127.0.0.1:0", key=invitation, accepts=()) as listener:
        here = objxfer.connect(
            listener.url, key=invitation.code, peer_id=anna.own_id(), accepts=ACCEPTS
        )
        with pytest.raises(ProtocolMismatch, match="does not want to pair"):
            become_peers(here, anna, own_name="anna")
        here.abandon()
    assert list(anna) == []


def test_nothing_is_kept_where_the_other_side_says_that_it_keeps_nothing(
    anna: Peers, ben: Peers
) -> None:
    with met(anna, ben) as (there, here):
        here.send({"name": "ben"}, serializer="json")
        here.send({"kept": False}, serializer="json")
        with pytest.raises(RefusedByPeer, match="could not keep the pair"):
            become_peers(there, anna, own_name="anna")
    assert list(anna) == []


@pytest.mark.long
def test_nothing_is_kept_where_the_other_side_says_so_and_leaves(anna: Peers, ben: Peers) -> None:
    with met(anna, ben) as (there, here):
        here.send({"name": "ben"}, serializer="json")
        here.send({"kept": False}, serializer="json")
        here.close()
        with pytest.raises(RefusedByPeer, match="could not keep the pair"):
            become_peers(there, anna, own_name="anna")
    assert list(anna) == []


def test_it_is_kept_where_nobody_knows_whether_the_other_side_does(anna: Peers, ben: Peers) -> None:
    """The last word may always be lost; then it is better that both keep it than that one does."""
    with met(anna, ben) as (there, here):
        here.send({"name": "ben"}, serializer="json")
        here.abandon()
        with pytest.raises(ConnectionLost, match="before 'ben' said that it keeps the pair") as one:
            become_peers(there, anna, own_name="anna")
    assert '"objxfer peers remove ben"' in one.value.hint
    assert [peer.name for peer in anna] == ["ben"]


@pytest.mark.long
def test_where_it_cannot_be_kept_neither_keeps_it(anna: Peers, ben: Peers) -> None:
    with met(anna, ben) as (there, here):
        (ben.folder / ".objxfer-lock").unlink()
        (ben.folder / ".objxfer-lock").mkdir()

        def fail() -> None:
            with here:
                become_peers(here, ben, own_name="ben")

        left, failed = together(lambda: become_peers(there, anna, own_name="anna"), fail)
    assert isinstance(failed, KeyFileError)
    assert isinstance(left, RefusedByPeer)
    assert list(anna) == []


def test_two_of_the_same_id_are_no_pair(anna: Peers) -> None:
    with met(anna, anna) as (there, _):
        with pytest.raises(ObjxferError, match="the same peer id") as caught:
            become_peers(there, anna, own_name="anna")
        assert "a config folder was copied" in caught.value.hint
    assert list(anna) == []
