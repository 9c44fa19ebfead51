"""Codes that are spoken once, and what two peers that met by one hold of each other.

A code is a public room number, by which the two find each other, and three words of 1,024, which
are the secret: 3 * log2(1024) = 30 bits. That is enough because nobody can try a code out: SPAKE2
(Abdalla and Pointcheval, 2005) gives whoever answers, or asks, one guess and nothing to test others
with, and an ``Invitation`` lets one guess be made at each of its codes: 3 in 2**30 in all.

SPAKE2 is done by the package ``spake2``, over Ed25519. It is asymmetric, so what one side says is
of no use in the other role. It is written in Python and takes time that depends a little on the
code; all that could be measured of it is the weight of one number, less than 5 of the 30 bits.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from objxfer.errors import ExitCode, ObjxferError, WrongCode
from objxfer.security.keys import Key
from objxfer.security.words import WORDS

ELEMENT_SIZE: Final = 32
PEER_ID_SIZE: Final = 16
CODES: Final = 3
"""Codes that an invitation waits with, one after the other, before it gives up."""
LARGEST_ROOM: Final = 9999
_SPOKEN_ROOMS: Final = 999
_WORDS: Final = 3
_CUT: Final = 4
"""Letters that tell each word from all others."""
_BY_CUT: Final = {word[:_CUT]: word for word in WORDS}
# Dashes of all kinds: what is pasted has often been through something that makes text prettier.
_BETWEEN: Final = r"[\s\-._\u2010-\u2015]+"
_LONGEST: Final = 200

OnBurnt = Callable[["Code | None"], None]
"""Told the code that is waited with from now on, or None where there is no other."""


class Code:
    """A room number that anybody may see, and three words that nobody else may hear.

    Immutable; equal where both are. It shows itself by its room only, and refuses to be copied or
    pickled; ``spoken`` alone returns the words.

    Attributes:
        room: 1 to 9999; not secret.
    """

    __slots__ = ("_words", "room")

    def __init__(self, room: int, words: tuple[str, ...]) -> None:
        assert 0 < room <= LARGEST_ROOM
        assert len(words) == _WORDS
        self.room = room
        self._words = words

    @classmethod
    def generate(cls) -> Code:
        """Return a new code, of a room up to 999, from the system's random numbers."""
        words = tuple(secrets.choice(WORDS) for _ in range(_WORDS))
        return cls(1 + secrets.randbelow(_SPOKEN_ROOMS), words)

    @classmethod
    def parse(cls, text: str) -> Code:
        """Read a code as it was heard and typed.

        Case does not matter, nor what stands between the parts: spaces, dashes, dots and
        underscores, several too. Words may be cut to four letters or more.

        Raises:
            ObjxferError: it is none (exit code ``USAGE``). A word that is not in the list is
                named, with the nearest that are; no other word of the code is.
        """
        parts = [part for part in re.split(_BETWEEN, text[: _LONGEST + 1].casefold()) if part]
        if len(text) > _LONGEST or len(parts) != 1 + _WORDS:
            raise _usage("a code is a number and three words", hint=_LIKE)
        number, *words = parts
        if not re.fullmatch(r"[0-9]{1,4}", number) or not int(number):
            raise _usage("a code begins with a number from 1 to 9999", hint=_LIKE)
        return cls(int(number), tuple(map(_known, words)))

    def spoken(self) -> str:
        """Return the code as it is told to the other person, as in ``4-walnut-copper-tiger``."""
        return "-".join((str(self.room), *self._words))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Code):
            return NotImplemented
        return hmac.compare_digest(self.spoken().encode(), other.spoken().encode())

    def __hash__(self) -> int:
        return hash(self.room)

    def __repr__(self) -> str:
        return f"<Code of room {self.room}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Code is neither copied nor pickled; spoken() is for telling it")


