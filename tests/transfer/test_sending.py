"""What a sender cannot put on the wire, it says before it sends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from objxfer.blocking.places import place
from objxfer.errors import ExitCode, LimitExceeded
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.transfer import sending
from objxfer.transfer.report import Report
from support.partials import OWNER
from support.simulator import Simulator


def test_too_many_paths_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_TOPS", 3)
    paths = [tmp_path / str(number) for number in range(4)]
    for path in paths:
        path.touch()
    simulator = Simulator(1)
    client = simulator.client
    client.run(client.pushes(list(map(str, paths)), []))
    simulator.run()
    (error,) = client.errors
    assert isinstance(error, LimitExceeded)
    assert not client.exchange.session.bytes_queued


def test_a_path_too_long_for_the_wire_is_left_out(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "fine").touch()
    folder = "d" * 200
    (tmp_path / "in").mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(21):
        os.mkdir(folder, dir_fd=here)
        below = os.open(folder, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    simulator = Simulator(1, capacity=1 << 20)
    simulator.greed = 1 << 20
    sent: list[Report] = []
    client, server = simulator.client, simulator.server
    client.run(client.pushes([str(top)], sent))
    server.run(
        server.takes(
            place(str(tmp_path / "in"), IfExists.RENAME, Limits(), owner=OWNER, keep_partial=KEEP),
            [],
        )
    )
    simulator.run()
    assert not client.errors + server.errors
    assert (tmp_path / "in/top/fine").exists()
    assert sent[0].exit_code == ExitCode.INCOMPLETE
    assert any("file name too long" in one.reason for one in sent[0].problems)
