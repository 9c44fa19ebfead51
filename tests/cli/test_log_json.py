"""The log of an inbox as JSON lines on standard error."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import objxfer
from objxfer.errors import WrongKey
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from support.byhand import delivers, file, offer, perform
from support.commands import Commands, Line, Running
from support.connected import PATIENCE
from support.streaming import streaming

pytestmark = pytest.mark.timeout(60)

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WORDS = '\x1b[2J\x7f\x9b31m\u202egpj\r\n\x07"quoted"\\n'
"""Clears the screen, deletes, turns red, writes from right to left, begins a line, and quotes."""


def read(line: str) -> Line:
    """Read a line of the log, which is as every line of it is."""
    assert line.startswith('{"type":"')
    assert line.isascii()
    assert line.isprintable()
    event: Line = json.loads(line)
    assert TIME.fullmatch(event["time"])
    when = datetime.fromisoformat(event["time"])
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=5)
    return event


def log(serving: Running) -> Line:
    return read(serving.err_line())


def serve(commands: Commands, *arguments: str, scheme: str = "tcp") -> Running:
    """Start an inbox that keeps a log; return it when it listens."""
    serving = commands.start(
        "serve", "inbox", "--log-json", "--listen", f"{scheme}://127.0.0.1:0", *arguments
    )
    listening = log(serving)
    assert listening["type"] == "listening", listening
    serving.url = listening["url"]
    return serving


def push(commands: Commands, name: str, url: str) -> None:
    """Send a file or folder, from here: quicker than another process."""
    report = objxfer.push(commands.folder / name, to=url, key=commands.key)
    assert report.exit_code == objxfer.ExitCode.OK


def test_what_befalls_an_inbox(commands: Commands) -> None:
    serving = commands.start("serve", "inbox", "--log-json", "--listen", "tls://127.0.0.1:0")
    listening = log(serving)
    serving.url = listening["url"]
    del listening["time"], listening["url"]
    assert listening == {
        "type": "listening",
        "folder": str(commands.inbox),
        "if_exists": "rename",
        "key": commands.key.id,
        "version": objxfer.__version__,
    }
    commands.file("photos/a.jpg", b"new")
    commands.file("photos/b.jpg", b"the same")
    commands.file("inbox/photos/a.jpg", b"another")
    commands.file("inbox/photos/b.jpg", b"the same")
    for name in ("photos", "inbox/photos"):
        os.utime(commands.folder / name / "b.jpg", (10**9, 10**9))
    push(commands, "photos", serving.url)
    delivery = log(serving)
    assert 0 < delivery.pop("seconds") < PATIENCE
    assert delivery.pop("bytes_on_wire") > 0
    del delivery["time"]
    assert delivery == {
        "type": "delivery",
        "delivery": 1,
        "peer": "127.0.0.1",
        "key": commands.key.id,
        "encrypted": True,
        "names": ["photos"],
        "names_total": 1,
        "files": 2,
        "received": 1,
        "replaced": 0,
        "resumed": 0,
        "unchanged": 1,
        "skipped": 0,
        "failed": 0,
        "bytes": 3,
        "kept": 0,
        "problems": [],
        "kept_both": [{"path": "photos/a.jpg", "stored_as": "photos/a (1).jpg"}],
        "exit_code": 0,
    }

    with pytest.raises(WrongKey):
        objxfer.connect(serving.url, key=Key.generate())
    refused = log(serving)
    del refused["time"]
    assert refused == {
        "type": "refused",
        "peer": "127.0.0.1",
        "exit_code": 13,
        "error": "WrongKey",
        "message": "wrong key",
    }

    cut = streaming(commands, serving)
    cut.process.kill()
    failed = log(serving)
    expected = {"type": "failed", "peer": "127.0.0.1", "what": "stdin", "files": 0, "exit_code": 11}
    assert expected.items() <= failed.items()
    assert failed["error"] == "ConnectionLost"

    last = streaming(commands, serving, "--name", "last")
    serving.signal(signal.SIGTERM)
    draining = log(serving)
    assert (draining["type"], draining["deliveries"], draining["seconds"]) == ("draining", 1, 5.0)
    assert last.finish(b"the rest").code == 0
    assert log(serving)["names"] == ["last"]
    ended = log(serving)
    assert (ended["type"], ended["exit_code"]) == ("ended", 0)
    assert serving.finish() == (0, "", "")


def test_what_others_chose_is_harmless_and_not_lost(commands: Commands) -> None:
    serving = serve(commands)
    tops = [b"\xff\xfe not text", "\u202egpj.exe".encode(), b'"quoted"\\n']
    with objxfer.connect(serving.url, key=commands.key) as connection:
        refused, *_ = perform(
            connection,
            delivers(offer(*tops), file(tops[1] + WORDS.encode()), file(tops[0]), file(tops[2])),
        )
        delivery = log(serving)
        assert delivery["names"][1:] == [top.decode() for top in tops[1:]]
        assert [base64.b64decode(name) for name in delivery["names_b64"]] == tops
        (problem,) = delivery["problems"]
        assert problem["path"] == "\u202egpj.exe" + WORDS
        assert problem["reason"].isprintable()
        assert (problem["action"], problem["exit_code"]) == ("failed", refused.code)
        assert (delivery["files"], delivery["failed"], delivery["exit_code"]) == (3, 1, 20)
        with pytest.raises(objxfer.RefusedByPeer):
            connection.push(commands.file("report.pdf"), into="../\x1b[2J\u202e")
        failed = log(serving)
        assert (failed["type"], failed["exit_code"], failed["delivery"]) == ("failed", 20, 2)


def test_only_ten_are_named(commands: Commands) -> None:
    names = [f"{number:02}" for number in range(25)]
    for name in names:
        commands.file(name)
        commands.file(f"inbox/{name}", b"another")
    serving = serve(commands, "--if-exists", "fail")
    assert commands.run("send", *names, "--to", serving.url).code == 20
    delivery = log(serving)
    assert delivery["names"] == names[:10]
    assert delivery["names_total"] == delivery["failed"] == 25
    assert [problem["path"] for problem in delivery["problems"]] == names[:10]


def test_a_peer_is_logged_by_its_name(commands: Commands) -> None:
    peers = Peers(commands.key_file.with_name("peers"))
    key, other = Key.generate(), bytes([2]) * 16
    when = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
    peers.add(Peer('ben "the\u00e9"', Pair(key, peers.own_id(), other), when, "10.0.0.2", ()))
    serving = serve(commands, scheme="tls")
    pair = Pair(key, other, peers.own_id())
    with objxfer.connect(serving.url, key=pair, peer_id=other) as connection:
        connection.push(commands.file("report.pdf"))
        delivery = log(serving)
        assert (delivery["name"], delivery["key"]) == ('ben "the\u00e9"', key.id)
    connection = objxfer.connect(serving.url, key=pair, peer_id=other)
    connection.abandon()
    idle = log(serving)
    assert (idle["type"], idle["name"]) == ("idle", 'ben "the\u00e9"')


def test_beside_json_and_quiet_it_is_the_same(commands: Commands) -> None:
    serving = serve(commands, "-q", "--json")
    assert json.loads(serving.out_line()) == {"type": "listening", "url": serving.url}
    commands.file("file")
    push(commands, "file", serving.url)
    assert log(serving)["type"] == "delivery"
    kinds = [json.loads(serving.out_line())["type"] for _ in range(3)]
    assert kinds == ["connected", "file", "summary"]
    with objxfer.connect(serving.url, key=commands.key) as connection:
        connection.abandon()
    assert log(serving)["type"] == "idle"
    assert json.loads(serving.out_line())["type"] == "error"
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert [read(line)["type"] for line in ended.err.splitlines()] == ["draining", "ended"]
    assert ended.out == ""


def test_quiet_it_is_whole(commands: Commands) -> None:
    serving = serve(commands, "-q")
    commands.file("file")
    push(commands, "file", serving.url)
    assert log(serving)["type"] == "delivery"


def test_how_far_it_is(commands: Commands) -> None:
    serving = serve(commands)
    serving.signal(signal.SIGUSR1)
    progress = log(serving)
    assert (progress["type"], progress["bytes_done"]) == ("progress", 0)
    sending = streaming(commands, serving)
    serving.signal(signal.SIGUSR1)
    progress = log(serving)
    assert (progress["type"], progress["delivery"]) == ("progress", 1)
    assert sending.finish().code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted(commands: Commands, number: signal.Signals) -> None:
    serving = serve(commands)
    serving.signal(number)
    ended = serving.finish()
    assert ended.code == 128 + number
    kinds = [(read(line)["type"], read(line).get("exit_code")) for line in ended.err.splitlines()]
    assert kinds[0] == ("interrupted", None)
    assert kinds[1:] in ([("ended", 128 + number)], [])  # which a slow machine does not get to


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing here is always full")
def test_what_ends_it_is_said_before_it_has_ended(commands: Commands) -> None:
    """Nobody takes the line that says where it listens."""
    with open("/dev/full", "wb") as full:
        serving = commands.start(
            "serve", "inbox", "--listen", "tcp://127.0.0.1:0", "--json", "--log-json", stdout=full
        )
    ended = serving.finish()
    assert ended.code == 22
    kinds = [(read(line)["type"], read(line).get("exit_code")) for line in ended.err.splitlines()]
    assert kinds == [("listening", None), ("error", 22), ("ended", 22)]


def test_what_keeps_it_from_listening(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        ended = commands.run("serve", "inbox", "--log-json", "--listen", url, "-vv")
    assert (ended.code, ended.out) == (10, "")
    error, traceback = map(read, ended.err.splitlines())
    del error["time"]
    assert error == {
        "type": "error",
        "exit_code": 10,
        "error": "CannotConnect",
        "message": f"cannot listen on {url}: address already in use",
        "hint": "another objxfer may be listening there; name another port",
    }
    assert (traceback["type"], traceback["level"]) == ("log", "debug")
    assert "CannotConnect" in traceback["traceback"]


def test_warnings_and_what_the_library_logs(commands: Commands) -> None:
    peers = Peers(commands.key_file.with_name("peers"))
    peers.own_id()
    (peers.folder / "ben").write_text("\x1b[2J")
    (peers.folder / "ben").chmod(0o600)
    serving = commands.start("serve", "inbox", "--log-json", "-v", "--listen", "tls://127.0.0.1:0")
    warning = log(serving)
    assert warning["type"] == "warning"
    assert warning["message"].startswith("not let in: ")
    while (event := log(serving))["type"] != "listening":
        assert event["type"] in ("log", "warning")
    commands.file("file")
    push(commands, "file", event["url"])
    events = [log(serving)]
    while events[-1]["type"] != "delivery":
        events.append(log(serving))
    assert {"type": "log", "level": "info"}.items() <= events[0].items()
    assert "127.0.0.1 is authenticated" in events[0]["message"]


def test_a_folder_that_is_no_text(commands: Commands) -> None:
    folder = os.fsencode(commands.folder) + b"/\xff\x1b[2J"
    os.mkdir(folder)
    serving = commands.start(
        "serve", os.fsdecode(folder), "--log-json", "--listen", "tcp://127.0.0.1:0"
    )
    listening = log(serving)
    assert base64.b64decode(listening["folder_b64"]) == folder


def test_nobody_reads_it(commands: Commands) -> None:
    reading, writing = os.pipe()
    serving = commands.start(
        "serve", "inbox", "--log-json", "--json", "--listen", "tcp://127.0.0.1:0", stderr=writing
    )
    os.close(writing)
    os.close(reading)
    url = json.loads(serving.out_line())["url"]
    commands.file("file")
    for _ in range(2):
        push(commands, "file", url)
    serving.signal(signal.SIGTERM)
    assert serving.finish().code == 0
