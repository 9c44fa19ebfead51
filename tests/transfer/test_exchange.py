from __future__ import annotations

import pytest

from objxfer.errors import Cancelled
from objxfer.limits import Limits
from objxfer.transfer.exchange import Exchange
from objxfer.transfer.steps import Receive, Steps, run
from support.simulator import established


def test_what_a_job_has_opened_when_its_item_is_cancelled_is_closed() -> None:
    exchange = Exchange(established()[0], Limits(), 0.0)
    closed: list[str] = []

    def steps() -> Steps[None]:
        opened = yield from run(lambda: "opened")
        try:
            yield Receive()
        finally:
            closed.append(opened)

    task = exchange.start(lambda _: steps(), timeout=30.0)
    exchange.advance(0.0)
    task.throw(Cancelled())
    exchange.advance(0.0)
    assert not task.done
    exchange.jobs.popleft().run()
    exchange.advance(0.0)
    assert closed == ["opened"]
    with pytest.raises(Cancelled):
        task.result()
