"""Headers and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vectors.case import Case, said_in
from vectors.wire import (
    bytes16,
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


def headers() -> Iterator[Case]:
    def good(name: str, what: str, kind: str, item: int, size: int) -> Case:
        data = make_header(kind, item, size=size)
        released = said_in(type=kind, item=item, size=size)
        return Case(f"header-{name}", what, "header", "success", data, released)

    def bad(name: str, what: str, data: bytes) -> Case:
        return Case(f"header-{name}", what, "header", "peer-error", data)

    yield good("data", "the largest data", "DATA", 1, 1048576)
    yield good("entries", "the largest batch of entries", "ENTRIES", 3, 262144)
    yield good("offer", "the largest offer", "OFFER", 2**32 - 1, 1048576)
    yield good("control", "the largest other message", "RECEIPTS", 2, 65536)
    yield good("end", "a message of the connection", "END", 0, 0)
    yield bad("data-large", "data over its limit", make_header("DATA", 1, size=1048577))
    yield bad("entries-large", "entries over their limit", make_header("ENTRIES", 1, size=262145))
    yield bad("control-large", "credit over its limit", make_header("CREDIT", 1, size=65537))
    yield bad("huge", "a size of 2^32 - 1", make_header("DATA", 1, size=2**32 - 1))
    yield bad("empty-data", "data without any", make_header("DATA", 1))
    yield bad(
        "raw-size", "a raw size that is not the size", make_header("DATA", 1, b"x", raw_size=2)
    )
    yield bad("version", "version 2", make_header("DATA", 1, b"x", version=2))
    yield bad("flags", "a flag", make_header("DATA", 1, b"x", flags=1))
    yield bad("type", "an unknown type", make_header(99, 1))
    yield bad("item-0", "an item's message on item 0", make_header("DATA", 0, b"x"))
    yield bad("end-on-item", "a connection's message on an item", make_header("END", 1))


def messages() -> Iterator[Case]:
    def good(name: str, what: str, kind: str, data: bytes, **fields: Any) -> Case:
        about = [("type", kind)]
        return Case(f"message-{name}", what, "message", "success", data, said_in(**fields), about)

    def bad(name: str, what: str, kind: str, data: bytes) -> Case:
        about = [("type", kind)]
        return Case(f"message-{name}", what, "message", "peer-error", data, "", about)

    yield good("ping", "a ping", "PING", u64(7), number=7)
    yield good("credit", "the largest credit", "CREDIT", u64(2**64 - 1), number=2**64 - 1)
    yield good("end", "an end", "END", b"")
    yield good(
        "object",
        "an object with all of it inside",
        "OBJECT",
        make_object(b"msgpack", b"hd", [b"b", b"uff"]),
        serializer="msgpack",
        head_size=2,
        buffer_sizes=[1, 3],
        receipt_wanted=False,
        content=b"hdbuff".hex(),
    )
    yield good(
        "object-large",
        "an object that follows, its receipt wanted",
        "OBJECT",
        u8(1) + u8(3) + u32(2**32 - 1) + u16(2) + b"raw" + u64(1) + u64(2**64 - 1),
        serializer="raw",
        head_size=2**32 - 1,
        buffer_sizes=[1, 2**64 - 1],
        receipt_wanted=True,
        content=None,
    )
    inner = make_object(b"text", b"hi", [])
    one = {
        "serializer": "text",
        "head_size": 2,
        "buffer_sizes": [],
        "receipt_wanted": False,
        "content": b"hi".hex(),
    }
    yield good("objects", "two objects together", "OBJECTS", bytes16(inner) * 2, objects=[one, one])
    yield good(
        "offer",
        "an offer that asks for a rule",
        "OFFER",
        make_offer(b"photos", b"\xff", rule=2, folder=b"2026", files=3, size=2**64 - 1),
        tops=[b"photos".hex(), "ff"],
        folder=b"2026".hex(),
        if_exists=2,
        total_files=3,
        total_bytes=2**64 - 1,
    )
    yield good("accept", "an accepted offer", "ACCEPT", u32(4096), entries=4096)
    listed = (
        make_entry(1, b"t/a", size=5, mtime=-1)
        + make_entry(4, b"t/d", size=5)
        + b"\xdd" * 32
        + make_entry(2, b"t/l", mode=0o777, target=b"a")
        + make_entry(3, b"t", mode=0o755)
    )
    yield good(
        "entries",
        "an entry of each kind",
        "ENTRIES",
        listed,
        entries=[
            {
                "path": path.hex(),
                "kind": kind,
                "size": size,
                "mtime_ns": mtime,
                "mode": mode,
                "target": target.hex(),
                "digest": digest.hex(),
            }
            for path, kind, size, mtime, mode, target, digest in (
                (b"t/a", 1, 5, -1, 0o644, b"", b""),
                (b"t/d", 1, 5, 0, 0o644, b"", b"\xdd" * 32),
                (b"t/l", 2, 0, 0, 0o777, b"a", b""),
                (b"t", 3, 0, 0, 0o755, b"", b""),
            )
        ],
    )
    yield good(
        "wanted",
        "a verdict of each kind",
        "WANTED",
        u8(1)
        + u8(2)
        + bytes16(b"t/a")
        + u8(3)
        + u8(0)
        + bytes16(b"exists")
        + u8(4)
        + u8(20)
        + bytes16("näh".encode())
        + u8(5)
        + u32(7),
        verdicts=[
            {
                "answer": answer,
                "stored_as": stored_as.hex(),
                "code": code,
                "reason": reason,
                "held": held,
            }
            for answer, stored_as, code, reason, held in (
                (1, b"", 0, "", 0),
                (2, b"t/a", 0, "", 0),
                (3, b"", 0, "exists", 0),
                (4, b"", 20, "näh", 0),
                (5, b"", 0, "", 7),
            )
        ],
    )
    yield good(
        "wanted-code",
        "a code that is not known is 1",
        "WANTED",
        u8(4) + u8(254) + bytes16(b""),
        verdicts=[{"answer": 4, "stored_as": "", "code": 1, "reason": "", "held": 0}],
    )
    yield good(
        "pack",
        "a file that was read and one that is lost",
        "PACK",
        make_packed(1, 5, -(2**63)) + make_packed(2, 0, 0, 0),
        files=[
            {"fate": 1, "size": 5, "mtime_ns": -(2**63), "mode": 0o600},
            {"fate": 2, "size": 0, "mtime_ns": 0, "mode": 0},
        ],
    )
    yield good(
        "file",
        "a stream as a file",
        "FILE",
        u64(2**64 - 1) + i64(9) + u16(0o644) + u32(0),
        size=2**64 - 1,
        mtime_ns=9,
        mode=0o644,
        held=0,
    )
    yield good(
        "file-held",
        "a file whose first two nodes are compared",
        "FILE",
        u64(3 * 2**20) + i64(9) + u16(0o644) + u32(2),
        size=3 * 2**20,
        mtime_ns=9,
        mode=0o644,
        held=2,
    )
    nodes = [b"\xaa" * 32, b"\xbb" * 32]
    yield good(
        "nodes",
        "two held nodes to compare",
        "NODES",
        b"".join(nodes),
        digests=[node.hex() for node in nodes],
    )
    yield good("patch", "a held node that differed", "PATCH", u64(1), number=1)
    yield good("compared", "one is the same, one is not", "COMPARED", b"\1\0", same=[True, False])
    yield good("file-end", "a file that was read", "FILE_END", u8(1) + u64(5), fate=1, size=5)
    yield good("file-lost", "a file that was lost", "FILE_END", u8(2) + u64(0), fate=2, size=0)
    receipt = make_receipt(1, durable=1, size=5, digest=b"\xdd" * 32, path=b"t/a (1)")
    failed = make_receipt(5, code=22, reason=b"no space left")
    yield good(
        "receipts",
        "a receipt for a file and one for a failure",
        "RECEIPTS",
        receipt + failed,
        receipts=[
            {
                "action": 1,
                "size": 5,
                "digest": "dd" * 32,
                "durable": True,
                "stored_as": b"t/a (1)".hex(),
                "code": 0,
                "reason": "",
            },
            {
                "action": 5,
                "size": 0,
                "digest": "",
                "durable": False,
                "stored_as": "",
                "code": 22,
                "reason": "no space left",
            },
        ],
    )
    yield good(
        "abort",
        "an abort with a path and a reason",
        "ABORT",
        make_abort(20, b"t/a", "näh".encode()),
        code=20,
        path=b"t/a".hex(),
        text="näh",
    )

    yield bad("end-long", "an end with a payload", "END", b"\0")
    yield bad("ping-short", "a ping of 7 bytes", "PING", bytes(7))
    yield bad("credit-0", "a credit of nothing", "CREDIT", u64(0))
    yield bad("object-flags", "an object with an unknown flag", "OBJECT", b"\4" + inner[1:])
    yield bad("object-nameless", "an object without a serialiser", "OBJECT", b"\2" + bytes(7))
    yield bad("object-long", "an object with a byte too many", "OBJECT", inner + b"!")
    yield bad("object-short", "an object with a byte too few", "OBJECT", inner[:-1])
    yield bad(
        "object-sizes",
        "an object with fewer sizes than buffers",
        "OBJECT",
        u8(0) + u8(3) + u32(1) + u16(2) + b"raw" + u64(1),
    )
    yield bad("objects-none", "no objects", "OBJECTS", b"")
    yield bad(
        "objects-receipt",
        "an object among several that wants a receipt",
        "OBJECTS",
        bytes16(make_object(b"raw", b"x", [], receipt=True)),
    )
    yield bad("offer-empty", "an offer of nothing", "OFFER", make_offer())
    yield bad("offer-nameless", "an offer with an empty top", "OFFER", make_offer(b"t", b""))
    yield bad("offer-rule", "an offer under rule 5", "OFFER", make_offer(b"t", rule=5))
    yield bad("accept-0", "batches of nothing", "ACCEPT", u32(0))
    yield bad("entries-none", "no entries", "ENTRIES", b"")
    yield bad("entry-kind", "an entry of kind 5", "ENTRIES", make_entry(5, b"t"))
    yield bad("entry-digest", "a file's digest cut off", "ENTRIES", make_entry(4, b"t") + bytes(31))
    yield bad("entry-mode", "an entry with setuid", "ENTRIES", make_entry(1, b"t", mode=0o4755))
    yield bad("entry-target", "a file with a target", "ENTRIES", make_entry(1, b"t", target=b"a"))
    yield bad("entry-no-target", "a link without a target", "ENTRIES", make_entry(2, b"t"))
    yield bad("entry-size", "a folder with a size", "ENTRIES", make_entry(3, b"t", size=1))
    yield bad("entry-cut", "an entry cut off in its path", "ENTRIES", make_entry(1, b"top")[:-1])
    yield bad("entry-path", "a path of 4097 bytes", "ENTRIES", make_entry(1, b"p" * 4097))
    yield bad("verdict-unknown", "verdict 6", "WANTED", u8(6))
    yield bad("verdict-partial", "a partial file of nothing", "WANTED", u8(5) + u32(0))
    yield bad("nodes-none", "no nodes", "NODES", b"")
    yield bad("nodes-cut", "a node's digest cut off", "NODES", bytes(33))
    yield bad("compared-none", "no answers", "COMPARED", b"")
    yield bad("compared-unknown", "answer 2 about a node", "COMPARED", b"\2")
    yield bad("verdict-text", "a reason that is not UTF-8", "WANTED", b"\4\0\0\1\xff")
    yield bad("pack-fate", "a file of fate 3", "PACK", make_packed(3, 0))
    yield bad("pack-lost", "a lost file with a size", "PACK", make_packed(2, 1))
    yield bad("pack-cut", "a packed file cut off", "PACK", make_packed(1, 1)[:-1])
    yield bad("file-mode", "a file with setgid", "FILE", u64(1) + i64(0) + u16(0o2755) + u32(0))
    yield bad("file-end-lost", "the end of a lost file with a size", "FILE_END", u8(2) + u64(1))
    yield bad("receipt-action", "action 6", "RECEIPTS", make_receipt(6))
    yield bad("receipt-durable", "durable 2", "RECEIPTS", make_receipt(1, durable=2))
    yield bad(
        "receipt-reason", "a reason of 1025 bytes", "RECEIPTS", make_receipt(5, reason=b"x" * 1025)
    )
    yield bad("abort-text", "a reason of 1025 bytes", "ABORT", make_abort(1, reason=b"x" * 1025))
