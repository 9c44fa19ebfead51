"""How much there is to send, found out beside the sending."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from objxfer.errors import ObjxferError
from objxfer.files import scan
from objxfer.security.keyfiles import StrPath
from objxfer.transfer.progress import Tally


def count(tally: Tally, paths: Sequence[StrPath], *, copy_links: bool) -> None:
    """Begin to count files and bytes, in a thread of its own; ``tally`` gets the totals.

    What cannot be counted is left to the delivery to complain about.
    """

    def walk() -> None:
        with contextlib.suppress(ObjxferError, OSError):
            files, size = scan.totals(scan.tops(paths, []), copy_links=copy_links)
            tally.files_total, tally.bytes_total = files, size

    threading.Thread(target=walk, name="objxfer-count", daemon=True).start()
