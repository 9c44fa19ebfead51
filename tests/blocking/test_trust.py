"""What ``key=`` may be on which side, and pairs over real sockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer import Code, Invitation, Key, Keyring, Pair
from objxfer.blocking.trust import Trust
from objxfer.errors import AuthenticationError, ExitCode, ObjxferError, Timeout, WrongKey
from objxfer.protocol.hello import Mode, Role
from support.connected import KEY, OTHER_KEY, PATIENCE

CODE = Code(4, ("walnut", "copper", "tiger"))
ANNA, BEN, CARL = (bytes([number]) * 16 for number in (1, 2, 3))


def of(key: Any, role: Role = Role.SERVER) -> Trust:
    return Trust.check(key, role, encrypted=True)


# --- what it may be ---


def test_each_kind_has_its_mode() -> None:
    pair = Pair(KEY, ANNA, BEN)
    assert of(None).modes == [Mode.NONE]
    assert of(KEY).modes == of(Keyring(KEY)).modes == of([KEY, OTHER_KEY]).modes == [Mode.KEY]
    assert of(pair).modes == of([pair]).modes == [Mode.PAIR]
    assert of([pair, KEY]).modes == [Mode.KEY, Mode.PAIR]
    assert of(Invitation()).modes == of(CODE, Role.CLIENT).modes == [Mode.CODE]
    for trust in (of(None), of([pair, KEY]), of(Invitation())):
        assert list(trust.finds()) == trust.modes


def test_its_id() -> None:
    assert of([KEY, OTHER_KEY]).key_id == of(Pair(KEY, ANNA, BEN)).key_id == KEY.id
    assert of([Pair(KEY, ANNA, BEN), Pair(OTHER_KEY, ANNA, CARL)]).key_id is None
    assert of(None).key_id is of(Invitation()).key_id is None


@pytest.mark.parametrize(
    ("key", "role", "error", "said"),
    [
        (CODE, Role.SERVER, TypeError, "the other has an Invitation"),
        (Invitation(CODE), Role.CLIENT, TypeError, "one side connects with a Code"),
        ([KEY], Role.CLIENT, TypeError, "connecting takes one"),
        ([], Role.SERVER, ValueError, "at least one key"),
        ([CODE], Role.SERVER, TypeError, "a key is a Key"),
        ([KEY, Invitation()], Role.SERVER, TypeError, "a key is a Key"),
        (bytes(32), Role.CLIENT, TypeError, "a key is a Key"),
        (
            [Pair(KEY, ANNA, BEN), Pair(KEY, CARL, BEN)],
            Role.SERVER,
            ValueError,
            "the same own peer id",
        ),
    ],
)
def test_what_it_may_not_be(key: Any, role: Role, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        of(key, role)


@pytest.mark.parametrize("key", [CODE, Invitation(CODE)])
def test_a_code_needs_tls(key: Any) -> None:
    for role in Role:
        with pytest.raises(ObjxferError, match="over tls:// only") as caught:
            Trust.check(key, role, encrypted=False)
        assert caught.value.exit_code is ExitCode.USAGE


def test_an_inbox_that_stays_takes_no_invitation(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="lets one guest in"):
        objxfer.serve(tmp_path, "tls://127.0.0.1:0", key=Invitation())  # type: ignore[arg-type]


@pytest.mark.parametrize("peer_id", [b"", bytes(16), b"x" * 15, b"x" * 17])
def test_no_peer_id(peer_id: bytes) -> None:
    with pytest.raises(ValueError, match="a peer id is 16 bytes"):
        objxfer.connect("tls://127.0.0.1:1", key=CODE, peer_id=peer_id)


def test_a_pair_says_its_peer_id_itself() -> None:
    with pytest.raises(ValueError, match="leave peer_id"):
        objxfer.connect("tls://127.0.0.1:1", key=Pair(KEY, ANNA, BEN), peer_id=CARL)


def test_who_uses_a_key_does_not_load_what_codes_need() -> None:
    code = """
import sys, threading, objxfer
key = objxfer.Key.generate()
with objxfer.listen("tls://127.0.0.1:0", key=key) as listener:
    objxfer.connect(listener.url, key=key).abandon()
    listener.accept(30).abandon()
assert "spake2" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- pairs ---


def introduce(
    anna: bytes | None = ANNA, ben: bytes | None = BEN
) -> tuple[Pair | None, Pair | None]:
    """Have the two meet by a code once; what each keeps."""
    with objxfer.listen("tls://127.0.0.1:0", key=Invitation(CODE), peer_id=anna) as listener:
        there = objxfer.connect(listener.url, key=CODE, peer_id=ben)
        here = listener.accept(PATIENCE)
        pairs = here.pair, there.pair
        assert here.key_id == there.key_id
        here.abandon()
        there.abandon()
    return pairs


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    annas, bens = introduce()
    assert annas is not None
    assert bens is not None
    return annas, bens


