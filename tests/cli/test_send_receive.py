"""One delivery between two processes, as people see it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import sys
from pathlib import Path

import pytest

from support.commands import PATIENCE, Commands, Finished, Running
from support.connected import begin

pytestmark = pytest.mark.timeout(60)

TIME = r"\d+(\.\d)? s"
RATE = r"\d+(\.\d)? [kMG]?B/s"


def deliver(
    commands: Commands, *arguments: str, scheme: str = "tls", receiver: tuple[str, ...] = ()
) -> tuple[Finished, Finished]:
    receiving = commands.receive(*receiver, scheme=scheme)
    sent = commands.run("send", *arguments, "--to", receiving.url)
    return sent, receiving.finish()


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize(
    ("scheme", "protection"), [("tls", "TLS"), ("tcp", "not encrypted")], ids=["tls", "tcp"]
)
def test_one_file(commands: Commands, scheme: str, protection: str) -> None:
    report = commands.file("report.pdf", os.urandom(2_410_000))
    sent, received = deliver(commands, "report.pdf", scheme=scheme)
    assert (sent.code, received.code) == (0, 0)
    what = rf"1 file, 2\.41 MB in {TIME}"
    assert matches(rf"sent {what} \({RATE}, {protection}, 127\.0\.0\.1\)\n", sent.out)
    assert matches(rf"received {what} from 127\.0\.0\.1: report\.pdf\n", received.out)
    assert sent.err == ""
    assert received.err == ""
    there = commands.inbox / "report.pdf"
    assert there.read_bytes() == report.read_bytes()
    assert there.stat().st_mtime_ns == report.stat().st_mtime_ns


def test_what_a_receiver_says_while_it_waits(commands: Commands) -> None:
    receiving = commands.start(
        "receive", "--listen", "tls://127.0.0.1:0", "--into", str(commands.inbox)
    )
    first, second = receiving.err_line(), receiving.err_line()
    found = re.fullmatch(r"listening on (tls://127\.0\.0\.1:\d+), key (\w+), into (.*)", first)
    assert found is not None
    assert found[2] == commands.key.id
    assert found[3] == str(commands.inbox)
    assert second == f"on the other machine:  objxfer send PATH --to {found[1]}"


def test_the_default_port_is_not_named_to_the_other_machine(commands: Commands) -> None:
    receiving = commands.start("receive", "--listen", "tcp://127.0.0.1")
    first = receiving.err_line()
    if "address already in use" in first:
        pytest.skip("port 6259 is in use")
    assert first.startswith("listening on tcp://127.0.0.1:6259, ")
    assert receiving.err_line().endswith("--to tcp://127.0.0.1")


def test_a_different_file_of_that_name_is_kept(commands: Commands) -> None:
    commands.file("inbox/report.pdf", b"old")
    commands.file("report.pdf", b"new, and longer")
    sent, received = deliver(commands, "report.pdf")
    kept = 'kept both: the new one is "report (1).pdf"'
    assert sent.out.splitlines()[1:] == [kept]
    assert received.out.splitlines()[1:] == [kept]
    assert (commands.inbox / "report.pdf").read_bytes() == b"old"
    assert (commands.inbox / "report (1).pdf").read_bytes() == b"new, and longer"


def test_a_second_run_sends_nothing(commands: Commands) -> None:
    commands.file("photos/a.jpg")
    commands.file("photos/b.jpg")
    deliver(commands, "photos")
    sent, received = deliver(commands, "photos")
    assert sent.out.startswith("sent 0 files, 0 B in ")
    assert sent.out.endswith(", 2 unchanged\n")
    assert received.out.endswith(": photos, 2 unchanged\n")
    assert sent.code == 0


def test_several_paths_and_a_folder_of_the_target(commands: Commands) -> None:
    commands.file("photos/a.jpg", b"a")
    commands.file("notes.txt", b"n")
    receiving = commands.receive()
    sent = commands.run("send", "photos/", "notes.txt", "--to", f"{receiving.url}/2026/may")
    assert sent.code == 0
    assert receiving.finish().out.endswith(": photos, notes.txt\n")
    assert (commands.inbox / "2026/may/photos/a.jpg").read_bytes() == b"a"
    assert (commands.inbox / "2026/may/notes.txt").read_bytes() == b"n"


def test_copy_links_sends_what_they_point_to(commands: Commands) -> None:
    outside = commands.file("outside.txt", b"outside")
    commands.file("photos/a.jpg")
    (commands.folder / "photos/link").symlink_to(outside)
    sent, _ = deliver(commands, "photos", "--copy-links")
    assert sent.code == 0
    assert (commands.inbox / "photos/link").read_bytes() == b"outside"
    assert not (commands.inbox / "photos/link").is_symlink()


def test_quiet_is_quiet(commands: Commands) -> None:
    commands.file("documents/a.txt")
    receiving = commands.start("receive", "-q", "--listen", "tcp://127.0.0.1:0", "--into", "inbox")
    url = _url_of(receiving)
    if url is None:
        pytest.skip("the port is not to be found")
    sent = commands.run("send", "-q", "documents", "--to", url)
    assert sent == (0, "", "")
    assert receiving.finish() == (0, "", "")


def _url_of(receiving: Running) -> str | None:
    """Find where a silent receiver listens."""
    listening = Path(f"/proc/{receiving.process.pid}/net/tcp")
    if not listening.exists():
        return None
    while receiving.process.poll() is None:
        held = set()
        for each in Path(f"/proc/{receiving.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                held.add(os.readlink(each))
        for line in listening.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                return f"tcp://127.0.0.1:{int(fields[1].split(':')[1], 16)}"
    return None


@pytest.mark.parametrize(("options", "drawn"), [((), True), (("-q",), False), (("--json",), False)])
def test_bars_where_somebody_looks(
    commands: Commands, options: tuple[str, ...], drawn: bool
) -> None:
    commands.file("photos/a.jpg", bytes(1_000_000))
    commands.file("photos/b.jpg", bytes(1_000_000))
    receiving = commands.receive()
    main, other = pty.openpty()
    with os.fdopen(other, "wb") as terminal:
        sending = commands.start("send", "photos", "--to", receiving.url, *options, stderr=terminal)
    shown = b""
    with contextlib.suppress(OSError):  # some systems end with an error
        while data := os.read(main, 65536):
            shown += data
    os.close(main)
    assert sending.finish().code == 0
    assert re.search(r"photos  100%\|█*\| 2\.00M/2\.00M \[", shown.decode()) if drawn else not shown


def test_standard_input_to_standard_output(commands: Commands) -> None:
    contents = os.urandom(5_000_000)
    receiving = commands.listen("receive", "--stdout")
    sending = commands.start("send", "-", "--name", "nightly.tar", "--to", receiving.url)
    beside = begin(sending.finish, contents)
    out, err = receiving.process.communicate(timeout=PATIENCE)
    assert out == contents
    assert b"received 1 file, 5.00 MB in " in err
    assert err.endswith(b": nightly.tar\n")
    assert beside.result(PATIENCE).code == 0
    assert receiving.process.returncode == 0


def test_a_folder_to_standard_output(commands: Commands) -> None:
    """Who sends it by a key does not count it first."""
    for number in range(8):
        commands.file(f"photos/{number}.jpg")
    receiving = commands.listen("receive", "--stdout")
    sent = commands.run("send", "photos", "--to", receiving.url)
    assert (sent.code, receiving.finish().code) == (20, 20)
    assert re.search(
        r"error: refused by 127\.0\.0\.1: photos/\d\.jpg: this receiver takes a single file;"
        r" and 8 more entries$",
        sent.err,
        re.MULTILINE,
    ), sent.err


@pytest.mark.skipif(sys.platform == "darwin", reason="all names are UTF-8 there")
def test_a_name_that_is_not_utf_8_is_shown_the_same_by_both(commands: Commands) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    commands.file(f"menu/{name}")
    commands.file(f"inbox/menu/{name}", b"another")
    receiving = commands.receive("--if-exists", "fail")
    sent = commands.run("send", "menu", "--to", receiving.url)
    received = receiving.finish()
    assert (sent.code, received.code) == (20, 20)
    why = "menu/caf\\xe9.txt exists\n"
    assert f"error: refused by 127.0.0.1: {why}" in sent.err
    assert f"error: refused: {why}" in received.err


def test_standard_input_has_a_name_of_its_own(commands: Commands) -> None:
    receiving = commands.receive()
    assert commands.run("send", "-", "--to", receiving.url, stdin=b"hello").code == 0
    assert receiving.finish().code == 0
    assert (commands.inbox / "stdin").read_bytes() == b"hello"


def test_a_truncated_stream_is_a_failure_of_verified_bytes(commands: Commands) -> None:
    contents = os.urandom(4_000_000)
    receiving = commands.listen("receive", "--stdout")
    sending = commands.start("send", "-", "--to", receiving.url)
    sending.write(contents)
    assert receiving.process.stdout is not None
    begin = receiving.process.stdout.read(1 << 20)
    sending.process.kill()
    out, err = receiving.process.communicate(timeout=PATIENCE)
    assert receiving.process.returncode == 11
    assert contents.startswith(begin + out)
    assert b"objxfer: error: lost the connection to 127.0.0.1: " in err


def test_a_reader_that_has_enough_ends_it_without_a_word(commands: Commands) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        receiving = commands.start(
            "receive", "--stdout", "--listen", "tcp://127.0.0.1:0", stdout=pipe
        )
    url = receiving.err_line().removeprefix("listening on ").partition(",")[0]
    receiving.err_line()
    os.close(read)
    commands.file("blob", bytes(1_000_000))
    sent = commands.run("send", "blob", "--to", url)
    assert sent.code == 1
    assert "the output takes no more" in sent.err
    received = receiving.finish()
    assert received.code == 141
    assert received.err == ""


def test_a_closed_pipe_does_not_end_a_delivery(commands: Commands) -> None:
    commands.file("photos/a.jpg")
    receiving = commands.receive()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        sending = commands.start("send", "photos", "--to", receiving.url, "--json", stdout=pipe)
    sent = sending.finish()
    assert sent.code == 0
    assert sent.err == ""
    assert receiving.finish().code == 0


def test_who_is_not_let_in_is_a_line_and_does_not_end_it(commands: Commands) -> None:
    commands.file("report.pdf")
    receiving = commands.receive()
    with socket.create_connection(("127.0.0.1", int(receiving.url.rpartition(":")[2]))) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert receiving.err_line() == "127.0.0.1 refused: the peer does not speak objxfer"
    assert commands.run("keygen", "other").code == 0
    wrong = commands.run("send", "report.pdf", "--to", receiving.url, "--key", "other")
    assert wrong.code == 13
    assert receiving.err_line() == "127.0.0.1 refused: wrong key"
    nothing = commands.run("send", "absent", "--to", receiving.url)
    assert nothing.code == 3
    assert receiving.err_line().startswith("127.0.0.1 delivered nothing: ")
    assert commands.run("send", "report.pdf", "--to", receiving.url).code == 0
    assert receiving.finish().code == 0


def test_without_a_key_only_where_both_say_so(commands: Commands) -> None:
    commands.file("report.pdf")
    receiving = commands.start(
        "receive", "--insecure", "--into", "inbox", "--listen", "tcp://127.0.0.1:0"
    )
    assert receiving.err_line() == "objxfer: warning: --insecure: nobody proves who they are"
    first = receiving.err_line()
    assert ", without a key, into " in first
    url = first.removeprefix("listening on ").partition(",")[0]
    assert receiving.err_line().endswith(f"--to {url} --insecure")
    assert commands.run("send", "report.pdf", "--to", url).code == 13
    sent = commands.run("send", "report.pdf", "--to", url, "--insecure")
    assert sent.code == 0
    assert "--insecure" in sent.err
    assert receiving.finish().code == 0


def test_verbose_shows_what_happens(commands: Commands) -> None:
    receiving = commands.listen("receive", "--into", "inbox", "-v")
    commands.file("report.pdf")
    assert commands.run("send", "report.pdf", "--to", receiving.url, "-vv").code == 0
    assert "127.0.0.1 is authenticated" in receiving.finish().err
