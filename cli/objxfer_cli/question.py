"""What is offered, as the one who is to take it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final

from objxfer.errors import ExitCode, ObjxferError
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.trees import Offer
from objxfer_cli.delivery import Delivery
from objxfer_cli.terminal import Terminal, characters, files, listed, shown, size

_LONGEST: Final = 120
"""Characters of a name that are shown."""
_NAMED: Final = 10
"""Names that a JSON line holds."""


class Question:
    """Asks, once, whether to take what is offered: hand it over as ``on_offer=``.

    Args:
        terminal: where it is asked.
        delivery: goes on being shown when that is answered.
        folder: where it would land; None is standard output.
        yes: what is offered is taken without asking.
    """

    def __init__(
        self,
        terminal: Terminal,
        delivery: Delivery,
        folder: str | None,
        *,
        yes: bool,
    ) -> None:
        self._terminal = terminal
        self._delivery = delivery
        self._folder = folder
        self._yes = yes
        self._taken: tuple[tuple[bytes, ...], bytes] | None = None
        self.answered = False
        """Whether somebody was there, and said yes."""

    def __call__(self, offer: Offer, withdrawn: Callable[[], bool]) -> None:
        """See ``Connection.recv``.

        Raises:
            ObjxferError: it is declined, or nobody can be asked (exit code ``REFUSED``).
        """
        asked = offer.tops, offer.folder
        if self._taken != asked:  # the same comes again where a connection was lost
            self._tell(offer)
            if not self._agreed(withdrawn):
                return
            self._taken = asked
        self._delivery.go_on()

    def about_text(self, text: str, withdrawn: Callable[[], bool]) -> bool:
        """Ask whether to take a text, which is not shown yet.

        Returns:
            False where nobody waits for the answer any more.

        Raises:
            ObjxferError: it is declined, or nobody can be asked (exit code ``REFUSED``).
        """
        peer, size = self._delivery.peer, len(text.encode())
        self._terminal.record("offered", peer=peer, characters=len(text), bytes_total=size)
        where = " → standard output" if self._folder is None else ""
        self._say(f"{peer} offers a text ({characters(text)}){where}")
        return self._agreed(withdrawn)

    def _tell(self, offer: Offer) -> None:
        count = None if offer.total_files == UNKNOWN else offer.total_files
        total = None if offer.total_bytes == UNKNOWN else offer.total_bytes
        folder = self._folder
        free = None if folder is None else shutil.disk_usage(folder).free
        self._terminal.record(
            "offered",
            peer=self._delivery.peer,
            names=[top.decode(errors="replace") for top in offer.tops[:_NAMED]],
            names_total=len(offer.tops),
            files_total=count,
            bytes_total=total,
            into=folder,
            free=free,
        )
        names = [_cut(shown(top)) for top in offer.tops[:_NAMED]]
        what = [files(count)] if count is not None and (count, len(names)) != (1, 1) else []
        what.append("size not known" if total is None else size(total))
        if folder is None or free is None:
            where = "standard output"
        else:
            # Not os.path.join: no name of the peer's leads anywhere else, as it would there.
            below = [_cut(shown(offer.folder)), names[0] if len(offer.tops) == 1 else ""]
            where = f"{'/'.join([folder, *filter(None, below)])}, {size(free)} free"
        line = f"{self._delivery.peer} offers {listed(names, len(offer.tops))} ({', '.join(what)})"
        self._say(f"{line} → {where}")

    def _say(self, line: str) -> None:
        if self._yes:
            self._terminal.notice(line)
        else:
            self._terminal.visitor(line)

    def _agreed(self, withdrawn: Callable[[], bool]) -> bool:
        """Return whether it is taken; False where the answer is not awaited any more."""
        if self._yes:
            return True
        if not self._ask(withdrawn):
            return False
        self.answered = True
        return True

    def _ask(self, withdrawn: Callable[[], bool]) -> bool:
        """Return whether it is taken; False where the answer is not awaited any more."""
        if not self._terminal.attended:
            raise ObjxferError(
                "nobody can be asked: standard input is no terminal",
                hint="--yes takes it without asking",
                exit_code=ExitCode.REFUSED,
            )
        while True:
            answer = self._terminal.ask("take it? [Y/n] ", withdrawn)
            if withdrawn():
                return False
            match answer and answer.lower():
                case "" | "y" | "yes":
                    return True
                case "n" | "no" | None:
                    raise ObjxferError("it was declined", exit_code=ExitCode.REFUSED)
                case _:
                    continue


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
