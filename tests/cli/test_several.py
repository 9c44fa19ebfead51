"""One source to several receivers: each gets all of it, and none is in another's way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from objxfer.limits import MIB
from support.commands import Commands, Finished, Line, Running
from support.machines import Machine
from support.mounts import Mounts, needs_mounts
from support.neighbours import THERE_IPV4, Cable, needs_cable
from support.relay import cutting, relay, when
from support.tracing import needs_strace

pytestmark = pytest.mark.timeout(60)

LARGE = 24_000_000
"""More than all buffers on the way and the credit."""
EARLY = 1_000_000


class Inboxes:
    """Receivers that stay, each with an inbox of its own."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.urls: dict[str, str] = {}

    def serve(self, *names: str, options: tuple[str, ...] = ()) -> list[Running]:
        running = []
        for name in names:
            self.folder(name).mkdir()
            running.append(self._commands.listen("serve", name, *options))
            self.urls[name] = running[-1].url
        return running

    def folder(self, name: str) -> Path:
        return self._commands.folder / name

    @property
    def to(self) -> list[str]:
        return [word for url in self.urls.values() for word in ("--to", url)]


@pytest.fixture
def inboxes(commands: Commands) -> Inboxes:
    return Inboxes(commands)


@pytest.fixture
def held(commands: Commands, inboxes: Inboxes) -> Iterator[threading.Event]:
    """Give what lets the receiver ``held`` go on, which stands in the middle of a large file."""
    go_on = threading.Event()

    def stand() -> None:
        go_on.wait()

    (serving,) = inboxes.serve("held")
    with relay(serving.url, when(EARLY, stand)) as url:
        inboxes.urls["held"] = url
        yield go_on
        go_on.set()


