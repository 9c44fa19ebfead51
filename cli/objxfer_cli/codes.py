"""Codes as people see them: read from where they are typed, shown where they are told."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

import objxfer
from objxfer.errors import CannotConnect, ExitCode, ObjxferError, RefusedByPeer
from objxfer_cli import options, visitors
from objxfer_cli.signals import Interrupted
from objxfer_cli.terminal import Terminal, listed

if TYPE_CHECKING:
    from objxfer.blocking.meeting import Host

_STANDARD_INPUT: Final = "-"
AGAIN: Final = "run it again with a new code: what is there by now is not sent again"
_LONGEST: Final = 1000
"""Bytes that are read where there should be a code."""
_ALONE: Final = 5.0
"""Seconds without anybody after which it is said what else can be done."""
_MOST_SAID: Final = 16
"""How many of those who are not the one are told of."""
_QUIET_ZONE: Final = 2


def joined(_ctx: click.Context, _param: click.Parameter, parts: tuple[str, ...]) -> str | None:
    """Return a code whose parts were typed as arguments of their own; None where there are none."""
    return " ".join(parts) if parts else None


def _read(terminal: Terminal, text: str) -> objxfer.Code:
    """Return the code that an argument is, or where that is ``-``, the line of standard input.

    Raises:
        click.UsageError: there is no standard input, or nothing in it.
        ObjxferError: it is no code (exit code ``USAGE``).
    """
    if text == _STANDARD_INPUT:
        if sys.stdin is None:
            raise click.UsageError("-: there is no standard input")
        if terminal.attended:
            line = terminal.ask("code: ") or ""
        else:
            line = sys.stdin.buffer.readline(_LONGEST).decode(errors="replace")
        text = line.strip()
        if not text:
            raise click.UsageError("-: there is no code in standard input")
    return objxfer.Code.parse(text)


class Invited:
    """Waits with codes, and shows them.

    Args:
        terminal: where they are shown.
        url: where to listen; at a free port where it names none and the usual one is taken.
        there: what is typed on the other machine, up to the code.
        address: the option that names this machine there, where it is not found.
        qr: whether that is drawn, too.
        **terms: as for ``Host``.
    """

    def __init__(
        self, terminal: Terminal, url: str, there: str, address: str, *, qr: bool, **terms: Any
    ) -> None:
        self._terminal = terminal
        self._there = there
        self._address = address
        self._qr = qr
        self.host = self._listen(url, terms)
        self._show(self.host.code)

    def _listen(self, url: str, terms: dict[str, Any]) -> Host:
        from objxfer.blocking.meeting import Host

        terms = {
            "on_burnt": self._burnt,
            "on_moved": self._moved,
            "on_refused": lambda peer, error: visitors.say_refused(self._terminal, peer, error),
            "on_unannounced": self._unannounced,
            **terms,
        }
        try:
            return Host(url, **terms)
        except CannotConnect as error:
            if url != options.LISTEN or not _is(error, errno.EADDRINUSE):
                raise
            return Host(f"{url}:0", **terms)

    def _show(self, code: objxfer.Code | None) -> None:
        assert code is not None
        spoken, urls = code.spoken(), self.host.urls
        there = f"{self._there} {spoken}"
        self._terminal.record("code", code=spoken, urls=urls)
        self._terminal.needed(f"code: {spoken}")
        self._terminal.needed(f"there: {there}")
        self._terminal.needed(
            f"if that finds nobody, add: {self._address} {options.short(urls[0])}"
        )
        if others := [options.short(url) for url in urls[1:]]:
            self._terminal.needed(f"  or, as it may be: {listed(others, len(others))}")
        if self._qr:
            drawn, columns = _drawn(there), self._terminal.columns
            if columns is not None and columns < (width := len(drawn[0])):
                # Broken lines are nothing that a camera could read.
                self._terminal.warning(
                    f"the QR code takes {width} columns, and this terminal has {columns}"
                )
                return
            for line in drawn:
                self._terminal.needed(line)

    # --- in threads of their own ---

    def _burnt(self, code: objxfer.Code | None) -> None:
        self._terminal.warning("somebody tried a wrong code: the one that was shown is burnt")
        if code is not None:
            self._show(code)

    def _moved(self, code: objxfer.Code) -> None:
        self._terminal.warning(
            "somebody else on the network waits with the same number: the code that was shown is of"
            " no use any more"
        )
        self._show(code)

    def _unannounced(self, error: Exception) -> None:
        self._terminal.warning(f"{error}; {self._address} is needed on the other machine")


def meet(
    terminal: Terminal, text: str, url: str | None, address: str, **terms: Any
) -> objxfer.Connection:
    """Connect to who waits with a code: at a URL, or wherever it is found.

    Args:
        terminal: what happens meanwhile is said there.
        text: the code as it was typed; ``-`` has it typed now.
        url: where it is; None looks for it.
        address: the option that names it, to be told of.
        **terms: as for ``connect`` and ``meet``.

    Raises:
        click.UsageError: the URL names a peer, and no address; or there is nothing to read.
        ObjxferError: it is no code, or as ``connect`` and ``meet``.
    """
    if url is not None and "://" not in url:
        raise click.UsageError(f"with a code, {address} is tls://HOST[:PORT], not {url!r}")
    code = _read(terminal, text)
    if url is not None:
        return objxfer.connect(url, key=code, **terms)
    from objxfer.blocking.meeting import meet as look

    said: set[str] = set()

    def tell(at: str, error: ObjxferError) -> None:
        line = f"{at} was announced for room {code.room}, and is not the one: {error}"
        if line not in said and len(said) < _MOST_SAID:
            said.add(line)
            terminal.visitor(line)

    def alone() -> None:
        terminal.notice(
            f"nobody is found in room {code.room} yet; the screen there shows an address: end this"
            f" and add {address} tls://HOST[:PORT]"
        )

    notice = threading.Timer(_ALONE, alone)
    notice.daemon = True
    notice.start()
    try:
        return look(code, on_failed=tell, **terms)
    except CannotConnect as error:
        raise CannotConnect(str(error), hint=f"add {address} tls://HOST[:PORT]") from error
    finally:
        notice.cancel()


def again(first: objxfer.Connection, url: str | None = None, **terms: Any) -> objxfer.Connection:
    """Connect again, without the code, to whom it led to.

    Args:
        first: the connection that the code made.
        url: as it was typed, with a folder; None is where the first one led.
        **terms: as for ``connect``.
    """
    if first.pair is None:
        raise ObjxferError("this side met itself", exit_code=ExitCode.NOT_AUTHENTICATED)
    try:
        return objxfer.connect(url or first.url, key=first.pair, **terms)
    except CannotConnect as error:
        if not _is(error, errno.ECONNREFUSED):
            raise
        # The pair ended with that program: whoever is there another time is not the one.
        raise ObjxferError(
            f"whoever showed the code is gone: {error}",
            hint=AGAIN,
            exit_code=ExitCode.CONNECTION_LOST,
        ) from error


def in_vain(error: ObjxferError, *, offered: bool) -> bool:
    """Tell whether who came by a code cannot come back: they say so, or nothing was offered."""
    return isinstance(error, RefusedByPeer) or not offered


def wants_to_pair(connection: objxfer.Connection) -> bool:
    """Tell whether it is ``objxfer pair`` that runs on the other side."""
    from objxfer.blocking.pairing import ACCEPTS

    return connection.accepted == ACCEPTS


@contextmanager
def goodbye(connection: objxfer.Connection) -> Iterator[None]:
    """Let a peer by a code hear it if a signal ends us: it need not wait for us to come back."""
    try:
        yield
    except Interrupted:
        with suppress(ObjxferError):
            connection.close()
        raise


def _is(error: CannotConnect, number: int) -> bool:
    """Tell whether this is what the system said, or the more telling of all that it did."""
    return isinstance(cause := error.__cause__, OSError) and cause.errno == number


def _drawn(text: str) -> list[str]:
    """Return a QR code of a text, two rows a line, to be seen on a dark terminal."""
    import segno

    rows = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=_QUIET_ZONE)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    return [
        "".join(blocks[bool(upper), bool(lower)] for upper, lower in zip(*two, strict=True))
        for two in zip(rows[::2], rows[1::2], strict=True)
    ]
