"""A side that is killed at any call by which something changes: nothing is half there."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from support.deliveries import SCENES, laid
from support.nursery import Nursery
from support.tracing import DISK, READ, TALK, Call, Tracer, needs_strace

pytestmark = needs_strace

SIDES: Final = {"receiver": DISK + TALK, "sender": READ + TALK}
SOME: Final = 4
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


def killed(
    call: Call | None, name: str, side: str, nursery: Nursery, folder: Path
) -> tuple[list[Call], bool]:
    """Deliver a scene, one side of which is killed at a call, and then once more.

    Returns:
        The calls that side made until then, and whether the killing one was among them.
    """
    with laid(SCENES[name], folder) as scene:
        scene.prepare(nursery)
        serving = scene.serve(nursery)
        sending = scene.send(nursery, serving.url, held=True)
        victim = serving if side == "receiver" else sending
        inject = call and call.deadly
        with Tracer(victim, folder / "log", SIDES[side], inject) as tracer:
            sending.go()
            sent = sending.finish()
            served = serving.finish(signal.SIGKILL if side == "sender" else signal.SIGTERM)
        hit = (sent if side == "sender" else served).code == -signal.SIGKILL
        scene.check_whole()
        scene.check_receipts(sent)
        if sent.code == 0:
            scene.check_delivered(sent)
        elif side == "receiver":
            heard = any(line["type"] == "connected" for line in sent.lines)
            assert sent.code in ((11,) if heard else (10, 11, 13, 15)), sent
        else:
            assert hit, sent
        calls = tracer.calls(folder)
        scene.deliver(nursery)
    return calls, hit
