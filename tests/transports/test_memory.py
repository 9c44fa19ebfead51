from __future__ import annotations

import random
from typing import Literal

import pytest

from objxfer.transports.memory import pair
from support.streams import deliver, receive


def test_a_direction_holds_its_capacity() -> None:
    one, other = pair(capacity=10)
    assert one.send([b"0123", b"456789abc"]) == 10
    assert one.send([b"x"]) is None
    assert receive(other, 4) == b"0123"
    assert one.send([b"xyz12"]) == 4
    assert receive(other) == b"456789xyz1"


def test_the_plan_decides_how_much_moves() -> None:
    source = random.Random(7)
    calls = set()

    def plan(call: Literal["recv", "send"], possible: int) -> int:
        assert possible > 0
        calls.add(call)
        return source.randint(0, min(possible, 5))

    one, other = pair(plan=plan)
    data = source.randbytes(3000)
    assert deliver(one, other, [data[:100], data[100:]]) == data
    assert calls == {"recv", "send"}


def test_a_reset_destroys_what_was_on_its_way() -> None:
    one, other = pair()
    other.send([b"an answer"])
    one.send([b"a question"])
    other.close()
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            receive(one)


def test_sending_to_a_closed_end_is_a_broken_pipe() -> None:
    one, other = pair()
    other.close()
    with pytest.raises(BrokenPipeError):
        one.send([b"x"])


def test_sending_after_finishing_is_a_broken_pipe() -> None:
    one, _ = pair()
    one.finish()
    with pytest.raises(BrokenPipeError):
        one.send([b"x"])
