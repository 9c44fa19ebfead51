"""Codes as they are spoken, SPAKE2 over them, and who may guess at them."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import ExitCode, KeyFileError, ObjxferError, WrongCode
from objxfer.security import pairing
from objxfer.security.keys import Key
from objxfer.security.pairing import Code, Invitation, Pair, Pake
from objxfer.security.words import WORDS

CODE = Code(4, ("walnut", "copper", "tiger"))
OTHER = Code(4, ("walnut", "copper", "tissue"))

# --- the words ---

SOUNDS = [
    (r"^[kgp]n", "n"),
    (r"^wr", "r"),
    (r"^ps", "s"),
    (r"^wh", "w"),
    (r"^x", "s"),
    (r"mb$", "m"),
    (r"sch", "sk"),
    (r"t?ch", "C"),
    (r"sh|sci|[tcs]i(?=[oa])", "S"),
    (r"ph", "f"),
    (r"gh(?=[aeiou])", "g"),
    (r"gh", ""),
    (r"th", "T"),
    (r"d?g(?=[eiy])", "j"),
    (r"c(?=[eiy])", "s"),
    (r"ck|c|q", "k"),
    (r"x", "ks"),
    (r"z", "s"),
    (r"y", "i"),
    (r"(?<=.)e$", ""),
    (r"[wh](?![aeiou])", ""),
    (r"(.)\1+", r"\1"),
    (r"[aeiou]+r", "Ar"),
]
"""What is heard of the letters, roughly: each rule after the one before it."""


def sound(word: str) -> str:
    for letters, heard in SOUNDS:
        word = re.sub(letters, heard, word)
    return word


def mumbled(word: str) -> str:
    """What is left over a bad line: all vowels are one, and so are p and b, t and d, …"""
    return re.sub("[aeiouA]+", "a", sound(word)).translate(str.maketrans("bdgvj", "ptkfC"))


def apart(one: str, other: str) -> int:
    """How many letters are to be changed, left out or put in to get from one to the other."""
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        before, row = row, [at]
        for to, its in enumerate(other, start=1):
            row.append(min(before[to] + 1, row[-1] + 1, before[to - 1] + (letter != its)))
    return row[-1]


def test_the_list_is_as_it_says() -> None:
    assert len(WORDS) == 1024
    assert list(WORDS) == sorted(set(WORDS))
    assert all(re.fullmatch("[a-z]{4,8}", word) for word in WORDS)


def test_four_letters_tell_words_apart() -> None:
    assert len({word[:4] for word in WORDS}) == len(WORDS)


def test_no_two_words_look_or_sound_alike() -> None:
    assert [heard for heard, times in Counter(map(mumbled, WORDS)).items() if times > 1] == []
    assert closer(list(WORDS), 3) == []
    assert closer([sound(word) for word in WORDS], 2) == []


def closer(words: list[str], distance: int) -> list[tuple[str, str]]:
    """Which are less than so far apart: only those can be that share what some letters leave."""
    left: dict[str, set[str]] = {}
    for word in words:
        for out in range(distance):
            for kept in itertools.combinations(word, len(word) - out):
                left.setdefault("".join(kept), set()).add(word)
    pairs = {pair for some in left.values() for pair in itertools.combinations(sorted(some), 2)}
    return [(one, other) for one, other in pairs if apart(one, other) < distance]


# --- codes ---


def test_a_code_is_thirty_bits_of_secret() -> None:
    code = Code.generate()
    room, *words = code.spoken().split("-")
    assert 1 <= int(room) == code.room <= 999
    assert len(words) == 3
    assert set(words) <= set(WORDS)
    assert len(WORDS) ** len(words) >= 2**30
    assert len({Code.generate().spoken() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "typed",
    [
        "4-walnut-copper-tiger",
        "4 walnut copper tiger",
        "  4 - Walnut_COPPER..tiger \n",
        "4-waln-copp-tige",
        "04-walnu-coppe-tiger",
        "4\N{EN DASH}walnut\N{EM DASH}copper\N{NO-BREAK SPACE}tiger.",
        "_4._walnut- -copper\ttiger",
    ],
)
def test_what_is_forgiven(typed: str) -> None:
    assert Code.parse(typed) == CODE
    assert Code.parse(typed).spoken() == "4-walnut-copper-tiger"


@given(st.integers(1, 9999), st.lists(st.sampled_from(WORDS), min_size=3, max_size=3))
def test_what_is_spoken_is_heard(room: int, words: list[str]) -> None:
    code = Code(room, tuple(words))
    assert Code.parse(code.spoken()) == code
    assert Code.parse(code.spoken().upper().replace("-", "  ")) == code
    assert Code.parse(" ".join([str(room), *(word[:4] for word in words)])) == code


@pytest.mark.parametrize(
    ("typed", "named", "hint"),
    [
        ("4-walnet-copper-tiger", "'walnet'", "walnut"),
        ("4-walnut-copper-tigre", "'tigre'", "tiger"),
        ("4-walnut-cop-tiger", "'cop'", ""),
        ("4-walnuts-copper-tiger", "'walnuts'", "walnut"),
        ("4-walnut-copper-\x1b[2J", r"'\x1b[2j'", "4-walnut"),
        ("4-walnut-copper-" + "x" * 100, "'xxxxxxxxxxxxxxxxxxxx'", "4-walnut"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest(typed: str, named: str, hint: str) -> None:
    with pytest.raises(ObjxferError) as caught:
        Code.parse(typed)
    assert str(caught.value) == f"{named} is no word of a code"
    assert caught.value.exit_code is ExitCode.USAGE
    assert hint in caught.value.hint
    assert "copper" not in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "4",
        "walnut-copper-tiger",
        "4-walnut-copper",
        "4-walnut-copper-tiger-tiger",
        "0-walnut-copper-tiger",
        "10000-walnut-copper-tiger",
        "-4-walnut-copper",
        "\N{SUPERSCRIPT FOUR}-walnut-copper-tiger",
        "four-walnut-copper-tiger",
        "4-walnut-copper-" + "tiger" * 1000,
        "4" * 10_000,
    ],
)
def test_no_code(typed: str) -> None:
    with pytest.raises(ObjxferError) as caught:
        Code.parse(typed)
    assert caught.value.exit_code is ExitCode.USAGE
    assert not {"walnut", "copper", "tiger"} & set(str(caught.value).split("-"))


@given(st.text())
def test_no_text_does_harm(typed: str) -> None:
    with contextlib.suppress(ObjxferError):
        assert Code.parse(Code.parse(typed).spoken()) == Code.parse(typed)


def test_a_code_keeps_itself_to_itself() -> None:
    for shown in (repr(CODE), str(CODE), ascii(CODE), f"{CODE}", f"{CODE!r}"):
        assert shown == "<Code of room 4>"
    assert "walnut" not in repr(Invitation(CODE))
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            take(CODE)
    assert Code(4, ("walnut", "copper", "tiger")) == CODE
    assert hash(CODE) == hash(OTHER)
    assert OTHER != CODE != Code(5, ("walnut", "copper", "tiger"))
    assert CODE != "4-walnut-copper-tiger"


@pytest.mark.parametrize(
    "path", ["4-walnut-copper-tiger", "17 any three words", "4.a_b.c", " 4-waln copp- tige\n"]
)
def test_a_code_is_no_path_of_a_key(path: str) -> None:
    with pytest.raises(KeyFileError, match="a code was given where the path of a key") as caught:
        Key.load(path)
    assert path not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("path", ["./4-walnut-copper-tiger", "/4-a-b-c/key", "4-a-b", "2026-11-21"])
def test_what_does_not_look_like_a_code_is_a_path(path: str) -> None:
    with pytest.raises(KeyFileError, match="is not there"):
        Key.load(path)


# --- SPAKE2 ---


def sides(one: Code = CODE, other: Code = CODE) -> tuple[Pake, Pake]:
    return Pake(one, connecting=True), Pake(other, connecting=False)


def test_who_has_the_same_code_agrees() -> None:
    one, other = sides()
    assert len(one.element) == len(other.element) == 32
    agreed = one.agree(other.element)
    assert agreed == other.agree(one.element)
    assert len(agreed) == 32


@pytest.mark.parametrize("code", [OTHER, Code(5, ("walnut", "copper", "tiger"))])
def test_who_has_another_does_not(code: Code) -> None:
    one, other = sides(other=code)
    assert one.agree(other.element) != other.agree(one.element)


def test_no_two_runs_have_anything_in_common() -> None:
    one, other = sides()
    again = Pake(CODE, connecting=True)
    assert len({one.element, other.element, again.element}) == 3
    assert one.agree(other.element) != again.agree(other.element)


def test_two_of_the_same_role_do_not_agree() -> None:
    one, other = Pake(CODE, connecting=True), Pake(CODE, connecting=True)
    assert one.agree(other.element) != other.agree(one.element)


P = 2**255 - 19
OF_ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
NO_ELEMENTS: dict[str, Callable[[Pake], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda _: Pake(CODE, connecting=False).element[:-1],
    "extended": lambda _: Pake(CODE, connecting=False).element + b"\0",
    "neutral": lambda _: b"\1" + bytes(31),
    "neutral, written otherwise": lambda _: (P + 1).to_bytes(32, "little"),
    "neutral, of the other sign": lambda _: b"\1" + bytes(30) + b"\x80",
    "of order 2": lambda _: (P - 1).to_bytes(32, "little"),
    "of order 4": lambda _: bytes(32),
    "of order 8": lambda _: OF_ORDER_8,
    "off the curve": lambda _: b"\2" + bytes(31),
    "of ones": lambda _: b"\xff" * 32,
    "its own": lambda pake: pake.element,
}


@pytest.mark.parametrize("make", NO_ELEMENTS.values(), ids=NO_ELEMENTS.keys())
@pytest.mark.parametrize("connecting", [True, False])
def test_what_is_no_element(make: Callable[[Pake], bytes], connecting: bool) -> None:
    pake = Pake(CODE, connecting=connecting)
    with pytest.raises(WrongCode):
        pake.agree(make(pake))


@given(st.binary(min_size=32, max_size=32))
def test_nobody_agrees_by_chance(element: bytes) -> None:
    one, other = Pake(CODE, connecting=True), Pake(CODE, connecting=False)
    try:
        agreed = one.agree(element)
    except WrongCode:
        return
    assert agreed != other.agree(one.element)


# --- one guess ---


def guess(invitation: Invitation, room: int = CODE.room) -> bool:
    return invitation.answer(room).claim()


def test_each_code_admits_one_guess() -> None:
    invitation = Invitation(CODE)
    runs = [invitation.answer(CODE.room) for _ in range(3)]
    assert [run.claim() for run in runs] == [True, False, False]
    assert not runs[0].claim()
    assert not guess(invitation)


def test_a_burnt_code_gives_way_to_another_and_takes_its_runs_along() -> None:
    told: list[Code | None] = []
    invitation = Invitation(CODE, on_burnt=told.append)
    early, in_flight = invitation.answer(CODE.room), invitation.answer(CODE.room)
    assert early.claim()
    invitation.burn()
    assert told == [invitation.code]
    assert invitation.code is not None
    assert invitation.code != CODE
    assert invitation.code.room != CODE.room
    assert not in_flight.claim()
    assert not guess(invitation), "who still has the last code makes no guess at this one"
    assert guess(invitation, invitation.code.room)
    assert not guess(invitation, invitation.code.room)


def test_after_three_codes_of_three_rooms_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "_SPOKEN_ROOMS", 3)
    told: list[Code | None] = []
    invitation = Invitation(on_burnt=told.append)
    rooms = set()
    for _ in range(3):
        assert invitation.code is not None
        rooms.add(invitation.code.room)
        assert guess(invitation, invitation.code.room)
        invitation.burn()
    assert len(rooms) == 3
    assert told[2] is invitation.code is None
    for room in rooms:
        assert not guess(invitation, room)
        assert len(invitation.answer(room).element) == 32


def test_asking_for_another_room_is_no_guess_and_in_vain() -> None:
    invitation = Invitation(CODE)
    stray = invitation.answer(5)
    assert not stray.claim()
    guest = Pake(CODE, connecting=True)
    assert guest.agree(stray.element) != stray.agree(guest.element)
    assert guess(invitation)


def test_many_threads_at_once_have_one_guess() -> None:
    invitation = Invitation(CODE)
    runs = [invitation.answer(CODE.room) for _ in range(32)]
    start = threading.Barrier(len(runs))

    def claim(run: Pake) -> bool:
        start.wait()
        return run.claim()

    with ThreadPoolExecutor(len(runs)) as pool:
        assert sum(pool.map(claim, runs)) == 1


# --- pairs ---

ONE, OTHER_ID = b"1" * 16, b"2" * 16


def test_a_pair_does_not_show_its_key() -> None:
    key = Key.from_bytes(b"k" * 32)
    assert "kkkk" not in repr(Pair(key, ONE, OTHER_ID))


@pytest.mark.parametrize(
    ("own", "peer"),
    [(ONE, ONE), (bytes(16), ONE), (ONE, bytes(16)), (ONE[1:], OTHER_ID), (ONE, b"")],
)
def test_no_pair(own: bytes, peer: bytes) -> None:
    with pytest.raises(ValueError, match="peer"):
        Pair(Key.generate(), own, peer)


def test_codes_do_not_load_the_package_before_it_is_needed() -> None:
    code = (
        "import sys; from objxfer.security.pairing import Code, Invitation;"
        "Code.parse(Invitation().code.spoken()); assert 'spake2' not in sys.modules;"
        "Invitation().answer(1); assert 'spake2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_room_is_left_without_winning_a_guess() -> None:
    invitation = Invitation(CODE)
    pending = invitation.answer(CODE.room)
    moved = invitation.move(CODE)
    assert moved is not None
    assert moved is invitation.code
    assert moved.room != CODE.room
    assert not pending.claim()
    assert invitation.move(CODE) is None, "it is not waited with any more"


def test_a_room_is_not_left_behind_a_guess() -> None:
    told: list[Code | None] = [CODE]
    invitation = Invitation(CODE, on_burnt=told.append)
    for _ in range(pairing.CODES):
        code = told[-1]
        assert code is not None
        assert guess(invitation, code.room)
        assert invitation.move(code) is None
        invitation.burn()
    assert told[-1] is None
    assert invitation.move(CODE) is None
