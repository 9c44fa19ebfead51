"""A delivery that goes on by itself after its connection was lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from objxfer.errors import (
    AuthenticationError,
    CannotConnect,
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
    WrongCode,
)

if TYPE_CHECKING:
    from objxfer.blocking.connection import Connection
    from objxfer.transfer.report import Report

RETRIES: Final = 14
"""Attempts in a row that bring nothing before a delivery is given up: about five minutes."""

_LONGEST: Final = 30.0
_GROWING: Final = 5
"""Attempts each of which waits twice as long as the one before."""
LOST: Final = (ExitCode.CONNECTION_LOST, ExitCode.TIMEOUT)
_ABSENT: Final = (CannotConnect, Timeout, ConnectionLost, ProtocolMismatch, AuthenticationError)
"""What comes of connecting to who held our key before, and is just being started again: one that
goes away within the handshake looks like one that cannot answer."""

OnLost = Callable[[ObjxferError, float], None]
"""Told why the connection is lost, and in how many seconds there will be another."""


def patience(retries: int | None) -> float | None:
    """Return the seconds that so many attempts take about; None for those that never end."""
    if retries is None:
        return None
    return sum(map(_pause, range(min(retries, _GROWING)))) + _LONGEST * max(0, retries - _GROWING)


def persist(
    connection: Connection,
    reconnect: Callable[[], Connection],
    push: Callable[[Connection], Report],
    *,
    report: Report,
    retries: int | None,
    on_lost: OnLost | None = None,
    in_vain: Callable[[ObjxferError], bool] = lambda _: False,
) -> Report:
    """Deliver over one connection after the other until all is said of the delivery.

    Each connection is closed. What the receiver holds by then is not sent again.

    Args:
        connection: the first one.
        reconnect: makes another one, and raises as ``connect``.
        push: delivers over a connection, filling ``report``.
        report: of all attempts together.
        retries: attempts in a row that come no further than any before; None for no end.
        on_lost: told of each connection that was lost.
        in_vain: asked why a connection is lost; whether the peer cannot come back.

    Raises:
        ConnectionLost, Timeout: it is lost, and the attempts are used up.
        ObjxferError: as ``push``; it would come to the same again.
    """
    attempt, furthest = 0, -1
    while True:
        try:
            return _close(connection, push)
        except ObjxferError as error:
            if error.exit_code not in LOST or in_vain(error):
                raise
            lost = error
        if report.furthest > furthest:
            attempt, furthest = 0, report.furthest
        while retries is None or attempt < retries:
            # Not all that lost it shall come back at once.
            pause = _pause(attempt) * random.uniform(0.75, 1.25)  # noqa: S311
            attempt += 1
            if on_lost is not None:
                on_lost(lost, pause)
            time.sleep(pause)
            try:
                connection = reconnect()
            except WrongCode:  # there is no second try at one
                raise
            except _ABSENT as error:
                # If it stays so, that another holds the address is the reason to name.
                lost = (
                    error if isinstance(error, AuthenticationError) else ConnectionLost(str(error))
                )
            else:
                break
        else:
            raise lost


def _close(connection: Connection, push: Callable[[Connection], Report]) -> Report:
    report: Report | None = None
    try:
        with connection:
            report = push(connection)
    except ObjxferError:
        if report is None:
            raise
        # Every receipt is in hand: how the connection ends changes nothing any more.
    assert report is not None
    return report


def _pause(attempt: int) -> float:
    """Return the seconds before an attempt, the first of which is number 0."""
    return min(2.0 ** min(attempt, _GROWING), _LONGEST)
