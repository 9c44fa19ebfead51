"""JSON lines: what scripts read."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from objxfer.files.digest import file_digest
from support.commands import Commands, Line

pytestmark = pytest.mark.timeout(60)

REQUIRED: dict[str, dict[str, Any]] = {
    "listening": {"url": str},
    "connected": {"peer": str, "url": str, "encrypted": bool},
    "progress": {
        "bytes_done": int,
        "bytes_total": int | None,
        "files_done": int,
        "files_total": int | None,
        "bytes_per_second": int,
        "eta_seconds": float | None,
    },
    "file": {"path": str, "action": str},
    "lost": {"message": str, "again_in": float | None},
    "error": {"exit_code": int, "name": str, "message": str, "path": str | None},
    "summary": {
        "files": int,
        "bytes": int,
        "bytes_on_wire": int | None,
        "seconds": float,
        "exit_code": int,
        "unchanged": int,
        "skipped": int,
        "failed": int,
        "replaced": int,
        "resumed": int,
    },
}
OPTIONAL = {
    "path_b64": str,
    "stored_as": str,
    "stored_as_b64": str,
    "reason": str,
    "size": int,
    "digest": str | None,
    "durable": bool,
    "delivery": int,
    "sent": int,
    "received": int,
    "peer": str,
}
ACTIONS = {"sent", "received", "unchanged", "skipped", "replaced", "resumed", "failed"}


def check(lines: Sequence[Line]) -> None:
    """Hold lines against the schema."""
    for line in lines:
        assert next(iter(line)) == "type"
        values = {key: value for key, value in line.items() if key != "type"}
        required = REQUIRED[line["type"]]
        assert required.keys() <= values.keys(), line
        for key, value in values.items():
            assert isinstance(value, (required | OPTIONAL)[key]), (key, line)
        if line["type"] == "file":
            assert line["action"] in ACTIONS


def of(kind: str, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line["type"] == kind]


def test_a_folder_with_everything_in_it(commands: Commands) -> None:
    commands.file("photos/a.jpg", b"the same")
    os.utime(commands.folder / "photos/a.jpg", (1, 1))
    commands.file("inbox/photos/a.jpg", b"the same")
    os.utime(commands.inbox / "photos/a.jpg", (1, 1))
    contents = os.urandom(31_402)
    commands.file("photos/b.jpg", contents)
    commands.file("inbox/photos/b.jpg", b"another")
    (commands.folder / "photos/python3").symlink_to("/usr/bin/python3")
    receiving = commands.listen_json("receive", "--into", "inbox", scheme="tls")
    sent = commands.run("send", "photos", "--to", receiving.url, "--json")
    received = receiving.finish()
    check(sent.lines)
    check(received.lines)

    assert sent.lines[0] == {
        "type": "connected",
        "peer": "127.0.0.1",
        "url": receiving.url,
        "encrypted": True,
    }
    by_path = {line["path"]: line for line in of("file", sent.lines)}
    digest = "ox1:" + file_digest(contents).hex()
    assert by_path == {
        "photos/a.jpg": {
            "type": "file",
            "path": "photos/a.jpg",
            "action": "unchanged",
            "size": 8,
            "digest": None,
            "durable": True,
        },
        "photos/b.jpg": {
            "type": "file",
            "path": "photos/b.jpg",
            "action": "sent",
            "stored_as": "photos/b (1).jpg",
            "size": 31_402,
            "digest": digest,
            "durable": True,
        },
        "photos/python3": {
            "type": "file",
            "path": "photos/python3",
            "action": "skipped",
            "reason": "link leaves what is sent",
        },
    }
    summary = sent.lines[-1]
    assert summary["type"] == "summary"
    assert {key: summary[key] for key in ("files", "sent", "unchanged", "skipped", "failed")} == {
        "files": 3,
        "sent": 1,
        "unchanged": 1,
        "skipped": 1,
        "failed": 0,
    }
    assert summary["bytes"] == 31_402
    assert summary["bytes_on_wire"] > 31_402
    assert summary["exit_code"] == sent.code == 3
    assert (
        sent.err == "objxfer: warning: 1 file left out: photos/python3: link leaves what is sent\n"
    )

    assert [line["type"] for line in received.lines] == ["connected", "file", "file", "summary"]
    assert [line["action"] for line in of("file", received.lines)] == ["unchanged", "received"]
    assert received.lines[-1]["received"] == 1
    assert received.lines[-1]["exit_code"] == received.code == 0
    assert received.err == ""


def test_progress_comes_every_second(commands: Commands) -> None:
    receiving = commands.listen_json("receive", "--into", "inbox", "--retry", "0")
    sending = commands.start("send", "-", "--to", receiving.url, "--json")
    sending.write(bytes(3_000_000))
    seen = [json.loads(sending.out_line()) for _ in range(3)]
    sent = sending.finish()
    received = receiving.finish()
    check([*seen, *sent.lines, *received.lines])
    assert [line["type"] for line in seen] == ["connected", "progress", "progress"]
    assert seen[-1]["bytes_total"] is None
    assert seen[-1]["eta_seconds"] is None
    assert of("progress", received.lines)[-1]["bytes_done"] >= 2_000_000
    assert sent.code == 0


def test_an_error_is_a_line(commands: Commands) -> None:
    ended = commands.run("send", "x", "--to", "nas:1", "--json")
    check(ended.lines)
    (line,) = ended.lines
    assert line["exit_code"] == ended.code == 2
    assert line["message"] == "'nas:1' is no target: it has no scheme, and there is no peer 'nas'"
    assert ended.err.startswith("objxfer: error: ")


def test_a_delivery_that_fails_has_a_summary(commands: Commands) -> None:
    receiving = commands.listen_json("receive", "--into", "inbox", "--retry", "0")
    sending = commands.start("send", "-", "--to", receiving.url, "--json")
    receiving.out_line()
    sending.write(bytes(2_000_000))
    while json.loads(receiving.out_line()).get("bytes_done", 0) < 1_000_000:
        pass
    sending.process.kill()
    received = receiving.finish()
    check(received.lines)
    error, summary = received.lines[-2:]
    assert (error["type"], error["name"], error["exit_code"]) == ("error", "ConnectionLost", 11)
    assert (summary["type"], summary["exit_code"]) == ("summary", 11)
    assert summary["bytes_on_wire"] > 1_000_000
    assert received.code == 11


def test_who_is_not_let_in_is_a_line(commands: Commands) -> None:
    receiving = commands.listen_json("receive", "--into", "inbox")
    commands.run("keygen", "other")
    commands.run("send", "x", "--to", receiving.url, "--key", "other")
    line = json.loads(receiving.out_line())
    check([line])
    assert (line["type"], line["name"]) == ("error", "WrongKey")
    assert line["exit_code"] == 13
    assert line["peer"] == "127.0.0.1"


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_not_utf_8(commands: Commands) -> None:
    raw = b"caf\xe9.txt"
    (commands.folder / "latin").mkdir()
    with open(os.fsencode(commands.folder) + b"/latin/" + raw, "wb") as file:
        file.write(b"x")
    receiving = commands.listen_json("receive", "--into", "inbox")
    sent = commands.run("send", "latin", "--to", receiving.url, "--json")
    for lines in (sent.lines, receiving.finish().lines):
        check(lines)
        (line,) = of("file", lines)
        assert line["path"] == "latin/caf\N{REPLACEMENT CHARACTER}.txt"
        assert base64.b64decode(line["path_b64"]) == b"latin/" + raw


def test_serve_numbers_its_deliveries(commands: Commands) -> None:
    commands.file("one.txt")
    commands.file("two.txt")
    serving = commands.listen_json("serve", "inbox")
    for name in ("one.txt", "two.txt"):
        assert commands.run("send", name, "--to", serving.url, "--json").code == 0
    lines = [json.loads(serving.out_line()) for _ in range(6)]
    check(lines)
    deliveries = [
        [line for line in lines if line["delivery"] == n]
        for n in {line["delivery"] for line in lines}
    ]
    assert len(deliveries) == 2
    for delivery in deliveries:
        assert [line["type"] for line in delivery] == ["connected", "file", "summary"]


def test_all_of_it_is_ascii(commands: Commands) -> None:
    commands.file("ünï\u202ecode.txt")
    receiving = commands.listen_json("receive", "--into", "inbox")
    sent = commands.run("send", "ünï\u202ecode.txt", "--to", receiving.url, "--json")
    assert sent.out.isascii()
    assert re.search(r"\\u202e", sent.out)
    assert of("file", sent.lines)[0]["path"] == "ünï\u202ecode.txt"
