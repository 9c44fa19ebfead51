"""Bars on a terminal: the delivery, and under it the large file on its way."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from objxfer.escapes import escaped
from objxfer.transfer.progress import Progress, Tally

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS: Final = 0.1
"""Between two looks at the tally."""
_SMOOTHING: Final = 0.05
"""Of the rate: at this pace about two seconds count."""
_KNOWN: Final = "{desc}  {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} "
_UNKNOWN: Final = "{desc}  {n_fmt} "
_PACE: Final = {
    _KNOWN: "[{elapsed}<{remaining}, {rate_fmt}]",
    _UNKNOWN: "[{elapsed}, {rate_fmt}]",
}
_CURRENT: Final = "  {desc}  {percentage:3.0f}%"
_ANY_TERMINAL: Final = 79, 24
"""Columns and lines of one that does not say how many it has."""
_NAME: Final = 40
"""Characters of a name at the most: the bar needs room too."""

_lock = threading.RLock()
"""Held by whoever draws on the terminal, or writes between the bars."""
_drawn: Final[list[tqdm[Any]]] = []


def bar() -> Progress:
    """Return what shows one delivery or object at a time on the terminal behind stderr.

    There are bytes, rate and remaining time, the number of files where there are several, and
    a second line for a large file among others. It is drawn ten times a second by a thread of
    its own. A bar without a known total goes away when it ends. Where stderr is no terminal
    nothing is drawn, and tqdm is not imported.
    """
    return _Bars()


def rows(labels: Sequence[str]) -> Sequence[Progress]:
    """Return what shows several deliveries at once, each in a line that begins with its label.

    There is no second line for the file on its way, and the line goes away when the delivery
    ends: what is said of its end stands above the others. As for the rest, see ``bar``.
    """
    width = min(_NAME, max(len(escaped(label)) for label in labels))
    shown: set[int] = set()
    return [_Row(number, _short(label).ljust(width), shown) for number, label in enumerate(labels)]


@contextmanager
def aside() -> Iterator[None]:
    """Take all bars off the terminal; none is drawn before the ``with`` block ends."""
    with _lock:
        with contextlib.suppress(OSError):
            for each in _drawn:
                each.clear(nolock=True)
        yield


class Ticker:
    """Calls something every so many seconds, in a thread of its own, until it is stopped."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds = seconds
        self._call = call
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="objxfer-ticker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when no call is on its way and none will come."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._call()


class _Bars:
    """One delivery after the other; each has its bars from ``begin`` to ``end``."""

    def __init__(self) -> None:
        self._ticker: Ticker | None = None
        self._job: tqdm[Any] | None = None
        self._current: tqdm[Any] | None = None
        self._begun = 0.0

    def begin(self, tally: Tally) -> None:
        """Start drawing."""
        if sys.stderr is not None and sys.stderr.isatty():
            self._begun = time.time()  # tqdm's clock
            self._ticker = Ticker(_SECONDS, lambda: self._draw(tally))

    def end(self, tally: Tally) -> None:
        """Draw how it ended."""
        if self._ticker is None:
            return
        self._ticker.stop()
        self._ticker = None
        if self._job is not None or _whole(tally):
            self._draw(tally)
        with _lock, contextlib.suppress(OSError):
            self._hide_current()
            if self._job is not None:
                self._job.leave = _total(tally) is not None
                _close(self._job)
        self._job = None

    def _draw(self, tally: Tally) -> None:
        # The terminal may be gone: that is no reason to end the delivery.
        with _lock, contextlib.suppress(OSError):
            self._draw_job(tally)
            self._draw_current(tally)

    def _draw_job(self, tally: Tally) -> None:
        if self._job is None:
            self._job = _job_bar(self._begun)
        _draw_job(self._job, tally, _short(tally.name))

    def _draw_current(self, tally: Tally) -> None:
        path, done, total = tally.path, tally.path_done, tally.path_total
        if not total or (b"/" not in path and (tally.files_total or 1) == 1):
            self._hide_current()
            return
        if self._current is None:
            self._current = _new_bar(position=1, bar_format=_CURRENT)
        name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        self._current.desc = _short(name)
        self._current.total = total
        self._current.n = min(done, total)
        self._current.refresh()

    def _hide_current(self) -> None:
        if self._current is not None:
            current, self._current = self._current, None
            current.leave = False
            _close(current)


