"""A text in place of files: what is typed here is shown there, and acts on neither terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer.errors import ConnectionLost, LimitExceeded
from objxfer.protocol.chunks import OVERHEAD
from objxfer.protocol.messages import Done, Message, Object, Taken
from objxfer.protocol.session import data
from objxfer.transfer.steps import Steps, receive, send
from objxfer_cli.commands import run
from objxfer_cli.terminal import Terminal
from support.byhand import perform
from support.commands import PATIENCE, Commands, Finished, Running
from support.machines import Machine
from support.neighbours import Cable, needs_cable
from support.relay import Cut, counting, cutting, relay
from support.terminals import terminal

pytestmark = pytest.mark.timeout(60)

HERE: Final = ("--listen", "tls://127.0.0.1:0")
QUESTION: Final = "take it? [Y/n] "
OSC_52: Final = "\x1b]52;c;cm0gLXJmIH4=\x07"
HOSTILE: Final = f"\x1b[2J{OSC_52}\x00\r\u202egpj.\u2066\u200f\u2028\x9b31m\x7f\x0b\ufeff"
ESCAPED: Final = (
    r"\x1b[2J\x1b]52;c;cm0gLXJmIH4=\x07\x00\r\u202egpj.\u2066\u200f\u2028\x9b31m\x7f\x0b\ufeff"
)
AS_FILE: Final = "hint: objxfer send - sends standard input as a file, and --name names it\n"
NOT_KNOWN: Final = "hint: whether it was shown there is not known: ask before you send it again\n"


def code_of(running: Running) -> tuple[str, str]:
    """Read the code that a command shows, and where it waits."""
    said = running.until("if that finds nobody, add: ")
    found = re.search(r"^code: (\S+)$", said, re.MULTILINE)
    assert found
    return found[1], running.err_line().split()[-1]


def show(commands: Commands, *arguments: str) -> tuple[Running, str, str]:
    """Start what shows a code; return it, the code, and where it waits."""
    running = commands.start(*arguments, *HERE)
    return running, *code_of(running)


def send_text(commands: Commands, text: str, url: str, *more: str) -> Finished:
    return commands.run("send", "--text", text, "--to", url, *more)


# --- what is sent is shown ---


def test_a_text_is_shown(commands: Commands) -> None:
    receiving = commands.receive()
    sent = send_text(commands, "grüße\n\tan alle", receiving.url)
    received = receiving.finish()
    assert sent == (0, "sent a text of 14 characters (not encrypted, 127.0.0.1)\n", "")
    assert received == (
        0,
        "grüße\n\tan alle\n",
        "received a text of 14 characters from 127.0.0.1\n",
    )
    assert list(commands.inbox.iterdir()) == []


def test_what_acts_on_a_terminal_is_escaped(commands: Commands) -> None:
    """Line feeds and tabs stay; a line feed at the end is not doubled."""
    text = f"a\t{HOSTILE}\nb\n"
    receiving = commands.receive()
    sent = commands.run("send", "--text", "-", "--to", receiving.url, stdin=text.encode())
    received = receiving.finish()
    assert (sent.code, received.code) == (0, 0), (sent, received)
    assert received.out == f"a\t{ESCAPED}\nb\n"
    assert received.err == f"received a text of {len(text)} characters from 127.0.0.1\n"


def test_on_a_terminal_nothing_acts(commands: Commands) -> None:
    with terminal() as (person, program):
        receiving = commands.start("receive", "--listen", "tcp://127.0.0.1:0", stdout=program)
        url = receiving.until("on the other machine:").split()[2].rstrip(",")
        assert commands.run("send", "--text", "-", "--to", url, stdin=HOSTILE.encode()).code == 0
        assert receiving.finish().code == 0
        assert os.read(person, 1000).decode() == f"{ESCAPED}\r\n"


def test_to_a_pipe_it_goes_as_it_is(commands: Commands) -> None:
    """No line feed is added, and nothing is escaped."""
    receiving = commands.listen("receive", "--stdout")
    text = f"grüße {HOSTILE}\r\n\n end"
    sent = commands.run("send", "--text", "-", "--to", receiving.url, stdin=text.encode())
    out, err = receiving.process.communicate(timeout=PATIENCE)
    assert (sent.code, receiving.process.returncode) == (0, 0)
    assert out == text.encode()
    assert err.decode().endswith(f"received a text of {len(text)} characters from 127.0.0.1\n")


def test_a_file_still_goes_to_a_pipe(commands: Commands) -> None:
    receiving = commands.listen("receive", "--stdout")
    assert commands.run("send", "-", "--to", receiving.url, stdin=b"a file").code == 0
    assert receiving.finish().out == "a file"


def test_a_tree_still_lands(commands: Commands) -> None:
    commands.file("photos/a.jpg")
    receiving = commands.receive()
    assert commands.run("send", "photos", "--to", receiving.url).code == 0
    assert receiving.finish().code == 0
    assert (commands.inbox / "photos" / "a.jpg").read_bytes() == b"contents"


def test_json_lines(commands: Commands) -> None:
    receiving = commands.listen_json("receive")
    text = f"ü{HOSTILE}".encode()
    sent = commands.run("send", "--text", "-", "--to", receiving.url, "--json", stdin=text)
    received = receiving.finish()
    assert [line["type"] for line in sent.lines] == ["connected", "text"]
    assert [line["type"] for line in received.lines] == ["connected", "text"]
    measures = {"characters": 1 + len(HOSTILE), "bytes": 2 + len(HOSTILE.encode())}
    assert sent.lines[1] == {"type": "text", "action": "sent", **measures}
    assert received.lines[1] == {
        "type": "text",
        "action": "received",
        **measures,
        "text": f"ü{HOSTILE}",
    }
    assert received.out.isascii()
    assert all(line.isprintable() for line in received.out.splitlines())
    assert (sent.err, received.err) == ("", "")


def test_the_longest_one(commands: Commands) -> None:
    receiving = commands.receive()
    longest = b"x" * 64_000
    assert commands.run("send", "--text", "-", "--to", receiving.url, stdin=longest).code == 0
    assert receiving.finish().out == f"{longest.decode()}\n"


def test_a_text_that_looks_like_an_option(commands: Commands) -> None:
    receiving = commands.receive()
    assert send_text(commands, "--help", receiving.url).code == 0
    assert receiving.finish().out == "--help\n"


# --- what cannot be sent is said before anybody is called ---

SEND: Final = ("send", "--to", "tls://127.0.0.1:1", "--text")


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "the text is empty\nhint: see "),
        (b"x" * 64_001, f"a text has at most 64,000 bytes\n{AS_FILE}"),
        (b"\xff", f"the text is not UTF-8\n{AS_FILE}"),
        ("\ud800".encode("utf-8", "surrogatepass"), f"the text is not UTF-8\n{AS_FILE}"),
    ],
)
def test_2_what_is_no_text(
    stdin: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    assert run(Terminal(), [*SEND, "-"]) == 2
    assert capsys.readouterr().err.startswith(f"objxfer: error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*SEND, ""], "the text is empty\n"),
        ([*SEND, os.fsdecode(b"\xff")], f"the text is not UTF-8\n{AS_FILE}"),
        ([*SEND, "x", "report.pdf"], "--text goes with neither PATH, --name, "),
        ([*SEND, "x", "-"], "--text goes with neither PATH, --name, "),
        ([*SEND, "x", "--name", "x"], "--text goes with neither PATH, --name, "),
        ([*SEND, "x", "--if-exists", "skip"], "--text goes with neither PATH, --name, "),
        ([*SEND, "x", "--copy-links"], "--text goes with neither PATH, --name, "),
        ([*SEND, "x", "--checksum"], "--text goes with neither PATH, --name, "),
        (["send", "--text", "x", "--to", "tls://nas/folder"], "a text goes into no folder: "),
        (["send", "--text", "x", "--to", "nas:folder"], "a text goes into no folder: "),
        (["send", "--text", "x", "--to", "nas:6259"], "a text goes into no folder: "),
        (["send", "--text", "-", "--code", "-"], "- is either what is sent or the code\n"),
        (["send", "--to", "tls://nas"], "missing argument 'PATH…', or option '--text'\n"),
    ],
)
def test_2_what_does_not_go_together(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Terminal(), arguments) == 2
    assert capsys.readouterr().err.startswith(f"objxfer: error: {said}")


# --- by a code ---


def test_who_shows_a_code_sends_a_text(commands: Commands) -> None:
    sending, code, url = show(commands, "send", "--text", "hello")
    received = commands.run("receive", code, "--from", url, "--yes")
    assert sending.finish() == (0, "sent a text of 5 characters (TLS, 127.0.0.1)\n", "")
    assert received.code == 0
    assert received.out == "hello\n"
    assert received.err == (
        "127.0.0.1 offers a text (5 characters)\nreceived a text of 5 characters from 127.0.0.1\n"
    )


def test_who_types_a_code_sends_a_text_that_nobody_else_sees(commands: Commands) -> None:
    commands.key_file.unlink()
    receiving, code, url = show(commands, "receive", "--stdout", "--yes")
    sending = commands.start("send", "--text", "-", "--code", code, "--to", url)
    if sys.platform == "linux":
        assert "secret" not in Path(f"/proc/{sending.process.pid}/cmdline").read_text()
    assert sending.finish(b"secret").code == 0
    received = receiving.finish()
    assert (received.code, received.out) == (0, "secret")
    assert "127.0.0.1 offers a text (6 characters) → standard output\n" in received.err


def test_quiet_shows_the_text_alone(commands: Commands) -> None:
    _, code, url = show(commands, "send", "--text", "hello", "-q")
    received = commands.run("receive", code, "--from", url, "--yes", "-q")
    assert received == (0, "hello\n", "")


def test_what_is_offered_as_json(commands: Commands) -> None:
    _, code, url = show(commands, "send", "--text", "grüße")
    lines = commands.run("receive", code, "--from", url, "--yes", "--json").lines
    assert [line["type"] for line in lines] == ["connected", "offered", "text"]
    offered = {"type": "offered", "peer": "127.0.0.1", "characters": 5, "bytes_total": 7}
    assert lines[1] == offered


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 20)])
def test_who_is_asked_sees_how_long_it_is_and_not_what(
    commands: Commands, answer: bytes, code: int
) -> None:
    sending, spoken, url = show(commands, "send", "--text", "hello")
    with terminal() as (person, program):
        receiving = commands.start("receive", spoken, "--from", url, stdin=program)
        assert receiving.until(QUESTION) == f"127.0.0.1 offers a text (5 characters)\n{QUESTION}"
        os.write(person, answer)
        received, sent = receiving.finish(), sending.finish()
    assert (sent.code, received.code) == (code, code)
    assert received.out == ("" if code else "hello\n")
    if code:
        assert sent.err == "objxfer: error: refused by 127.0.0.1: it was declined\n"


def test_130_who_is_asked_and_leaves_has_declined(commands: Commands) -> None:
    sending, code, url = show(commands, "send", "--text", "hello")
    with terminal() as (person, program):
        receiving = commands.start("receive", code, "--from", url, stdin=program)
        receiving.until(QUESTION)
        os.write(person, b"what?\n")
        receiving.until(QUESTION)
        receiving.signal(signal.SIGINT)
        received, sent = receiving.finish(), sending.finish()
    assert (sent.code, received.code, received.out) == (20, 130, ""), (sent, received)


def test_20_nobody_can_be_asked(commands: Commands) -> None:
    sending, code, url = show(commands, "send", "--text", "hello")
    received = commands.run("receive", code, "--from", url)
    assert (sending.finish().code, received.code, received.out) == (20, 20, "")
    assert "nobody can be asked: standard input is no terminal\n" in received.err


def test_a_lost_connection_while_it_is_asked_goes_on(commands: Commands) -> None:
    """The question goes away and comes again, and what is shown in the end is shown once."""
    cut = False

    def until_cut(said: bytes) -> bytes:
        nonlocal cut
        if cut:
            cut = False
            raise Cut(b"")
        return said

    sending, code, url = show(commands, "send", "--text", "hello", "--timeout", "0.3")
    with terminal() as (person, program), relay(url, client_says=until_cut) as through:
        receiving = commands.start("receive", code, "--from", through, stdin=program)
        receiving.until(QUESTION)
        cut = True  # the next sign of life that it gives
        said = receiving.until(QUESTION)
        assert "lost the connection to 127.0.0.1: " in said
        os.write(person, b"y\n")
        received, sent = receiving.finish(), sending.finish()
    assert (sent.code, received.code, received.out) == (0, 0, "hello\n"), (sent, received)


# --- by a name ---


@needs_cable
def test_to_a_peer(tmp_path: Path) -> None:
    with ExitStack() as exit_stack:
        cable = exit_stack.enter_context(Cable(ipv6=False))
        ben = Machine(tmp_path / "ben", exit_stack, cable.here)
        nas = Machine(tmp_path / "nas", exit_stack, cable.there)
        waiting, code, _ = nas.wait_with_code("--as", "nas")
        assert ben.run("pair", code, "nas", "--as", "ben").code == 0
        assert waiting.finish().code == 0
        receiving = nas.listen("receive")
        assert ben.run("doctor", "nas").code == 0
        sent = ben.run("send", "--text", "hello", "--to", "nas")
        received = receiving.finish()
    assert (sent.code, sent.out) == (0, "sent a text of 5 characters (TLS, nas)\n")
    assert (received.code, received.out) == (0, "hello\n")
    assert re.search(r"^ben \(\S+\) delivered nothing: ", received.err, re.MULTILINE)
    assert re.search(r"received a text of 5 characters from ben \(\S+\)\n", received.err)


# --- what does not take it ---


def test_20_an_inbox_takes_no_text(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox")
    ended = send_text(commands, "hello", serving.url)
    assert (ended.code, ended.out) == (20, "")
    refused = "objxfer: error: refused by 127.0.0.1: it takes files, and no text\n"
    assert ended.err == refused + AS_FILE
    assert " 127.0.0.1 delivered nothing: " in serving.err_line()
    assert commands.run("send", "-", "--to", serving.url, stdin=b"a file").code == 0
    assert [one.name for one in commands.inbox.iterdir()] == ["stdin"]


def test_20_neither_does_an_older_receiver(commands: Commands) -> None:
    with objxfer.listen(
        "tcp://127.0.0.1:0", key=commands.key, into=commands.inbox, accepts=()
    ) as listener:
        sending = commands.start("send", "--text", "hello", "--to", listener.url)
        with pytest.raises(ConnectionLost), listener.accept(PATIENCE) as connection:
            connection.recv(PATIENCE)
        ended = sending.finish()
    assert ended.code == 20
    assert "it takes files, and no text" in ended.err


def test_1_standard_output_that_takes_no_more(commands: Commands) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    sending, code, url = show(commands, "send", "--text", "hello")
    with Path("/dev/full").open("wb") as full:
        receiving = commands.start("receive", code, "--from", url, "--yes", stdout=full).finish()
    sent = sending.finish()
    assert (sent.code, receiving.code) == (1, 1)
    full_up = "the output takes no more: no space left on device\n"
    assert receiving.err.endswith(f"objxfer: error: {full_up}")
    assert sent.err == f"objxfer: error: refused by 127.0.0.1: {full_up}"


def test_1_a_receiver_with_a_key_whose_standard_output_takes_no_more(commands: Commands) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        here = ("--stdout", "--listen", "tcp://127.0.0.1:0")
        receiving = commands.start("receive", *here, stdout=full)
        url = receiving.err_line().removeprefix("listening on ").partition(",")[0]
        sent = send_text(commands, "hello", url)
        received = receiving.finish()
    assert (sent.code, received.code) == (1, 1)
    full_up = "the output takes no more: no space left on device"
    assert received.err.endswith(f"objxfer: error: {full_up}\n")


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_141_nobody_reads_standard_output(commands: Commands, option: tuple[str, ...]) -> None:
    sending, code, url = show(commands, "send", "--text", "hello")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        received = commands.start(
            "receive", code, "--from", url, "--yes", *option, stdout=pipe
        ).finish()
    sent = sending.finish()
    assert received.code == 141, received
    assert "Traceback" not in received.err
    assert sent.code == 1
    assert sent.err.startswith("objxfer: error: refused by 127.0.0.1: ")


def test_ctrl_c_while_it_is_typed(commands: Commands) -> None:
    with terminal() as (_, program):
        sending = commands.start("send", "--text", "-", stdin=program)
        sending.until("the text, and Ctrl-D in a line of its own behind it:\n")
        sending.signal(signal.SIGINT)
        ended = sending.finish()
    assert (ended.code, ended.err) == (130, "objxfer: interrupted\n")


def test_a_text_is_typed(commands: Commands) -> None:
    receiving = commands.receive()
    with terminal() as (person, program):
        sending = commands.start("send", "--text", "-", "--to", receiving.url, stdin=program)
        sending.until("behind it:\n")
        os.write(person, b"hello\nthere\n\x04")
        assert sending.finish().code == 0
    assert receiving.finish().out == "hello\nthere\n"


# --- a connection that is lost ---


def test_11_the_receipt_is_lost(commands: Commands) -> None:
    """It was shown, and the sender does not know; by itself, it does not have it shown again."""
    receiving = commands.receive()
    said, count = counting()
    with relay(receiving.url, server_says=count) as url:
        assert send_text(commands, "hello", url).code == 0
    assert receiving.finish().code == 0
    receiving = commands.receive()
    # All but the receipt and the end.
    with relay(receiving.url, server_says=cutting(said() - 2 * OVERHEAD + 1)) as url:
        sent = send_text(commands, "hello", url)
    received = receiving.finish()
    assert (sent.code, received.code) == (11, 0), (sent, received)
    assert received.out == "hello\n"
    assert sent.err.startswith("objxfer: error: lost the connection to 127.0.0.1: ")
    assert sent.err.endswith(NOT_KNOWN)


# --- a sender that says what it likes ---


def saying(*messages: Message) -> Steps[None]:
    for message in messages:
        yield from send(message)
    yield from receive(Taken)


def inline(content: bytes, serializer: str = "text", *, wanted: bool = True) -> Object:
    return Object(serializer, len(content), (), wanted, content)


NONE: Final = [
    (inline(b"\xff\x1b[2J"), "text: not UTF-8"),
    (inline(b"\x1b[2J", "raw"), "the peer sent 'raw', which is not accepted"),
    (inline(b"\x1b[2J", "pickle"), "the peer sent 'pickle', which is not accepted"),
    (inline(b"\x1b[2J", "\x1b[2J"), r"the peer sent '\x1b[2J', which is not accepted"),
    (Object("text", 64_001, (), True, None), "an object's head of 64001 bytes is over"),
    (Object("text", 0, (2**40,), True, None), f"an object of {2**40} bytes is over"),
    (Object("text", 0, (1, 1), True, b"xx"), "2 buffers of an object are over"),
]
"""What is no text, and what is said of it."""


def test_what_is_no_text_ends_nothing(commands: Commands) -> None:
    """It is one line of the receiver's, and a text that comes after it is shown."""
    receiving = commands.receive()
    for opened, reason in NONE:
        with (
            objxfer.connect(receiving.url, key=commands.key) as connection,
            pytest.raises(objxfer.ObjxferError),
        ):
            perform(connection, saying(opened))
        line = receiving.err_line()
        assert line.startswith(f"127.0.0.1 delivered nothing: {reason}")
        assert line.isprintable()
    assert send_text(commands, "hello", receiving.url).code == 0
    received = receiving.finish()
    assert (received.code, received.out) == (0, "hello\n")


