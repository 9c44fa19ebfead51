"""How much there is to send, found out beside the sending."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from objxfer.errors import ObjxferError
from objxfer.files.tree import Tree
from objxfer.transfer.progress import Tally

_WHILE: Final = 1.0
"""Seconds after which somebody may want to know how long it takes."""


@contextmanager
def counted(tally: Tally, tree: Tree) -> Iterator[None]:
    """Count files and bytes if the ``with`` block takes a while; ``tally`` gets the totals.

    It is done in a thread of its own. What cannot be counted is left to the delivery to
    complain about.
    """
    over = threading.Event()

    def walk() -> None:
        if over.wait(_WHILE):
            return
        with contextlib.suppress(ObjxferError, OSError):
            totals = tree.count(over.is_set)
            if totals is not None:
                tally.files_total, tally.bytes_total = totals

    threading.Thread(target=walk, name="objxfer-count", daemon=True).start()
    try:
        yield
    finally:
        over.set()
