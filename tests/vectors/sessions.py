"""What is said behind the handshake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vectors.case import Case
from vectors.wire import (
    BY_KEY,
    CLIENT,
    KEY,
    NONE,
    OTHER_KEY,
    SERVER,
    Connection,
    bytes16,
    hashed,
    i64,
    make_abort,
    make_entry,
    make_header,
    make_object,
    make_offer,
    make_packed,
    make_receipt,
    u8,
    u16,
    u32,
    u64,
)


def sessions() -> Iterator[Case]:
    small = make_object(b"raw", b"hello", [])
    large = make_object(b"raw", b"hello", [], inside=False)
    with_receipt = make_object(b"raw", b"hello", [], receipt=True, inside=False)
    offer = make_offer(b"t")
    entries = make_entry(1, b"t/a", size=5)
    pack = make_packed(1, 5)

    def case(
        name: str,
        what: str,
        expect: str,
        data: bytes,
        released: str,
        *,
        side: str = "server",
        said: tuple[str, ...] = (),
        answers: str = "",
        mode: str = "key",
    ) -> Case:
        about = [("side", side), ("mode", mode)]
        about += [("said", one) for one in said]
        if expect in ("integrity", "peer-error", "lost"):
            answers = f"{answers}, 0 FAILURE" if answers else "0 FAILURE"
        about.append(("answers", answers))
        return Case(f"session-{name}", what, "session", expect, data, released, about)

    def client(*chunks: tuple[Any, ...], mode: int = BY_KEY, key: bytes = KEY) -> bytes:
        connection = Connection(mode=mode, key=key)
        return b"".join(connection.chunk(CLIENT, *one) for one in chunks)

    def server(*chunks: tuple[Any, ...]) -> bytes:
        connection = Connection()
        return b"".join(connection.chunk(SERVER, *one) for one in chunks)

    end = ("END", 0)
    yield case("end", "nothing but an end", "success", client(end), "")
    yield case("object", "a small object", "success", client(("OBJECT", 1, small), end), "1 OBJECT")
    yield case(
        "object-none",
        "a small object in mode none",
        "success",
        client(("OBJECT", 1, small), end, mode=NONE),
        "1 OBJECT",
        mode="none",
    )
    whole = client(("OBJECT", 1, large), ("DATA", 1, b"hello"), ("DONE", 1), end)
    yield case(
        "object-large", "an object that follows", "success", whole, "1 OBJECT, 1 DATA, 1 DONE"
    )
    two_leaves = bytes(range(256)) * 256 + b"!"
    yield case(
        "two-leaves",
        "data of two leaves",
        "success",
        client(("OBJECT", 1, large), ("DATA", 1, two_leaves), ("DONE", 1), end),
        "1 OBJECT, 1 DATA, 1 DONE",
    )
    receipted: list[tuple[Any, ...]] = [
        ("OBJECT", 1, with_receipt),
        ("DATA", 1, b"hello"),
        ("DONE", 1),
    ]
    yield case(
        "receipt",
        "an object whose receipt is wanted",
        "success",
        client(*receipted, end),
        "1 OBJECT, 1 DATA, 1 DONE",
        said=(f"{len(client(*receipted))} 1 TAKEN",),
    )
    yield case(
        "taken",
        "a receipt, as the opener hears it",
        "success",
        server(("TAKEN", 1), end),
        "1 TAKEN",
        side="client",
        said=(f"0 1 OBJECT {make_object(b'raw', b'hello', [], receipt=True).hex()}",),
    )
    yield case(
        "taken-early",
        "a receipt before the object is sent",
        "peer-error",
        server(("TAKEN", 1)),
        "",
        side="client",
        said=(f"0 1 OBJECT {with_receipt.hex()}",),
    )
    yield case(
        "objects",
        "several objects, and one more",
        "success",
        client(("OBJECTS", 1, bytes16(small) * 2), ("OBJECT", 3, small), end),
        "1 OBJECTS, 3 OBJECT",
    )
    opened = client(("OFFER", 1, offer))
    announced = client(("OFFER", 1, offer), ("ENTRIES", 1, entries))
    tree: list[tuple[Any, ...]] = [
        ("OFFER", 1, offer),
        ("ENTRIES", 1, entries),
        ("PACK", 1, pack),
        ("DATA", 1, b"hello"),
        ("FLUSH", 1),
        ("FILE", 1, u64(2) + i64(0) + u16(0o600) + u32(0)),
        ("DATA", 1, b"hi"),
        ("FILE_END", 1, u8(1) + u64(2)),
        ("DONE", 1),
    ]
    said = (
        f"{len(opened)} 1 ACCEPT {u32(1000).hex()}",
        f"{len(announced)} 1 WANTED {u8(1).hex()}",
        f"{len(client(*tree))} 1 RECEIPTS {make_receipt(1, durable=1, size=5).hex()}",
        f"{len(client(*tree))} 1 DONE",
    )
    names = ", ".join(f"1 {one[0]}" for one in tree)
    yield case(
        "tree", "a tree, as its target hears it", "success", client(*tree, end), names, said=said
    )
    heard: list[tuple[Any, ...]] = [
        ("ACCEPT", 1, u32(1)),
        ("CREDIT", 1, u64(9)),
        ("RECEIPTS", 1, make_receipt(1)),
    ]
    yield case(
        "tree-opener",
        "a tree, as its opener hears it",
        "success",
        server(*heard, ("DONE", 1), end),
        "1 ACCEPT, 1 CREDIT, 1 RECEIPTS, 1 DONE",
        side="client",
        said=(f"0 1 OFFER {offer.hex()}", f"{len(server(*heard))} 1 DONE"),
    )
    yield case(
        "empty-pack",
        "a pack without contents has no data",
        "need-more",
        client(("OFFER", 1, offer), ("PACK", 1, make_packed(1, 0)), ("FLUSH", 1)),
        "1 OFFER, 1 PACK, 1 FLUSH",
        said=said[:1],
    )
    yield case(
        "ping",
        "a ping is answered",
        "success",
        client(("PING", 0, u64(7)), end),
        "",
        answers="0 PONG",
    )
    yield case(
        "pong", "a pong that nobody asked for", "success", client(("PONG", 0, u64(7)), end), ""
    )
    yield case(
        "abort",
        "an abort is answered",
        "success",
        client(("OBJECT", 1, large), ("ABORT", 1, make_abort(20)), end),
        "1 OBJECT, 1 ABORT",
        answers="1 ABORT",
    )
    yield case(
        "refused",
        "what comes of an aborted item is thrown away",
        "success",
        client(("OBJECT", 1, large), ("DATA", 1, b"hello"), ("ABORT", 1, make_abort(20)), end),
        "1 OBJECT",
        said=(f"{len(client(('OBJECT', 1, large)))} 1 ABORT {make_abort(20).hex()}",),
    )
    yield case(
        "late",
        "credit and an abort cross the end of an item",
        "success",
        server(("CREDIT", 1, u64(9)), ("ABORT", 1, make_abort(20)), end),
        "",
        side="client",
        said=(f"0 1 OBJECT {large.hex()}", "0 1 DONE"),
    )

    yield case("empty", "nothing at all", "need-more", b"", "")
    yield case(
        "no-end", "an object and no end", "need-more", client(("OBJECT", 1, small)), "1 OBJECT"
    )
    yield case("cut-header", "a header cut off", "need-more", whole[:47], "")
    yield case(
        "cut-payload",
        "a payload cut off",
        "need-more",
        whole[: len(whole) - 80 * 2 - 1],
        "1 OBJECT",
    )
    yield case(
        "end-in-item",
        "an end in the middle of an item",
        "need-more",
        client(("OBJECT", 1, large), end),
        "1 OBJECT",
    )
    yield case("failure", "the peer's last word", "lost", client(("FAILURE", 0)), "")

    first, second = client(("OBJECT", 1, small)), client(("OBJECT", 1, small), ("OBJECT", 3, small))
    second = second[len(first) :]
    yield case("dropped", "a chunk that is missing", "integrity", second, "")
    yield case("repeated", "a chunk that comes twice", "integrity", first + first, "1 OBJECT")
    yield case("swapped", "two chunks swapped", "integrity", second + first, "")
    yield case(
        "reflected",
        "what the server said comes back",
        "integrity",
        server(("PING", 0, u64(1))),
        "",
    )
    yield case(
        "other-key",
        "a chunk under another key",
        "integrity",
        client(end, key=OTHER_KEY),
        "",
    )
    moved = bytearray(client(("OBJECT", 1, large), ("DATA", 1, b"hello")))
    moved[-5 - 80 + 7] = 3
    yield case("moved", "data moved to another item", "integrity", bytes(moved), "1 OBJECT")
    flipped = bytearray(client(("OBJECT", 1, large), ("DATA", 1, b"hello")))
    flipped[-1] ^= 1
    yield case("payload", "a payload with a bit flipped", "integrity", bytes(flipped), "1 OBJECT")
    tagged = bytearray(first)
    tagged[79] ^= 0x80
    yield case("tag", "a tag with a bit flipped", "integrity", bytes(tagged[:80]), "")
    connection = Connection()
    wrong_level = connection.chunk(CLIENT, "OBJECT", 1, large) + connection.chunk(
        CLIENT, "DATA", 1, b"hello", digest=hashed("message", b"hello")
    )
    yield case(
        "digest-of-message", "data digested as a message", "integrity", wrong_level, "1 OBJECT"
    )

    yield case(
        "item-2", "a client opens an even item", "peer-error", client(("OBJECT", 2, small)), ""
    )
    yield case(
        "item-3", "a client leaves out an item", "peer-error", client(("OBJECT", 3, small)), ""
    )
    yield case(
        "item-again",
        "an item is opened again",
        "peer-error",
        client(("OBJECT", 1, small), ("OBJECT", 1, small)),
        "1 OBJECT",
    )
    yield case("unopened", "data of no item", "peer-error", client(("DATA", 1, b"x")), "")
    yield case(
        "unaccepted",
        "entries before the offer is accepted",
        "peer-error",
        announced,
        "1 OFFER",
    )
    yield case(
        "two-flushes",
        "two flushes in a row",
        "peer-error",
        client(("OFFER", 1, offer), ("FLUSH", 1), ("FLUSH", 1)),
        "1 OFFER, 1 FLUSH",
        said=said[:1],
    )
    yield case("end-twice", "two ends", "peer-error", client(end, end), "")
    yield case(
        "open-after-end",
        "an object behind the end",
        "peer-error",
        client(end, ("OBJECT", 1, small)),
        "",
    )
    yield case(
        "credit-by-opener",
        "the opener grants credit",
        "peer-error",
        client(("OBJECT", 1, large), ("CREDIT", 1, u64(1))),
        "1 OBJECT",
    )
    connection = Connection()
    oversized = connection.chunk(CLIENT, "OBJECT", 1, large) + connection.chunk(
        CLIENT, "DATA", 1, header=make_header("DATA", 1, size=2**31)
    )
    yield case(
        "oversized",
        "a size over the limit, judged before its payload",
        "peer-error",
        oversized,
        "1 OBJECT",
    )
    yield case(
        "malformed",
        "a message that cannot be read",
        "peer-error",
        client(("OFFER", 1, make_offer())),
        "",
    )
