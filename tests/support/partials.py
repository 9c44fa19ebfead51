"""What may go on in a receiving folder, as tests want it."""

from __future__ import annotations

from objxfer.files.partials import KEEP, Partials
from objxfer.files.root import Root
from objxfer.limits import Limits

OWNER = b"\1\2\3\4"


def partials(
    root: Root, *, owner: bytes = OWNER, folder: bytes = b"", keep: float = KEEP
) -> Partials:
    return Partials(root, owner=owner, folder=folder, keep=keep, limits=Limits())
