"""Where what is received goes: a folder, or a stream that is already open."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import BinaryIO

from objxfer.blocking.rules import Allotment
from objxfer.errors import NotAllowed
from objxfer.files.entries import IfExists
from objxfer.files.outlet import Outlet
from objxfer.files.partials import Partials
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.trees import Offer
from objxfer.security.keyfiles import StrPath
from objxfer.transfer.receiving import OnOffer, OpenTaker, Taker
from objxfer.transfer.steps import Withdrawn

Place = StrPath | BinaryIO
"""A folder that exists, or a stream that takes a single file."""


def place(
    into: Place | Allotment,
    if_exists: IfExists,
    limits: Limits,
    *,
    owner: bytes,
    keep_partial: float,
) -> OpenTaker:
    """Return what opens ``into`` for an offer.

    Args:
        into: where it lands.
        if_exists: the receiver's rule for names that are taken.
        limits: what is accepted at the most.
        owner: what the sender's key is called; empty where it has none.
        keep_partial: for how many days a partial file is kept.
    """

    def open_taker(offer: Offer) -> Taker:
        if not isinstance(into, str | os.PathLike | Allotment):
            return Outlet(into)
        with ExitStack() as opened:
            quota, folders = None, [offer.folder]
            if isinstance(into, Allotment):
                root, quota = opened.enter_context(Root(into.inbox)), into.quota()
                folders.insert(0, into.folder)
            else:
                root = opened.enter_context(Root(into))
            folders = [folder for folder in folders if folder]
            skips = IfExists.SKIP in (offer.if_exists, if_exists)  # what is there may be anything
            if quota is not None and offer.total_bytes != UNKNOWN and not skips:
                quota.check(offer.total_bytes)
            partials = Partials(
                root, owner=owner, folder=b"/".join(folders), keep=keep_partial, limits=limits
            )
            opened.callback(partials.close)
            for folder in folders:
                with root as above:
                    root = opened.enter_context(above.below(safe_path(folder, limits)))
            sink = Sink(
                root,
                partials,
                tops=offer.tops,
                if_exists=if_exists,
                asked=offer.if_exists,
                limits=limits,
                compares=bool(owner),
                quota=quota,
            )
            opened.pop_all()
            return sink

    return open_taker


def asking(into: Place | Allotment, on_offer: OnOffer | None) -> OnOffer | None:
    """Return ``on_offer``, which is asked about nothing that ``into`` cannot take anyway.

    Raises:
        NotAllowed: the offer is of more than a file, from what is returned for a stream.
    """
    if isinstance(into, str | os.PathLike | Allotment):
        return on_offer

    def single_file(offer: Offer, withdrawn: Withdrawn) -> None:
        if len(offer.tops) > 1 or offer.total_files not in (1, UNKNOWN):
            raise NotAllowed("this receiver takes a single file")
        if on_offer is not None:
            on_offer(offer, withdrawn)

    return single_file
