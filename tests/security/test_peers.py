"""The store of peers: hostile files, two processes at once, and what is shown of it."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from objxfer.errors import ExitCode, KeyFileError, ObjxferError
from objxfer.security.keys import Key
from objxfer.security.pairing import Code, Pair
from objxfer.security.peerfiles import (
    LONGEST_NAME,
    MOST_ADDRESSES,
    Peer,
    check_name,
    fitting,
)
from objxfer.security.peers import Peers

needs_modes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
NOW = datetime(2026, 5, 4, 12, 30, 15, tzinfo=UTC)
THERE = bytes([2]) * 16


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path / "config" / "peers")


def a_peer(peers: Peers, name: str = "nas", peer_id: bytes = THERE) -> Peer:
    pair = Pair(Key.generate(), peers.own_id(), peer_id)
    return Peer(name, pair, NOW, "192.168.1.20", ("tls://192.168.1.20:6259",))


def lets_in(peers: Peers, peer: Peer) -> bool:
    found = peers.peer_with(peer.pair.peer, peer.pair.key.id)
    return found is not None and found.pair == peer.pair


# --- one machine's own id ---


def test_the_own_id_is_made_once(peers: Peers) -> None:
    own = peers.own_id()
    assert len(own) == 16
    assert any(own)
    assert peers.own_id() == Peers(peers.folder).own_id() == own
    assert not peers
    assert list(peers) == []


def test_two_processes_that_make_it_at_once_have_the_same(peers: Peers) -> None:
    program = (
        "import sys; from objxfer.security.peers import Peers; sys.stdin.read(1);"
        "print(Peers(sys.argv[1]).own_id().hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(peers.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    said = [process.communicate(b"!")[0] for process in started]
    assert set(said) == {peers.own_id().hex().encode() + b"\n"}


@pytest.mark.parametrize("contents", [b"", b"objxfer-peer-id-1:", b"x" * 5000])
def test_a_damaged_own_id_is_an_error(peers: Peers, contents: bytes) -> None:
    peers.own_id()
    path = peers.folder / ".objxfer-id"
    path.write_bytes(contents)
    with pytest.raises(KeyFileError, match=r"file of this machine's peer id '.*\.objxfer-id' is"):
        peers.own_id()


# --- keeping and finding ---


def test_what_is_kept_is_found(peers: Peers) -> None:
    assert peers.find("nas") is None
    peer = peers.add(a_peer(peers))
    assert peers.find("nas") == peers.load("nas") == peer
    assert list(Peers(peers.folder)) == [peer]
    assert peers
    assert lets_in(peers, peer)


@needs_modes
def test_only_the_owner_can_read_it(peers: Peers) -> None:
    before = os.umask(0)
    try:
        peers.add(a_peer(peers))
    finally:
        os.umask(before)
    assert peers.folder.stat().st_mode & 0o777 == 0o700
    for path in peers.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_who_is_not_there_is_an_error(peers: Peers) -> None:
    for name in ("nas", "..", "a/b", ".objxfer-id", ""):
        with pytest.raises(ObjxferError, match="there is no peer") as caught:
            peers.load(name)
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_name_that_is_taken_is_never_overwritten(peers: Peers) -> None:
    first = peers.add(a_peer(peers))
    with pytest.raises(ObjxferError, match="there is a peer 'nas' already") as caught:
        peers.add(a_peer(peers))
    assert caught.value.exit_code is ExitCode.USAGE
    assert peers.add(a_peer(peers), numbered=True).name == "nas-2"
    assert peers.add(a_peer(peers), numbered=True).name == "nas-3"
    assert peers.load("nas") == first


def test_a_long_name_is_cut_for_its_number(peers: Peers) -> None:
    name = "é" * (LONGEST_NAME // 2)
    peers.add(a_peer(peers, name))
    second = peers.add(a_peer(peers, name), numbered=True).name
    assert second == "é" * (LONGEST_NAME // 2 - 1) + "-2"
    assert peers.find(second)


def test_a_name_is_the_same_however_it_is_composed(peers: Peers) -> None:
    peer = peers.add(a_peer(peers, "re\u0301mi"))
    assert peer.name == "r\u00e9mi"
    assert peers.find("re\u0301mi") == peers.find("r\u00e9mi") == peer


def test_renaming(peers: Peers) -> None:
    peer = peers.add(a_peer(peers))
    peers.add(a_peer(peers, "anna"))
    with pytest.raises(ObjxferError, match="there is a peer 'anna' already"):
        peers.rename("nas", "anna")
    with pytest.raises(ObjxferError, match="there is no peer 'ben'"):
        peers.rename("ben", "carl")
    with pytest.raises(ObjxferError, match="cannot be the name"):
        peers.rename("nas", "../nas")
    peers.rename("nas", "attic")
    assert peers.find("nas") is None
    assert peers.load("attic").pair == peer.pair
    assert lets_in(peers, peer)


def test_who_is_removed_is_let_in_no_more(peers: Peers) -> None:
    peer = peers.add(a_peer(peers))
    assert lets_in(peers, peer)
    Peers(peers.folder).remove("nas")
    assert not lets_in(peers, peer)
    assert not peers
    with pytest.raises(ObjxferError, match="there is no peer 'nas'"):
        peers.remove("nas")


def test_who_comes_later_is_let_in(peers: Peers) -> None:
    others = Peers(peers.folder)
    for number in range(5):  # within one tick of the clock, most likely
        peer = others.add(a_peer(others, f"peer{number}"))
        assert lets_in(peers, peer)
    old = a_peer(peers)
    assert not lets_in(peers, old)


def test_a_pair_of_another_own_id_is_let_in_by_nobody(peers: Peers) -> None:
    pair = Pair(Key.generate(), bytes([7]) * 16, THERE)
    peer = peers.add(Peer("nas", pair, NOW, "192.168.1.20"))
    assert not lets_in(peers, peer)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".objxfer-x", "-r", "a/b", "a\\b", "a:b", "a\nb", "\x1b[31m", " a", "a "),
        *("a\u202eb", "x" * 64, "é" * 32, "\udcff", "a\0b"),
    ],
)
def test_what_can_be_no_name(peers: Peers, name: str) -> None:
    with pytest.raises(ObjxferError, match="cannot be the name of a peer") as caught:
        peers.add(a_peer(peers, name))
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(caught.value).isprintable()
    assert list(peers) == []
    assert fitting(name, "peer") == "peer"


@pytest.mark.parametrize("before", ["", " ", "_", "-", "\u2013 "])
def test_a_code_is_no_name_and_is_not_shown(before: str) -> None:
    code = before + Code(4, ("walnut", "copper", "tiger")).spoken()
    assert Code.parse(code).room == 4
    with pytest.raises(ObjxferError, match=r"^a code was given where the name") as caught:
        check_name(code)
    assert "walnut" not in str(caught.value) + caught.value.hint
    assert fitting(code, "peer") == "peer"


def test_addresses_that_worked_are_remembered(peers: Peers) -> None:
    peer = peers.add(a_peer(peers))
    for number in range(20):
        peers.reached(peers.load("nas"), f"tls://10.0.0.{number}:6259")
    known = peers.load("nas").addresses
    assert len(known) == MOST_ADDRESSES
    assert known[0] == "tls://10.0.0.19:6259"
    peers.reached(peers.load("nas"), known[3])
    assert peers.load("nas").addresses == (known[3], *known[:3], *known[4:])
    peers.remove("nas")
    peers.reached(peer, "tls://10.0.0.7:6259")  # it does not come back by that
    assert peers.find("nas") is None


def test_of_a_thousand_one_file_is_read(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peers.add(a_peer(peers))
    contents = (peers.folder / "nas").read_bytes()
    for number in range(1000):
        descriptor = os.open(peers.folder / f"peer{number}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, contents)
        os.close(descriptor)
    opened = []
    real = os.open

    def noting(path: Path, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", noting)
    assert peers.load("nas") == peer
    assert opened == [peers.folder / "nas"]


# --- hostile files ---


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"0202", b"0203", 1)), "damaged"),
        (lambda path: path.write_bytes(bytes(5000)), "is none: it is larger than 4096 bytes"),
        (lambda path: path.chmod(0o640), "is open to others"),
        (lambda path: path.symlink_to(path.rename(path.parent.parent / "x")), "is a symbolic link"),
        (become_a_fifo, "is not a regular file"),
        (lambda path: (path.unlink(), path.mkdir(0o700)), "is not a regular file"),
    ],
)
@needs_modes
def test_a_file_that_is_no_good_is_one_error_and_disturbs_no_other(
    peers: Peers,
    change: Callable[[Path], object],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = peers.add(a_peer(peers, "anna"))
    bad = peers.add(a_peer(peers))
    change(peers.folder / "nas")
    with pytest.raises(KeyFileError, match=said) as caught:
        peers.find("nas")
    assert str(peers.folder / "nas") in str(caught.value)
    found, damaged = peers.survey()
    assert found == [good]
    assert [str(error) for error in damaged] == [str(caught.value)]
    with caplog.at_level(logging.WARNING):
        assert list(peers) == [good]
    assert said in caplog.text
    assert lets_in(peers, good)
    assert not lets_in(peers, bad)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes root")
def test_a_file_of_somebody_else_is_refused(peers: Peers) -> None:
    peers.add(a_peer(peers))
    os.chown(peers.folder / "nas", 4321, -1)
    with pytest.raises(KeyFileError, match=r"belongs to another user \(uid 4321\)"):
        peers.find("nas")


def test_a_file_whose_name_is_none_is_said(peers: Peers) -> None:
    peers.add(a_peer(peers))
    (peers.folder / "a:b").write_bytes(b"")
    found, damaged = peers.survey()
    assert [peer.name for peer in found] == ["nas"]
    assert ["has a name that no peer has" in str(error) for error in damaged] == [True]


def test_names_are_told_without_a_look_at_the_files(peers: Peers) -> None:
    assert peers.names() == []
    for name in ("nas", "büro 2", "attic"):
        peers.add(a_peer(peers, name))
    (peers.folder / "damaged").write_bytes(b"?")
    (peers.folder / "no:name").write_bytes(b"?")
    peers.own_id()
    assert peers.names() == ["attic", "büro 2", "damaged", "nas"]


def test_a_damaged_file_can_be_removed(peers: Peers) -> None:
    peers.add(a_peer(peers))
    (peers.folder / "nas").write_bytes(b"?")
    peers.remove("nas")
    assert peers.survey() == ([], [])


VALUES: Final = ["key", "own", "peer", "paired_at", "paired_from", "addresses"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in VALUES for value in (None, 7, [7], {"\n": 7}, "\x1b[31m")),
        pytest.param("paired_at", "0001-01-01T00:00:00+14:00", id="before all time"),
        pytest.param("addresses", "tls", id="letters for addresses"),
        pytest.param("addresses", {"tls://nas": 1}, id="keys for addresses"),
    ],
)
def test_what_says_it_is_whole_is_looked_at_all_the_same(
    peers: Peers, key: str, value: object
) -> None:
    from objxfer.security import peerfiles

    peer = peers.add(a_peer(peers))
    path = peers.folder / "nas"
    values = json.loads(path.read_bytes().partition(b" ")[2]) | {key: value}
    path.write_bytes(peerfiles._checked(b"objxfer-peer-1:", json.dumps(values).encode()))
    with pytest.raises(KeyFileError, match="is none that objxfer wrote") as caught:
        peers.find(peer.name)
    assert caught.value.__cause__ is None


# --- several at once, and what is shown ---


def test_two_processes_that_write_at_once_lose_nothing(peers: Peers) -> None:
    program = """
