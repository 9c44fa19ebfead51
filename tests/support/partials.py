"""What may go on in a receiving folder, as tests want it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from objxfer.files.entries import KEEP
from objxfer.files.partials import Partials
from objxfer.files.root import Root
from objxfer.limits import Limits

OWNER = b"\1\2\3\4"


def partials(
    root: Root, *, owner: bytes = OWNER, folder: bytes = b"", keep: float = KEEP
) -> Partials:
    return Partials(root, owner=owner, folder=folder, keep=keep, limits=Limits())


def wait_for_partial(inbox: Path, size: int) -> None:
    """Wait until so much of a file lies in a folder that may go on another time.

    The file must be smaller than those that have their space reserved.
    """
    while True:
        for path in inbox.glob(".objxfer-*"):
            with suppress(FileNotFoundError):  # it was there to try something out
                if path.stat().st_size >= size:
                    return
