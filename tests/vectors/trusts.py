"""Handshakes by a code, and of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vectors.case import Case
from vectors.wire import (
    AS_PAIR,
    BY_CODE,
    CERTIFICATE_HASH,
    CLIENT,
    CODE,
    OTHER_CODE,
    SERVER,
    Connection,
    element,
    hello,
    peer_id,
    result,
)

P: Final = 2**255 - 19
ONE_AGAIN: Final = (P + 1).to_bytes(32, "little")
MINUS_ONE: Final = (P - 1).to_bytes(32, "little")


def trusts() -> Iterator[Case]:
    """Handshakes in modes code and pair."""

    def case(
        name: str,
        what: str,
        side: str,
        expect: str,
        data: bytes,
        released: str,
        mode: str,
        **about: str,
    ) -> Case:
        lines = [("side", side), ("mode", mode), *about.items()]
        return Case(f"handshake-{name}", what, "handshake", expect, data, released, lines)

    channel = b"tls" + CERTIFICATE_HASH
    over_tls = {"mode": "code", "channel": channel.hex()}
    both = "hello proof"

    def spoken(code: bytes, role: int, **hellos: bytes) -> Connection:
        """What a side with that code makes of the hellos."""
        right = {"client": hello(CLIENT, BY_CODE), "server": hello(SERVER, BY_CODE)} | hellos
        x, y = right["client"][-32:], right["server"][-32:]
        key = result(code, role, x, y)
        return Connection(mode=BY_CODE, key=key, channel=channel, **right)

    guest, host = spoken(CODE, CLIENT), spoken(CODE, SERVER)
    assert guest.prk == host.prk
    yield case(
        "code-server",
        "a client that knows the code proves first",
        "server",
        "success",
        guest.client + guest.proof(CLIENT),
        both,
        **over_tls,
    )
    yield case(
        "code-client",
        "a server that knows the code",
        "client",
        "success",
        host.server + host.proof(SERVER),
        both,
        **over_tls,
    )
    wrong = spoken(OTHER_CODE, CLIENT, client=hello(CLIENT, BY_CODE, code=OTHER_CODE))
    yield case(
        "code-client-other",
        "a client with another code gets no proof",
        "server",
        "authentication",
        wrong.client + wrong.proof(CLIENT),
        "hello",
        **over_tls,
    )
    rogue = spoken(OTHER_CODE, SERVER, server=hello(SERVER, BY_CODE, code=OTHER_CODE))
    yield case(
        "code-server-other",
        "a server with another code: it has had one guess",
        "client",
        "authentication",
        rogue.server + rogue.proof(SERVER),
        both,
        **over_tls,
    )
    yield case(
        "code-reflected",
        "the client's own proof comes back",
        "client",
        "authentication",
        host.server + host.proof(CLIENT),
        both,
        **over_tls,
    )
    yield case(
        "code-vanishes",
        "a client that does not prove",
        "server",
        "need-more",
        guest.client,
        "hello",
        **over_tls,
    )
    for name, what, value in (
        ("neutral", "the neutral element", b"\1" + bytes(31)),
        ("no-point", "an element that is no point", b"\2" + bytes(31)),
        ("order-2", "an element of order 2", MINUS_ONE),
        (
            "written-otherwise",
            "a point not written as RFC 8032 has it",
            ONE_AGAIN,
        ),
        ("own-element", "the server's own element comes back", element(SERVER)),
    ):
        packed = guest.client[:-32] + value
        yield case(
            f"code-{name}",
            what,
            "server",
            "authentication",
            packed + bytes(32),
            "hello",
            **over_tls,
        )
    yield case(
        "code-to-key",
        "a server with a key, and a client with a code",
        "server",
        "authentication",
        guest.client,
        "hello",
        mode="key",
    )
    yield case(
        "key-to-code",
        "a server with a code, and a client with a key",
        "server",
        "authentication",
        hello(CLIENT),
        "hello",
        **over_tls,
    )
    pair = Connection(mode=AS_PAIR)
    yield case(
        "pair-server",
        "the other one of the pair, as the server sees it",
        "server",
        "success",
        pair.client + pair.proof(CLIENT),
        both,
        mode="pair",
    )
    yield case(
        "pair-client",
        "the other one of the pair, as the client sees it",
        "client",
        "success",
        pair.server + pair.proof(SERVER),
        both,
        mode="pair",
    )
    for name, what, lie in (
        ("stranger", "the key of the pair under another peer id", {"own": b"somebody else..."}),
        ("itself", "the key of the pair under the server's own peer id", {"own": peer_id(SERVER)}),
        ("other-key-id", "another key id than that of the pair", {"key_id": b"????"}),
    ):
        client = hello(CLIENT, AS_PAIR, own=lie.get("own"), key_id=lie.get("key_id"))
        answer = hello(SERVER, AS_PAIR, intended=lie.get("own"), key_id=lie.get("key_id"))
        claimed = Connection(mode=AS_PAIR, client=client, server=answer)
        yield case(
            f"pair-{name}",
            what,
            "server",
            "authentication",
            client + claimed.proof(CLIENT),
            both,
            mode="pair",
        )
    other = Connection(mode=AS_PAIR, server=hello(SERVER, AS_PAIR, own=b"somebody else..."))
    yield case(
        "pair-other-answers",
        "somebody else answers, who has the key",
        "client",
        "authentication",
        other.server + other.proof(SERVER),
        "hello",
        mode="pair",
    )
    as_key = Connection(client=hello(CLIENT, AS_PAIR), server=hello(SERVER, AS_PAIR))
    yield case(
        "pair-as-key",
        "the key of the pair, proven as in mode key",
        "server",
        "authentication",
        as_key.client + as_key.proof(CLIENT),
        both,
        mode="pair",
    )
