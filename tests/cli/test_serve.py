"""The inbox that stays."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import objxfer
from objxfer.errors import CannotConnect, ConnectionLost
from objxfer_cli.counts import Counts
from objxfer_cli.serve import _Watcher
from objxfer_cli.terminal import Terminal
from support.commands import PATIENCE, Commands
from support.connected import connected
from support.inbox import landed
from support.streaming import BEGINNING, streaming

pytestmark = pytest.mark.timeout(60)

TIME = r"\d\d:\d\d:\d\d"


def test_a_line_for_each_delivery_and_each_refusal(commands: Commands) -> None:
    for number in range(3):
        commands.file(f"photos/{number}.jpg", bytes(1_000_000))
    serving = commands.start("serve", "inbox", "--listen", "tls://127.0.0.1:0")
    assert serving.err_line() == (
        f"inbox {commands.inbox}: others may send here; nobody can read or delete"
        " (existing files: rename)"
    )
    first = serving.err_line()
    assert first.endswith(f", key {commands.key.id}")
    url = first.removeprefix("listening on ").partition(",")[0]

    assert commands.run("send", "photos", "--to", url).code == 0
    line = serving.out_line()
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 photos: 3 files, 3\.00 MB in \d.* s", line)

    commands.file("photos/3.jpg", bytes(400_000))
    assert commands.run("send", "photos", "--to", url).code == 0
    line = serving.out_line()
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 photos: 1 file, 400 kB in \d.* s, 3 unchanged", line)

    commands.run("keygen", "other")
    assert commands.run("send", "photos", "--to", url, "--key", "other").code == 13
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 refused: wrong key", serving.err_line())

    serving.signal(signal.SIGTERM)
    assert serving.finish() == (0, "", "draining: nothing is on its way\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing here is always full")
def test_a_full_disk_under_its_results_ends_no_delivery(commands: Commands) -> None:
    commands.file("letter", bytes(100_000))
    with Path("/dev/full").open("wb") as full:
        serving = commands.start(
            "serve", "inbox", "--listen", "tcp://127.0.0.1:0", "--metrics", "figures", stdout=full
        )
        assert serving.err_line().startswith("inbox ")
        url = serving.err_line().removeprefix("listening on ").partition(",")[0]
        for _ in range(2):
            assert commands.run("send", "letter", "--to", url).code == 0
        serving.signal(signal.SIGTERM)
        ended = serving.finish()
    assert ended.err.splitlines() == [
        "objxfer: warning: standard output takes no more: no space left on device;"
        " deliveries go on",
        "draining: nothing is on its way",
    ]
    figures = (commands.folder / "figures").read_text("ascii")
    assert 'objxfer_deliveries_total{peer="",result="ok"} 2' in figures


def test_what_is_out_of_the_ordinary_says_whose_it_is(commands: Commands) -> None:
    commands.file("photos/a.jpg", b"new")
    commands.file("inbox/photos/a.jpg", b"another")
    serving = commands.listen("serve", "inbox")
    assert commands.run("send", "photos", "--to", serving.url).code == 0
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 photos: 1 file, .*", serving.out_line())
    assert re.fullmatch(
        rf'{TIME} 127\.0\.0\.1 kept both: the new one is "a \(1\)\.jpg"', serving.out_line()
    )

    strict = commands.listen("serve", "inbox", "--if-exists", "fail")
    commands.file("photos/a.jpg", b"newer, and longer")
    assert commands.run("send", "photos", "--to", strict.url).code == 20
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 refused: photos/a\.jpg exists", strict.err_line())
    with pytest.raises(objxfer.RefusedByPeer), objxfer.connect(strict.url, key=commands.key) as one:
        one.push(commands.folder / "photos", into="../\x1b[2J\u202e")
    line = strict.err_line()
    assert re.match(rf"{TIME} 127\.0\.0\.1 photos failed: ", line)
    assert line.isprintable()
    assert r"\x1b[2J\u202e" in line


def test_many_at_once(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox")
    sending = []
    for number in range(6):
        commands.file(f"from-{number}/file", bytes(200_000))
        sending.append(commands.start("send", f"from-{number}", "--to", serving.url))
    assert [each.finish().code for each in sending] == [0] * 6
    assert len(list(commands.inbox.glob("from-*/file"))) == 6


def test_as_a_service_it_says_nothing_of_success(commands: Commands) -> None:
    commands.file("documents/a.txt", b"new")
    commands.file("inbox/laptop/documents/a.txt", b"older")
    serving = commands.start(
        "serve", "inbox", "--if-exists", "replace", "--listen", "tcp://127.0.0.1:0", "-q", "--json"
    )
    url = serving.out_line().partition('"url":"')[2].partition('"')[0]
    sent = commands.run("send", "-q", "documents", "--to", f"{url}/laptop")
    assert sent == (0, "", "")
    assert (commands.inbox / "laptop/documents/a.txt").read_bytes() == b"new"
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    assert ended.err == ""


def test_a_sender_that_is_cut_off_does_not_end_it(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox")
    sending = commands.start("send", "-", "--to", serving.url)
    sending.write(bytes(2_000_000))
    while not list(commands.inbox.iterdir()):
        assert sending.process.poll() is None
    sending.process.kill()
    assert re.fullmatch(
        rf"{TIME} 127\.0\.0\.1 stdin failed: .*; 0 of 1 file is there, none of them half-written",
        serving.err_line(),
    )
    assert landed(commands.inbox) == []
    commands.file("after.txt")
    assert commands.run("send", "after.txt", "--to", serving.url).code == 0


def test_stopped_it_lets_deliveries_come_to_their_end(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox")
    with objxfer.connect(serving.url, key=commands.key) as idle:
        sending = streaming(commands, serving)
        serving.signal(signal.SIGTERM)
        assert serving.err_line() == "draining: 1 delivery has 5 s to be through"
        with pytest.raises(ConnectionLost):
            idle.recv(PATIENCE)
        with pytest.raises(CannotConnect):
            objxfer.connect(serving.url, key=commands.key)
        assert sending.finish(b"the rest").code == 0
        ended = serving.finish()
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 stdin: 1 file, 3\.07 MB in .* s\n", ended.out)
    assert (commands.inbox / "stdin").read_bytes() == BEGINNING + b"the rest"


def test_stopped_it_does_not_wait_for_ever(commands: Commands) -> None:
    serving = commands.listen_json("serve", "inbox")
    sending = [streaming(commands, serving, "--name", name) for name in ("a", "b")]
    sending[0].signal(signal.SIGSTOP)
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    assert ended.err.startswith("draining: 2 deliveries have 5 s to be through\n")
    cut = [line for line in ended.lines if line["type"] == "summary"]
    assert [line["exit_code"] for line in cut] == [11, 11]
    assert not {"a", "b"} & {path.name for path in commands.inbox.iterdir()}
    sending[0].signal(signal.SIGCONT)
    assert [each.finish().code for each in sending] == [11, 11]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_twice_it_ends_at_once(commands: Commands, number: signal.Signals) -> None:
    serving = commands.listen("serve", "inbox")
    sending = streaming(commands, serving)
    serving.signal(signal.SIGTERM)
    assert serving.err_line() == "draining: 1 delivery has 5 s to be through"
    serving.signal(number)
    assert serving.finish() == (128 + number, "", "")
    assert sending.finish().code == 11


def test_the_folder_must_exist(commands: Commands) -> None:
    ended = commands.run("serve", "mnt")
    assert ended.code == 2
    assert "Directory 'mnt' does not exist" in ended.err


def test_nothing_is_kept_of_a_sender_that_has_gone() -> None:
    watcher = _Watcher(Terminal(), Counts())
    with connected() as (_, there):
        watcher.connected(1, there)
        watcher.ended(1, there)
    assert watcher._deliveries == {}
