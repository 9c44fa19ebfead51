"""Hellos and handshakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vectors.case import Case, said_in
from vectors.wire import (
    AS_PAIR,
    BY_CODE,
    BY_KEY,
    CERTIFICATE_HASH,
    CLIENT,
    KEY_ID,
    NONE,
    OTHER_KEY,
    ROOM,
    SERVER,
    ZEROS,
    Connection,
    bytes16,
    element,
    hello,
    nonce,
    peer_id,
    u16,
    u32,
    u64,
)


def hellos() -> Iterator[Case]:
    def case(name: str, what: str, data: bytes, released: str = "") -> Case:
        expect = "success" if released else "mismatch"
        return Case(f"hello-{name}", what, "hello", expect, data, released)

    def heard(role: int = CLIENT, mode: int = BY_KEY, **changes: Any) -> str:
        fields = {
            "role": role,
            "mode": mode,
            "nonce": nonce(role).hex(),
            "peer_id": peer_id(role).hex(),
            "intended": bytes(16).hex(),
            "key_id": {NONE: b"", BY_CODE: ROOM}.get(mode, KEY_ID).hex(),
            "serializers": ["raw", "text"],
            "python": "3.11",
            "trees": False,
            "limits": None,
            "versions": [1, 1],
            "element": element(role).hex() if mode == BY_CODE else "",
        }
        return said_in(**fields | changes)

    key_id = u16(1) + bytes16(KEY_ID)
    yield case("client", "a client's hello in mode key", hello(CLIENT), heard())
    yield case("server", "a server's hello in mode key", hello(SERVER), heard(SERVER))
    yield case("none", "a hello in mode none", hello(CLIENT, NONE), heard(mode=NONE))
    yield case("code", "a hello in mode code", hello(CLIENT, BY_CODE), heard(mode=BY_CODE))
    yield case(
        "code-ends",
        "a server's hello in mode code that ends the handshake",
        hello(SERVER, BY_CODE, fields=u16(1) + bytes16(ROOM)),
        heard(SERVER, BY_CODE, serializers=[], python="", element=""),
    )
    yield case(
        "pair",
        "a hello in mode pair",
        hello(CLIENT, AS_PAIR),
        heard(mode=AS_PAIR, intended=peer_id(SERVER).hex()),
    )
    room = u16(1) + bytes16(ROOM)
    for name, what, value in (
        ("none", "no", b""),
        ("cut", "a cut", element(CLIENT)[:-1]),
        ("long", "a longer", element(CLIENT) + b"\0"),
    ):
        fields = room + u16(6) + bytes16(value)
        packed = hello(CLIENT, BY_CODE, fields=fields)
        yield case(f"element-{name}", f"mode code with {what} element", packed)
    yield case(
        "element-in-key",
        "mode key with an element",
        hello(CLIENT, fields=key_id + u16(6) + bytes16(element(CLIENT))),
    )
    yield case(
        "pair-with-anybody",
        "mode pair that intends nobody",
        hello(CLIENT, AS_PAIR, intended=bytes(16)),
    )
    yield case(
        "trees",
        "a hello of a side that takes trees",
        hello(CLIENT, fields=key_id + u16(4) + bytes16(b"\1")),
        heard(serializers=[], python="", trees=True),
    )
    limits = u32(1 << 24) + u64(1 << 30) + u32(4096)
    yield case(
        "limits",
        "a hello of a side that says what it takes",
        hello(CLIENT, fields=key_id + u16(5) + bytes16(limits)),
        heard(serializers=[], python="", limits=[1 << 24, 1 << 30, 4096]),
    )
    yield case(
        "limits-0",
        "limits of zero",
        hello(CLIENT, fields=key_id + u16(5) + bytes16(bytes(16))),
    )
    yield case(
        "limits-cut",
        "limits of 15 bytes",
        hello(CLIENT, fields=key_id + u16(5) + bytes16(limits[:-1])),
    )
    yield case(
        "intended",
        "a hello that means one peer",
        hello(CLIENT, intended=peer_id(SERVER)),
        heard(intended=peer_id(SERVER).hex()),
    )
    yield case(
        "versions",
        "a hello of versions 1 to 255",
        hello(CLIENT, versions=(1, 255)),
        heard(versions=[1, 255]),
    )
    yield case(
        "unknown-field",
        "a field that is not known is skipped",
        hello(CLIENT, fields=key_id + u16(0x77) + bytes16(b"later")),
        heard(serializers=[], python=""),
    )
    yield case(
        "critical-known",
        "a critical field that is known is that field",
        hello(CLIENT, fields=u16(0x8001) + bytes16(KEY_ID)),
        heard(serializers=[], python=""),
    )
    longest = key_id + u16(0x77) + bytes16(bytes(4096 - 77 - 12))
    yield case(
        "longest",
        "a hello of 4096 bytes",
        hello(CLIENT, fields=longest),
        heard(serializers=[], python=""),
    )
    yield case(
        "critical-unknown",
        "a critical field that is not known",
        hello(CLIENT, fields=key_id + u16(0x8077) + bytes16(b"")),
    )
    yield case(
        "descending",
        "numbers of fields that descend",
        hello(CLIENT, fields=key_id + u16(3) + bytes16(b"3") + u16(2) + bytes16(b"raw")),
    )
    yield case(
        "twice",
        "a field twice, once critical",
        hello(CLIENT, fields=key_id + u16(3) + bytes16(b"3") + u16(0x8003) + bytes16(b"3")),
    )
    yield case("field-cut", "a field longer than the hello", hello(CLIENT, fields=key_id[:-1]))
    yield case("no-key-id", "mode key without a key id", hello(CLIENT, fields=b""))
    yield case(
        "long-key-id",
        "a key id of 4015 bytes",
        hello(CLIENT, fields=u16(1) + bytes16(bytes(4015))),
    )
    yield case("key-id-in-none", "mode none with a key id", hello(CLIENT, NONE, fields=key_id))
    yield case("magic", "another magic", hello(CLIENT, magic=b"objxfeR"))
    yield case("size", "a size one too large", hello(CLIENT, size=len(hello(CLIENT)) + 1))
    yield case("version-0", "versions from 0", hello(CLIENT, versions=(0, 1)))
    yield case(
        "versions-swapped", "a highest version below the lowest", hello(CLIENT, versions=(2, 1))
    )
    yield case("role", "role 3", hello(3))
    yield case("mode", "mode 4", hello(CLIENT, 4))
    yield case(
        "not-ascii",
        "a serialiser that is not ASCII",
        hello(CLIENT, fields=key_id + u16(2) + bytes16(b"r\xe4w")),
    )
    yield case(
        "trees-2",
        "trees neither 1 nor left out",
        hello(CLIENT, fields=key_id + u16(4) + bytes16(b"\2")),
    )


def handshakes() -> Iterator[Case]:
    def case(
        name: str,
        what: str,
        side: str,
        expect: str,
        data: bytes,
        released: str,
        **about: str,
    ) -> Case:
        lines = [("side", side), *about.items()]
        return Case(f"handshake-{name}", what, "handshake", expect, data, released, lines)

    plain = Connection()
    both, client, server = "hello proof", plain.client, plain.server
    right = client + plain.proof(CLIENT)
    answer = server + plain.proof(SERVER)
    yield case("server", "a client that holds the key", "server", "success", right, both)
    yield case("client", "a server that holds the key", "client", "success", answer, both)
    without = Connection(mode=NONE)
    yield case(
        "none-server",
        "both in mode none, as the server sees it",
        "server",
        "success",
        without.client + without.proof(CLIENT),
        both,
        mode="none",
    )
    yield case(
        "none-client",
        "both in mode none, as the client sees it",
        "client",
        "success",
        without.server + without.proof(SERVER),
        both,
        mode="none",
    )
    tls = Connection(channel=b"tls" + CERTIFICATE_HASH)
    channel = (b"tls" + CERTIFICATE_HASH).hex()
    yield case(
        "tls",
        "the proof covers the certificate",
        "client",
        "success",
        tls.server + tls.proof(SERVER),
        both,
        channel=channel,
    )
    yield case(
        "tls-other",
        "the server saw another certificate, or none",
        "client",
        "authentication",
        answer,
        "hello",
        channel=channel,
    )
    other = Connection(key=OTHER_KEY)
    yield case(
        "server-other-key",
        "a server with another key",
        "client",
        "authentication",
        server + other.proof(SERVER),
        "hello",
    )
    yield case(
        "client-other-key",
        "a client with another key",
        "server",
        "authentication",
        client + other.proof(CLIENT),
        both,
    )
    unknown = hello(CLIENT, fields=u16(1) + bytes16(b"????"))
    yield case(
        "unknown-key-id",
        "a key id that the server does not know: it answers all the same",
        "server",
        "authentication",
        unknown + Connection(key=ZEROS, client=unknown).proof(CLIENT),
        both,
    )
    yield case(
        "reflected",
        "the server's own proof comes back",
        "server",
        "authentication",
        client + plain.proof(SERVER),
        both,
    )
    yield case(
        "replayed",
        "the proof of a connection with another nonce",
        "server",
        "authentication",
        client + Connection(client=client.replace(nonce(CLIENT), bytes(32))).proof(CLIENT),
        both,
    )
    yield case(
        "proof-cut",
        "a proof of which the last byte is missing",
        "server",
        "need-more",
        right[:-1],
        both,
    )
    yield case("hello-cut", "a hello cut off", "server", "need-more", client[:-1], "")
    yield case(
        "server-hello-alone",
        "a server that says hello and does not prove",
        "client",
        "need-more",
        server,
        "hello",
    )
    yield case(
        "wants-key",
        "a server with a key says hello to a client without, and no more",
        "server",
        "authentication",
        without.client,
        "hello",
    )
    yield case(
        "wants-none",
        "a server without a key says hello to a client with one, and no more",
        "server",
        "authentication",
        client,
        "hello",
        mode="none",
    )
    yield case(
        "client-hears-none",
        "a client with a key, and a server without",
        "client",
        "authentication",
        without.server,
        "hello",
    )
    yield case(
        "version",
        "no common version: the server still says hello",
        "server",
        "mismatch",
        hello(CLIENT, versions=(2, 9)),
        "hello",
    )
    yield case(
        "client-version",
        "a server of a later version",
        "client",
        "mismatch",
        hello(SERVER, versions=(2, 2)),
        "hello",
    )
    yield case(
        "somebody-else",
        "another peer is meant: the server still says hello",
        "server",
        "authentication",
        hello(CLIENT, intended=b"somebody else..."),
        "hello",
    )
    meant = Connection(client=hello(CLIENT, intended=peer_id(SERVER)))
    yield case(
        "intended",
        "the intended peer",
        "server",
        "success",
        meant.client + meant.proof(CLIENT),
        both,
    )
    yield case("same-role", "a client's hello comes back", "client", "mismatch", client, "hello")
    yield case("http", "another protocol", "server", "mismatch", b"GET / HTTP/1.1\r\n\r\n", "")
    yield case(
        "tls-to-plain",
        "a TLS client where none is expected",
        "server",
        "mismatch",
        b"\x16\x03\x01\x02\x00\x01",
        "",
    )
    yield case(
        "oversized",
        "a hello that says it has 4097 bytes",
        "server",
        "mismatch",
        b"objxfer" + u16(4097),
        "",
    )
    yield case(
        "undersized",
        "a hello that says it has 76 bytes",
        "server",
        "mismatch",
        b"objxfer" + u16(76),
        "",
    )
