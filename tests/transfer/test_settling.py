"""What a sender may say of one file, in which order, and what it may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import PeerError
from objxfer.files.digest import NODE
from objxfer.protocol.chunks import UNKNOWN
from objxfer.transfer.settling import Settling

Says = Callable[[Settling], object]


def compare(settling: Settling, *same: bool) -> None:
    """Ask about so many nodes, and answer."""
    settling.answer(settling.ask(len(same)), same)


def patch(settling: Settling, index: int, size: int = NODE) -> int:
    settling.patch(index)
    return settling.place(size)


def sizes(size: int, held: int = 0) -> list[int]:
    """Of the pieces that come behind the held nodes."""
    return [min(NODE, size - at) for at in range(held * NODE, size, NODE)]


@given(st.data())
def test_any_order_a_correct_sender_may_choose(data: st.DataObject) -> None:
    held = data.draw(st.integers(0, 6), "held")
    size = held * NODE + data.draw(st.integers(0, 3 * NODE), "more")
    limit = data.draw(st.sampled_from([size, size + 1, UNKNOWN]), "limit")
    same = data.draw(st.lists(st.booleans(), min_size=held, max_size=held), "same")
    settling = Settling(limit, held)
    new, asked = sizes(size, held), 0
    bad: list[int] = []
    placed: list[int] = []
    while True:
        may = ["new"] * bool(new) + ["ask"] * (asked < held) + ["patch"] * bool(bad)
        if not may:
            break
        match data.draw(st.sampled_from(may)):
            case "new":
                placed.append(settling.place(new.pop(0)))
            case "ask":
                count = data.draw(st.integers(1, held - asked))
                compare(settling, *same[asked : asked + count])
                bad += [at for at in range(asked, asked + count) if not same[at]]
                asked += count
            case _:
                index = bad.pop(data.draw(st.integers(0, len(bad) - 1)))
                assert patch(settling, index) == index
                placed.append(index)
    settling.end(size)
    comes = [at for at in range(held) if not same[at]]
    assert sorted(placed) == comes + list(range(held, held + len(sizes(size, held))))
    assert (settling.size, settling.kept) == (size, same.count(True) * NODE)


@given(st.data())
def test_a_stream_that_ends_within_what_is_held(data: st.DataObject) -> None:
    held = data.draw(st.integers(1, 6), "held")
    size = data.draw(st.integers(0, held * NODE), "size")
    asked, rest = divmod(size, NODE)
    same = data.draw(st.lists(st.booleans(), min_size=asked, max_size=asked), "same")
    settling = Settling(UNKNOWN, held)
    for each in same:
        compare(settling, each)
    pieces = [(at, NODE) for at in range(asked) if not same[at]]
    if rest:
        pieces.append((asked, rest))
    for index, length in data.draw(st.permutations(pieces)):
        assert patch(settling, index, length) == index
    settling.end(size)
    assert (settling.size, settling.kept) == (size, same.count(True) * NODE)


def test_bytes_that_come_are_counted_as_they_come() -> None:
    settling = Settling(3 * NODE, 1)
    assert settling.size == NODE
    settling.place(NODE)
    assert settling.size == 2 * NODE
    compare(settling, False)
    assert settling.kept == 0
    patch(settling, 0)
    assert settling.size == 2 * NODE


RULES: dict[str, tuple[int, int, list[Says]]] = {
    "longer than announced": (NODE, 0, [lambda s: s.place(NODE), lambda s: s.place(1)]),
    "longer by what is held": (2 * NODE, 1, [lambda s: s.place(NODE), lambda s: s.place(1)]),
    "behind a short node": (3 * NODE, 0, [lambda s: s.place(9), lambda s: s.place(9)]),
    "less than its end says": (NODE, 0, [lambda s: s.place(9), lambda s: s.end(10)]),
    "more than its end says": (NODE, 0, [lambda s: s.place(9), lambda s: s.end(8)]),
    "an end before anything": (NODE, 0, [lambda s: s.end(1)]),
    "a question where nothing is held": (NODE, 0, [lambda s: s.ask(1)]),
    "too many questions at once": (3 * NODE, 2, [lambda s: s.ask(3)]),
    "a question too many": (3 * NODE, 2, [lambda s: compare(s, True, True), lambda s: s.ask(1)]),
    "very many questions": (3 * NODE, 2, [lambda s: s.ask(2**62)]),
    "a patch where nothing is held": (NODE, 0, [lambda s: s.patch(0)]),
    "a patch of the same": (2 * NODE, 1, [lambda s: compare(s, True), lambda s: s.patch(0)]),
    "a patch twice": (
        2 * NODE,
        1,
        [lambda s: compare(s, False), lambda s: patch(s, 0), lambda s: s.patch(0)],
    ),
    "a patch of a new node": (
        3 * NODE,
        1,
        [lambda s: compare(s, False), lambda s: s.place(NODE), lambda s: s.patch(1)],
    ),
    "a patch far away": (UNKNOWN, 2, [lambda s: s.patch(2**63)]),
    "a patch of what was not asked about": (2 * NODE, 2, [lambda s: s.patch(0)]),
    "a patch of more than the next one": (UNKNOWN, 3, [lambda s: s.patch(1)]),
    "a short patch": (2 * NODE, 2, [lambda s: compare(s, False), lambda s: patch(s, 0, 9)]),
    "a short patch of a stream": (
        UNKNOWN,
        2,
        [lambda s: compare(s, False), lambda s: patch(s, 0, 9)],
    ),
    "a full node that was not asked about": (UNKNOWN, 2, [lambda s: patch(s, 0, NODE)]),
    "a last node behind new ones": (
        UNKNOWN,
        2,
        [lambda s: s.place(NODE), lambda s: patch(s, 0, 9)],
    ),
    "two last nodes": (UNKNOWN, 2, [lambda s: patch(s, 0, 9), lambda s: patch(s, 0, 9)]),
    "a question behind the end": (UNKNOWN, 2, [lambda s: patch(s, 0, 9), lambda s: s.ask(1)]),
    "new ones behind the end": (UNKNOWN, 2, [lambda s: patch(s, 0, 9), lambda s: s.place(9)]),
    "a bad node that is missing": (
        2 * NODE,
        2,
        [lambda s: compare(s, True, False), lambda s: s.end(2 * NODE)],
    ),
    "a held node that was not compared": (
        2 * NODE,
        2,
        [lambda s: compare(s, True), lambda s: s.end(2 * NODE)],
    ),
    "a file that ends within what is held": (
        2 * NODE,
        2,
        [lambda s: compare(s, True), lambda s: s.end(NODE)],
    ),
    "a stream with a gap": (
        UNKNOWN,
        2,
        [lambda s: compare(s, True), lambda s: s.place(NODE), lambda s: s.end(3 * NODE)],
    ),
    "a stream that ends later than it does": (
        UNKNOWN,
        2,
        [lambda s: compare(s, True), lambda s: s.end(2 * NODE)],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule(rule: str) -> None:
    limit, held, says = RULES[rule]
    settling = Settling(limit, held)
    for say in says[:-1]:
        say(settling)
    with pytest.raises(PeerError):
        says[-1](settling)


@pytest.mark.parametrize("held", [2, 2**32 - 1])
def test_more_held_than_there_is(held: int) -> None:
    with pytest.raises(PeerError):
        Settling(2 * NODE - 1, held)


# Behind a patch comes its data: the states of the protocol see to that.
moves = st.one_of(
    st.builds(lambda size: lambda s: s.place(size), st.sampled_from([1, 9, NODE - 1, NODE])),
    st.builds(lambda same: lambda s: compare(s, *same), st.lists(st.booleans(), min_size=1)),
    st.builds(
        lambda index, size: lambda s: patch(s, index, size),
        st.integers(0, 3),
        st.sampled_from([1, NODE]),
    ),
)


@given(st.sampled_from([UNKNOWN, 3 * NODE, 4 * NODE - 1]), st.integers(0, 3), st.lists(moves))
def test_nothing_is_missing_of_what_is_let_pass(limit: int, held: int, says: list[Says]) -> None:
    """Whatever is said: a file that gets to its end has each of its nodes, whole."""
    settling = Settling(limit, held)
    lengths: dict[int, int] = {}
    try:
        for say in says:
            before = settling.kept
            placed = say(settling)
            if isinstance(placed, int):
                lengths[placed] = lengths.get(placed, 0)
            assert settling.kept >= before
        settling.end(settling.size)
    except PeerError:
        return
    assert settling.size <= limit
    nodes = -(-settling.size // NODE)
    assert settling.kept // NODE + len([at for at in lengths if at < nodes]) == nodes