class Pake:
    """One side of one run of SPAKE2 over a code. What it agrees on is right or of no use.

    Attributes:
        element: the 32 bytes to tell the other side: all that is sent of a code.
    """

    def __init__(
        self,
        code: Code,
        *,
        connecting: bool,
        claim: Callable[[], bool] = lambda: True,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Choose an element.

        Args:
            code: the code of this side.
            connecting: whether this side made the connection, or took it.
            claim: takes the one guess that may be made at the code, and tells whether it was left.
            entropy: returns so many random bytes.
        """
        # Only who uses a code pays for it: 40 ms.
        from spake2 import SPAKE2_A, SPAKE2_B

        self._run = (SPAKE2_A if connecting else SPAKE2_B)(
            code.spoken().encode(),
            idA=b"objxfer/1 client",
            idB=b"objxfer/1 server",
            entropy_f=entropy,
        )
        # The package puts its side before each element; here the role of the hello says it.
        self._theirs: Final = b"B" if connecting else b"A"
        self.element: Final[bytes] = self._run.start()[1:]
        self.claim = claim

    def agree(self, element: bytes) -> bytes:
        """Return 32 bytes that the other side has too if its code is the same; once.

        Raises:
            WrongCode: the other side's element is none that one who knows a code would say.
        """
        from spake2 import SPAKEError
        from spake2.ed25519_basic import NotOnCurve, bytes_to_unknown_group_element

        try:
            # The package takes other lengths, and other ways to write a point, than the right one.
            if bytes_to_unknown_group_element(element).to_bytes() == element:
                agreed: bytes = self._run.finish(self._theirs + element)
                return agreed
        except (SPAKEError, NotOnCurve, ValueError):
            pass
        raise WrongCode("the peer's half of the exchange is malformed")


class Invitation:
    """Waits for one guest, with a code; the secret of ``listen``.

    Each code admits one guess, of all who connect at once or later: the first to try a proof has
    made it. If that proof is right, and the guest gets in, the invitation is used up: whoever tries
    next is not let in. If it is wrong, or the guest does not get in, the code is burnt, and
    ``on_burnt`` is told the next one, or that there is none. Who leaves without trying burns none.
    The next code is of another room, so that who still has the last one makes no guess at it.

    ``code`` may be read by any thread.
    """

    def __init__(self, code: Code | None = None, *, on_burnt: OnBurnt | None = None) -> None:
        """Begin with a code.

        Args:
            code: the first one; None makes one.
            on_burnt: called in the listener's thread.
        """
        code = code or Code.generate()
        self._on_burnt = on_burnt
        self._rooms = {code.room}
        self._left = CODES - 1
        self._open: tuple[Code, Callable[[], bool]] | None = code, _once()

    @property
    def code(self) -> Code | None:
        """The code to tell the guest; None where all are burnt."""
        waiting = self._open  # read once: another thread may burn it meanwhile
        return waiting[0] if waiting else None

    def answer(self, room: int) -> Pake:
        """Return this side of a run with somebody who asks for a room; for listeners.

        Where that is another room, or no code is left, it is a run that nobody can be right in.
        """
        waiting = self._open
        if waiting and waiting[0].room == room:
            return Pake(waiting[0], connecting=False, claim=waiting[1])
        return Pake(Code.generate(), connecting=False, claim=lambda: False)

    def burn(self) -> None:
        """Go on to the next code; for listeners, where whoever had the guess did not get in."""
        if self._left:
            self._left -= 1
            self._go_on()
        else:
            self._open = None
        if self._on_burnt is not None:
            self._on_burnt(self.code)

    def move(self, code: Code) -> Code | None:
        """Go on to a code of another room, where somebody else waits in the room of this one.

        No guess is won by it: it takes the one at the code, and so there is none left there.

        Returns:
            The code that is waited with from now on; None where ``code`` is not, or was tried.
        """
        waiting = self._open
        if waiting is None or waiting[0] is not code or not waiting[1]():
            return None
        return self._go_on()

    def _go_on(self) -> Code:
        code = Code.generate()
        while code.room in self._rooms:
            code = Code.generate()
        self._rooms.add(code.room)
        self._open = code, _once()
        return code

    def __repr__(self) -> str:
        return f"<Invitation by {self.code!r}>"


@dataclass(frozen=True, slots=True)
class Pair:
    """What one of two peers that met by a code keeps of it: the other one keeps its reverse.

    It lets in, and is let in by, that one peer only, and never the side that it belongs to.
    """

    key: Key
    """Derived by both, never sent."""
    own: bytes
    """The 16 bytes that this side went by, and has to go by again."""
    peer: bytes
    """Those of the other."""

    def __post_init__(self) -> None:
        for peer_id in (self.own, self.peer):
            check_peer_id(peer_id)
        if self.own == self.peer:
            raise ValueError("a pair is of two peers")


def check_peer_id(peer_id: bytes) -> None:
    """Raise ValueError unless this can be what a peer goes by."""
    if len(peer_id) != PEER_ID_SIZE or not any(peer_id):
        raise ValueError(f"a peer id is {PEER_ID_SIZE} bytes, not all zero")


def _once() -> Callable[[], bool]:
    """Return what is True for the first who calls it, from whatever thread, and then False."""
    lock = threading.Lock()
    return lambda: lock.acquire(blocking=False)


_LIKE: Final = "it looks like 4-walnut-copper-tiger"


def _known(word: str) -> str:
    """Return the word of the list that this is, or is the beginning of."""
    known = _BY_CUT.get(word[:_CUT], "")
    if len(word) >= _CUT and known.startswith(word):
        return known
    import difflib

    near = difflib.get_close_matches(word, WORDS, n=3)
    raise _usage(
        f"{word[:20]!a} is no word of a code",
        hint=f"perhaps it is {' or '.join(near)}" if near else _LIKE,
    )


def _usage(message: str, *, hint: str) -> ObjxferError:
    return ObjxferError(message, hint=hint, exit_code=ExitCode.USAGE)
