"""An inbox whose rules say who may send, where, and how much."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer import Grant, Key, Keyring, Pair, Peer, Peers, Report, Rules
from objxfer.blocking.serving import Server, Watcher, serve
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    ExitCode,
    FileFailed,
    NoSpace,
    NotAllowed,
    ObjxferError,
    RefusedByPeer,
    RuleError,
)
from objxfer.files.entries import Action, Answer, Receipt, Verdict
from objxfer.limits import MIB
from objxfer.protocol.answers import Accept, Receipts, Wanted
from objxfer.protocol.messages import Done, Message
from objxfer.protocol.session import data
from objxfer.protocol.trees import Entries, Fate, File, FileEnd, Flush
from objxfer.transfer.steps import Steps, receive, send
from support.byhand import file, offer, perform
from support.connected import KEY, OTHER_KEY, PATIENCE, begin
from support.partials import wait_for_partial

MB = 10**6
BEN, CAROL = (bytes([number]) * 16 for number in (2, 3))


class Hearing(Watcher):
    """Notes who came, and what came of it."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def connected(self, delivery: int, connection: objxfer.Connection) -> None:
        self.heard.put(("connected", connection.name))

    def delivered(self, delivery: int, connection: objxfer.Connection, report: Report) -> None:
        self.heard.put(("delivered", connection.name))

    def failed(self, delivery: int, connection: objxfer.Connection, error: ObjxferError) -> None:
        self.heard.put(("failed", connection.name, type(error), str(error)))

    def ended(self, delivery: int, connection: objxfer.Connection) -> None:
        self.heard.put(("ended", connection.name))

    def until(self, kind: str) -> tuple[Any, ...]:
        """The next of a kind."""
        while (said := self.heard.get(timeout=PATIENCE))[0] != kind:
            pass
        return said


