"""``objxfer pair``, ``objxfer peers``, and ``--to NAME``, between machines of their own."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from objxfer.errors import ExitCode
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from support.machines import ANNOUNCE, MOVED_IPV4, Machine, acquaint
from support.neighbours import HERE_IPV6, THERE_IPV4, THERE_IPV6, WIRE, Cable, needs_cable

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def exit_stack() -> Iterator[ExitStack]:
    with ExitStack() as exit_stack:
        yield exit_stack


@pytest.fixture
def anna(tmp_path: Path, exit_stack: ExitStack) -> Machine:
    return Machine(tmp_path / "anna", exit_stack)


@pytest.fixture
def ben(tmp_path: Path, exit_stack: ExitStack) -> Machine:
    return Machine(tmp_path / "ben", exit_stack)


def know(machine: Machine, name: str, number: int = 2) -> Peer:
    pair = Pair(Key.generate(), machine.peers.own_id(), bytes([number]) * 16)
    when = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
    return machine.peers.add(Peer(name, pair, when, "192.168.1.20", ("tls://192.168.1.20:6259",)))


# --- peers ---


def test_nobody_is_known_at_first(anna: Machine) -> None:
    shown = anna.run("peers")
    assert shown == (0, "", 'there are no peers\nhint: run "objxfer pair" on two machines\n')
    assert anna.run("peers", "--json") == (0, "", "")


def test_all_are_shown(anna: Machine) -> None:
    nas, attic = know(anna, "nas"), know(anna, "büro 2")
    code, out, err = anna.run("peers", "-q")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(
        r"büro 2  paired 2026-05-0\d \d\d:\d\d with 192\.168\.1\.20,"
        rf" last at tls://192\.168\.1\.20:6259, key {attic.pair.key.id}",
        first,
    )
    assert second.startswith("nas     paired ")
    lines = anna.run("peers", "--json").lines
    assert lines[1] == {
        "type": "peer",
        "name": "nas",
        "id": "02" * 16,
        "key": nas.pair.key.id,
        "paired_at": "2026-05-04T12:30:00+00:00",
        "paired_from": "192.168.1.20",
        "addresses": ["tls://192.168.1.20:6259"],
    }


def test_a_damaged_one_is_an_error_and_the_others_are_shown(anna: Machine) -> None:
    know(anna, "nas")
    know(anna, "attic")
    (anna.peers.folder / "attic").write_bytes(b"?")
    code, out, err = anna.run("peers")
    assert code == ExitCode.USAGE
    assert out.startswith("nas  paired")
    assert err.startswith("objxfer: error: peer file ")
    assert "/attic' is damaged" in err
    assert anna.run("peers", "remove", "attic").code == 0
    assert anna.run("peers").code == 0


def test_renaming_and_removing(anna: Machine) -> None:
    peer = know(anna, "nas")
    know(anna, "attic")
    assert anna.run("peers", "rename", "nas", "cellar") == (0, "nas is called cellar now\n", "")
    assert anna.peers.load("cellar").pair == peer.pair
    (line,) = anna.run("peers", "--json", "rename", "cellar", "pantry").lines
    assert (line["name"], line["action"]) == ("pantry", "renamed")
    assert anna.run("peers", "-q", "rename", "pantry", "cellar") == (0, "", "")
    taken = anna.run("peers", "rename", "cellar", "attic")
    assert taken.code == ExitCode.USAGE
    assert taken.err.startswith("objxfer: error: there is a peer 'attic' already\n")
    (line,) = anna.run("peers", "remove", "cellar", "--json").lines
    assert line == {"type": "peer", "name": "cellar", "action": "removed"}
    gone = anna.run("peers", "remove", "cellar")
    assert gone.code == ExitCode.USAGE
    assert gone.err == (
        "objxfer: error: there is no peer 'cellar'\nhint: \"objxfer peers\" shows who there is\n"
    )
    assert anna.run("peers", "rename", "attic", "a/b").code == ExitCode.USAGE
    assert [each.name for each in anna.peers] == ["attic"]


# --- pair ---


def test_two_become_peers(anna: Machine, ben: Machine) -> None:
    waiting, code, url = anna.wait_with_code("--listen", "tls://127.0.0.1:0", "--as", "anna")
    came = ben.run("pair", "-", "nas", "--as", "ben", "--from", url, stdin=f"{code}\n".encode())
    ended = waiting.finish()
    assert (came.code, ended.code) == (0, 0), came.err + ended.err
    (nas,), (known,) = ben.peers, anna.peers
    assert (nas.name, known.name) == ("nas", "ben")
    assert nas.pair.key == known.pair.key
    assert (nas.pair.own, nas.pair.peer) == (known.pair.peer, known.pair.own)
    assert came.out == f"paired with 127.0.0.1: nas, key {nas.pair.key.id}\n"
    assert ended.out == f"paired with 127.0.0.1: ben, key {nas.pair.key.id}\n"
    assert "hint: objxfer send PATH --to nas" in came.err
    assert nas.addresses == ("tls://127.0.0.1:6259",)


def test_a_name_that_is_taken_gets_a_number(anna: Machine, ben: Machine) -> None:
    before = know(anna, "ben")
    waiting = anna.start("pair", "--listen", "tls://127.0.0.1:0", "--json")
    shown = json.loads(waiting.out_line())
    (url,) = shown["urls"]
    assert list(shown) == ["type", "code", "urls"]
    code = shown["code"]
    (line,) = ben.run("pair", code, "--from", url, "--as", "ben", "--json").lines
    assert line["action"] == "paired"
    (kept,) = waiting.finish().lines
    assert (kept["type"], kept["name"]) == ("peer", "ben-2")
    assert anna.peers.load("ben") == before


def test_a_wrong_code_pairs_nobody_and_another_one_is_shown(anna: Machine, ben: Machine) -> None:
    waiting, code, url = anna.wait_with_code("--listen", "tls://127.0.0.1:0")
    wrong = f"{code.partition('-')[0]}-walnut-walnut-walnut"
    failed = ben.run("pair", wrong, "--from", url)
    assert failed.code == ExitCode.NOT_AUTHENTICATED
    assert "hint: ask for a new code" in failed.err
    said = []
    while not (line := waiting.err_line()).startswith("code: "):
        assert line
        said.append(line)
    assert line != f"code: {code}"
    assert any("somebody tried a wrong code" in line for line in said)
    assert list(ben.peers) == list(anna.peers) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nas", "attic"), "the first of two is a code"),
        (("4-walnut-copper-tiger", "nas", "attic"), "one name behind it"),
        (("4-walnut-copper-tigr", "nas"), "'tigr' is no word of a code"),
        (("4-walnut-copper-tiger", "4-walnut-copper-tiger"), "a code was given where the name"),
        (("a/b",), "cannot be the name of a peer"),
        (("known",), "there is a peer 'known' already"),
        (("--from", "tls://127.0.0.1"), "--from goes with a CODE"),
        (("4-walnut-copper-tiger", "--listen", "tls://"), "--listen goes without a CODE"),
        (("--as", ".hidden"), "cannot be the name of a peer"),
        (("--listen", "tcp://127.0.0.1:0"), "a code is of use over tls:// only"),
    ],
)
def test_what_cannot_be_meant(anna: Machine, arguments: tuple[str, ...], said: str) -> None:
    know(anna, "known")
    code, out, err = anna.run("pair", *arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert said in err
    assert "copper" not in err.replace("as in 4-walnut-copper-tiger", "")


def test_the_key_is_shown_nowhere(anna: Machine, ben: Machine) -> None:
    waiting = anna.start("pair", "--listen", "tls://127.0.0.1:0", "--json", "-vv")
    shown = json.loads(waiting.out_line())
    code, (url,) = shown["code"], shown["urls"]
    came = ben.run("pair", "-", "nas", "--from", url, "-vv", stdin=code.encode())
    ran = [came, waiting.finish(), ben.run("peers", "-vv"), ben.run("peers", "--json")]
    secret = ben.peers.load("nas").pair.key.secret()
    (written,) = re.findall(r"objxfer-key-1:(\S+?)\"", (ben.peers.folder / "nas").read_text())
    for out in (text for each in ran for text in (each.out, each.err)):
        for one in (secret.hex(), written, repr(secret), code.partition("-")[2]):
            assert one not in out


# --- to a name ---


def test_who_is_no_peer(anna: Machine) -> None:
    anna.commands.file("a.txt")
    code, _, err = anna.run("send", "a.txt", "--to", "nas:folder")
    assert code == ExitCode.USAGE
    assert err == (
        "objxfer: error: 'nas:folder' is no target: it has no scheme, and there is no peer 'nas'\n"
        'hint: write tls://nas:folder for a host; "objxfer peers" shows the peers\n'
    )


@pytest.mark.parametrize("option", [("--insecure",), ("--key", "any")])
def test_a_peer_has_its_own_key(anna: Machine, option: tuple[str, ...]) -> None:
    know(anna, "nas")
    anna.commands.file("a.txt")
    code, _, err = anna.run("send", "a.txt", "--to", "nas", *option)
    assert code == ExitCode.USAGE
    assert "nas has a key of its own" in err


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("receive", "4-walnut-copper-tiger", "--from"), "--from"),
        (("pair", "4-walnut-copper-tiger", "--from"), "--from"),
        (("send", "letter.txt", "--code", "4-walnut-copper-tiger", "--to"), "--to"),
    ],
)
def test_a_code_goes_with_an_address_and_no_name(
    anna: Machine, arguments: tuple[str, ...], option: str
) -> None:
    know(anna, "nas")
    anna.commands.file("letter.txt")
    code, _, err = anna.run(*arguments, "nas")
    said = f"objxfer: error: with a code, {option} is tls://HOST[:PORT], not 'nas'\n"
    assert (code, err) == (ExitCode.USAGE, f'{said}hint: see "objxfer {arguments[0]} --help"\n')


def test_without_a_key_and_without_a_peer_nobody_is_let_in(anna: Machine) -> None:
    code, _, err = anna.run("serve", "inbox", "--listen", "tls://127.0.0.1:0")
    assert code == ExitCode.USAGE
    assert "no key for tls://" in err
    know(anna, "nas")
    # What is not encrypted is not for peers.
    assert anna.run("receive", "--listen", "tcp://127.0.0.1:0").code == ExitCode.USAGE


def test_a_damaged_peer_keeps_no_other_out(anna: Machine) -> None:
    know(anna, "nas")
    know(anna, "attic")
    (anna.peers.folder / "attic").chmod(0o644)
    serving = anna.start("serve", "inbox", "--listen", "tls://127.0.0.1:0")
    warning = serving.err_line()
    assert warning.startswith("objxfer: warning: not let in: peer file ")
    assert "/attic' is open to others" in warning
    assert serving.err_line().startswith("inbox ")
    assert serving.err_line().endswith(", 1 peer")
    serving.signal(signal.SIGTERM)
    assert serving.finish().code == 0


def test_all_that_is_damaged_is_said(anna: Machine) -> None:
    know(anna, "nas")
    know(anna, "attic")
    for name in ("attic", ".objxfer-id"):
        (anna.peers.folder / name).chmod(0o644)
    code, _, err = anna.run("serve", "inbox", "--listen", "tls://127.0.0.1:0")
    assert code == ExitCode.USAGE  # without a key, there is nobody left to let in
    warnings = re.findall("warning: not let in: .*/(.*)' is open to others", err)
    assert warnings == ["attic", ".objxfer-id"]


@needs_cable
class TestOnACable:
    """Anna here, the nas there; both know each other."""

    @pytest.fixture
    def anna(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack) -> Machine:
        return Machine(tmp_path / "anna", exit_stack, cable.here)

    @pytest.fixture
    def nas(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack, anna: Machine) -> Machine:
        nas = Machine(tmp_path / "nas", exit_stack, cable.there)
        acquaint(anna, "anna", nas, "nas")
        anna.commands.file("a.txt")
        return nas

    def test_what_is_sent_by_name_arrives(self, anna: Machine, nas: Machine) -> None:
        receiving = nas.listen("receive", "--into", "inbox")
        assert receiving.err_line() == "on the machine of a peer:  objxfer send PATH --to NAME"
        sent = anna.run("send", "a.txt", "--to", "nas:from/anna")
        assert sent.code == 0, sent.err
        assert sent.out.endswith("(TLS, nas)\n")
        assert re.search(r"from anna \(.*\): a\.txt\n", receiving.finish().out)
        assert (nas.inbox / "from/anna/a.txt").read_bytes() == b"contents"

    def test_what_goes_wrong_is_said_of_the_peer_by_its_name(
        self, anna: Machine, nas: Machine
    ) -> None:
        nas.listen("serve", "inbox")
        refused = anna.run("send", "a.txt", "--to", "nas:../up")
        assert refused == (20, "", "objxfer: error: refused by nas: ../up holds . or ..\n")

    def test_a_peer_that_moved_is_found(self, anna: Machine, nas: Machine, cable: Cable) -> None:
        serving = nas.listen("serve", "inbox")
        assert anna.run("send", "a.txt", "--to", "nas").code == 0
        serving.signal(signal.SIGTERM)
        assert serving.finish().code == 0
        cable.there.run("ip", "address", "del", f"{THERE_IPV4}/24", "dev", WIRE)
        cable.there.run("ip", "address", "add", f"{MOVED_IPV4}/24", "dev", WIRE)
        nas.listen("serve", "inbox", "--listen", f"tls://{MOVED_IPV4}:7001")
        anna.commands.file("b.txt")
        sent = anna.run("send", "b.txt", "--to", "nas")
        assert sent.code == 0, sent.err
        assert (nas.inbox / "b.txt").exists()
        (line,) = anna.run("peers", "--json").lines
        assert line["addresses"][0] == f"tls://{MOVED_IPV4}:7001"

    def test_one_that_only_says_it_is_the_peer_is_refused(
        self, anna: Machine, nas: Machine, cable: Cable
    ) -> None:
        nas.commands.key.save(nas.commands.folder / "rogue.key")
        peer_id = nas.peers.own_id().hex()
        nas.peers.remove("anna")  # so that who listens there is another, and not announced
        nas.listen("serve", "inbox", "--key", "rogue.key", "--listen", "tls://:7002")
        announced = cable.there.python(ANNOUNCE, peer_id, "7002")
        assert announced.line() == "announced"
        code, _, err = anna.run("send", "a.txt", "--to", "nas")
        assert code == ExitCode.NOT_AUTHENTICATED
        assert re.search(r"tls://\S+:7002, announced as 'nas', is another: ", err), err
        assert "hint: if 'nas' has removed this machine, or was set up anew" in err
        assert not (nas.inbox / "a.txt").exists()

    def test_another_in_its_place_is_a_warning_where_the_peer_answers_too(
        self, tmp_path: Path, exit_stack: ExitStack, anna: Machine, nas: Machine, cable: Cable
    ) -> None:
        rogue = Machine(tmp_path / "rogue", exit_stack, cable.there)
        rogue.commands.key.save(rogue.commands.key_file)
        rogue.listen("serve", "inbox", "--listen", "tls://:7002")
        announced = cable.there.python(ANNOUNCE, nas.peers.own_id().hex(), "7002")
        assert announced.line() == "announced"
        nas.listen("serve", "inbox")
        code, _, err = anna.run("send", "a.txt", "--to", "nas")
        assert code == 0, err
        warning = r"objxfer: warning: tls://.*:7002, announced as 'nas', is another: .*\n"
        assert re.fullmatch(f"({warning})+", err), err  # one for each address

    def test_who_is_removed_is_not_let_in_any_more(self, anna: Machine, nas: Machine) -> None:
        serving = nas.listen("serve", "inbox")
        assert anna.run("send", "a.txt", "--to", "nas").code == 0
        assert nas.run("peers", "remove", "anna").code == 0
        anna.commands.file("b.txt")
        assert anna.run("send", "b.txt", "--to", "nas").code == ExitCode.NOT_AUTHENTICATED
        assert not (nas.inbox / "b.txt").exists()
        assert serving.process.poll() is None

    def test_nobody_is_there(self, anna: Machine, nas: Machine) -> None:
        code, out, err = anna.run("send", "a.txt", "--to", "nas", "--json")
        assert code == ExitCode.CANNOT_CONNECT
        assert json.loads(out)["name"] == "CannotConnect"
        assert "'nas' is not found on the network" in err
        assert 'hint: start "objxfer receive" there first' in err
        assert nas.peers

    def test_a_key_and_peers_are_let_in_side_by_side(self, anna: Machine, nas: Machine) -> None:
        for machine in (anna, nas):
            nas.commands.key.save(machine.commands.key_file)
        serving = nas.listen("serve", "inbox")
        assert anna.run("send", "a.txt", "--to", "nas").code == 0
        assert anna.run("send", "a.txt", "--to", f"{serving.url}/by-key").code == 0
        assert (nas.inbox / "by-key/a.txt").exists()


@needs_cable
def test_an_address_that_holds_on_one_interface_is_kept_with_it(
    tmp_path: Path, exit_stack: ExitStack
) -> None:
    cable = exit_stack.enter_context(Cable(ipv4=False))
    anna = Machine(tmp_path / "anna", exit_stack, cable.here)
    nas = Machine(tmp_path / "nas", exit_stack, cable.there)
    waiting, code, _ = nas.wait_with_code("--as", "nas")
    paired = anna.run("pair", code, "--as", "anna")
    assert paired.code == waiting.finish().code == 0, paired.err
    assert anna.peers.load("nas").addresses == (f"tls://[{THERE_IPV6}%{WIRE}]:6259",)
    assert nas.peers.load("anna").addresses == (f"tls://[{HERE_IPV6}%{WIRE}]:6259",)
    receiving = nas.listen("receive", "--into", "inbox", "--listen", "tls://:7001")
    anna.commands.file("a.txt")
    sent = anna.run("send", "a.txt", "--to", "nas")
    assert sent.code == receiving.finish().code == 0, sent.err
    assert anna.peers.load("nas").addresses[0] == f"tls://[{THERE_IPV6}%{WIRE}]:7001"
