"""The handshake, without I/O: two hellos, two proofs, then keys for both directions.

The server proves first, so a client with a key says nothing to a server that does not hold it.
With a code it is the other way round: who proves first gives the other side a guess, and a server
counts those. Both proofs cover the mode, the channel and both hellos as they went over the wire:
nothing of them can be changed, replayed, reflected or moved to another connection
(``docs/protocol.md``, "Handshake").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    ObjxferError,
    ProtocolMismatch,
    WrongCode,
    WrongKey,
)
from objxfer.protocol.fields import bytes16
from objxfer.protocol.hello import ANYBODY, Hello, Mode, Role, size_of
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.sealing import TAG_SIZE, Opener, Schedule, Sealer, prove, proves

PLAIN: Final = b"plain"
"""The channel that everybody can read."""
ENCRYPTED: Final = b"tls"
"""How the channel of TLS begins; the hash of the server's certificate follows."""

_BY: Final = {
    Mode.NONE: "no key",
    Mode.KEY: "a key",
    Mode.CODE: "a code",
    Mode.PAIR: "the key of a pair",
}
_PROVES_FIRST: Final = {
    Mode.NONE: Role.SERVER,
    Mode.KEY: Role.SERVER,
    Mode.CODE: Role.CLIENT,
    Mode.PAIR: Role.SERVER,
}


class Secret(Protocol):
    """What one side brings to one handshake, to prove that both have it; ``Pake`` is one too."""

    @property
    def element(self) -> bytes:
        """What the hello shows of it; nothing, of a key."""

    def claim(self) -> bool:
        """Take the guess at it that the peer is about to make; whether there was one left."""

    def agree(self, element: bytes) -> bytes:
        """Return 32 bytes that are the peer's too, whose element this is, if it has the secret.

        Raises:
            AuthenticationError: it cannot have it.
        """


@dataclass(frozen=True, slots=True, repr=False)
class Held:
    """32 bytes that both sides hold already, and that nobody can guess."""

    secret: bytes
    element: bytes = b""

    def claim(self) -> bool:
        """Guessing at it is in vain, and is let be."""
        return True

    def agree(self, _: bytes) -> bytes:
        """Return the bytes."""
        return self.secret


NOTHING: Final = Held(bytes(32))
"""The secret of mode none."""

Find = Callable[[Hello], Secret]
"""From a client's hello to what it names, or to a random one of which the client knows nothing."""


@dataclass(frozen=True, slots=True, repr=False)
class Established:
    """What a finished handshake hands to the session."""

    role: Role
    mode: Mode
    own: Hello
    theirs: Hello
    sealer: Sealer
    opener: Opener
    early: bytes
    """What came behind the peer's proof: the first bytes of the session."""
    pair_key: Key | None = None
    """With a code, a key that both derived: for the two peers named in the hellos, and for good."""

    @property
    def pair(self) -> Pair | None:
        """What this side keeps of that key; None where there is none, or no other peer to meet."""
        key, own, peer = self.pair_key, self.own.peer_id, self.theirs.peer_id
        return Pair(key, own, peer) if key and peer not in (own, ANYBODY) else None

    @property
    def key_id(self) -> bytes:
        """What the key is called that both hold by now; empty in mode none."""
        return bytes.fromhex(self.pair_key.id) if self.pair_key else self.own.key_id


