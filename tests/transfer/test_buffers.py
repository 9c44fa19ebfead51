"""Memory for payload is bounded, reused, and never lost."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

import objxfer
from objxfer.blocking.places import place
from objxfer.files.digest import NODE
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.transfer import receiving
from objxfer.transfer.buffers import Pool, Ring, memory
from objxfer.transfer.report import Report
from support.partials import OWNER
from support.simulator import TIMEOUT, Simulator


def test_a_pool_gives_so_much_and_no_more() -> None:
    pool = Pool(2 * NODE)
    first, second = pool.lease(NODE), pool.lease(5)
    assert first is not None
    assert second is not None
    assert (len(first), len(second)) == (NODE, 5)
    assert pool.lease(1) is None
    pool.give(first)
    again = pool.lease(7)
    assert again is not None
    assert again.obj is first.obj


def test_what_is_not_given_back_returns_when_nobody_looks_at_it() -> None:
    pool = Pool(NODE)
    view = pool.lease(NODE)
    assert view is not None
    part = view[10:20]
    del view
    assert pool.lease(1) is None
    del part
    gc.collect()
    assert pool.lease(1) is not None


def test_only_leases_are_taken_back() -> None:
    pool = Pool(NODE)
    pool.give(memoryview(bytearray(NODE)))
    pool.give(b"no view at all")
    kept = pool.lease(1)
    assert kept is not None
    assert pool.lease(1) is None


def test_a_ring_reuses_a_buffer_once_it_is_written() -> None:
    ring = Ring()
    first = ring.take(0)
    ring.give(first, mark=100)
    second = ring.take(99)
    assert second.obj is not first.obj
    ring.give(second, mark=200)
    assert ring.take(100).obj is first.obj


@pytest.mark.parametrize("size", [1, NODE - 1, NODE, 3 * NODE])
def test_memory_is_writable_and_of_its_size(size: int) -> None:
    view = memory(size)
    assert len(view) == size
    assert not view.readonly
    view[-1] = 7


def check_delivery(simulator: Simulator, folder: Path, contents: bytes) -> None:
    """Deliver one large file in memory."""
    (folder / "in").mkdir()
    (folder / "large").write_bytes(contents)
    sent: list[Report] = []
    client, server = simulator.client, simulator.server
    client.run(client.pushes([str(folder / "large")], sent))
    server.run(
        server.takes(
            place(str(folder / "in"), IfExists.RENAME, Limits(), owner=OWNER, keep_partial=KEEP),
            [],
        )
    )
    simulator.run()
    assert not client.errors + server.errors
    assert (folder / "in/large").read_bytes() == contents


def test_one_buffer_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "POOL", Pool(NODE))
    simulator = Simulator(3, capacity=1 << 20)
    simulator.greed = 1 << 20
    check_delivery(simulator, tmp_path, b"x" * (5 * NODE + 5))


def test_who_waits_for_memory_gives_nobody_up_and_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(3, capacity=1 << 20)

    class Late(Pool):
        """Has nothing for longer than silence may last: other connections hold all of it."""

        def lease(self, size: int) -> memoryview | None:
            return super().lease(size) if simulator.now > 4 * TIMEOUT else None

    monkeypatch.setattr(receiving, "POOL", Late())
    check_delivery(simulator, tmp_path, b"x" * (2 * NODE))


class _Reluctant(Pool):
    """Has nothing the first times it is asked, as when other connections hold all of it."""

    refusals = 3

    def lease(self, size: int) -> memoryview | None:
        if self.refusals:
            self.refusals -= 1
            return None
        return super().lease(size)


def test_a_connection_without_memory_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "POOL", _Reluctant())
    (tmp_path / "in").mkdir()
    (tmp_path / "large").write_bytes(b"x" * (3 * NODE))
    key = objxfer.Key.generate()
    with objxfer.listen("tcp://127.0.0.1:0", key=key, into=tmp_path / "in") as listener:
        reports: list[Report] = []

        def serve() -> None:
            with listener.accept(timeout=10) as connection:
                reports.append(connection.recv())

        thread = threading.Thread(target=serve)
        thread.start()
        with objxfer.connect(listener.url, key=key) as connection:
            assert connection.push(tmp_path / "large", silence=10).exit_code == 0
        thread.join()
    assert reports[0].exit_code == 0
