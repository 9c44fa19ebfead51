"""What every transport keeps, whatever it is made of."""

from __future__ import annotations

import random
import select
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objxfer.transports.base import Buffer, Transport
from objxfer.transports.memory import pair
from support.streams import (
    PATIENCE,
    Pair,
    deliver,
    fill,
    memory_pair,
    portable,
    receive,
    receive_all,
    tcp_pair,
    tls_over,
    unix_pair,
)

MAKERS = {
    "memory": memory_pair,
    "unix": unix_pair,
    "tcp": tcp_pair,
    "tcp as elsewhere": portable(tcp_pair),
    "tls over memory": tls_over(memory_pair),
    "tls over narrow memory": tls_over(lambda: pair(capacity=777)),
    "tls over unix": tls_over(unix_pair),
    "tls over tcp": tls_over(tcp_pair),
}


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[], Pair]:
    maker: Callable[[], Pair] = request.param
    return maker


@pytest.fixture
def ends(make: Callable[[], Pair]) -> Iterator[Pair]:
    one, other = make()
    yield one, other
    one.close()
    other.close()


def start(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def assert_ends(thread: threading.Thread) -> None:
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it never returned"


# --- bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 70_000), max_size=8),
    pieces=st.lists(st.sampled_from([1, 7, 4096, 65536, 200_000]), min_size=1, max_size=3),
)
def test_bytes_arrive_in_order_however_they_are_split(
    name: str, sizes: list[int], pieces: list[int]
) -> None:
    if max(pieces) < 4096:
        sizes = [size % 500 for size in sizes]
    source = random.Random(1)
    buffers = [source.randbytes(size) for size in sizes]
    one, other = MAKERS[name]()
    try:
        assert deliver(one, other, buffers, pieces) == b"".join(buffers)
        assert deliver(other, one, buffers, pieces) == b"".join(buffers)
    finally:
        one.close()
        other.close()


def test_all_kinds_of_buffers_are_taken(ends: Pair) -> None:
    one, other = ends
    buffers: list[Buffer] = [b"bytes ", bytearray(b"bytearray "), memoryview(b"a memoryview")[2:]]
    assert deliver(one, other, buffers) == b"bytes bytearray memoryview"


def test_nothing_there_is_none(ends: Pair) -> None:
    one, other = ends
    assert receive(one) is None
    assert receive(other) is None
    assert deliver(one, other, [b"x"]) == b"x"
    assert receive(other) is None


def test_empty_buffers_count_for_nothing(ends: Pair) -> None:
    one, other = ends
    assert one.send([]) == 0
    assert one.send([b"", b""]) == 0
    assert deliver(one, other, [b"", b"a", b"", b"", b"b", b""]) == b"ab"


def test_more_buffers_than_one_call_takes(ends: Pair) -> None:
    one, other = ends
    buffers = [bytes([index % 251]) * (index % 3) for index in range(5000)]
    assert deliver(one, other, buffers) == b"".join(buffers)


def test_empty_buffers_do_not_hide_what_follows(ends: Pair) -> None:
    one, _ = ends
    assert one.send([b""] * 5000 + [b"x"]) == 1


def test_a_full_stream_takes_a_prefix_then_nothing_then_goes_on(ends: Pair) -> None:
    one, other = ends
    sent = fill(one)
    assert sent
    received = bytearray()
    while len(received) < len(sent):
        one.flush()
        received += receive(other) or b""
    assert received == sent
    assert one.flush()
    assert deliver(one, other, [b"and on"]) == b"and on"


def test_both_directions_are_full_at_once_and_come_free(ends: Pair) -> None:
    one, other = ends
    sent = fill(one), fill(other)
    received = bytearray(), bytearray()
    while len(received[0]) < len(sent[0]) or len(received[1]) < len(sent[1]):
        received[0].extend(receive(other) or b"")
        received[1].extend(receive(one) or b"")
        one.flush()
        other.flush()
    assert (bytes(received[0]), bytes(received[1])) == sent


# --- the end --------------------------------------------------------------------------------


def test_the_end_comes_after_everything_and_stays(ends: Pair) -> None:
    one, other = ends
    sent = fill(one)
    one.finish()
    received = bytearray()
    while not one.flush():
        received += receive(other) or b""
    received += receive_all(other)
    assert received == sent
    assert [receive(other) for _ in range(3)] == [b""] * 3


def test_one_direction_ends_and_the_other_goes_on(ends: Pair) -> None:
    one, other = ends
    one.finish()
    assert one.flush()
    assert receive_all(other) == b""
    assert deliver(other, one, [b"still here"]) == b"still here"
    other.finish()
    assert other.flush()
    assert receive_all(one) == b""


def test_closing_is_an_end_for_the_other(ends: Pair) -> None:
    one, other = ends
    one.send([b"last words"])
    assert one.flush()
    one.close()
    assert receive_all(other) == b"last words"


def test_finishing_after_the_other_left_is_no_error(ends: Pair) -> None:
    one, other = ends
    other.close()
    assert receive_all(one) == b""
    one.finish()


def test_closing_again_does_nothing(ends: Pair) -> None:
    one, _ = ends
    one.close()
    one.close()


def test_a_closed_end_is_of_no_more_use(ends: Pair) -> None:
    one, _ = ends
    one.close()
    with pytest.raises(OSError, match="Errno 9"):
        receive(one)
    with pytest.raises(OSError, match="Errno 9"):
        one.send([b"x"])
    with pytest.raises(OSError, match="Errno 9"):
        one.fileno()
    one.wait(read=True, write=True, timeout=None)
    one.wake()