def test_a_sender_is_told_of_the_limit(commands: Commands) -> None:
    receiving = commands.receive()
    with objxfer.connect(receiving.url, key=commands.key) as connection:
        assert connection.accepted == ("text",)
        with pytest.raises(LimitExceeded, match="Nothing was sent"):
            connection.send("x" * 64_001, serializer="text", wait=True)
        connection.send("\0", serializer="text", wait=True)
    assert receiving.finish().out == "\\x00\n"


def test_of_two_texts_the_first_is_shown(commands: Commands) -> None:
    receiving = commands.receive()
    with objxfer.connect(receiving.url, key=commands.key) as connection, connection.batch():
        connection.send("one", serializer="text")
        connection.send("two", serializer="text")
    received = receiving.finish()
    assert (received.code, received.out) == (0, "one\n")


def test_in_pieces_and_without_a_receipt(commands: Commands) -> None:
    receiving = commands.receive()
    with objxfer.connect(receiving.url, key=commands.key) as connection:
        perform(connection, saying(Object("text", 0, (5,), True, None), data(b"hello"), Done()))
    received = receiving.finish()
    assert (received.code, received.out) == (0, "hello\n")


def test_an_empty_one(commands: Commands) -> None:
    receiving = commands.receive()
    with objxfer.connect(receiving.url, key=commands.key) as connection:
        perform(connection, saying(inline(b"")))
    received = receiving.finish()
    assert (received.code, received.out) == (0, "\n")
    assert received.err == "received a text of 0 characters from 127.0.0.1\n"
