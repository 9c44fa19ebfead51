"""Who watches over an inbox is told how it is: in the log, in metrics, and by systemd."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import click

from objxfer.errors import ExitCode
from objxfer_cli import failures
from objxfer_cli.counts import Counts, Publisher
from objxfer_cli.metrics import MetricsFile, exposition
from objxfer_cli.systemd import Manager
from objxfer_cli.terminal import Terminal


class Oversight:
    """Tells of an inbox from when it listens to the end of the ``with`` block, around its server.

    What ends the block otherwise than in order is said, too, and ends the command with its code.

    Args:
        terminal: where the log is, and what cannot be told elsewhere.
        counts: of the inbox.
        metrics: the file of metrics, if there is one.

    Attributes:
        manager: the service manager.

    Raises:
        ObjxferError: metrics cannot be written there, ever (exit code ``USAGE``).
    """

    def __init__(self, terminal: Terminal, counts: Counts, metrics: str | None) -> None:
        self.manager = Manager(terminal.warning)
        self._terminal = terminal
        self._counts = counts
        self._metrics = None if metrics is None else MetricsFile(metrics, terminal.warning)
        self._publisher: Publisher | None = None
        self._phase = ""
        self._since = 0.0

    def listening(self, url: str, **more: object) -> None:
        """Tell that others may come now, and ``more`` of it to the log."""
        self._phase, self._since = f"listening on {url}", time.monotonic()
        self.manager.ready(self._status)
        self._publisher = Publisher(self._counts, self._publish)
        self._terminal.event("listening", url=url, **more)

    def draining(self, seconds: float) -> None:
        """Tell that what is on its way has so long to be through, and nobody else may come."""
        self._phase = "draining"
        self._terminal.event("draining", deliveries=self._counts.underway, seconds=seconds)
        self.manager.stopping(self._status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._publisher is None:
            return
        self._phase = ""
        self._publisher.stop()
        # Said here, for it is what the log ends with that it has ended.
        code = ExitCode.OK if error is None else failures.say(self._terminal, error)
        seconds = round(time.monotonic() - self._since, 3)
        self._terminal.event("ended", exit_code=int(code), seconds=seconds)
        if error is not None:
            raise click.exceptions.Exit(code) from error

    @property
    def _status(self) -> str:
        return f"{self._phase or 'ended'}: {self._counts.standing}"

    def _publish(self) -> None:
        if self._metrics is not None:
            self._metrics.write(exposition(self._counts, up=bool(self._phase)))
        self.manager.status(self._status)