class Scene:
    """An inbox, peers of the machine that it is on, and files to send there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.peers = Peers(folder / "peers")
        self.watcher = Hearing()

    def pair(self, name: str, peer_id: bytes) -> Pair:
        """Pair with somebody; return their half."""
        key, own = Key.generate(), self.peers.own_id()
        when = datetime(2026, 5, 4, tzinfo=UTC)
        self.peers.add(Peer(name, Pair(key, own, peer_id), when, "192.168.1.31"))
        return Pair(key, peer_id, own)

    def rules(self, *grants: Grant) -> Rules:
        return Rules(self.inbox, grants, peers=self.peers)

    @contextmanager
    def serving(self, *grants: Grant, **terms: Any) -> Iterator[tuple[Server, Rules]]:
        rules = self.rules(*grants)
        with serve(rules, "tls://127.0.0.1:0", watcher=self.watcher, **terms) as server:
            yield server, rules

    def file(self, name: str, size: int) -> Path:
        path = self.folder / name
        path.write_bytes(os.urandom(size))
        return path

    def lies(self, folder: str) -> int:
        """How many bytes lie in a folder of the inbox, half-written ones included."""
        size = 0
        for path in (self.inbox / folder).rglob("*"):
            with suppress(FileNotFoundError):  # it was given up, or got its name, meanwhile
                if path.is_file() and path.parent.name != ".objxfer":
                    size += path.stat().st_size
        return size


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    assert list(scene.outside.iterdir()) == []


def ring(key: Key = KEY) -> Keyring:
    return Keyring(key)


class Endless:
    """A stream that goes on for as long as a test wants."""

    def __init__(self) -> None:
        out, self._in = os.pipe()
        self.reader = open(out, "rb")  # noqa: SIM115 - closed by who has it read

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._in, data) :]

    def offer(self, data: bytes) -> None:
        """Write as much as there is room for: nobody may read it any more."""
        os.set_blocking(self._in, False)
        with suppress(BlockingIOError):
            os.write(self._in, data)

    def end(self) -> None:
        os.close(self._in)


@contextmanager
def streaming(
    scene: Scene, server: Server, key: Any, folder: str, name: str = "stream"
) -> Iterator[tuple[Endless, Future[Report]]]:
    """Send a stream that has begun to lie there."""
    stream = Endless()
    before = len(list((scene.inbox / folder).glob(".objxfer-*")))
    with objxfer.connect(server.url, key=key) as connection:
        sending = begin(connection.push, stream.reader, name=name)
        stream.write(bytes(60_000))
        while len(list((scene.inbox / folder).glob(".objxfer-*"))) == before:
            assert not sending.done()
        try:
            yield stream, sending
        finally:
            stream.end()
            if not sending.done():
                sending.exception(PATIENCE)
            stream.reader.close()


# --- who may send where ---


def test_two_of_different_folders_and_rights_at_once(scene: Scene) -> None:
    ben, carol = scene.pair("ben", BEN), scene.pair("carol", CAROL)
    photo = scene.file("photo", MB)
    grants = [Grant("ben", folder="family/ben"), Grant("carol", rights="none")]
    with scene.serving(*grants, Grant("printer", ring(), folder="scans")) as (server, _):
        calls: list[Callable[[], Report]] = [
            lambda: objxfer.push(photo, to=f"{server.url}/2026", key=ben),
            lambda: objxfer.push(photo, to=server.url, key=KEY),
        ]
        reports = [begin(call) for call in calls]
        with pytest.raises(RefusedByPeer, match="this sender may not send"):
            objxfer.push(photo, to=server.url, key=carol)
        assert [report.result(PATIENCE).exit_code for report in reports] == [0, 0]
    assert (scene.inbox / "family/ben/2026/photo").read_bytes() == photo.read_bytes()
    assert (scene.inbox / "scans/photo").read_bytes() == photo.read_bytes()
    assert sorted(path.name for path in scene.inbox.iterdir()) == ["family", "scans"]


def test_who_is_named_is_called_by_that_name(scene: Scene) -> None:
    ben, photo = scene.pair("ben", BEN), scene.file("photo", 9)
    with scene.serving(Grant("ben"), Grant("printer", ring())) as (server, _):
        for key, name in ((ben, "ben"), (KEY, "printer")):
            assert objxfer.push(photo, to=server.url, key=key).exit_code == 0
            assert scene.watcher.until("delivered") == ("delivered", name)


def test_without_rules_a_peer_has_its_name_and_a_key_has_none(scene: Scene) -> None:
    ben, photo = scene.pair("ben", BEN), scene.file("photo", 9)
    terms: dict[str, Any] = {"key": [KEY, scene.peers], "watcher": scene.watcher}
    with serve(scene.inbox, "tls://127.0.0.1:0", **terms) as server:
        for key, name in ((ben, "ben"), (KEY, None)):
            assert objxfer.push(photo, to=server.url, key=key).exit_code == 0
            assert scene.watcher.until("delivered") == ("delivered", name)


def test_a_peer_that_is_not_named_is_told_so(scene: Scene) -> None:
    carol, photo = scene.pair("carol", CAROL), scene.file("photo", 9)
    scene.pair("ben", BEN)
    said = "the rules of this inbox do not name this sender"
    with (
        scene.serving(Grant("ben", folder="ben")) as (server, _),
        objxfer.connect(server.url, key=carol) as connection,
    ):
        for _ in range(2):
            with pytest.raises(RefusedByPeer, match=said) as refused:
                connection.push(photo)
            assert refused.value.exit_code == ExitCode.REFUSED
            assert scene.watcher.until("failed") == ("failed", "carol", NotAllowed, said)
    assert list(scene.inbox.rglob("*")) == [scene.inbox / "ben"]


def test_a_key_that_is_not_named_does_not_let_in(scene: Scene) -> None:
    scene.pair("ben", BEN)
    for grants in ([], [Grant("ben")], [Grant("printer", ring(OTHER_KEY))]):
        with scene.serving(*grants) as (server, _):
            with pytest.raises(AuthenticationError):
                objxfer.connect(server.url, key=KEY)
            with pytest.raises(AuthenticationError):
                objxfer.connect(server.url, insecure=True)


def test_a_key_does_not_open_the_folder_of_another(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    grants = [Grant("a", ring(), folder="a"), Grant("b", ring(OTHER_KEY), folder="b")]
    with scene.serving(*grants) as (server, _):
        for folder in ("../b", "/b", "..", "x/../../b"):
            with objxfer.connect(server.url, key=KEY) as one, pytest.raises(RefusedByPeer):
                one.push(photo, into=folder)
        assert objxfer.push(photo, to=f"{server.url}/b", key=KEY).exit_code == 0
    assert (scene.inbox / "a/b/photo").is_file()
    assert list((scene.inbox / "b").iterdir()) == []


def test_a_key_of_the_name_of_a_peer_is_not_that_peer(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("ben", ring(), folder="ben")) as (server, _):
        ben = scene.pair("ben", BEN)  # later
        with pytest.raises(RefusedByPeer, match="do not name"):
            objxfer.push(photo, to=server.url, key=ben)
        assert objxfer.push(photo, to=server.url, key=KEY).exit_code == 0


def test_each_key_of_a_ring_lets_in(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("office", Keyring(KEY, OTHER_KEY), folder="o")) as (server, _):
        for key, folder in ((KEY, "1"), (OTHER_KEY, "2")):
            assert objxfer.push(photo, to=f"{server.url}/{folder}", key=key).exit_code == 0
            assert (scene.inbox / "o" / folder / "photo").is_file()


def test_peers_come_and_go_while_it_runs(scene: Scene) -> None:
    ben, photo = scene.pair("ben", BEN), scene.file("photo", 9)
    with scene.serving(Grant("ben")) as (server, _):
        assert objxfer.push(photo, to=server.url, key=ben).exit_code == 0
        scene.peers.rename("ben", "benjamin")
        with pytest.raises(RefusedByPeer, match="do not name"):
            objxfer.push(photo, to=server.url, key=ben)
        scene.peers.remove("benjamin")
        with pytest.raises(AuthenticationError):
            objxfer.push(photo, to=server.url, key=ben)
        again = scene.pair("ben", CAROL)
        assert objxfer.push(photo, to=server.url, key=again).exit_code == 0


# --- nothing outside ---


@pytest.mark.parametrize(
    "folder", ["..", "../outside", "a/../..", "/tmp", ".objxfer", "a//b", "a\n"]
)
def test_a_folder_that_leads_outside(scene: Scene, folder: str) -> None:
    with pytest.raises(RuleError) as wrong:
        scene.rules(Grant("a", ring(), folder=folder))
    assert (wrong.value.name, wrong.value.field) == ("a", "folder")
    assert wrong.value.exit_code == ExitCode.USAGE


def test_a_folder_that_is_a_link(scene: Scene) -> None:
    (scene.inbox / "a").symlink_to(scene.outside)
    (scene.inbox / "inside").mkdir()
    (scene.inbox / "b").symlink_to("inside")
    for folder in ("a", "a/below", "b"):
        with pytest.raises(RuleError, match="leads through something that is no folder"):
            scene.rules(Grant("a", ring(), folder=folder))


def test_a_folder_that_becomes_a_link(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, _):
        (scene.inbox / "a").rmdir()
        (scene.inbox / "a").symlink_to(scene.outside)
        with pytest.raises(RefusedByPeer, match="leads through something that is no folder"):
            objxfer.push(photo, to=server.url, key=KEY)


def test_a_link_in_the_folder_that_leads_outside(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("a", ring(), folder="a")) as (server, _):
        (scene.inbox / "a/out").symlink_to(scene.outside)
        with pytest.raises(RefusedByPeer):
            objxfer.push(photo, to=f"{server.url}/out", key=KEY)
        (scene.folder / "out").mkdir()
        (scene.folder / "out/file").write_bytes(b"new")
        assert objxfer.push(scene.folder / "out", to=server.url, key=KEY).exit_code != 0


# --- rules that cannot hold ---


def test_folders_lie_apart(scene: Scene) -> None:
    a, b = Grant("a", ring(), folder="x"), Grant("b", ring(OTHER_KEY), folder="x/y")
    with pytest.raises(RuleError, match="'b': its folder lies in that of 'a'"):
        scene.rules(a, b)
    with pytest.raises(RuleError, match="in that of 'a', which is the whole inbox"):
        scene.rules(Grant("a", ring()), b)
    with pytest.raises(RuleError, match="'b': 'a' has the same folder and another quota"):
        scene.rules(a, Grant("b", ring(OTHER_KEY), folder="x", quota=9))
    rules = scene.rules(
        a, Grant("b", ring(OTHER_KEY), folder="x"), Grant("c", ring(Key.generate()), folder="xy")
    )
    assert [grant.name for grant in rules.grants] == ["a", "b", "c"]
    scene.rules(Grant("none", ring(), rights="none"), b)  # it has no use for a folder


@pytest.mark.parametrize(
    ("grant", "field", "said"),
    [
        (Grant("nobody"), "", "there is no such peer"),
        (Grant("ben", ring()), "key", "a paired peer has this name"),
        (Grant("a", ring(), rights="pull"), "rights", "'pull' is no right"),  # type: ignore[arg-type]
        (Grant("a", ring(), quota=0), "quota", "at least 1 byte"),
        (Grant("b", ring()), "key", f"'first' has the key {KEY.id}, too"),
        (Grant("first", ring(OTHER_KEY)), "", "the name is there twice"),
    ],
)
def test_a_grant_that_cannot_hold(scene: Scene, grant: Grant, field: str, said: str) -> None:
    scene.pair("ben", BEN)
    first = Grant("first", ring(OTHER_KEY if grant.name == "a" else KEY), folder="f")
    with pytest.raises(RuleError, match=said) as wrong:
        scene.rules(first, grant)
    assert (wrong.value.name, wrong.value.field) == (grant.name, field)


def test_a_code_in_place_of_a_name_is_not_said(scene: Scene) -> None:
    with pytest.raises(ObjxferError, match="a code was given") as wrong:
        scene.rules(Grant("4-walnut-copper-tiger"))
    assert "walnut" not in str(wrong.value)


def test_the_inbox_must_exist(scene: Scene) -> None:
    with pytest.raises(FileFailed):
        Rules(scene.folder / "mnt", [])


def test_rules_are_all_there_is(scene: Scene) -> None:
    both: list[dict[str, Any]] = [{"key": KEY}, {"insecure": True}]
    for terms in both:
        with pytest.raises(ValueError, match="rules say who comes in"):
            serve(scene.rules(), "tls://127.0.0.1:0", **terms)
    with pytest.raises(TypeError):
        objxfer.connect("tls://127.0.0.1:1", key=scene.rules())


# --- how much ---


def test_a_quota_that_is_hit_by_announced_sizes(scene: Scene) -> None:
    small, large = scene.file("small", 300_000), scene.file("large", 800_000)
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, rules):
        assert objxfer.push(large, to=server.url, key=KEY).exit_code == 0
        report = objxfer.push(small, to=server.url, key=KEY)
        assert report.exit_code == ExitCode.PEER_NO_SPACE
        (problem,) = report.problems
        assert problem.reason == "over the quota: 200 kB free of 1.00 MB"
        assert rules.used(rules.grants[0]) == scene.lies("a") == 800_000
        assert objxfer.push(large, to=server.url, key=KEY).count(objxfer.Outcome.UNCHANGED) == 1


def test_what_can_never_fit_is_refused_at_once(scene: Scene) -> None:
    small, large = scene.file("small", 9), scene.file("large", 2 * MB)
    with (
        scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, _),
        objxfer.connect(server.url, key=KEY) as connection,
    ):
        with pytest.raises(NoSpace, match=r"2\.00 MB offered, 1\.00 MB free of 1\.00") as full:
            connection.push([small, large], count=PATIENCE)
        assert full.value.exit_code == ExitCode.PEER_NO_SPACE
        # What is there may take the place of what is offered: nobody knows before.
        skipping = connection.push([small, large], count=PATIENCE, if_exists="skip")
    assert skipping.exit_code == ExitCode.PEER_NO_SPACE
    assert scene.lies("a") == 9


def test_a_stream_stops_at_the_quota(scene: Scene) -> None:
    endless = scene.file("endless", 3 * MB)
    with scene.serving(Grant("a", ring(), folder="a", quota=2 * MB)) as (server, rules):
        with (
            open(endless, "rb") as stream,
            objxfer.connect(server.url, key=KEY) as connection,
            pytest.raises(NoSpace, match=r"over the quota: .* free of 2\.00 MB"),
        ):
            connection.push(stream, name="stream")
        assert scene.watcher.until("failed")[2] is NoSpace
        assert rules.used(rules.grants[0]) == scene.lies("a") == 0


def announces(size: int, *messages: Message) -> Steps[Verdict]:
    """Announce a file of some size, and say what comes then; return the verdict on it."""
    yield from send(offer(b"t"))
    yield from receive(Accept)
    yield from send(Entries([file(b"t", size)]))
    (verdict,) = (yield from receive(Wanted)).verdicts
    for message in messages:
        yield from send(message)
    return verdict


def lies(announced: int, size: int) -> Steps[Receipt]:
    """Send a file that is larger than it was announced; return its receipt."""
    nodes = [data(bytes(MIB))] * (size // MIB)
    whole: list[Message] = [File(size, 1, 0o600), *nodes, FileEnd(Fate.READ, size), Flush()]
    verdict = yield from announces(announced, *whole)
    assert verdict.answer is Answer.WANTED
    (receipt,) = (yield from receive(Receipts)).receipts
    yield from send(Done())
    yield from receive(Done)
    return receipt


@pytest.mark.parametrize("announced", [0, 1, MIB])
def test_who_announces_less_than_comes_gets_no_further(scene: Scene, announced: int) -> None:
    with scene.serving(Grant("a", ring(), folder="a", quota=3 * MIB)) as (server, rules):
        with objxfer.connect(server.url, key=KEY) as connection:
            receipt = perform(connection, lies(announced, 5 * MIB))
            assert (receipt.action, receipt.code) == (Action.FAILED, ExitCode.PEER_NO_SPACE)
            assert rules.used(rules.grants[0]) == scene.lies("a") == 0
            receipt = perform(connection, lies(announced, 3 * MIB))
            assert receipt.action is Action.RECEIVED
        assert rules.used(rules.grants[0]) == scene.lies("a") == 3 * MIB


def test_what_is_announced_and_does_not_come_is_given_back(scene: Scene) -> None:
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, rules):
        connection = objxfer.connect(server.url, key=KEY)
        assert perform(connection, announces(MB)).answer is Answer.WANTED
        with objxfer.connect(server.url, key=KEY) as other:
            assert perform(other, announces(1)).code is ExitCode.PEER_NO_SPACE
            other.abandon()
        connection.abandon()
        for _ in range(2):
            scene.watcher.until("failed")
        assert rules.used(rules.grants[0]) == 0


def test_two_at_once_share_the_quota(scene: Scene) -> None:
    names = [f"part-{number}" for number in range(4)]
    files = [scene.file(name, 700_000) for name in names]
    with scene.serving(Grant("a", ring(), folder="a", quota=2 * MB)) as (server, rules):
        sending = [begin(objxfer.push, each, to=server.url, key=KEY) for each in files]
        codes = sorted(each.result(PATIENCE).exit_code for each in sending)
        assert codes == [0, 0, ExitCode.PEER_NO_SPACE, ExitCode.PEER_NO_SPACE]
        assert rules.used(rules.grants[0]) == scene.lies("a") == 1_400_000


def test_two_streams_at_once_share_the_quota(scene: Scene) -> None:
    with scene.serving(Grant("a", ring(), folder="a", quota=2 * MB)) as (server, rules):
        with (
            streaming(scene, server, KEY, "a", "one") as (one, first),
            streaming(scene, server, KEY, "a", "two") as (two, second),
        ):
            while not (first.done() or second.done()):
                one.offer(bytes(50_000))
                two.offer(bytes(50_000))
                assert scene.lies("a") <= 2 * MB
            stopped = first if first.done() else second
            assert isinstance(stopped.exception(), NoSpace)
        assert rules.used(rules.grants[0]) == scene.lies("a") <= 2 * MB


def test_a_connection_that_breaks_gives_back_what_was_reserved(scene: Scene) -> None:
    photo = scene.file("photo", 900_000)
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, rules):
        stream = Endless()
        connection = objxfer.connect(server.url, key=KEY)
        sending = begin(connection.push, stream.reader, name="stream")
        stream.write(bytes(60_000))
        while not list((scene.inbox / "a").glob(".objxfer-*")):
            assert not sending.done()
        connection.abandon()
        with pytest.raises(ConnectionLost):
            sending.result(PATIENCE)
        assert scene.watcher.until("failed")[2] is ConnectionLost
        stream.end()
        stream.reader.close()
        assert rules.used(rules.grants[0]) == scene.lies("a")
        assert objxfer.push(photo, to=server.url, key=KEY).exit_code == 0


def test_what_was_cut_off_before_there_were_rules_is_gone_on_with(scene: Scene) -> None:
    film = scene.file("film", 6 * MB)
    with serve(scene.inbox, "tls://127.0.0.1:0", key=KEY, watcher=scene.watcher) as server:
        connection, stream = objxfer.connect(server.url, key=KEY), Endless()
        sending = begin(connection.push, stream.reader, name="film", into="a")
        stream.write(film.read_bytes()[: 3 * MB])
        wait_for_partial(scene.inbox / "a", MB)
        connection.abandon()
        assert isinstance(sending.exception(PATIENCE), ConnectionLost)
        stream.end()
        stream.reader.close()
        scene.watcher.until("failed")
    lay = scene.lies("a")
    assert lay >= MB
    with scene.serving(Grant("a", ring(), folder="a", quota=7 * MB)) as (server, rules):
        assert rules.used(rules.grants[0]) == lay
        with open(film, "rb") as again, objxfer.connect(server.url, key=KEY) as connection:
            report = connection.push(again, name="film")
        assert report.count(objxfer.Outcome.RESUMED) == 1
        assert rules.used(rules.grants[0]) == scene.lies("a") == 6 * MB
    assert list(scene.inbox.rglob(".objxfer*")) == []


# --- rules that change ---


def test_what_is_on_its_way_keeps_the_rules_it_began_with(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, rules):
        with streaming(scene, server, KEY, "a") as (stream, sending):
            rules.change([Grant("a", ring(), folder="b", quota=100)])
            stream.write(bytes(60_000))
            assert objxfer.push(photo, to=server.url, key=KEY).exit_code == 0
            rules.change([Grant("b", ring(OTHER_KEY), folder="a", quota=MB)])
            with pytest.raises(AuthenticationError):
                objxfer.push(photo, to=server.url, key=KEY)
            stream.write(bytes(60_000))
        assert sending.result(PATIENCE).exit_code == 0
        assert (scene.inbox / "a/stream").stat().st_size == 180_000
        assert (scene.inbox / "b/photo").is_file()
        assert rules.used(rules.grants[0]) == 180_000


def test_what_is_on_its_way_counts_for_the_new_rules_too(scene: Scene) -> None:
    photo = scene.file("photo", MB)
    with scene.serving(Grant("a", ring(), folder="a", quota=9 * MB)) as (server, rules):
        with streaming(scene, server, KEY, "a") as (stream, sending):
            rules.change([Grant("a", ring(), folder="a", quota=2 * MB)])
            while scene.lies("a") < MB:
                stream.offer(bytes(60_000))
            report = objxfer.push(photo, to=server.url, key=KEY)
            assert report.exit_code == ExitCode.PEER_NO_SPACE
        assert sending.result(PATIENCE).exit_code == 0


def test_a_connection_goes_by_the_rules_of_each_delivery(scene: Scene) -> None:
    ben, photo = scene.pair("ben", BEN), scene.file("photo", 9)
    with (
        scene.serving(Grant("ben", folder="a")) as (server, rules),
        objxfer.connect(server.url, key=ben) as connection,
    ):
        assert connection.push(photo).exit_code == 0
        rules.change([])
        with pytest.raises(RefusedByPeer, match="do not name"):
            connection.push(photo)
        rules.change([Grant("ben", folder="b")])
        assert connection.push(photo).exit_code == 0
    assert (scene.inbox / "b/photo").is_file()


def test_rules_that_cannot_hold_change_nothing(scene: Scene) -> None:
    photo = scene.file("photo", 9)
    with scene.serving(Grant("a", ring(), folder="a")) as (server, rules):
        with pytest.raises(RuleError):
            rules.change([Grant("b", ring(OTHER_KEY), folder="b"), Grant("nobody")])
        assert objxfer.push(photo, to=server.url, key=KEY).exit_code == 0
        assert [grant.name for grant in rules.grants] == ["a"]


def test_changing_counts_again(scene: Scene) -> None:
    grant = Grant("a", ring(), folder="a", quota=MB)
    rules = scene.rules(grant)
    assert rules.used(grant) == 0
    (scene.inbox / "a/by-hand").write_bytes(bytes(1000))
    assert rules.used(grant) == 0
    rules.change([grant])
    assert rules.used(grant) == 1000
    assert rules.used(Grant("b", ring())) is None


def test_a_folder_that_is_removed_and_made_again_is_counted_anew(scene: Scene) -> None:
    photo = scene.file("photo", 900_000)
    with scene.serving(Grant("a", ring(), folder="a", quota=MB)) as (server, _):
        for _ in range(2):
            assert objxfer.push(photo, to=server.url, key=KEY).exit_code == 0
            (scene.inbox / "a/photo").unlink()
            (scene.inbox / "a").rename(scene.folder / "outside" / "gone")
            (scene.outside / "gone").rmdir()
