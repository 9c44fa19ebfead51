"""What a command ends with, and what it says when it does not go well."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import objxfer
from support.commands import PATIENCE, Commands
from support.connected import begin
from support.inbox import landed
from support.relay import deaf, relay

pytestmark = pytest.mark.timeout(60)

LARGE = 32_000_000
LIKE = "it looks like 4-walnut-copper-tiger"
QUICK = ("--timeout", "0.5", "--retry", "0")
"""More than a receiver that does not go on has agreed to take."""


@contextmanager
def listening(commands: Commands, **terms: Any) -> Iterator[objxfer.Listener]:
    given: dict[str, Any] = {"key": commands.key, "into": commands.inbox} | terms
    with objxfer.listen("tcp://127.0.0.1:0", **given) as listener:
        yield listener


def taking(listener: objxfer.Listener, **named: Any) -> Future[objxfer.Report]:
    """Take one delivery, beside the test."""

    def take() -> objxfer.Report:
        with listener.accept(PATIENCE) as connection:
            report = connection.recv(PATIENCE, **named)
            assert isinstance(report, objxfer.Report)
            return report

    return begin(take)


class Held:
    """A stream that holds its first bytes back until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def write(self, data: memoryview) -> int:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return len(data)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ("send", "x", "--insecure"),
            "--key and --insecure go with --to, and a code needs neither",
            'see "objxfer send --help"',
        ),
        (
            ("send", "x", "--to", "tls://nas", "--qr"),
            "--qr and --listen are for who shows a code: without --to and --code",
            'see "objxfer send --help"',
        ),
        (
            ("send", "-", "--code", "-"),
            "- is either what is sent or the code",
            'see "objxfer send --help"',
        ),
        (("receive", "4-walnut"), "a code is a number and three words", LIKE),
        (
            ("receive", "4-walnut-copper-tiger", "--insecure"),
            "a CODE goes with neither --key, --insecure, --qr nor --listen",
            'see "objxfer receive --help"',
        ),
        (
            ("receive", "-"),
            "-: there is no code in standard input",
            'see "objxfer receive --help"',
        ),
        (  # before anybody is asked for the code
            ("receive", "-", "--from", "nas"),
            "with a code, --from is tls://HOST[:PORT], not 'nas'",
            'see "objxfer receive --help"',
        ),
        (
            ("receive", "--qr"),
            "--qr is for codes: with a key, a peer or --insecure none is shown",
            'see "objxfer receive --help"',
        ),
        (
            ("send", "--to", "tls://nas"),
            "missing argument 'PATH…', or option '--text'",
            'see "objxfer send --help"',
        ),
        (("fetch",), "no such command 'fetch'", 'see "objxfer --help"'),
        ((), "missing command", 'see "objxfer --help"'),
        (
            ("send", "x", "--to", "nas:6259"),
            "'nas:6259' is no target: it has no scheme, and there is no peer 'nas'",
            'write tls://nas:6259 for a host; "objxfer peers" shows the peers',
        ),
        (
            ("send", "-", "x", "--to", "tls://nas"),
            "- is standard input, and is sent alone",
            'see "objxfer send --help"',
        ),
        (
            ("send", "x", "--name", "y", "--to", "tls://nas"),
            "--name is for standard input; a file keeps its name",
            'see "objxfer send --help"',
        ),
        (
            ("send", "x", "--to", "tls://nas", "--key", "k", "--insecure"),
            "--key and --insecure contradict each other",
            'see "objxfer send --help"',
        ),
        (
            ("receive", "--stdout", "--into", "inbox"),
            "--stdout goes with neither --into, --if-exists nor --json",
            'see "objxfer receive --help"',
        ),
        (
            ("receive", "--into", "absent"),
            "invalid value for '--into': Directory 'absent' does not exist",
            'see "objxfer receive --help"',
        ),
        (
            ("send", "x", "--to", "tls://nas", "--key", "absent"),
            "key file 'absent' is not there",
            'make a key with "objxfer keygen"',
        ),
    ],
)
def test_2_usage(commands: Commands, arguments: tuple[str, ...], error: str, hint: str) -> None:
    assert commands.run(*arguments) == (2, "", f"objxfer: error: {error}\nhint: {hint}\n")


