"""A side that is killed at any call by which something changes: nothing is half there."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from objxfer.errors import ExitCode
from objxfer.limits import MIB
from support.deliveries import EARLY, SCENES, Laid, laid
from support.nursery import Nursery
from support.tracing import DISK, READ, TALK, Call, Tracer, needs_strace

pytestmark = needs_strace

SIDES: Final = {"receiver": DISK + TALK, "sender": READ + TALK}
SOME: Final = 3
FULL: Final = pytest.param(None, id="all", marks=[pytest.mark.long, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("samples", [pytest.param(SOME, id="some"), FULL])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_any_call(
    scene: str, side: str, samples: int | None, nursery: Nursery, tmp_path: Path
) -> None:
    turns = map("{}".format, count())
    calls, _ = killed(None, scene, side, nursery, tmp_path / next(turns))
    assert len(calls) > SOME
    if samples is not None:
        calls = Random(f"{scene} {side}").sample(calls, samples)
    hits = 0
    for call in calls:
        try:
            _, hit = killed(call, scene, side, nursery, tmp_path / next(turns))
        except BaseException as error:
            error.add_note(f"{scene}: the {side} was killed at {call.kind} {call.turn}")
            raise
        hits += hit
    print(f"{scene}: the {side} was killed at {hits} of {len(calls)} calls")
    assert hits >= len(calls) / 2  # how often a side speaks differs from run to run


@pytest.mark.parametrize("samples", [pytest.param(SOME, id="some"), FULL])
def test_another_version_comes_after_a_kill(
    samples: int | None, nursery: Nursery, tmp_path: Path
) -> None:
    turns = map("{}".format, count())
    calls, _ = killed(None, "resumed", "receiver", nursery, tmp_path / next(turns))
    if samples is not None:
        calls = Random("another").sample(calls, samples)
    for call in calls:
        with laid(SCENES["resumed"], tmp_path / next(turns)) as scene:
            kill(call, scene, "receiver", nursery)
            changed = scene.change("huge", 2 * MIB)
            try:
                changed.deliver(nursery)
            except BaseException as error:
                error.add_note(f"the receiver was killed at {call.kind} {call.turn}")
                raise


def test_nothing_is_left_of_trying_the_file_system_out(nursery: Nursery, tmp_path: Path) -> None:
    with laid(SCENES["new"], tmp_path / "scene") as scene:
        kill(Call("unlinkat", 1), scene, "receiver", nursery)
        scene.deliver(nursery)
        assert list(scene.inbox.glob(".objxfer*")) == []


def killed(
    call: Call | None, name: str, side: str, nursery: Nursery, folder: Path
) -> tuple[list[Call], bool]:
    """Deliver a scene, one side of which is killed at a call, and then once more.

    Returns:
        The calls that side made until then, and whether the killing one was among them.
    """
    with laid(SCENES[name], folder) as scene:
        calls, hit = kill(call, scene, side, nursery)
        scene.deliver(nursery)
    return calls, hit


def kill(call: Call | None, scene: Laid, side: str, nursery: Nursery) -> tuple[list[Call], bool]:
    """Deliver a scene, one side of which is killed at a call; see ``killed``."""
    scene.prepare(nursery)
    serving = scene.serve(nursery)
    sending = scene.send(nursery, serving.url, held=True)
    victim = serving if side == "receiver" else sending
    with Tracer(victim, scene.log, SIDES[side], call and call.deadly) as tracer:
        sending.go()
        sent = sending.finish()
        served = serving.finish(signal.SIGKILL if side == "sender" else signal.SIGTERM)
    hit = (sent if side == "sender" else served).code == -signal.SIGKILL
    scene.check_whole()
    scene.check_receipts(sent)
    if sent.code == ExitCode.OK:
        scene.check_delivered(sent)
    elif side == "receiver":
        heard = any(line["type"] == "connected" for line in sent.lines)
        assert sent.code == ExitCode.CONNECTION_LOST if heard else sent.code in EARLY, sent
    else:
        assert hit, sent
    return tracer.calls(scene.inbox if side == "receiver" else scene.source), hit
