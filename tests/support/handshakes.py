"""Both sides of a handshake, in every mode, with fixed nonces and peer ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from objxfer.blocking.trust import Trust
from objxfer.protocol.handshake import NOTHING, Established, Find, Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.keys import Key
from objxfer.security.pairing import Code, Invitation, Pair, Pake

KEY: Final = bytes(range(1, 33))
KEY_ID: Final = b"\xab\xcd\xef\x01"

CODE: Final = Code(4, ("walnut", "copper", "tiger"))
ROOM: Final = CODE.room.to_bytes(4, "big")
PAIRED: Final = Key.from_bytes(bytes(range(3, 35)))
ENCRYPTED_CHANNEL: Final = b"tls" + bytes(32)


def hello(
    role: Role,
    mode: Mode = Mode.KEY,
    *,
    nonce: bytes | None = None,
    peer_id: bytes | None = None,
    intended: bytes = bytes(16),
    versions: tuple[int, int] = (1, 1),
) -> Hello:
    """A hello of that side; nonces and peer ids are fixed unless given."""
    names = {Mode.KEY: KEY_ID, Mode.CODE: ROOM, Mode.PAIR: bytes.fromhex(PAIRED.id)}
    return Hello(
        role,
        mode,
        nonce or bytes([role]) * 32,
        peer_id or bytes([0x10 + role]) * 16,
        intended,
        key_id=names.get(mode, b""),
        serializers=("raw", "text"),
        python="3.11",
        versions=versions,
    )


def client(
    own: Hello | None = None, *, key: bytes | None = KEY, channel: bytes = b"plain"
) -> Handshake:
    """A client that holds ``key``; without one its hello says mode none."""
    mode = Mode.KEY if key is not None else Mode.NONE
    secret = NOTHING if key is None else Held(key)
    return Handshake(own or hello(Role.CLIENT, mode), channel, secret)


def server(
    own: Hello | None = None, *, key: bytes | None = KEY, channel: bytes = b"plain"
) -> Handshake:
    """A server that holds ``key`` under ``KEY_ID``; without one its hello says mode none."""
    if key is None:
        open_to_all: dict[Mode, Find] = {Mode.NONE: lambda _: NOTHING}
        return Handshake(own or hello(Role.SERVER, Mode.NONE), channel, find=open_to_all)
    keys = {KEY_ID: key}
    return Handshake(own or hello(Role.SERVER), channel, find={Mode.KEY: holding(keys)})


def holding(keys: dict[bytes, bytes]) -> Find:
    """How a server with these keys finds what a client names."""
    return lambda theirs: Held(keys.get(theirs.key_id, b"no such key".ljust(32)))


def shake_hands(one: Handshake, other: Handshake) -> tuple[Established, Established]:
    """Take a client and a server to the end of their handshake."""
    one.receive(other.receive(one.receive(other.receive(one.greeting()))))
    assert one.established is not None
    assert other.established is not None
    return one.established, other.established


def guest(
    code: Code = CODE, own: Hello | None = None, *, channel: bytes = ENCRYPTED_CHANNEL
) -> Handshake:
    """A client with a code."""
    own = own or replace(hello(Role.CLIENT, Mode.CODE), key_id=code.room.to_bytes(4, "big"))
    return Handshake(own, channel, Pake(code, connecting=True))


def host(
    invitation: Invitation | None = None,
    own: Hello | None = None,
    *,
    channel: bytes = ENCRYPTED_CHANNEL,
) -> Handshake:
    """A server that waits with a code."""
    finds = Trust(invitation=invitation or Invitation(CODE)).finds()
    return Handshake(own or hello(Role.SERVER, Mode.CODE), channel, find=finds)


def half(role: Role) -> Pair:
    """What one side of a pair keeps."""
    ids = [hello(each).peer_id for each in Role]
    return Pair(PAIRED, *(ids if role is Role.CLIENT else ids[::-1]))


def paired_client(own: Hello | None = None) -> Handshake:
    """A client of a pair."""
    pair = half(Role.CLIENT)
    own = own or hello(Role.CLIENT, Mode.PAIR, intended=pair.peer)
    return Handshake(own, b"plain", Held(pair.key.secret()))


def paired_server(*pairs: Pair, own: Hello | None = None) -> Handshake:
    """A server of pairs, or of the one."""
    trust = Trust(pairs=pairs or (half(Role.SERVER),))
    return Handshake(own or hello(Role.SERVER, Mode.PAIR), b"plain", find=trust.finds())


def agreed(mode: Mode = Mode.KEY) -> tuple[Established, Established]:
    """What client and server agreed on; without a code the same keys each time."""
    if mode is Mode.CODE:
        return shake_hands(guest(), host())
    if mode is Mode.PAIR:
        return shake_hands(paired_client(), paired_server())
    key = KEY if mode is Mode.KEY else None
    return shake_hands(client(key=key), server(key=key))