class _Row:
    """One of several deliveries; each draws a line of its own, below those of a lower number."""

    def __init__(self, number: int, label: str, shown: set[int]) -> None:
        self._number = number
        self._label = label
        self._shown = shown
        self._ticker: Ticker | None = None
        self._job: tqdm[Any] | None = None
        self._begun = 0.0

    def begin(self, tally: Tally) -> None:
        """Start drawing; those below move down."""
        if sys.stderr is not None and sys.stderr.isatty():
            self._begun = time.time()  # tqdm's clock
            with aside():
                self._shown.add(self._number)
            self._ticker = Ticker(_SECONDS, lambda: self._draw(tally))

    def end(self, tally: Tally) -> None:
        """Draw no more; those below move up."""
        if self._ticker is None:
            return
        self._ticker.stop()
        self._ticker = None
        with aside(), contextlib.suppress(OSError):
            self._shown.remove(self._number)
            if self._job is not None:
                job, self._job = self._job, None
                job.leave = False
                _close(job)

    def _draw(self, tally: Tally) -> None:
        with _lock, contextlib.suppress(OSError):
            if self._job is None:
                self._job = _job_bar(self._begun)
            self._job.pos = -sum(number < self._number for number in self._shown)
            _draw_job(self._job, tally, self._label)


class _NoLock:
    """What tqdm locks, and does not unlock where a terminal is gone; ``_lock`` is around it all."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        return True

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _job_bar(begun: float) -> tqdm[Any]:
    bar = _new_bar(position=0, unit="B", unit_scale=True, smoothing=_SMOOTHING)
    bar.start_t = bar.last_print_t = begun
    return bar


def _draw_job(bar: tqdm[Any], tally: Tally, name: str) -> None:
    total = _total(tally)
    form = _UNKNOWN if total is None else _KNOWN
    bar.bar_format = form + _PACE[form] + _files(tally)
    bar.desc = name
    bar.total = total
    bar.update(tally.bytes_done - bar.n)


def _new_bar(**options: Any) -> tqdm[Any]:
    """Return a bar that was not drawn yet."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
        """A bar that brings neither a thread nor a lock between processes along."""

        monitor_interval = 0

    Bar.set_lock(_NoLock())
    # A terminal that does not know its size says 0, which tqdm would take at its word.
    known = all(os.get_terminal_size(sys.stderr.fileno()))
    columns, lines = (None, None) if known else _ANY_TERMINAL
    bar = Bar(
        file=sys.stderr,
        total=0,
        mininterval=0,
        miniters=0,
        delay=1,  # or it would be drawn here, and empty
        ncols=columns,
        nrows=lines,
        dynamic_ncols=known,
        **options,
    )
    bar.delay = 0
    _drawn.append(bar)
    return bar


def _close(bar: tqdm[Any]) -> None:
    _drawn.remove(bar)
    bar.close()


def _whole(tally: Tally) -> bool:
    return tally.bytes_done > 0 and tally.bytes_done == tally.bytes_total


def _total(tally: Tally) -> int | None:
    """Return the total, unless more has come by now than was counted ahead."""
    total = tally.bytes_total
    return None if total is None else max(total, tally.bytes_done)


def _files(tally: Tally) -> str:
    """Return how many files are through, as long as there is more to come."""
    done, total = tally.files_done, tally.files_total
    if total is None:
        return f" {done:,} files" if done > 1 else ""
    if total == 1 or tally.bytes_done == tally.bytes_total:
        return ""
    return f" {min(done, total):,}/{total:,} files"


def _short(name: str) -> str:
    name = escaped(name)
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"
