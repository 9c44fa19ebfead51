"""Two who share nothing but what one of them says to the other."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import termios
from pathlib import Path
from typing import NamedTuple

import pytest
import segno

import objxfer
from objxfer import Code
from objxfer.limits import MIB
from support.commands import Commands, Running
from support.deliveries import contents
from support.neighbours import HERE_IPV4, Cable, needs_cable
from support.relay import cutting, relay
from support.terminals import terminal

pytestmark = pytest.mark.timeout(60)

HERE = ("--listen", "tls://127.0.0.1:0")
UPPER, LOWER = str.maketrans("█▀▄", "xx "), str.maketrans("█▀▄", "x x")
DECLINED = "it was declined"


class Told(NamedTuple):
    """What a command that shows a code has shown."""

    running: Running
    code: str
    address: str


def told(running: Running) -> Told:
    """Read a code, the line to type, and the address."""
    line = running.err_line()
    while not line.startswith("code: "):
        assert line, "it ended before it showed a code"
        line = running.err_line()
    code = line.removeprefix("code: ")
    there, address = running.err_line(), running.err_line()
    assert there.startswith("there: objxfer ")
    assert there.endswith(f" {code}")
    found = re.fullmatch(r"if that finds nobody, add: --(?:from|to) (tls://\S+)", address)
    assert found is not None, address
    return Told(running, code, found[1])


def wrong(code: str) -> str:
    """Another code of the same room."""
    return "-".join([code.partition("-")[0], *Code.generate().spoken().split("-")[1:]])


@pytest.fixture
def commands(commands: Commands) -> Commands:
    """A user who has no key."""
    commands.key_file.unlink()
    commands.file("report.pdf", bytes(2_410_000))
    return commands


def test_send_shows_a_code_and_receive_takes_it(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    received = commands.run(
        "receive", sending.code, "--from", sending.address, "--into", "inbox", "--yes"
    )
    sent = sending.running.finish()
    assert (sent.code, received.code) == (0, 0), (sent, received)
    assert re.fullmatch(r"sent 1 file, 2\.41 MB in .* \(.*TLS, 127\.0\.0\.1\)\n", sent.out)
    assert received.out.endswith("from 127.0.0.1: report.pdf\n")
    place = re.escape(str(commands.inbox / "report.pdf"))
    offer = rf"127\.0\.0\.1 offers report\.pdf \(2\.41 MB\) → {place}, .* free\n"
    assert re.fullmatch(offer, received.err)
    assert (commands.inbox / "report.pdf").read_bytes() == bytes(2_410_000)


def test_receive_shows_a_code_and_send_takes_it(commands: Commands) -> None:
    commands.file("photos/a.jpg", bytes(1000))
    commands.file("photos/b.jpg", bytes(2000))
    receiving = told(commands.start("receive", "--into", "inbox", "--yes", *HERE))
    sent = commands.run(
        "send", "photos", "report.pdf", "--code", receiving.code, "--to", receiving.address
    )
    received = receiving.running.finish()
    assert (sent.code, received.code) == (0, 0), (sent, received)
    assert "offers photos, report.pdf (3 files, 2.41 MB) → " in received.err
    assert (commands.inbox / "photos" / "b.jpg").read_bytes() == bytes(2000)


def given_away(code: str, said: str, otherwise: str) -> list[str]:
    """Return the words of a code that are in what was said, and not in what is with another code.

    Some are words that are said anyway.
    """
    return [word for word in code.split("-")[1:] if word in said and word not in otherwise]


def test_a_code_is_read_from_standard_input_and_forgiving(commands: Commands) -> None:
    (code, said), (_, otherwise) = (typed_in_capitals(commands) for _ in range(2))
    assert given_away(code, said, otherwise) == []


def typed_in_capitals(commands: Commands) -> tuple[str, str]:
    """Deliver by a code on standard input; return the code, and what the receiver logged."""
    sending = told(commands.start("send", "report.pdf", *HERE))
    typed = sending.code.upper().replace("-", " ") + "\n"
    receiving = commands.start(
        "receive", "-", "--from", sending.address, "--into", "inbox", "--yes", "-vv"
    )
    received = receiving.finish(typed.encode())
    assert received.code == 0
    assert sending.running.finish().code == 0
    (commands.inbox / "report.pdf").unlink()
    return sending.code, received.err.lower()


def test_a_code_is_typed_with_spaces(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    parts = sending.code.upper().split("-")
    taken = ("--from", sending.address, "--into", "inbox", "--yes")
    received = commands.run("receive", *parts, *taken)
    assert (received.code, sending.running.finish().code) == (0, 0), received


def test_a_code_is_nowhere_but_where_it_is_told(commands: Commands) -> None:
    """Not in the arguments of any process, and in no log but the lines that show it."""
    (code, said), (_, otherwise) = (found_by_a_code(commands) for _ in range(2))
    assert given_away(code, said, otherwise) == []


def found_by_a_code(commands: Commands) -> tuple[str, str]:
    """Deliver by a code; return it, and all that either side says and is called besides."""
    sending = told(commands.start("send", "report.pdf", *HERE, "-vv"))
    receiving = commands.start(
        "receive", "-", "--from", sending.address, "--into", "inbox", "--json", "-vv", "--yes"
    )
    receiving.write(sending.code.encode() + b"\n")
    said = []
    if sys.platform == "linux":
        for each in (sending.running, receiving):
            said.append(Path(f"/proc/{each.process.pid}/cmdline").read_text())
    received, sent = receiving.finish(), sending.running.finish()
    assert (received.code, sent.code) == (0, 0), (sent, received)
    (commands.inbox / "report.pdf").unlink()
    return sending.code, "".join((*said, received.out, received.err, sent.out, sent.err))


def test_a_wrong_code_is_burnt_and_the_next_one_is_shown(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    tried = commands.run("receive", wrong(sending.code), "--from", sending.address, "--yes")
    assert tried.code == 13
    assert "the code is wrong, or was tried before\n" in tried.err
    assert "hint: ask for a new code: each can be tried once\n" in tried.err
    assert "127.0.0.1 refused: the code is wrong" in sending.running.err_line()
    line = sending.running.err_line()
    assert line.startswith("objxfer: warning: somebody tried a wrong code: ")
    following = told(sending.running)
    assert following.code.split("-")[0] != sending.code.split("-")[0]
    taken = commands.run(
        "receive", following.code, "--from", following.address, "--into", "inbox", "--yes"
    )
    assert taken.code == 0
    assert sending.running.finish().code == 0


@pytest.mark.parametrize("command", [("send", "report.pdf"), ("receive",)], ids=["send", "receive"])
def test_13_three_wrong_codes(commands: Commands, command: tuple[str, ...]) -> None:
    running = commands.start(*command, *HERE)
    for _ in range(3):
        shown = told(running)
        with pytest.raises(objxfer.WrongCode):
            objxfer.connect(shown.address, key=Code.parse(wrong(shown.code)))
    ended = running.finish()
    assert ended.code == 13
    assert "objxfer: error: every code was guessed wrong, and nobody can come any more" in ended.err
    assert "hint: begin again for new ones" in ended.err


def test_20_nobody_can_be_asked(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    received = commands.run("receive", sending.code, "--from", sending.address, "--into", "inbox")
    sent = sending.running.finish()
    assert (sent.code, received.code) == (20, 20)
    reason = "nobody can be asked: standard input is no terminal"
    assert sent.err == f"objxfer: error: refused by 127.0.0.1: {reason}\n"
    assert received.err.endswith(f"objxfer: error: {reason}\nhint: --yes takes it without asking\n")
    assert list(commands.inbox.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "code"), [(b"\n", 0), (b"what?\ny\n", 0), (b"n\n", 20), (b"\x04", 20)]
)
def test_who_is_asked_decides(commands: Commands, typed: bytes, code: int) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    with terminal() as (person, program):
        receiving = commands.start(
            "receive", sending.code, "--from", sending.address, "--into", "inbox", stdin=program
        )
        for line in typed.splitlines(keepends=True):
            receiving.until("take it? [Y/n] ")
            os.write(person, line)
        received, sent = receiving.finish(), sending.running.finish()
    assert (sent.code, received.code) == (code, code)
    if code:
        assert received.err.endswith(f"objxfer: error: {DECLINED}\n")
        assert sent.err == f"objxfer: error: refused by 127.0.0.1: {DECLINED}\n"
    assert [one.name for one in commands.inbox.iterdir()] == ([] if code else ["report.pdf"])


def test_130_who_is_asked_and_leaves_has_declined(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    with terminal() as (person, program):
        receiving = commands.start(
            "receive", sending.code, "--from", sending.address, "--into", "inbox", stdin=program
        )
        receiving.until("take it? [Y/n] ")
        # In the middle of a chunk nothing could be said any more: the next question comes in none.
        os.write(person, b"perhaps\n")
        receiving.until("take it? [Y/n] ")
        receiving.signal(signal.SIGINT)
        received, sent = receiving.finish(), sending.running.finish()
    assert (sent.code, received.code) == (20, 130), (sent, received)
    assert sent.err == f"objxfer: error: refused by 127.0.0.1: {DECLINED}\n"


def test_a_question_that_nobody_waits_for_any_more_is_withdrawn(commands: Commands) -> None:
    receiving_options = ("--into", "inbox", "--retry", "0")
    sending = told(commands.start("send", "report.pdf", *HERE))
    with terminal() as (_, program):
        receiving = commands.start(
            "receive",
            sending.code,
            "--from",
            sending.address,
            *receiving_options,
            stdin=program,
        )
        receiving.until("take it? [Y/n] ")
        sending.running.process.kill()
        received = receiving.finish()
    assert received.code == 11
    assert "objxfer: error: lost the connection to 127.0.0.1: " in received.err


WORDS = {
    "send": ["send", "report.pdf"],
    "text": ["send", "--text", "gate 7"],
    "receive": ["receive", "--yes"],
    "pair": ["pair"],
}
TOLD = {
    "send": (20, "refused by 127.0.0.1: it takes no files"),
    "text": (20, "refused by 127.0.0.1: it takes no text"),
    "receive": (20, "the other side takes files, too, and sends none"),
    "pair": (15, "the other side does not want to pair"),
}
PAIRS = (20, "the other side wants to pair, and sends nothing")


@pytest.mark.parametrize(
    ("host", "guest"),
    [
        *(("send", "send"), ("text", "send"), ("send", "text"), ("receive", "receive")),
        *(("send", "pair"), ("text", "pair"), ("receive", "pair")),
        *(("pair", "send"), ("pair", "text"), ("pair", "receive")),
    ],
)
def test_two_that_do_not_go_together_end_at_once(commands: Commands, host: str, guest: str) -> None:
    waiting = told(commands.start(*WORDS[host], *HERE))
    sends = guest in ("send", "text")
    code = ["--code", waiting.code] if sends else [waiting.code]
    address = ["--to" if sends else "--from", waiting.address]
    came = commands.run(*WORDS[guest], *code, *address)
    waited = waiting.running.finish()
    for one, ended, other in ((host, waited, guest), (guest, came, host)):
        exit_code, said = PAIRS if (one, other) == ("receive", "pair") else TOLD[one]
        assert (ended.code, f"objxfer: error: {said}" in ended.err) == (exit_code, True), ended
        assert "again" not in ended.err
        assert "waiting for it" not in ended.err


@pytest.mark.parametrize("host", ["send", "receive"])
def test_nobody_waits_for_a_sender_who_leaves(commands: Commands, host: str) -> None:
    """It cannot come back: there is no second try at a code."""
    with terminal() as (_, program):
        if host == "send":
            sending = told(commands.start("send", "report.pdf", *HERE))
            receive = ("receive", sending.code, "--from", sending.address, "--into", "inbox")
            receiving, leaving = commands.start(*receive, stdin=program), sending.running
        else:
            asked = told(commands.start("receive", "--into", "inbox", *HERE, stdin=program))
            to = ("--code", asked.code, "--to", asked.address)
            receiving, leaving = asked.running, commands.start("send", "report.pdf", *to)
        receiving.until("take it? [Y/n] ")
        leaving.signal(signal.SIGINT)
        left, received = leaving.finish(), receiving.finish()
    assert (left.code, received.code) == (130, 11), (left, received)
    assert "lost the connection to 127.0.0.1: it was interrupted there" in received.err
    assert received.err.endswith("what is there by now is not sent again\n")


def test_who_showed_the_code_and_is_gone_is_not_called_again_and_again(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    with terminal() as (_, program):
        receive = ("receive", sending.code, "--from", sending.address, "--into", "inbox")
        receiving = commands.start(*receive, stdin=program)
        receiving.until("take it? [Y/n] ")
        sending.running.process.kill()
        received = receiving.finish()
    assert received.code == 11
    assert received.err.count("again in") == 1
    assert "whoever showed the code is gone" in received.err


def test_a_human_may_think_for_longer_than_silence_may_last(commands: Commands) -> None:
    """What asks and what waits go on showing each other that they are there."""
    options = ("--timeout", "0.6", "--retry", "0")
    sending = told(commands.start("send", "report.pdf", *HERE, *options))
    with terminal() as (person, program):
        receiving = commands.start(
            "receive",
            sending.code,
            "--from",
            sending.address,
            *options,
            "--into",
            "inbox",
            "-vv",
            stdin=program,
        )
        receiving.until("take it? [Y/n] ")
        with pytest.raises(TimeoutError):  # three times as long as either side waits for a sign
            _wait(sending.running, 2)
        os.write(person, b"y\n")
        assert (receiving.finish().code, sending.running.finish().code) == (0, 0)


def _wait(running: Running, seconds: float) -> None:
    import subprocess

    try:
        running.process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def test_hostile_names_act_on_no_terminal(commands: Commands) -> None:
    names = [f"\x1b[31m{number}\u202e".encode() + b"\xff" for number in range(12)]
    receiving = told(commands.start("receive", "--into", "inbox", "--yes", *HERE))
    for name in names:
        (commands.folder / "given").mkdir(exist_ok=True)
        (Path(os.fsdecode(os.fsencode(commands.folder) + b"/given/" + name))).write_bytes(b"x")
    sent = commands.run(
        "send",
        *(f"given/{os.fsdecode(name)}" for name in names),
        "--code",
        receiving.code,
        "--to",
        receiving.address,
    )
    received = receiving.running.finish()
    assert sent.code == received.code != 0  # control characters are refused, entry by entry
    offer = next(line for line in received.err.splitlines() if " offers " in line)
    assert "and 9 more (12 files, 12 B)" in offer
    assert offer.isprintable()
    assert "\x1b" not in sent.err + sent.out + received.err + received.out


def test_the_place_that_is_shown_is_below_the_folder(commands: Commands) -> None:
    receiving = told(commands.start("receive", "--into", "inbox", "--yes", *HERE))
    target = f"{receiving.address}//etc"
    sent = commands.run("send", "report.pdf", "--code", receiving.code, "--to", target)
    received = receiving.running.finish()
    assert sent.code == received.code == 20
    assert f" → {commands.inbox}//etc/report.pdf, " in received.err
    assert list(commands.inbox.iterdir()) == []


def test_json_lines(commands: Commands) -> None:
    sending = commands.start("send", "report.pdf", *HERE, "--json")
    shown = json.loads(sending.out_line())
    assert shown == {"type": "code", "code": shown["code"], "urls": shown["urls"]}
    received = commands.run(
        "receive",
        shown["code"],
        "--from",
        shown["urls"][0],
        "--into",
        "inbox",
        "--yes",
        "--json",
    )
    sent = sending.finish()
    assert [line["type"] for line in sent.lines] == ["connected", "file", "summary"]
    assert [line["type"] for line in received.lines] == ["connected", "offered", "file", "summary"]
    offered = received.lines[1]
    free = offered.pop("free")
    assert free > 0
    assert offered == {
        "type": "offered",
        "peer": "127.0.0.1",
        "names": ["report.pdf"],
        "names_total": 1,
        "files_total": 1,
        "bytes_total": 2_410_000,
        "into": str(commands.inbox),
    }
    assert (sent.err, received.err) == ("", "")


def test_quiet_shows_the_code_and_nothing_of_success(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE, "-q"))
    received = commands.run(
        "receive", sending.code, "--from", sending.address, "--into", "inbox", "--yes", "-q"
    )
    assert received == (0, "", "")
    assert sending.running.finish() == (0, "", "")


def test_a_qr_code_is_drawn(commands: Commands) -> None:
    """What is light is drawn, two rows a line; with it, the line to type is seen by a camera."""
    running = commands.start("send", "report.pdf", *HERE, "--qr")
    shown = told(running)
    matrix = segno.make(f"objxfer receive {shown.code}", micro=False).matrix_iter(border=2)
    light = ["".join(" " if dark else "x" for dark in row) for row in matrix]
    rows = [running.err_line() for _ in range((len(light) + 1) // 2)]
    halves = [(row.translate(UPPER), row.translate(LOWER)) for row in rows]
    assert [half for both in halves for half in both][: len(light)] == light


@pytest.mark.parametrize(("columns", "drawn"), [(80, True), (33, True), (32, False)])
def test_a_qr_code_is_not_broken_by_a_narrow_terminal(
    commands: Commands, columns: int, drawn: bool
) -> None:
    with terminal() as (person, program):
        termios.tcsetwinsize(program, (24, columns))
        running = commands.start("send", "report.pdf", *HERE, "--qr", stderr=program)
        said = b""
        while (b"QR" if not drawn else "█ ▄▄▄▄▄ █".encode()) not in said:
            said += os.read(person, 4096)
        running.signal(signal.SIGINT)
        running.finish()
    assert ("█" in said.decode(errors="replace")) == drawn
    if not drawn:
        assert said.endswith(b"the QR code takes 33 columns, and this terminal has 32\r\n")


def test_a_pipe_to_standard_output(commands: Commands) -> None:
    receiving = told(commands.start("receive", "--stdout", "--yes", *HERE))
    sent = commands.run(
        "send", "-", "--code", receiving.code, "--to", receiving.address, stdin=b"hello"
    )
    received = receiving.running.finish()
    assert (sent.code, received.code, received.out) == (0, 0, "hello")
    assert "offers stdin (size not known) → standard output\n" in received.err


def test_nobody_is_asked_about_a_folder_for_standard_output(commands: Commands) -> None:
    for number in range(8):
        commands.file(f"photos/{number}.jpg")
    with terminal() as (_, program):
        receiving = told(commands.start("receive", "--stdout", *HERE, stdin=program))
        sent = commands.run("send", "photos", "--code", receiving.code, "--to", receiving.address)
        received = receiving.running.finish()
    assert (sent.code, received.code, received.out) == (20, 20, "")
    why = "this receiver takes a single file\n"
    assert sent.err == f"objxfer: error: refused by 127.0.0.1: {why}"
    assert received.err == f"objxfer: error: {why}"


def test_what_cannot_be_sent_is_said_before_there_is_a_code(commands: Commands) -> None:
    assert commands.run("send", "absent", *HERE) == (
        3,
        "",
        "objxfer: error: cannot send absent: no such file or directory\n",
    )


def test_a_key_that_is_there_wins(commands: Commands) -> None:
    commands.key.save(commands.key_file)
    receiving = commands.receive(scheme="tls")
    assert commands.run("send", "report.pdf", "--to", receiving.url).code == 0
    assert receiving.finish().code == 0


def test_ctrl_c_ends_the_waiting(commands: Commands) -> None:
    sending = told(commands.start("send", "report.pdf", *HERE))
    sending.running.signal(signal.SIGINT)
    ended = sending.running.finish()
    assert (ended.code, ended.err) == (130, "objxfer: interrupted\n")


def test_what_is_no_text_is_no_code(commands: Commands) -> None:
    strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as most locales have it
    given = commands.run("receive", "-", stdin=b"\xff\n", environment=strict)
    assert given.code == 2
    assert given.err.startswith("objxfer: error: a code is a number and three words\n")


@needs_cable
def test_two_machines_find_each_other(commands: Commands) -> None:
    with Cable() as cable:
        here, there = cable.here.inside, cable.there.inside
        sending = told(commands.start("send", "report.pdf", inside=here))
        assert sending.address == f"tls://{HERE_IPV4}"
        received = commands.start(
            "receive", sending.code, "--into", "inbox", "--yes", inside=there
        ).finish()
        sent = sending.running.finish()
        assert (sent.code, received.code) == (0, 0), (sent, received)
        # Which says the same as no host, for IPv4.
        everywhere = ("--listen", "tls://0.0.0.0", "--into", "inbox", "--yes")
        receiving = told(commands.start("receive", *everywhere, inside=there))
        sent = commands.start("send", "report.pdf", "--code", receiving.code, inside=here).finish()
        received = receiving.running.finish()
        assert (sent.code, received.code) == (0, 0), (sent, received)
        assert "1 unchanged" in sent.out


@needs_cable
def test_a_wrong_code_is_not_tried_again(commands: Commands) -> None:
    with Cable() as cable:
        sending = told(commands.start("send", "report.pdf", inside=cable.here.inside))
        other = wrong(sending.code)
        tried = commands.start("receive", other, "--yes", inside=cable.there.inside).finish()
        assert tried.code == 13
        assert tried.err.count("the code is wrong") == 1


@needs_cable
def test_where_nobody_is_found_it_is_said_what_else_can_be_done(commands: Commands) -> None:
    with Cable() as cable:
        receiving = commands.start("receive", "4-walnut-copper-tiger", inside=cable.here.inside)
        line = receiving.err_line()
        assert line.startswith("nobody is found in room 4 yet; ")
        assert line.endswith("add --from tls://HOST[:PORT]")
        assert "walnut" not in line
        receiving.signal(signal.SIGINT)
        assert receiving.finish().code == 130


@pytest.mark.parametrize("host", ["send", "receive"])
def test_a_lost_connection_goes_on_without_the_code(commands: Commands, host: str) -> None:
    """And without asking again: the code has made the two a pair for as long as it takes."""
    large = contents(1, 7 * MIB + 5)
    commands.file("large", large)
    sender, receiver = ["send", "large"], ["receive", "--into", "inbox", "--yes"]
    waiting = told(commands.start(*(sender if host == "send" else receiver), *HERE))
    cut = cutting(5 * MIB)  # of what the sender says
    says = (bytes, cut) if host == "send" else (cut, bytes)
    with relay(waiting.address, *says) as url:
        if host == "send":
            ended = commands.run(*receiver, waiting.code, "--from", url)
        else:
            ended = commands.run(*sender, "--code", waiting.code, "--to", url)
    waited = waiting.running.finish()
    assert (ended.code, waited.code) == (0, 0), (ended, waited)
    assert (commands.inbox / "large").read_bytes() == large
    received = ended if host == "send" else waited
    assert received.err.count(" offers ") == 1
    assert re.search(r"lost the connection to .*; again in \d+ s\n", ended.err)
    assert re.search(r"lost the connection to .*; waiting for it to come back\n", waited.err)


def test_11_a_lost_connection_that_does_not_come_back(commands: Commands) -> None:
    commands.file("large", contents(1, 7 * MIB + 5))
    sending = told(commands.start("send", "large", *HERE, "--retry", "0"))
    with relay(sending.address, server_says=cutting(5 * MIB)) as url:
        received = commands.run(
            "receive", sending.code, "--from", url, "--into", "inbox", "--yes", "--retry", "0"
        )
    sent = sending.running.finish()
    assert (sent.code, received.code) == (11, 11)
    for one in (sent, received):
        assert one.err.endswith(
            "hint: run it again with a new code: what is there by now is not sent again\n"
        )


@needs_cable
def test_where_the_usual_port_is_taken_another_one_does(commands: Commands) -> None:
    with Cable() as cable:
        first = told(commands.start("send", "report.pdf", inside=cable.here.inside))
        second = told(commands.start("send", "report.pdf", inside=cable.here.inside))
        assert first.address == f"tls://{HERE_IPV4}"
        assert re.fullmatch(rf"{re.escape(first.address)}:\d+", second.address)
