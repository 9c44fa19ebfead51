"""What a push delivers: paths or a stream of its own, or a share of what several deliver."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from objxfer.blocking.counting import counted
from objxfer.files.tree import OwnTree, Tree
from objxfer.security.keyfiles import StrPath
from objxfer.transfer.report import Report
from objxfer.transfer.sending import Delivery, send_stream, send_tree
from objxfer.transfer.steps import Port, Steps

if TYPE_CHECKING:
    from objxfer.files.sharing import TreeShare
    from objxfer.files.tee import StreamShare

    Pushed = StrPath | Sequence[StrPath] | BinaryIO | TreeShare | StreamShare

Make = Callable[[Port], Steps[Report]]


def prepared(
    what: Pushed,
    delivery: Delivery,
    *,
    name: str | None,
    copy_links: bool,
    checksum: bool,
    count: float,
    shown: bool,
) -> tuple[Make, AbstractContextManager[None]]:
    """Return what makes a delivery, and counts it meanwhile where somebody is ``shown`` it.

    Raises:
        ValueError: a stream has no name.
        OSError: it has no descriptor.
    """
    if isinstance(what, str | os.PathLike | Sequence):
        paths = [what] if isinstance(what, str | os.PathLike) else list(what)
        own = OwnTree(paths, time.time_ns, copy_links=copy_links, checksum=checksum)
        return _of_tree(own, delivery, count, shown=shown)

    from objxfer.files.sharing import TreeShare
    from objxfer.files.stream import SourceStream
    from objxfer.files.tee import StreamShare

    if isinstance(what, TreeShare):
        return _of_tree(what, delivery, count, shown=shown)
    if not name:
        raise ValueError("a stream needs a name=…")
    source = what if isinstance(what, StreamShare) else SourceStream(what, time.time_ns())
    given = os.fsencode(name)
    return partial(send_stream, delivery=delivery, source=source, name=given), nullcontext()


def _of_tree(
    tree: Tree, delivery: Delivery, count: float, *, shown: bool
) -> tuple[Make, AbstractContextManager[None]]:
    counting = counted(delivery.tally, tree) if shown else nullcontext()
    return partial(send_tree, delivery=delivery, tree=tree, count=count), counting