def test_a_reset_is_an_error_for_both_directions(ends: Pair) -> None:
    one, other = ends
    one.send([b"never read"])
    assert one.flush()
    other.close()
    one.wait(read=True, write=False, timeout=PATIENCE)
    with pytest.raises(ConnectionResetError):
        receive(one)
    with pytest.raises(ConnectionError):
        one.send([b"x"])


# --- waiting --------------------------------------------------------------------------------


def test_wait_returns_when_there_is_something_to_read(ends: Pair) -> None:
    one, other = ends
    assert receive(other) is None
    waiting = start(lambda: other.wait(read=True, write=False, timeout=None))
    one.send([b"x"])
    assert one.flush()
    assert_ends(waiting)
    assert receive(other) == b"x"


def test_wait_returns_at_once_when_bytes_are_inside(ends: Pair) -> None:
    one, other = ends
    one.send([b"0123456789"])
    assert one.flush()
    while (got := receive(other, 4)) is None:
        other.wait(read=True, write=False, timeout=PATIENCE)
    while len(got) < 10:
        assert_ends(start(lambda: other.wait(read=True, write=False, timeout=None)))
        got += receive(other, 4) or b""
    assert got == b"0123456789"


def test_wait_returns_at_the_end(ends: Pair) -> None:
    one, other = ends
    assert receive(other) is None
    waiting = start(lambda: other.wait(read=True, write=False, timeout=None))
    one.finish()
    assert_ends(waiting)
    assert receive(other) == b""


def test_wait_returns_when_there_is_room(ends: Pair) -> None:
    one, other = ends
    fill(one)
    waiting = start(lambda: one.wait(read=False, write=True, timeout=None))
    while receive(other) is not None:
        pass
    assert_ends(waiting)
    taken = None
    while taken is None:
        receive(other)
        taken = one.send([b"x"])
    assert taken == 1


def test_a_wake_before_the_wait_is_not_lost(ends: Pair) -> None:
    one, _ = ends
    for _ in range(3):
        one.wake()
        one.wake()
        assert_ends(start(lambda: one.wait(read=False, write=False, timeout=None)))


def test_a_wake_ends_the_wait_of_another_thread(ends: Pair) -> None:
    one, _ = ends
    receive(one)
    waiting = start(lambda: one.wait(read=True, write=False, timeout=None))
    one.wake()
    assert_ends(waiting)


def test_a_wake_is_used_up_by_one_wait(ends: Pair) -> None:
    one, _ = ends
    receive(one)
    one.wake()
    one.wait(read=True, write=False, timeout=None)
    waiting = start(lambda: one.wait(read=True, write=False, timeout=None))
    waiting.join(0.05)
    assert waiting.is_alive()
    one.wake()
    assert_ends(waiting)


def test_no_wake_is_lost_between_two_threads(ends: Pair) -> None:
    one, _ = ends
    receive(one)
    rounds = 2000
    called = 0
    answered = threading.Semaphore(0)

    def wait_for_each_call() -> None:
        for expected in range(1, rounds + 1):
            while called < expected:
                one.wait(read=True, write=False, timeout=None)
            answered.release()

    waiting = start(wait_for_each_call)
    for _ in range(rounds):
        called += 1
        one.wake()
        assert answered.acquire(timeout=PATIENCE), "a wake was lost"
    assert_ends(waiting)


def test_closing_ends_the_wait_of_another_thread(make: Callable[[], Pair]) -> None:
    for turn in range(20):
        one, other = make()
        receive(one)
        waiting = start(partial(one.wait, read=True, write=False, timeout=None))
        waiting.join(0.005 * (turn % 2))  # before it waits, perhaps, and while it does
        one.close()
        assert_ends(waiting)
        other.close()


def test_wait_gives_up_after_its_timeout(ends: Pair) -> None:
    one, _ = ends
    receive(one)
    for timeout in (0, 0.001, -1, 0.01):
        one.wait(read=True, write=False, timeout=timeout)
    assert receive(one) is None


def test_a_timeout_may_be_longer_than_any_clock(ends: Pair) -> None:
    one, _ = ends
    one.wake()
    one.wait(read=False, write=False, timeout=1e9)


def test_wanting_nothing_waits_even_where_the_other_left(ends: Pair) -> None:
    one, other = ends
    other.close()
    waiting = start(lambda: one.wait(read=False, write=False, timeout=None))
    waiting.join(0.05)
    assert waiting.is_alive()
    one.wake()
    assert_ends(waiting)


def test_two_threads_talk_through_wait_alone(ends: Pair) -> None:
    one, other = ends
    rounds = 300

    def echo(transport: Transport) -> None:
        for _ in range(rounds):
            while (got := receive(transport)) is None:
                transport.wait(read=True, write=False, timeout=PATIENCE)
            transport.send([got])
            while not transport.flush():
                transport.wait(read=False, write=True, timeout=PATIENCE)

    answering = start(lambda: echo(other))
    for index in range(rounds):
        one.send([b"%d" % index])
        while not one.flush():
            one.wait(read=False, write=True, timeout=PATIENCE)
        while (got := receive(one)) is None:
            one.wait(read=True, write=False, timeout=PATIENCE)
        assert got == b"%d" % index
    assert_ends(answering)


# --- the rest -------------------------------------------------------------------------------


def test_the_descriptor_is_readable_when_bytes_came(ends: Pair) -> None:
    one, other = ends
    receive(other)
    try:
        descriptor = other.fileno()
    except OSError:
        pytest.skip("this transport has none")
    assert select.select([descriptor], [], [], 0)[0] == []
    one.send([b"x"])
    assert one.flush()
    assert select.select([descriptor], [], [], PATIENCE)[0] == [descriptor]


def test_the_peer_has_a_name(ends: Pair) -> None:
    assert all(end.peer for end in ends)