@pytest.mark.parametrize("command", [("send", "x", "--to"), ("serve", "inbox", "--listen")])
def test_2_no_key(commands: Commands, command: tuple[str, ...]) -> None:
    commands.key_file.unlink()
    assert commands.run(*command, "tls://192.168.1.20") == (
        2,
        "",
        "objxfer: error: no key for tls://192.168.1.20\n"
        'hint: make one with "objxfer keygen", or name one with --key FILE\n',
    )


def test_2_a_named_key_that_is_absent_is_not_no_key(commands: Commands) -> None:
    ended = commands.run(
        "send", "x", "--to", "tls://nas", environment={"OBJXFER_KEY_FILE": "absent"}
    )
    assert ended.code == 2
    assert "key file 'absent' is not there" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "", "--to", "tls://nas"),
        ("send", "x", "--to", "tls://nas", "--timeout", "nan"),
        ("send", "x", "--to", "tls://nas", "--timeout", "inf"),
        ("send", "-", "--to", "tls://nas", "--name", ""),
        ("send", "-", "--to", "tls://nas", "--name", "a/b"),
        ("send", "-", "--to", "tls://nas", "--name", ".."),
    ],
)
def test_2_words_that_name_nothing(commands: Commands, arguments: tuple[str, ...]) -> None:
    with listening(commands) as listener:
        ended = commands.run(*(listener.url if one == "tls://nas" else one for one in arguments))
    assert ended.code == 2
    assert ended.err.startswith("objxfer: error: ")


def test_3_an_absent_path_does_not_stop_the_others(commands: Commands) -> None:
    commands.file("there")
    with listening(commands) as listener:
        report = taking(listener)
        ended = commands.run("send", "absent", "there", "--to", listener.url)
        assert report.result(PATIENCE).exit_code == 0
    assert ended.code == 3
    assert "absent: no such file or directory" in ended.err
    assert (commands.inbox / "there").read_bytes() == b"contents"


def test_3_a_link_that_leaves_what_is_sent(commands: Commands) -> None:
    commands.file("photos/a.jpg")
    (commands.folder / "photos/out").symlink_to("/etc/passwd")
    with listening(commands) as listener:
        report = taking(listener)
        ended = commands.run("send", "photos", "--to", listener.url)
        assert report.result(PATIENCE).exit_code == 0
    assert ended.code == 3
    assert ended.err == (
        "objxfer: warning: 1 file left out: photos/out: link leaves what is sent\n"
    )


def test_0_what_is_never_sent(commands: Commands) -> None:
    commands.file("photos/a.jpg")
    os.mkfifo(commands.folder / "photos/fifo")
    with listening(commands) as listener:
        report = taking(listener)
        ended = commands.run("send", "photos", "--to", listener.url)
        assert report.result(PATIENCE).files == 1
    assert ended.code == 0
    assert ended.out.endswith(", 1 skipped\n")


def test_4_a_file_that_changed_while_it_was_read(commands: Commands) -> None:
    log = commands.file("log.txt", bytes(LARGE))
    held = Held()
    with listening(commands, into=held) as listener:
        report = taking(listener)
        sending = commands.start("send", "-q", "log.txt", "--to", listener.url)
        assert held.begun.wait(PATIENCE)
        with log.open("r+b") as file:
            file.write(b"changed")
        held.go_on.set()
        ended = sending.finish()
        report.result(PATIENCE)
    assert ended == (
        4,
        "",
        "objxfer: warning: 1 file changed while it was read: log.txt\n",
    )


def test_5_a_file_that_vanished_before_it_was_read(commands: Commands) -> None:
    commands.file("photos/1", b"small")
    commands.file("photos/2", bytes(LARGE))
    last = commands.file("photos/3", bytes(1_000_000))

    def on_entry(entry: objxfer.EntryReport) -> None:
        # The first is there, and the second is more than was agreed to take until we return.
        if entry.path == b"photos/1":
            last.unlink()

    with listening(commands) as listener:
        report = taking(listener, on_entry=on_entry)
        ended = commands.run("send", "-q", "photos", "--to", listener.url)
        report.result(PATIENCE)
    assert ended == (
        5,
        "",
        "objxfer: warning: 1 file vanished before it was read: photos/3\n",
    )


