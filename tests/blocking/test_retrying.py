"""A delivery whose connection is lost goes on by itself, over the next one."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import objxfer
from objxfer.blocking import retrying
from objxfer.blocking.connecting import connect
from objxfer.blocking.connection import Connection
from objxfer.blocking.listener import Listener, listen
from objxfer.blocking.retrying import RETRIES, patience, persist
from objxfer.blocking.serving import Watcher, serve
from objxfer.errors import (
    AuthenticationError,
    CannotConnect,
    ConnectionLost,
    ExitCode,
    LimitExceeded,
    ObjxferError,
    ProtocolMismatch,
    RefusedByPeer,
    Timeout,
    WrongCode,
)
from objxfer.limits import MIB
from objxfer.transfer.report import EntryReport, Outcome, Report
from support.connected import KEY, PATIENCE, begin
from support.deliveries import contents
from support.inbox import landed
from support.partials import wait_for_partial
from support.relay import Cut, Forge, cutting, relay

LARGE = contents(1, 7 * MIB + 5)
KEPT = 4 * MIB


def cutting_once(inbox: Path) -> Forge:
    """Cut the connection once so much of a large file lies there that it is worth going on."""
    cut = cutting(KEPT + MIB)

    def forge(data: bytes) -> bytes:
        try:
            return cut(data)
        except Cut:
            wait_for_partial(inbox, KEPT)
            raise

    return forge


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen("tcp://127.0.0.1:0", key=KEY) as opened:
        yield opened


class Attempts:
    """Tries what it is told to, one after the other; the last one for ever."""

    def __init__(self, listener: Listener, *tries: int | ObjxferError) -> None:
        self.report = Report(resumable=True)
        self.connections: list[Connection] = []
        self.lost: list[tuple[ObjxferError, float]] = []
        self._listener = listener
        self._tries = list(tries)

    def run(self, retries: int | None, reconnect: Callable[[], Connection] | None = None) -> Report:
        return persist(
            self.dial(),
            reconnect or self.dial,
            self.push,
            report=self.report,
            retries=retries,
            on_lost=lambda error, pause: self.lost.append((error, pause)),
        )

    def dial(self) -> Connection:
        connection = connect(self._listener.url, key=KEY)
        begin(self._listener.accept(PATIENCE).close)
        self.connections.append(connection)
        return connection

    def push(self, _connection: Connection) -> Report:
        """Fail with an error, or be lost after so many bytes; None are left: all is there."""
        if not self._tries:
            return self.report
        outcome = self._tries[0]
        if len(self._tries) > 1:
            del self._tries[0]
        if isinstance(outcome, ObjxferError):
            raise outcome
        if outcome < 0:
            return self.report
        self.report.furthest = max(self.report.furthest, outcome)
        raise ConnectionLost(f"after {outcome} bytes")


def steps(pauses: list[float]) -> list[int]:
    """Which step of the way to the longest pause each of them is; with jitter."""
    return [min(range(6), key=lambda step: abs(min(2.0**step, 30) - pause)) for pause in pauses]


def test_nothing_is_lost(listener: Listener, pauses: list[float]) -> None:
    attempts = Attempts(listener)
    assert attempts.run(RETRIES) is attempts.report
    assert (pauses, attempts.lost) == ([], [])
    assert attempts.connections[0].closed


def test_each_pause_is_longer_and_none_like_another(
    listener: Listener, pauses: list[float]
) -> None:
    attempts = Attempts(listener, 0)
    with pytest.raises(ConnectionLost, match="after 0 bytes") as raised:
        attempts.run(14)
    assert raised.value.exit_code == ExitCode.CONNECTION_LOST
    assert len(attempts.connections) == 15
    assert all(connection.closed for connection in attempts.connections)
    assert [pause for _, pause in attempts.lost] == pauses
    for at, pause in enumerate(pauses):
        assert 0.75 * min(2.0**at, 30) <= pause <= 1.25 * min(2.0**at, 30)
    assert len({pause / min(2.0**at, 30) for at, pause in enumerate(pauses)}) > 10


def test_the_default_takes_five_minutes() -> None:
    whole = patience(RETRIES)
    assert whole is not None
    assert 270 <= whole <= 330
    assert patience(0) == 0
    assert patience(None) is None


def test_getting_further_counts_from_the_beginning(listener: Listener, pauses: list[float]) -> None:
    attempts = Attempts(listener, 10, 10, 10, 20, 5, 20, 21, -1)
    attempts.run(3)
    assert steps(pauses) == [0, 1, 2, 0, 1, 2, 0]


def test_it_is_used_up(listener: Listener, pauses: list[float]) -> None:
    attempts = Attempts(listener, 10, 10, 9, 10)
    with pytest.raises(ConnectionLost):
        attempts.run(2)
    assert steps(pauses) == [0, 1]


def test_none_is_wanted(listener: Listener, pauses: list[float]) -> None:
    with pytest.raises(ConnectionLost):
        Attempts(listener, 10).run(0)
    assert pauses == []


def test_without_end(listener: Listener, pauses: list[float]) -> None:
    Attempts(listener, *[0] * 30, -1).run(None)
    assert len(pauses) == 30


@pytest.mark.parametrize(
    "error",
    [
        RefusedByPeer("not here"),
        AuthenticationError("who are you"),
        ObjxferError("something else"),
    ],
)
def test_other_errors_would_come_again(
    listener: Listener, pauses: list[float], error: ObjxferError
) -> None:
    attempts = Attempts(listener, 1, error)
    with pytest.raises(type(error)) as raised:
        attempts.run(9)
    assert raised.value is error
    assert len(pauses) == 1
    assert all(connection.closed for connection in attempts.connections)


@pytest.mark.parametrize(
    "error",
    [
        Timeout("silent"),
        RefusedByPeer("it was interrupted there", exit_code=ExitCode.CONNECTION_LOST),
    ],
)
def test_what_is_like_a_lost_connection(
    listener: Listener, pauses: list[float], error: ObjxferError
) -> None:
    Attempts(listener, error, -1).run(1)
    assert len(pauses) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        CannotConnect("refused"),
        Timeout("no answer"),
        ConnectionLost("broken off"),
        ProtocolMismatch("ended before hello"),
    ],
)
def test_one_that_cannot_be_made_counts(
    listener: Listener, pauses: list[float], refusal: ObjxferError
) -> None:
    attempts = Attempts(listener, 1)

    def refused() -> Connection:
        raise refusal

    with pytest.raises(ConnectionLost, match=str(refusal)) as raised:
        attempts.run(3, refused)
    assert raised.value.exit_code == ExitCode.CONNECTION_LOST
    assert steps(pauses) == [0, 1, 2]


def test_another_key_is_named_once_it_stays_so(listener: Listener, pauses: list[float]) -> None:
    """A receiver that is killed within the handshake looks like one that has another key."""

    def stranger() -> Connection:
        raise AuthenticationError("does not hold our key")

    with pytest.raises(AuthenticationError):
        Attempts(listener, 1).run(3, stranger)
    assert len(pauses) == 3


def test_a_wrong_code_is_not_tried_again(listener: Listener, pauses: list[float]) -> None:
    tried: list[WrongCode] = []

    def reconnect() -> Connection:
        tried.append(WrongCode("the code is wrong"))
        raise tried[-1]

    with pytest.raises(WrongCode):
        Attempts(listener, 1).run(None, reconnect)
    assert len(tried) == len(pauses) == 1


def test_an_interrupt_ends_the_waiting(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=interrupted))
    attempts = Attempts(listener, 1)
    with pytest.raises(KeyboardInterrupt):
        attempts.run(None)
    assert len(attempts.connections) == 1


class TestPush:
    """With a receiver that stays, and somebody in between who cuts."""

    def test_it_goes_on(self, inbox: Path, large: Path, pauses: list[float]) -> None:
        told: list[EntryReport] = []
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server,
            relay(server.url, cutting_once(inbox)) as url,
        ):
            report = objxfer.push(large, to=url, key=KEY, on_entry=told.append)
        assert len(pauses) == 1
        assert (inbox / "large").read_bytes() == LARGE
        assert os.listdir(inbox) == ["large"]
        assert report.exit_code == ExitCode.OK
        assert report.outcomes == {Outcome.RESUMED: 1}
        assert [one.outcome for one in told] == [Outcome.RESUMED]
        assert report.kept >= KEPT
        assert report.bytes + report.kept == len(LARGE)
        assert len(LARGE) < report.bytes_on_wire < 2 * len(LARGE) - report.kept + MIB
        assert report.seconds > 0

    def test_a_tree_of_many(self, inbox: Path, tmp_path: Path, pauses: list[float]) -> None:
        for number in range(300):
            path = tmp_path / "tree" / str(number % 7) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents(number, 9_000))
        told: list[EntryReport] = []
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server,
            relay(server.url, cutting(2_000_000)) as url,
        ):
            report = objxfer.push(tmp_path / "tree", to=url, key=KEY, on_entry=told.append)
        assert len(pauses) == 1
        assert report.exit_code == ExitCode.OK
        assert report.files == len(told) == len({one.path for one in told}) == 300
        assert sum(report.outcomes.values()) == 300

    def test_none_is_wanted(self, inbox: Path, large: Path, pauses: list[float]) -> None:
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server,
            relay(server.url, cutting_once(inbox)) as url,
            pytest.raises(ConnectionLost),
        ):
            objxfer.push(large, to=url, key=KEY, retries=0)
        assert pauses == []
        assert landed(inbox) == []
        with serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server:
            report = objxfer.push(large, to=server.url, key=KEY)
        assert report.outcomes == {Outcome.RESUMED: 1}

    def test_the_first_one_is_attempted_once(self, large: Path, pauses: list[float]) -> None:
        with listen("tcp://127.0.0.1:0", key=KEY) as listener:
            url = listener.url
        with pytest.raises(CannotConnect):
            objxfer.push(large, to=url, key=KEY)
        assert pauses == []

    def test_a_stream_is_not_tried_again(
        self, inbox: Path, large: Path, pauses: list[float]
    ) -> None:
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server,
            relay(server.url, cutting_once(inbox)) as url,
            open(large, "rb") as stream,
            pytest.raises(ConnectionLost),
        ):
            objxfer.push(stream, to=url, key=KEY, name="stream")
        assert pauses == []

    def test_nothing_is_kept_where_nothing_shall_be(
        self, inbox: Path, large: Path, pauses: list[float]
    ) -> None:
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY, keep_partial=0) as server,
            relay(server.url, cutting_once(inbox)) as url,
        ):
            with pytest.raises(ConnectionLost):
                objxfer.push(large, to=url, key=KEY, retries=0)
            report = objxfer.push(large, to=server.url, key=KEY)
        assert (report.kept, report.outcomes) == (0, {Outcome.SENT: 1})

    def test_a_newer_connection_takes_over_from_one_that_is_silent(
        self, inbox: Path, large: Path
    ) -> None:
        class Looking(Watcher):
            def __init__(self) -> None:
                self.errors: list[ObjxferError] = []

            def failed(self, delivery: int, connection: Connection, error: ObjxferError) -> None:
                self.errors.append(error)

        watcher = Looking()
        first, second = random.Random(1).randbytes(5 * MIB), random.Random(2).randbytes(5 * MIB)
        reader, writer = os.pipe()
        with (
            serve(inbox, "tcp://127.0.0.1:0", key=KEY, watcher=watcher) as server,
            connect(server.url, key=KEY) as older,
            open(reader, "rb") as stream,
            open(writer, "wb", buffering=0) as source,
        ):
            pushing = begin(older.push, stream, name="dump")
            source.write(first)
            wait_for_partial(inbox, KEPT)
            large.write_bytes(first + second)
            with open(large, "rb") as again:
                report = objxfer.push(again, to=server.url, key=KEY, name="dump")
            assert report.outcomes == {Outcome.RESUMED: 1}
            assert report.kept >= KEPT
            # The older one ends as soon as it says anything.
            feeding = begin(source.write, second)
            with pytest.raises(RefusedByPeer, match="newer connection"):
                pushing.result(PATIENCE)
            stream.close()
            with contextlib.suppress(BrokenPipeError):
                feeding.result(PATIENCE)
        assert (inbox / "dump").read_bytes() == first + second
        assert os.listdir(inbox) == ["dump"]
        (error,) = watcher.errors
        assert "newer connection" in str(error)


def test_however_many_attempts_there_may_be() -> None:
    assert patience(None) is None
    assert patience(0) == 0
    assert patience(14) == 1 + 2 + 4 + 8 + 16 + 9 * 30
    assert patience(10**30) == pytest.approx(30e30)


def test_an_attempt_long_after_the_first(listener: Listener, pauses: list[float]) -> None:
    """A receiver that is down for a night is called again in the morning."""
    refusals = iter(range(3000))

    def reconnect() -> Connection:
        if next(refusals, None) is not None:
            raise CannotConnect("refused")
        raise LimitExceeded("the end of this test")

    with pytest.raises(LimitExceeded):
        Attempts(listener, 1).run(None, reconnect)
    assert len(pauses) == 3001
    assert max(pauses) <= 1.25 * 30