class Inbox:
    """A listener, and why it did not let in whom."""

    def __init__(self, scheme: str, key: Any, **terms: Any) -> None:
        self.refusals: SimpleQueue[ObjxferError] = SimpleQueue()
        self.listener = objxfer.listen(
            f"{scheme}://127.0.0.1:0",
            key=key,
            on_refused=lambda _, error: self.refusals.put(error),
            **terms,
        )

    def takes(self, key: Any, **terms: Any) -> str:
        """What the key is called by which somebody was let in."""
        there = objxfer.connect(self.listener.url, key=key, **terms)
        here = self.listener.accept(PATIENCE)
        there.send([1])
        assert here.recv(PATIENCE) == [1]
        assert here.key_id == there.key_id
        assert here.pair is there.pair is None
        here.abandon()
        there.abandon()
        return here.key_id

    def refuses(self, key: Any, match: str) -> None:
        with pytest.raises(AuthenticationError, match=match) as caught:
            objxfer.connect(self.listener.url, key=key)
        assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
        assert isinstance(self.refusals.get(timeout=PATIENCE), AuthenticationError)
        with pytest.raises(Timeout):
            self.listener.accept(0)


@pytest.fixture(params=["tcp", "tls"])
def inbox(request: pytest.FixtureRequest, pairs: tuple[Pair, Pair]) -> Iterator[Inbox]:
    """Anna's, for Ben."""
    opened = Inbox(request.param, pairs[0])
    yield opened
    opened.listener.close()


def test_two_that_met_are_a_pair(pairs: tuple[Pair, Pair]) -> None:
    annas, bens = pairs
    assert annas == Pair(bens.key, ANNA, BEN)
    assert bens == Pair(annas.key, BEN, ANNA)


def test_who_is_both_is_no_pair() -> None:
    assert introduce(ANNA, ANNA) == (None, None)
    assert introduce(None, None) == (None, None)


def test_a_pair_meets_again_either_way(inbox: Inbox, pairs: tuple[Pair, Pair]) -> None:
    annas, bens = pairs
    assert inbox.takes(bens) == annas.key.id
    with objxfer.listen("tls://127.0.0.1:0", key=bens) as listener:
        objxfer.connect(listener.url, key=annas).abandon()
        listener.accept(PATIENCE).abandon()


def test_a_pair_may_send_pickles_where_they_are_accepted(pairs: tuple[Pair, Pair]) -> None:
    annas, bens = pairs
    with objxfer.listen("tls://127.0.0.1:0", key=annas, accepts=["pickle"]) as listener:
        there = objxfer.connect(listener.url, key=bens)
        here = listener.accept(PATIENCE)
        there.send({1}, serializer="pickle")
        assert here.recv(PATIENCE) == {1}
        here.abandon()
        there.abandon()


def test_a_stranger_is_not_told_that_it_is_one(inbox: Inbox, pairs: tuple[Pair, Pair]) -> None:
    inbox.refuses(Pair(Key.generate(), BEN, ANNA), "does not hold our key")
    inbox.refuses(Pair(pairs[1].key, CARL, ANNA), "does not hold our key")


def test_another_peer_that_answers_is_refused_loudly(
    inbox: Inbox, pairs: tuple[Pair, Pair]
) -> None:
    inbox.refuses(Pair(pairs[1].key, BEN, CARL), "somebody else answers there")


def test_one_that_is_led_to_oneself_is_refused(inbox: Inbox, pairs: tuple[Pair, Pair]) -> None:
    inbox.refuses(pairs[0], "somebody else answers there")


def test_the_key_of_a_pair_is_no_key_of_a_group(inbox: Inbox, pairs: tuple[Pair, Pair]) -> None:
    annas, bens = pairs
    inbox.refuses(bens.key, "the peer uses the key of a pair, and we use a key")
    group = Inbox("tls", annas.key, peer_id=ANNA)
    group.refuses(bens, "the peer uses a key, and we use the key of a pair")
    group.listener.close()


def test_keys_and_pairs_at_one_door(pairs: tuple[Pair, Pair]) -> None:
    annas, bens = pairs
    carls = Pair(Key.generate(), CARL, ANNA)
    both = Inbox("tls", [KEY, annas, Keyring(OTHER_KEY), Pair(carls.key, ANNA, CARL)])
    for key, key_id in (
        (KEY, KEY.id),
        (OTHER_KEY, OTHER_KEY.id),
        (bens, bens.key.id),
        (carls, carls.key.id),
    ):
        assert both.takes(key) == key_id
    both.refuses(Pair(bens.key, CARL, ANNA), "does not hold our key")
    both.refuses(Key.generate(), "does not hold our key")
    assert both.refusals.empty()
    both.listener.close()


def test_the_key_id_is_shown_where_there_is_one(inbox: Inbox, pairs: tuple[Pair, Pair]) -> None:
    with pytest.raises(WrongKey, match=OTHER_KEY.id):
        objxfer.connect(inbox.listener.url, key=Pair(OTHER_KEY, BEN, ANNA))
    with objxfer.listen("tcp://127.0.0.1:0", key=None, insecure=True) as listener:
        there = objxfer.connect(listener.url, insecure=True)
        assert there.key_id == ""
        there.abandon()
