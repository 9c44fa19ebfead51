"""Where what is received goes: a folder, or a stream that is already open."""

from __future__ import annotations

import os
from typing import BinaryIO

from objxfer.errors import RefusedByPeer
from objxfer.files.entries import IfExists
from objxfer.files.outlet import Outlet
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from objxfer.protocol.trees import Offer
from objxfer.security.keyfiles import StrPath
from objxfer.transfer.receiving import OpenTaker, Taker

Place = StrPath | BinaryIO
"""A folder that exists, or a stream that takes a single file."""


def place(into: Place, if_exists: IfExists, limits: Limits) -> OpenTaker:
    """Return what opens ``into`` for an offer."""

    def open_taker(offer: Offer) -> Taker:
        if not isinstance(into, str | os.PathLike):
            if len(offer.tops) > 1:
                raise RefusedByPeer("this receiver takes a single file")
            return Outlet(into)
        root = Root(into)
        try:
            if offer.folder:
                with root as above:
                    root = above.below(safe_path(offer.folder, limits))
            return Sink(
                root, tops=offer.tops, if_exists=if_exists, asked=offer.if_exists, limits=limits
            )
        except BaseException:
            root.close()
            raise

    return open_taker
