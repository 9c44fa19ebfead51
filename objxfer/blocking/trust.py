"""What ``key=`` may be: the secrets by which this side and others trust each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from objxfer.blocking.rules import Rules
from objxfer.errors import ExitCode, ObjxferError
from objxfer.protocol.handshake import NOTHING, Established, Find, Held, Secret
from objxfer.protocol.hello import KEY_ID_SIZE, Hello, Mode, Role
from objxfer.security.keyfiles import SECRET_SIZE, StrPath
from objxfer.security.keys import Key, Keyring
from objxfer.security.pairing import Code, Invitation, Pair, Pake
from objxfer.security.peers import Peers

Lasting = Key | Keyring | StrPath | Pair | Peers
"""What is kept for more than one connection."""
Trusted = Lasting | Code | Invitation | Rules | Sequence[Lasting]
"""What ``key=`` may be: to listen, also a list, ``Peers``, ``Rules`` or an ``Invitation``; to
connect, a ``Code``."""

_NEEDS_TLS: Final = "a code is of use over tls:// only: without it, others could listen in"


@dataclass(frozen=True, slots=True)
class Trust:
    """A ``key=`` argument, checked. With nothing in it, anybody is let in."""

    keyring: Keyring | None = None
    pairs: tuple[Pair, ...] = ()
    peers: Peers | None = None
    rules: Rules | None = None
    code: Code | None = None
    invitation: Invitation | None = None
    own: bytes | None = None
    """The peer id that the pairs are bound to, if there are any."""

    @classmethod
    def check(cls, key: Trusted | None, role: Role, *, encrypted: bool) -> Trust:
        """Check what ``connect`` or ``listen`` was given.

        Raises:
            TypeError: it is nothing that this side can use.
            ValueError: it is a list of nothing, or of pairs that this side cannot be part of
                under one peer id.
            KeyFileError: a key file, or the store of peers, cannot be used.
            ObjxferError: it is a code, and there is no TLS (exit code ``USAGE``).
        """
        match key:
            case None:
                return cls()
            case Code() | Invitation():
                if not encrypted:
                    raise ObjxferError(_NEEDS_TLS, exit_code=ExitCode.USAGE)
                if isinstance(key, Code) is not (role is Role.CLIENT):
                    raise TypeError("one side connects with a Code, the other has an Invitation")
                return cls(code=key) if isinstance(key, Code) else cls(invitation=key)
            case list() | tuple():
                if role is Role.CLIENT:
                    raise TypeError("a list of keys is for listening: connecting takes one")
                return cls._of(key)
            case Peers() | Rules() if role is Role.CLIENT:
                raise TypeError("peers are for listening: to connect to one, name it")
            case Rules():
                own = None if key.peers is None else key.peers.own_id()
                return cls(peers=key.peers, rules=key, own=own)
            case _:
                return cls._of([key])  # type: ignore[list-item]  # the other sequence is a str

    @classmethod
    def _of(cls, sources: Sequence[Lasting]) -> Trust:
        pairs = tuple(source for source in sources if isinstance(source, Pair))
        peers = next((source for source in sources if isinstance(source, Peers)), None)
        own = {pair.own for pair in pairs} | ({peers.own_id()} if peers is not None else set())
        if len(own) > 1:
            raise ValueError("pairs that are used together are all of the same own peer id")
        keys = [source for source in sources if not isinstance(source, Pair | Peers)]
        keyring = Keyring(*keys) if keys or not own else None
        return cls(keyring, pairs, peers, own=next(iter(own), None))

    @property
    def modes(self) -> list[Mode]:
        """What this side can be trusted by; the first is the one it names itself."""
        modes = {
            Mode.CODE: self.code or self.invitation,
            Mode.KEY: self.keyring or self.rules is not None,
            Mode.PAIR: self.pairs or self.peers is not None,
        }
        return [mode for mode, secrets in modes.items() if secrets] or [Mode.NONE]

    @property
    def key_id(self) -> str | None:
        """The id of the key this side names, or None."""
        if self.keyring:
            return self.keyring.first.id
        alone = len(self.pairs) == 1 and self.peers is None
        return self.pairs[0].key.id if alone else None

    @property
    def named(self) -> bytes:
        """What a hello of this side names: its key, or the room of its code."""
        code = self.code or (self.invitation and self.invitation.code)
        if code:
            return code.room.to_bytes(KEY_ID_SIZE, "big")
        if self.modes == [Mode.NONE]:
            return b""
        return bytes.fromhex(self.key_id) if self.key_id else bytes(KEY_ID_SIZE)

    def secret(self) -> Secret:
        """Return what to connect with, for one handshake."""
        if self.code:
            return Pake(self.code, connecting=True)
        if self.keyring:
            return Held(self.keyring.first.secret())
        return Held(self.pairs[0].key.secret()) if self.pairs else NOTHING

    def finds(self) -> Mapping[Mode, Find]:
        """Return what to listen with: how to find what a client names, in each mode."""
        finds: dict[Mode, Find] = {
            Mode.NONE: lambda _: NOTHING,
            Mode.KEY: _or_decoy(self._key),
            Mode.PAIR: _or_decoy(self._pair_key),
            Mode.CODE: self._run,
        }
        return {mode: finds[mode] for mode in self.modes}

    def name_of(self, proved: Established) -> str | None:
        """Return what the one is called here who has come, or None."""
        if self.rules is not None:
            return self.rules.name_of(proved)
        if self.peers is None or proved.mode is not Mode.PAIR:
            return None
        peer = self.peers.peer_with(proved.theirs.peer_id, proved.key_id.hex())
        return peer.name if peer else None

    def _key(self, client: Hello) -> Key | None:
        among = self.rules or self.keyring
        return among.find(client.key_id.hex()) if among else None

    def _pair_key(self, client: Hello) -> Key | None:
        asked = client.peer_id, client.key_id.hex()
        found = next((pair for pair in self.pairs if (pair.peer, pair.key.id) == asked), None)
        if found is None and self.peers is not None:
            peer = self.peers.peer_with(*asked)
            found = peer.pair if peer else None
        return found.key if found else None

    def _run(self, client: Hello) -> Secret:
        assert self.invitation is not None
        return self.invitation.answer(int.from_bytes(client.key_id, "big"))


def _or_decoy(find: Callable[[Hello], Key | None]) -> Find:
    def found(client: Hello) -> Secret:
        key = find(client)
        # Who names what is not there is not told so: it fails like one that cannot prove it.
        return Held(key.secret() if key else os.urandom(SECRET_SIZE))

    return found
