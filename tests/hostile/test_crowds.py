"""Many who say nothing, and those who say it slowly, beside one who is honest."""

from __future__ import annotations

import itertools
import queue
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from objxfer.blocking import listener as listening
from objxfer.blocking.connecting import connect
from objxfer.blocking.listener import Listener, listen
from objxfer.errors import ExitCode, ObjxferError, Timeout
from objxfer.limits import KIB
from objxfer.protocol.hello import Role
from support.connected import KEY, PATIENCE
from support.crowd import descriptors_for, needs_proc
from support.handshakes import hello
from support.inbox import descriptors
from support.pair import Pair

CROWD = 500
HELLO = hello(Role.CLIENT).pack()


@pytest.fixture
def room() -> Iterator[None]:
    """Descriptors for both ends of a crowd."""
    with descriptors_for(2 * CROWD + 200):
        yield


class Inn:
    """A listener, and why it turned others away."""

    def __init__(self, scheme: str) -> None:
        self.turned_away: queue.SimpleQueue[ObjxferError] = queue.SimpleQueue()
        self.listener: Listener = listen(
            f"{scheme}://127.0.0.1:0",
            key=KEY,
            on_refused=lambda _, error: self.turned_away.put(error),
        )
        self._host, _, port = self.listener.url.partition("://")[2].partition(":")
        self._port = int(port)

    def visit(self) -> socket.socket:
        """Come in and say nothing."""
        return socket.create_connection((self._host, self._port), PATIENCE)

    def serves(self) -> None:
        """Somebody honest is served."""
        with connect(self.listener.url, key=KEY, timeout=5.0) as client:
            client.send("hello")
            server = self.listener.accept(PATIENCE)
            assert server.recv(PATIENCE) == "hello"
            server.abandon()

    def next_turned_away(self) -> ObjxferError:
        return self.turned_away.get(timeout=PATIENCE)


def stays(sock: socket.socket) -> bool:
    """Whether the listener has not hung up on this one."""
    sock.setblocking(False)
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return True
    return False


@contextmanager
def inn(scheme: str) -> Iterator[Inn]:
    opened = Inn(scheme)
    yield opened
    opened.listener.close()


@pytest.fixture(params=["tcp", "tls"])
def scheme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.usefixtures("room")
def test_a_silent_crowd_keeps_nobody_from_being_served(scheme: str) -> None:
    with inn(scheme) as place:
        place.serves()  # what a process makes once is made
        before = descriptors()
        threads = threading.active_count()
        with ExitStack() as crowd:
            silent = [crowd.enter_context(place.visit()) for _ in range(CROWD)]
            place.serves()
            assert threading.active_count() == threads, "no thread before the proof"
            assert descriptors() >= before + CROWD
            assert place.turned_away.empty()
            for sock in silent[: CROWD // 2]:
                sock.close()
            place.serves()
        for _ in range(CROWD):
            error = place.next_turned_away()
            assert error.exit_code in (ExitCode.MISMATCH, ExitCode.CONNECTION_LOST)
        assert descriptors() == before


def test_slow_words_keep_nobody_from_being_served(scheme: str) -> None:
    """The honest come between one byte and the next, so that no clock is needed."""
    with inn(scheme) as place, ExitStack() as crowd:
        slow = [crowd.enter_context(place.visit()) for _ in range(20)]
        for byte in HELLO[:5]:
            for sock in slow:
                sock.sendall(bytes((byte,)))
            place.serves()
        if scheme == "tcp":
            assert place.turned_away.empty()


@pytest.mark.parametrize("said", [b"", HELLO[:1], HELLO], ids=["silent", "slow", "no proof"])
def test_the_deadline_is_one_for_all_and_words_do_not_move_it(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE_SECONDS", 0.3)
    with inn("tcp") as place, place.visit() as sock:
        stop = threading.Event()

        def trickle() -> None:
            for byte in itertools.chain(said, [] if said == HELLO else HELLO[1:20]):
                try:
                    sock.sendall(bytes((byte,)))
                except OSError:
                    return
                if said != HELLO and stop.wait(0.05):
                    return

        speaking = threading.Thread(target=trickle)
        if said:
            speaking.start()
        error = place.next_turned_away()
        stop.set()
        if said:
            speaking.join()
        assert type(error) is Timeout
        assert error.exit_code is ExitCode.TIMEOUT
        place.serves()


def test_a_full_house_turns_the_oldest_silent_away_never_the_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "PENDING", 4)
    with inn("tcp") as place, ExitStack() as crowd:
        heard = crowd.enter_context(place.visit())
        heard.sendall(HELLO)
        assert heard.recv(1), "the answer to a valid hello"
        silent = [crowd.enter_context(place.visit()) for _ in range(3)]
        assert place.turned_away.empty()
        later = [crowd.enter_context(place.visit()) for _ in range(3)]
        for _ in silent:
            assert type(place.next_turned_away()) is Timeout
        assert [stays(sock) for sock in (heard, *silent, *later)] == [
            True,
            *[False] * 3,
            *[True] * 3,
        ]
        place.serves()
        assert type(place.next_turned_away()) is Timeout
        assert [stays(sock) for sock in (heard, *later)] == [True, False, True, True]


def test_where_all_have_said_hello_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PENDING", 3)
    with inn("tcp") as place, ExitStack() as crowd:
        guests = []
        for _ in range(3):
            guests.append(crowd.enter_context(place.visit()))
            guests[-1].sendall(HELLO)
            assert guests[-1].recv(1)
        place.serves()
        assert type(place.next_turned_away()) is Timeout
        assert [stays(sock) for sock in guests] == [False, True, True]


def test_hellos_take_no_more_than_half_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who said one leave the others the time to say theirs."""
    monkeypatch.setattr(listening, "PENDING", 4)
    with inn("tcp") as place, ExitStack() as crowd:
        heard = []
        for _ in range(4):
            heard.append(crowd.enter_context(place.visit()))
            heard[-1].sendall(HELLO)
            assert heard[-1].recv(1)
        silent = [crowd.enter_context(place.visit()) for _ in range(2)]
        for _ in silent:
            assert type(place.next_turned_away()) is Timeout
        assert [stays(sock) for sock in (*heard, *silent)] == [False] * 2 + [True] * 4


@needs_proc
def test_a_connection_that_says_little_takes_little_memory() -> None:
    Pair()
    before = memory()
    pairs = [Pair() for _ in range(200)]
    assert memory() - before < 2 * len(pairs) * 64 * KIB


def memory() -> int:
    """The bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.usefixtures("room")
def test_a_crowd_beyond_the_cap_keeps_nobody_from_being_served() -> None:
    with inn("tcp") as place:
        place.serves()
        before = descriptors()
        with ExitStack() as crowd:
            for _ in range(listening.PENDING + 60):
                crowd.enter_context(place.visit())
            place.serves()
            for _ in range(60):
                assert type(place.next_turned_away()) is Timeout
            assert descriptors() <= before + 2 * listening.PENDING + 60
        for _ in range(listening.PENDING):
            place.next_turned_away()
        assert descriptors() == before