def landed(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies in a folder, with its mode, time, and contents or target."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        link, file = path.is_symlink(), path.is_file()
        contents = os.fsencode(os.readlink(path)) if link else path.read_bytes() if file else b""
        kept = (0, 0) if link else (status.st_mode, status.st_mtime_ns)
        found[str(path.relative_to(folder))] = (*kept, contents)
    return found


def tree(commands: Commands) -> Path:
    for number in range(450):
        commands.file(f"photos/{number % 7}/{number:04}.jpg", os.urandom(number))
    commands.file("photos/large.raw", os.urandom(5_000_000))
    (commands.folder / "photos/empty").mkdir()
    (commands.folder / "photos/link").symlink_to("large.raw")
    return commands.folder / "photos"


def by_receiver(lines: list[Line], kind: str) -> dict[str, Line]:
    """The last line of a kind that each receiver has."""
    return {line["to"]: line for line in lines if line["type"] == kind}


def until_through(sending: Running, count: int) -> list[Line]:
    """Read JSON lines until so many deliveries are through."""
    lines: list[Line] = []
    while count:
        lines.append(json.loads(sending.out_line()))
        count -= lines[-1]["type"] == "summary"
    return lines


def test_each_gets_all_and_says_so(commands: Commands, inboxes: Inboxes) -> None:
    photos = tree(commands)
    inboxes.serve("a", "b", "c")
    sent = commands.run("send", "photos", *inboxes.to)
    assert (sent.code, sent.err) == (0, "")
    for name in "abc":
        assert landed(inboxes.folder(name) / "photos") == landed(photos)
    said = r"tcp://127\.0\.0\.1:\d+: sent 452 files, 5\.10 MB in .* s \(.*, not encrypted\)"
    lines = sorted(sent.out.splitlines())
    assert [line.partition(": ")[0] for line in lines] == sorted(inboxes.urls.values())
    assert all(re.fullmatch(said, line) for line in lines)
    again = commands.run("send", "photos", *inboxes.to)
    assert again.out.count(", 452 unchanged\n") == 3


READS = re.compile(r"(?:read|readv|pread64)\(\d+<([^>]*)>.*\) = (\d+)$", re.MULTILINE)
LISTS = re.compile(r"getdents64\(\d+<([^>]*)>.*\) = [1-9]\d*$", re.MULTILINE)


@needs_strace
def test_the_source_is_read_once(commands: Commands, inboxes: Inboxes) -> None:
    photos = tree(commands)
    inboxes.serve("a", "b", "c")
    log = commands.folder / "log"
    strace = ["strace", "--follow-forks", "--output-separately", "--decode-fds=path"]
    strace += ["--string-limit=0", f"--output={log}", "--trace=read,readv,pread64,getdents64"]
    sending = commands.start("send", "photos", *inboxes.to, inside=strace)
    assert sending.finish().code == 0
    calls = "".join(one.read_text() for one in commands.folder.glob("log.*"))
    read = sum(int(size) for path, size in READS.findall(calls) if path.startswith(str(photos)))
    assert read == sum(one.stat().st_size for one in photos.rglob("*.*"))
    listed = Counter(path for path in LISTS.findall(calls) if path.startswith(str(photos)))
    # Once for all to send, and perhaps once for all to count.
    assert set(listed.values()) <= {1, 2}


def test_one_that_stands_does_not_hold_the_others(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    film = commands.file("film.mkv", os.urandom(LARGE))
    inboxes.serve("a", "b")
    sending = commands.start("send", "film.mkv", *inboxes.to, "--json")
    through = by_receiver(until_through(sending, 2), "summary")
    assert set(through) == {inboxes.urls["a"], inboxes.urls["b"]}
    assert sending.process.poll() is None
    held.set()
    ended = sending.finish()
    assert ended.code == 0
    assert ended.lines[-1]["to"] == inboxes.urls["held"]
    for name in inboxes.urls:
        assert (inboxes.folder(name) / "film.mkv").read_bytes() == film.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_that_stands_costs_a_bounded_amount_of_memory(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    os.truncate(commands.file("film.mkv", b""), 1024 * MIB)
    inboxes.serve("a", "b")
    sending = commands.start("send", "film.mkv", *inboxes.to, "--json", "--timeout", "500")
    until_through(sending, 2)
    status = Path(f"/proc/{sending.process.pid}/status")
    if not status.exists():
        pytest.skip("nothing tells how much memory a process takes")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert peak
    assert int(peak[1]) * 1024 < 128 * MIB


def failures(ended: Finished) -> dict[str, int]:
    return {to: line["exit_code"] for to, line in by_receiver(ended.lines, "error").items()}


def test_what_goes_wrong_with_some_is_nothing_to_the_others(
    commands: Commands, inboxes: Inboxes
) -> None:
    commands.file("report.pdf", b"new, and longer")
    inboxes.serve("good", "better")
    urls = inboxes.urls
    commands.run("keygen", "other")
    inboxes.serve("stranger", options=("--key", "other"))
    inboxes.serve("strict", options=("--if-exists", "fail"))
    commands.file("strict/report.pdf", b"old")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        urls["nobody"] = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    ended = commands.run("send", "report.pdf", *inboxes.to)
    assert ended.code == 13
    assert len(ended.out.splitlines()) == 2
    errors = dict(re.findall(r"^objxfer: error: (tcp://[\d.:]+): (.*)$", ended.err, re.MULTILINE))
    assert set(errors) == {urls["stranger"], urls["strict"], urls["nobody"]}
    assert errors[urls["strict"]].startswith("refused by 127.0.0.1: report.pdf exists")
    assert f'hint: {urls["nobody"]}: start "objxfer receive" there first' in ended.err
    again = commands.run("send", "report.pdf", *inboxes.to, "--json")
    assert failures(again) == {urls["stranger"]: 13, urls["nobody"]: 10}
    summaries = by_receiver(again.lines, "summary")
    assert summaries[urls["strict"]]["exit_code"] == 20
    assert summaries[urls["good"]]["exit_code"] == 0
    assert all("to" in line for line in again.lines)


@pytest.mark.long
def test_one_that_never_answers_is_called_by_its_target(
    commands: Commands, inboxes: Inboxes
) -> None:
    commands.file("report.pdf")
    inboxes.serve("a")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = inboxes.urls["silent"] = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        ended = commands.run("send", "report.pdf", *inboxes.to)
    assert ended.code == 12
    said = f"{url} did not finish the handshake in 10 s"
    assert ended.err.splitlines()[0] == f"objxfer: error: {url}: {said}"


@needs_mounts
def test_one_whose_disk_is_full(commands: Commands, inboxes: Inboxes) -> None:
    commands.file("film.mkv", os.urandom(LARGE))
    inboxes.serve("a")
    small = inboxes.folder("small")
    small.mkdir()
    with Mounts() as mounts:
        mounts.mount(small, "size=4m")
        serving = commands.listen("serve", str(small), inside=mounts.inside)
        inboxes.urls["small"] = serving.url
        ended = commands.run("send", "film.mkv", *inboxes.to)
        assert ended.code == 21
        assert f"{serving.url}: no space" in ended.err
        serving.process.kill()
        serving.process.wait()
    assert (inboxes.folder("a") / "film.mkv").stat().st_size == LARGE


def test_one_that_is_lost_comes_back_and_goes_on(commands: Commands, inboxes: Inboxes) -> None:
    film = commands.file("film.mkv", os.urandom(LARGE))
    _, b = inboxes.serve("a", "b")
    with relay(b.url, cutting(LARGE // 2)) as url:
        inboxes.urls["b"] = url
        ended = commands.run("send", "film.mkv", *inboxes.to, "--json")
    assert ended.code == 0
    files = by_receiver(ended.lines, "file")
    assert [files[inboxes.urls[name]]["action"] for name in "ab"] == ["sent", "resumed"]
    assert set(by_receiver(ended.lines, "lost")) == {url}
    for name in "ab":
        assert (inboxes.folder(name) / "film.mkv").read_bytes() == film.read_bytes()


def test_a_file_that_changes_while_one_of_them_reads_it(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    film = commands.file("film.mkv", b"")
    os.truncate(film, 100_000_000)  # more than is kept for who is behind
    inboxes.serve("a")
    sending = commands.start("send", "film.mkv", *inboxes.to, "--json")
    (through,) = by_receiver(until_through(sending, 1), "summary").values()
    with film.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    held.set()
    ended = sending.finish()
    assert (through["to"], through["exit_code"]) == (inboxes.urls["a"], 0)
    assert ended.code == 4
    assert f"{inboxes.urls['held']}: 1 file changed while it was read: film.mkv" in ended.err
    (told,) = by_receiver(ended.lines, "file").values()
    # What is said of it holds for what lies there, whatever that is.
    checked = commands.run("digest", "held/film.mkv", "--json")
    assert told["digest"] == checked.lines[0]["digest"]
    assert (inboxes.folder("a") / "film.mkv").read_bytes()[-1:] == b"\0"


def test_standard_input(commands: Commands, inboxes: Inboxes) -> None:
    inboxes.serve("a", "b", "c")
    contents = os.urandom(5_000_000)
    ended = commands.run("send", "-", "--name", "nightly.tar", *inboxes.to, stdin=contents)
    assert (ended.code, ended.err) == (0, "")
    for name in "abc":
        assert (inboxes.folder(name) / "nightly.tar").read_bytes() == contents


@pytest.mark.long
def test_standard_input_waits_for_who_stands_until_it_is_given_up(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    inboxes.serve("a")
    contents = bytes(range(256)) * 400_000
    ended = commands.run("send", "-", *inboxes.to, "--timeout", "6", stdin=contents)
    assert ended.code == 12
    assert f"{inboxes.urls['held']}: gave up on 127.0.0.1" in ended.err
    assert (inboxes.folder("a") / "stdin").read_bytes() == contents


def test_an_empty_folder_and_an_empty_stream(commands: Commands, inboxes: Inboxes) -> None:
    (commands.folder / "nothing").mkdir()
    inboxes.serve("a", "b")
    assert commands.run("send", "nothing", *inboxes.to).code == 0
    assert commands.run("send", "-", *inboxes.to).code == 0
    for name in "ab":
        assert list((inboxes.folder(name) / "nothing").iterdir()) == []
        assert (inboxes.folder(name) / "stdin").read_bytes() == b""


def test_nothing_of_a_name_acts_on_the_terminal(commands: Commands, inboxes: Inboxes) -> None:
    commands.file("photos/fine")
    (commands.folder / "photos/\x1b[2J").symlink_to("/etc/hostname")
    inboxes.serve("a")
    inboxes.urls["escape"] = f"{inboxes.urls['a']}/\x1b[31mred"
    ended = commands.run("send", "photos", *inboxes.to)
    assert "\x1b" not in ended.out + ended.err
    assert "left out: photos/\\x1b[2J: link leaves what is sent" in ended.err
    # The folder's name is refused there, and who is at fault is said.
    assert re.search(r"error: tcp://[\d.:]+/\\x1b\[31mred: ", ended.err)
    assert (inboxes.folder("a") / "photos/fine").exists()


def test_a_receiver_that_is_the_same_folder(commands: Commands, inboxes: Inboxes) -> None:
    photos = tree(commands)
    before = landed(photos)
    inboxes.serve("a")
    inboxes.urls["itself"] = commands.listen("serve", ".").url
    ended = commands.run("send", "photos", *inboxes.to)
    assert ended.code == 0
    assert f"{inboxes.urls['itself']}: sent 0 files" in ended.out
    assert landed(photos) == before == landed(inboxes.folder("a") / "photos")


def test_an_interrupt_ends_all_and_says_how_far_each_is(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    commands.file("film.mkv", os.urandom(LARGE))
    inboxes.serve("a")
    sending = commands.start("send", "film.mkv", *inboxes.to, "--json")
    until_through(sending, 1)
    sending.signal(signal.SIGINT)
    ended = sending.finish()
    assert ended.code == 130
    assert ended.err == (
        f"objxfer: {inboxes.urls['held']}: interrupted; 0 of 1 file is there, none of them"
        " half-written\n"
    )
    last = ended.lines[-1]
    assert (last["type"], last["to"], last["exit_code"]) == ("summary", inboxes.urls["held"], 130)
    assert not (inboxes.folder("held") / "film.mkv").exists()


def test_asked_how_far_it_is_it_says_so_of_each(
    commands: Commands, inboxes: Inboxes, held: threading.Event
) -> None:
    inboxes.serve("a")
    sending = commands.start("send", "-", *inboxes.to)
    sending.write(bytes(2_000_000))
    for name in inboxes.urls:
        while not list(inboxes.folder(name).glob(".objxfer*")):
            assert sending.process.poll() is None
    sending.signal(signal.SIGUSR1)
    said = {sending.err_line().partition(": stdin: ")[0] for _ in inboxes.urls}
    assert said == set(inboxes.urls.values())
    held.set()
    assert sending.finish().code == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["tcp://127.0.0.1", "tcp://127.0.0.1:6259/"], "is named twice"),
        (["tcp://HOST/a", "tcp://host/a/"], "is named twice"),
        (["tcp://127.0.0.1", "127.0.0.1:7000"], "is no target"),
        ([f"tcp://127.0.0.1/{number}" for number in range(33)], "33 receivers are too many"),
        (["tcp://127.0.0.1", "tls://127.0.0.1", "--code", "-"], "--code is for one receiver"),
        (["tcp://127.0.0.1", "tls://127.0.0.1", "--qr"], "--qr"),
        (["tcp://127.0.0.1", "tls://127.0.0.1", "--key", "absent"], "absent"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anybody_is_called(
    commands: Commands, arguments: list[str], fault: str
) -> None:
    commands.file("report.pdf")
    words = [part for each in arguments for part in (["--to", each] if ":" in each else [each])]
    ended = commands.run("send", "report.pdf", *words)
    assert ended.code == 2
    assert fault in ended.err
    assert len(ended.err.splitlines()) <= 2


def test_without_a_key_nobody_is_called(commands: Commands) -> None:
    commands.key_file.unlink()
    commands.file("report.pdf")
    ended = commands.run("send", "report.pdf", "--to", "tcp://127.0.0.1:1", "--to", "tcp://[::1]:1")
    assert ended.code == 2
    assert ended.err.startswith("objxfer: error: no key for tcp://127.0.0.1:1\n")


def test_what_cannot_be_sent_is_said_once(commands: Commands, inboxes: Inboxes) -> None:
    inboxes.serve("a", "b")
    ended = commands.run("send", "absent", *inboxes.to)
    assert ended.code == 3
    assert ended.err.count("objxfer: error:") == 1


@needs_cable
def test_a_peer_and_a_url_together(tmp_path: Path) -> None:
    with Cable(ipv6=False) as cable, ExitStack() as stack:
        ben = Machine(tmp_path / "ben", stack, cable.here)
        nas = Machine(tmp_path / "nas", stack, cable.there)
        ben.commands.file("report.pdf")
        waiting, code, _ = nas.wait_with_code("--as", "nas")
        assert ben.run("pair", code, "nas", "--as", "ben").code == 0
        waiting.finish()
        nas.commands.key.save(ben.commands.folder / "key")
        nas.commands.key.save(nas.commands.key_file)
        serving = nas.listen("serve", "inbox", "--listen", f"tls://{THERE_IPV4}:7001")
        to = ["--to", "nas:one", "--to", f"{serving.url}/two"]
        ended = ben.run("send", "report.pdf", *to, "--key", "key", "--json")
        assert ended.code == 0
        connected = by_receiver(ended.lines, "connected")
        assert set(connected) == {"nas:one", f"{serving.url}/two"}
        assert connected["nas:one"]["name"] == "nas"
        assert (nas.inbox / "one/report.pdf").exists()
        assert (nas.inbox / "two/report.pdf").exists()
        twice = ben.run("send", "report.pdf", "--to", "nas", "--to", "nas:")
        assert (twice.code, "--to nas: is named twice" in twice.err) == (2, True)
        useless = ben.run("send", "report.pdf", "--to", "nas", "--to", "nas:one", "--key", "key")
        assert useless.code == 2
        absent = ben.run("send", "report.pdf", *to, "--to", "attic", "--key", "key")
        assert (absent.code, absent.out) == (2, "")


def test_compared_by_contents(commands: Commands, inboxes: Inboxes) -> None:
    photos = tree(commands)
    inboxes.serve("a", "b")
    assert commands.run("send", "photos", *inboxes.to).code == 0
    os.utime(photos / "large.raw", ns=(10**18, 10**18))
    (inboxes.folder("b") / "photos/large.raw").unlink()
    ended = commands.run("send", "photos", *inboxes.to, "--checksum", "--json")
    assert ended.code == 0
    summaries = by_receiver(ended.lines, "summary")
    sent = [summaries[inboxes.urls[name]]["sent"] for name in "ab"]
    assert sent == [0, 1]