@dataclass(slots=True, repr=False)
class Handshake:
    """One side of a handshake.

    Feed it with ``receive`` and write what that returns, after writing ``greeting``, until
    ``established`` is set. Any error is final.
    """

    own: Hello
    channel: bytes
    """``PLAIN``, or ``ENCRYPTED`` and the hash of the server's certificate as this side saw it."""
    secret: Secret = NOTHING
    """The client's; a server's comes of ``find``."""
    find: Mapping[Mode, Find] = field(default_factory=dict)
    """The modes that a server takes up, and how it finds its secret in each."""
    established: Established | None = None
    last_words: bytes = b""
    """What a server that failed with ``receive`` should still say, so that both know why."""
    guessed: bool = False
    """Whether the peer has made its one guess at the secret, right or wrong."""
    theirs: Hello | None = None
    """What the peer says of itself, once that is a whole and valid hello; it is not proven yet."""
    _received: bytearray = field(default_factory=bytearray)
    _their_hello: bytes = b""
    _own_hello: bytes = b""
    _transcript: bytes = b""
    _schedule: Schedule | None = None

    def __post_init__(self) -> None:
        modes = {self.own.mode, *self.find}
        if Mode.CODE in modes and not self.channel.startswith(ENCRYPTED):
            raise AuthenticationError("a code is of use over TLS only")

    def greeting(self) -> bytes:
        """Return what this side says unasked: the client's hello."""
        if self.own.role is Role.SERVER:
            return b""
        self.own = replace(self.own, element=self.secret.element)
        self._own_hello = self.own.pack()
        return self._own_hello

    @property
    def heard(self) -> bool:
        """Whether the peer has said a whole and valid hello."""
        return self.theirs is not None

    @property
    def proved(self) -> bool:
        """Whether this side has given its proof, by which the peer can try one guess at a code."""
        return self._schedule is not None and (self._is_first or self.established is not None)

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer and return what to answer, perhaps nothing.

        Raises:
            ProtocolMismatch: the peer speaks something else, or another version.
            AuthenticationError: it does not hold the secret, or wants another mode.
        """
        self._received += data
        if self.theirs is None:
            self.theirs = self._read_hello()
            if self.theirs is None:
                return b""
        answer = b""
        if not self._transcript:
            answer = self._meet(self.theirs)
        if len(self._received) >= TAG_SIZE:
            proof = bytes(self._received[:TAG_SIZE])
            answer += self._finish(self.theirs, proof, bytes(self._received[TAG_SIZE:]))
        return answer

    def lost(self) -> ObjxferError:
        """Return what the end of the stream means before the handshake is through."""
        if self.theirs is None:
            if self.own.role is Role.SERVER and not self._received:
                return ConnectionLost("the peer left without a word")
            return ProtocolMismatch("the peer ended the connection before it said hello")
        if self.own.mode is not Mode.CODE:
            return WrongKey("the peer ended the handshake: it does not hold our key")
        if self.own.role is Role.SERVER:
            return AuthenticationError("the peer left before it tried a code")
        return self._wrong()

    def _read_hello(self) -> Hello | None:
        size = size_of(self._received)
        if size is None or len(self._received) < size:
            return None
        self._their_hello = bytes(self._received[:size])
        del self._received[:size]
        return Hello.unpack(self._their_hello)

    def _meet(self, theirs: Hello) -> bytes:
        """Both hellos are known: check them, and say what is this side's turn to say."""
        if theirs.role is self.own.role:
            raise ProtocolMismatch("the peer plays the same role as we do")
        server = self.own.role is Role.SERVER
        if server:
            self._take_up(theirs)
            self.last_words = self.own.pack()
        own = self.own
        low = max(own.versions[0], theirs.versions[0])
        if low > min(own.versions[1], theirs.versions[1]):
            raise ProtocolMismatch(f"no common version: we are a {own}, the peer is a {theirs}")
        if theirs.intended not in (ANYBODY, own.peer_id):
            raise AuthenticationError("the peer meant to reach somebody else")
        if own.intended not in (ANYBODY, theirs.peer_id):
            raise AuthenticationError("somebody else answers there, not the peer that was meant")
        if theirs.mode is not own.mode:
            raise AuthenticationError(
                f"the peer uses {_BY[theirs.mode]}, and we use {_BY[own.mode]}"
            )
        if server:
            self.secret = self.find[own.mode](theirs)
            self.own = own = replace(own, element=self.secret.element)
            self._own_hello, self.last_words = own.pack(), b""  # it is said now
        hellos = (self._own_hello, self._their_hello)
        if server:
            hellos = hellos[::-1]
        parts = (own.mode.name.lower().encode(), self.channel, *hellos)
        self._transcript = hashlib.sha256(b"".join(map(bytes16, parts))).digest()
        return (self._own_hello if server else b"") + (self._proof() if self._is_first else b"")

    def _take_up(self, theirs: Hello) -> None:
        """Go along with the mode of a client, and the key it names, whether it is there or not."""
        if theirs.mode in self.find:
            meant = theirs.peer_id if theirs.mode is Mode.PAIR else ANYBODY
            self.own = replace(self.own, mode=theirs.mode, key_id=theirs.key_id, intended=meant)

    def _finish(self, theirs: Hello, proof: bytes, early: bytes) -> bytes:
        own = self.own
        client = own.role is Role.CLIENT
        if not self.secret.claim():
            raise self._wrong()
        self.guessed = True
        if not proves(self._proof_key(theirs.role), self._transcript, proof):
            raise self._wrong()
        keys = self._keys()
        out, into = keys.client_chunk, keys.server_chunk
        self.established = Established(
            own.role,
            own.mode,
            own,
            theirs,
            Sealer(out if client else into),
            Opener(into if client else out, authenticated=own.mode is not Mode.NONE),
            early,
            Key.from_bytes(keys.pair) if own.mode is Mode.CODE else None,
        )
        return b"" if self._is_first else self._proof()

    @property
    def _is_first(self) -> bool:
        return self.own.role is _PROVES_FIRST[self.own.mode]

    def _proof(self) -> bytes:
        return prove(self._proof_key(self.own.role), self._transcript)

    def _proof_key(self, role: Role) -> bytes:
        keys = self._keys()
        return keys.client_proof if role is Role.CLIENT else keys.server_proof

    def _keys(self) -> Schedule:
        """Derive the keys when they are first needed: who leaves before costs nothing more."""
        if self._schedule is None:
            assert self.theirs is not None
            agreed = self.secret.agree(self.theirs.element)
            self._schedule = Schedule.derive(agreed, self._transcript)
        return self._schedule

    def _wrong(self) -> AuthenticationError:
        if self.own.mode is Mode.CODE:
            return WrongCode("the code is wrong, or was tried before")
        return WrongKey("the peer does not hold our key")
