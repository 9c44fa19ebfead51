"""Receipts, as ``objxfer digest -c`` reads them: lines of JSON that anybody may have written."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from fuzz.harness import Harness
from objxfer.errors import ExitCode, ObjxferError, UnsafePath
from objxfer.files.paths import safe_path
from objxfer.limits import Limits
from objxfer_cli import receipts


def _feed(data: bytes) -> None:
    try:
        for receipt in receipts.read(io.BytesIO(data), "receipts"):
            _judge(receipt)
    except ObjxferError as error:
        assert error.exit_code is ExitCode.USAGE
        assert str(error).isprintable()


def _judge(receipt: receipts.Receipt) -> None:
    assert type(receipt.path) is type(receipt.stored_as) is bytes
    assert type(receipt.action) is type(receipt.digest) is str
    assert type(receipt.size) is int
    assert receipt.size >= 0
    assert receipt.digest == "" or len(receipt.digest) == 68
    with suppress(UnsafePath):
        safe_path(receipt.stored_as or receipt.path, Limits())


def _seeds() -> Iterator[bytes]:
    receipt = {
        "type": "file",
        "path": "photos/\u00e9\u202e.jpg",
        "action": "received",
        "size": 5,
        "digest": "ox1:" + "0123456789abcdef" * 4,
        "durable": True,
    }
    raw = {"path_b64": base64.b64encode(b"photos/\xff").decode(), "stored_as": "photos/a (1)"}
    lines = [receipt, receipt | raw, {"type": "progress", "bytes_total": None}]
    for line in lines:
        yield json.dumps(line).encode() + b"\n"
    yield b"\n".join(json.dumps(line).encode() for line in lines)
    wrong = [("size", -1), ("size", True), ("action", []), ("digest", 5), ("path", "\ud800")]
    for key, value in wrong:
        yield json.dumps(receipt | {key: value}).encode()
    yield b"[[[[[[" * 200


# A line is read whole, up to 64 KiB, and JSON grows as it is parsed.
HARNESS: Final = Harness(_feed, _seeds)