def test_10_nobody_listens(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = commands.run("send", "x", "--to", f"tls://127.0.0.1:{port}")
    assert ended == (
        10,
        "",
        f"objxfer: error: cannot connect to tls://127.0.0.1:{port}: connection refused\n"
        'hint: start "objxfer receive" there first\n',
    )


def test_10_from_cron_a_failure_is_one_line(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = commands.run("send", "-q", "x", "--to", f"tls://127.0.0.1:{port}")
    assert ended.code == 10
    assert ended.err == (
        f"objxfer: error: cannot connect to tls://127.0.0.1:{port}: connection refused\n"
    )


def test_11_the_connection_is_lost(commands: Commands) -> None:
    with listening(commands) as listener:
        sending = commands.start("send", "-", "--to", listener.url)
        connection = listener.accept(PATIENCE)
        assert connection.poll(PATIENCE)
        connection.abandon()
        ended = sending.finish()
    assert ended.code == 11
    assert ended.err.startswith("objxfer: error: lost the connection to 127.0.0.1: ")
    assert ended.err.endswith("hint: run it again: it goes on where it stopped\n")


def test_12_the_peer_is_silent(commands: Commands) -> None:
    commands.file("report.pdf")
    with listening(commands) as listener:
        sending = commands.start(
            "send", "report.pdf", "--to", listener.url, "--timeout", "0.5", "--retry", "0"
        )
        with contextlib.suppress(objxfer.ConnectionLost), listener.accept(PATIENCE):
            ended = sending.finish()
    assert ended.code == 12
    assert ended.err == (
        "objxfer: error: gave up on 127.0.0.1: nothing was heard of the peer for 0.5 s\n"
    )


def test_12_a_sender_that_falls_silent(commands: Commands) -> None:
    commands.file("blob", bytes(LARGE))
    receiving = commands.receive(*QUICK)
    with relay(receiving.url, deaf(1_000_000)) as url:
        commands.start("send", "blob", "--to", url)
        ended = receiving.finish()
    assert ended.code == 12
    assert "gave up on 127.0.0.1: nothing was heard of the peer for 0.5 s" in ended.err
    assert landed(commands.inbox) == []


def test_13_another_key(commands: Commands) -> None:
    commands.file("report.pdf")
    made = commands.run("keygen", "other").out
    other = made.partition("(id ")[2].partition(",")[0]
    receiving = commands.receive(scheme="tls")
    ended = commands.run("send", "report.pdf", "--to", receiving.url, "--key", "other")
    assert ended == (
        13,
        "",
        f"objxfer: error: {receiving.url} does not hold our key ({other})\n"
        "hint: compare the key ids both sides show\n",
    )


def test_15_the_peer_does_not_speak_tls(commands: Commands) -> None:
    receiving = commands.receive(scheme="tcp")
    url = receiving.url.replace("tcp://", "tls://")
    assert commands.run("send", "x", "--to", url) == (
        15,
        "",
        f"objxfer: error: {url} does not speak TLS\nhint: it may be listening on tcp://\n",
    )


def test_20_the_receiver_does_not_replace(commands: Commands) -> None:
    commands.file("inbox/report.pdf", b"old")
    commands.file("report.pdf", b"new, and longer")
    receiving = commands.receive()
    ended = commands.run("send", "report.pdf", "--to", receiving.url, "--if-exists", "replace")
    assert ended == (
        20,
        "",
        "objxfer: error: refused by 127.0.0.1: report.pdf exists, and this receiver does not"
        " replace\n"
        "hint: it allows that with --if-exists replace\n",
    )
    received = receiving.finish()
    assert received.code == 20
    assert (commands.inbox / "report.pdf").read_bytes() == b"old"


def test_20_the_receiver_keeps_what_it_has(commands: Commands) -> None:
    commands.file("inbox/report.pdf", b"old")
    commands.file("report.pdf", b"new, and longer")
    receiving = commands.receive("--if-exists", "fail")
    ended = commands.run("send", "report.pdf", "--to", receiving.url)
    assert ended.code == 20
    assert ended.err == "objxfer: error: refused by 127.0.0.1: report.pdf exists\n"


@pytest.mark.parametrize(
    ("rule", "asked", "left"),
    [("replace", None, b"new"), ("replace", "skip", b"old"), ("skip", None, b"old")],
)
def test_0_the_rule_for_names_that_are_taken(
    commands: Commands, rule: str, asked: str | None, left: bytes
) -> None:
    commands.file("inbox/report.pdf", b"old")
    commands.file("report.pdf", b"new")
    receiving = commands.receive("--if-exists", rule)
    milder = ("--if-exists", asked) if asked else ()
    ended = commands.run("send", "report.pdf", "--to", receiving.url, *milder)
    assert ended.code == 0
    assert ended.err == ""
    assert (commands.inbox / "report.pdf").read_bytes() == left
    assert len(list(commands.inbox.iterdir())) == 1


def test_20_what_is_no_inbox(commands: Commands) -> None:
    commands.file("report.pdf")
    with listening(commands, into=None) as listener:
        future = taking(listener)
        ended = commands.run("send", "report.pdf", "--to", listener.url)
        assert isinstance(future.exception(PATIENCE), objxfer.ConnectionClosed)
    assert ended.code == 20
    assert ended.err.startswith("objxfer: error: refused by 127.0.0.1: ")
    assert "receiver takes no files" in ended.err


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="needs a file system to fill")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
def test_21_and_22_the_disk_of_the_receiver_is_full(commands: Commands) -> None:
    if os.system(f"mount -t tmpfs -o size=1m none {commands.inbox} 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        commands.file("blob", bytes(3_000_000))
        receiving = commands.receive()
        sent = commands.run("send", "blob", "--to", receiving.url)
        received = receiving.finish()
    finally:
        os.system(f"umount {commands.inbox}")
    full = "no space left {} for 1 file: blob\n"
    assert (sent.code, sent.err) == (21, "objxfer: error: " + full.format("at 127.0.0.1"))
    assert (received.code, received.err) == (22, "objxfer: error: " + full.format("here"))


def test_30_bytes_that_were_changed_on_their_way(commands: Commands) -> None:
    commands.file("blob", b"x" * 40_000)
    receiving = commands.receive()
    with relay(receiving.url, lambda data: data.replace(b"x" * 64, b"y" * 64)) as url:
        assert commands.run("send", "blob", "--to", url, "--retry", "0").code != 0
        ended = receiving.finish()
    assert ended.code == 30
    assert ended.err == "objxfer: error: a chunk's payload does not match its digest\n"
    assert landed(commands.inbox) == []


def test_1_whatever_else(commands: Commands) -> None:
    with Path("/dev/full").open("wb") as full:
        receiving = commands.start(
            "receive", "--stdout", "--listen", "tcp://127.0.0.1:0", stdout=full
        )
        url = receiving.err_line().removeprefix("listening on ").partition(",")[0]
        commands.file("blob", bytes(100_000))
        assert commands.run("send", "blob", "--to", url).code == 1
        ended = receiving.finish()
    assert ended.code == 1
    assert "the output takes no more: no space left on device" in ended.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing here is always full")
def test_22_where_results_find_no_room(commands: Commands) -> None:
    commands.file("blob")
    with Path("/dev/full").open("wb") as full:
        ended = commands.start("digest", "blob", stdout=full).finish()
        assert ended == (22, "", "objxfer: error: no space left on device\n")
        assert commands.start("digest", "absent", stderr=full).finish().code == 3


def test_a_traceback_comes_with_vv_alone(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tls://127.0.0.1:{server.getsockname()[1]}"
    assert "Traceback" not in commands.run("send", "x", "--to", url, "-v").err
    assert "Traceback (most recent call last):" in commands.run("send", "x", "--to", url, "-vv").err
