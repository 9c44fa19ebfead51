"""A receiver whose disk fails at any one call: only what it failed for is missing, and is told."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from objxfer.errors import ExitCode
from support.deliveries import SCENES, Scene, contents, laid
from support.nursery import Nursery
from support.tracing import DISK, Call, Tracer, needs_strace

pytestmark = needs_strace

ALL_SCENES: Final = {**SCENES, "reserved": Scene({"huge": contents(4, 9 << 20)})}
ERRORS: Final = ("EIO", "ENOSPC", "EDQUOT", "EMFILE", "EROFS")
FULL: Final = ("ENOSPC", "EDQUOT")
GROWING: Final = ("pwrite64", "fallocate", "linkat", "symlinkat", "renameat", "mkdirat", "fsync")
"""The calls that fail on a full disk."""
FLUSHES: Final = ("fsync", "fdatasync")
SHARED: Final = ("openat", "mkdirat", "fsync")
"""The calls by which a folder fails, and with it all that is in it."""
SOME: Final = 4
ALL: Final = pytest.param(None, id="all", marks=[pytest.mark.long, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("samples", [pytest.param(SOME, id="some"), ALL])
@pytest.mark.parametrize("scene", ALL_SCENES)
def test_any_call_fails(scene: str, samples: int | None, nursery: Nursery, tmp_path: Path) -> None:
    turns = map("{}".format, count())
    calls, _ = failed(None, "", scene, nursery, tmp_path / next(turns))
    cases = [(call, error) for call in calls for error in ERRORS]
    if samples is not None:
        cases = Random(scene).sample(cases, samples)
    came = 0
    for call, error in cases:
        try:
            came += failed(call, error, scene, nursery, tmp_path / next(turns))[1] > 0
        except BaseException as failure:
            failure.add_note(f"{scene}: {call.kind} {call.turn} failed with {error}")
            raise
    print(f"{scene}: {came} failures")
    # Groups are as large as the time makes them, so a call may not come another time.
    assert came > len(cases) / 2


def failed(
    call: Call | None, error: str, name: str, nursery: Nursery, folder: Path
) -> tuple[list[Call], int]:
    """Deliver a scene to a receiver one call of which fails, and then once more.

    Returns:
        The calls that it made on its folder, and how many of them failed.
    """
    inject = call and call.failing(error)
    with laid(ALL_SCENES[name], folder) as scene:
        scene.prepare(nursery)
        serving = scene.serve(nursery)
        with Tracer(serving, folder / "log", DISK, inject) as tracer:
            sent = scene.send(nursery, serving.url).finish()
        scene.check_whole()
        scene.check_receipts(sent)
        reports = [line for line in sent.lines if line["type"] == "file"]
        failures = [line for line in reports if line["action"] == "failed"]
        assert not any(line["durable"] for line in failures), failures
        if sent.code == ExitCode.OK:
            scene.check_delivered(sent)
        if call is None or not tracer.injected:
            assert sent.code == ExitCode.OK
        else:
            assert sent.code in codes(call, error), sent
            if call.kind not in SHARED:
                assert len(failures) <= tracer.injected, failures
                assert len(reports) >= sum(what is not None for what in scene.scene.sent.values())
        scene.check_delivered(scene.send(nursery, serving.url).finish())
        serving.finish(signal.SIGTERM)
        if call is None or not call.kind.startswith("unlink"):
            scene.check_clean()
        return tracer.calls(scene.inbox, sure=True), tracer.injected


def codes(call: Call, error: str) -> set[ExitCode]:
    """Return what a sender may end with: never as if all were well where a flush failed."""
    if error not in FULL:
        told = {ExitCode.FAILED}
    elif call.kind in GROWING:
        told = {ExitCode.PEER_NO_SPACE}
    else:
        told = {ExitCode.FAILED, ExitCode.PEER_NO_SPACE}
    return told if call.kind in FLUSHES else told | {ExitCode.OK}