import sys
from datetime import UTC, datetime
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
peers = Peers(sys.argv[1])
sys.stdin.read(1)
for number in range(20):
    pair = Pair(Key.generate(), peers.own_id(), bytes([3]) * 16)
    mine = peers.add(Peer("nas", pair, datetime.now(UTC), "10.0.0.1"), numbered=True)
    peers.reached(mine, f"tls://10.0.0.{number}:6259")
    other = peers.add(Peer("gone", pair, datetime.now(UTC), "10.0.0.1"), numbered=True)
    peers.remove(other.name)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(peers.folder)], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in started:
        process.communicate(b"!")
        assert process.returncode == 0
    found, damaged = peers.survey()
    names = {"nas", *(f"nas-{number}" for number in range(2, 41))}
    assert {peer.name for peer in found} == names
    assert damaged == []
    assert all(len(peer.addresses) == 1 for peer in found)
    assert len({peer.pair.key.id for peer in found}) == 40
    ours = {".objxfer-id", ".objxfer-lock"}
    assert {path.name for path in peers.folder.iterdir()} == names | ours


def test_the_key_is_shown_nowhere(peers: Peers) -> None:
    peer = peers.add(a_peer(peers))
    secret = peer.pair.key.secret()
    for shown in (repr(peer), str(peer), repr(peers), repr(peer.pair)):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        pickle.dumps(peer)
