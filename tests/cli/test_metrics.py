"""The metrics of an inbox: what they say, their format, and that nobody reads half of them."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer import EntryReport, Outcome
from objxfer.errors import ExitCode, WrongKey
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from objxfer_cli.counts import Counts
from objxfer_cli.metrics import MetricsFile, exposition
from support.commands import Commands, Running
from support.streaming import streaming

pytestmark = pytest.mark.timeout(60)

NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
VALUE: Final = r"(?:[^\\\"\n]|\\\\|\\\"|\\n)*"
LABEL: Final = re.compile(rf'([a-zA-Z_][a-zA-Z0-9_]*)="({VALUE})"')
SAMPLE: Final = re.compile(rf"({NAME})(?:\{{((?:{LABEL.pattern},?)*)\}})? (\S+)")
HELP: Final = re.compile(rf"# HELP ({NAME}) \S.*")
TYPE: Final = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")
UNQUOTED: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Metrics = dict[tuple[str, ...], float]
"""By name, and the names and values of labels in turn."""


def parse(text: str) -> Metrics:
    """Read the text format 0.0.4, of which nothing but printable characters is used here."""
    assert text.endswith("\n")
    found: Metrics = {}
    family = kind = ""
    for line in text.removesuffix("\n").split("\n"):
        assert line.isprintable()
        if helped := HELP.fullmatch(line):
            assert not any(name.startswith(helped[1]) for name, *_ in found)
            family, kind = helped[1], ""
            continue
        if typed := TYPE.fullmatch(line):
            assert (typed[1], kind) == (family, "")
            kind = typed[2]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert sample[1] in [f"{family}{suffix}" for suffix in suffixes]
        assert kind != "counter" or family.endswith("_total")
        labels = [
            (name, re.sub(r"\\.", lambda quoted: UNQUOTED[quoted[0]], value))
            for name, value in LABEL.findall(sample[2] or "")
        ]
        assert len(dict(labels)) == len(labels)
        key = sample[1], *(word for label in labels for word in label)
        assert key not in found
        found[key] = float(sample[5])
        assert math.isfinite(found[key])
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics[f"objxfer_{name}", *(word for label in labels.items() for word in label)]


class Inbox:
    """An inbox that keeps metrics."""

    def __init__(self, commands: Commands, *arguments: str, scheme: str = "tcp") -> None:
        self.file = commands.folder / "objxfer.prom"
        self.serving = commands.listen(
            "serve", "inbox", "--metrics", str(self.file), *arguments, scheme=scheme
        )

    @property
    def url(self) -> str:
        return self.serving.url

    def metrics(self) -> Metrics:
        return parse(self.file.read_text("utf-8"))

    def wait_for(self, name: str, expected: float, **labels: str) -> Metrics:
        """Return the metrics as soon as one of them is as expected."""
        while True:
            metrics = self.metrics()
            key = (f"objxfer_{name}", *(word for label in labels.items() for word in label))
            if metrics.get(key) == expected:
                return metrics
            assert self.serving.process.poll() is None

    def end(self) -> Metrics:
        self.serving.signal(signal.SIGTERM)
        assert self.serving.finish().code == 0
        return self.metrics()


def push(commands: Commands, name: str, url: str) -> None:
    """Send a file or folder, from here: quicker than another process."""
    report = objxfer.push(commands.folder / name, to=url, key=commands.key)
    assert report.exit_code == objxfer.ExitCode.OK


def test_what_they_say(commands: Commands) -> None:
    inbox = Inbox(commands)
    at_first = inbox.wait_for("up", 1)
    started = value(at_first, "start_time_seconds")
    assert value(at_first, "deliveries_total", peer="", result="ok") == 0
    assert ("objxfer_last_success_timestamp_seconds", "peer", "") not in at_first
    python = "{}.{}.{}".format(*sys.version_info[:3])
    assert value(at_first, "build_info", version=objxfer.__version__, python=python) == 1

    for name in ("a", "b"):
        commands.file(f"photos/{name}", bytes(100_000))
    push(commands, "photos", inbox.url)
    push(commands, "photos", inbox.url)
    metrics = inbox.wait_for("deliveries_total", 2, peer="", result="ok")
    assert value(metrics, "files_total", action="received") == 2
    assert value(metrics, "files_total", action="unchanged") == 2
    assert value(metrics, "received_bytes_total", peer="") == 200_000
    assert value(metrics, "delivery_seconds_count") == 2
    assert value(metrics, "delivery_seconds_bucket", le="+Inf") == 2
    assert value(metrics, "last_success_timestamp_seconds", peer="") >= started

    with pytest.raises(WrongKey):
        objxfer.connect(inbox.url, key=Key.generate())
    inbox.wait_for("refused_total", 1, reason="not_authenticated")

    sending = streaming(commands, inbox.serving)
    assert value(inbox.wait_for("deliveries_underway", 1), "connections") == 1
    sending.process.kill()
    metrics = inbox.wait_for("deliveries_total", 1, peer="", result="connection_lost")
    assert value(metrics, "deliveries_underway") == value(metrics, "connections") == 0
    assert value(metrics, "delivery_seconds_count") == 2

    last = inbox.end()
    assert value(last, "up") == 0
    assert value(last, "deliveries_total", peer="", result="ok") == 2
    assert inbox.file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in commands.folder.iterdir() if "prom" in path.name] == [
        "objxfer.prom"
    ]


def test_a_peer_has_its_own(commands: Commands) -> None:
    peers = Peers(commands.key_file.with_name("peers"))
    key, other, name = Key.generate(), bytes([2]) * 16, 'ben "the é"'
    when = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
    peers.add(Peer(name, Pair(key, peers.own_id(), other), when, "10.0.0.2", ()))
    inbox = Inbox(commands, scheme="tls")
    pair = Pair(key, other, peers.own_id())
    with objxfer.connect(inbox.url, key=pair, peer_id=other) as connection:
        connection.push(commands.file("report.pdf", bytes(1000)))
    metrics = inbox.wait_for("deliveries_total", 1, peer=name, result="ok")
    assert value(metrics, "received_bytes_total", peer=name) == 1000
    assert value(metrics, "received_bytes_total", peer="") == 0


def test_nobody_ever_reads_half_of_them(commands: Commands) -> None:
    inbox = Inbox(commands)
    over, read, wrong = threading.Event(), set[float](), list[BaseException]()

    def reader() -> None:
        while not over.is_set():
            try:
                read.add(value(inbox.metrics(), "files_total", action="received"))
            except BaseException as error:  # noqa: BLE001 - the test tells
                wrong.append(error)
                return

    thread = threading.Thread(target=reader)
    thread.start()
    for delivery in range(3):
        for number in range(50):
            commands.file(f"{delivery}/{number}")
        push(commands, str(delivery), inbox.url)
        inbox.wait_for("files_total", 50 * (delivery + 1), action="received")
    over.set()
    thread.join()
    assert not wrong
    assert {0, 50, 100} <= read


def test_a_folder_that_vanishes_is_said_once_and_ends_nothing(commands: Commands) -> None:
    folder = commands.folder / "metrics"
    folder.mkdir()
    serving = commands.listen("serve", "inbox", "--metrics", "metrics/objxfer.prom", "-v")
    inbox = _at(serving, folder / "objxfer.prom")
    inbox.metrics()
    folder.rename(commands.folder / "elsewhere")
    commands.file("file")
    for _ in range(2):
        push(commands, "file", serving.url)
    folder.mkdir()
    push(commands, "file", serving.url)
    while not inbox.file.exists():
        assert serving.process.poll() is None
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    warning = (
        f"objxfer: warning: metrics cannot be written to '{inbox.file}':"
        " no such file or directory; it is tried again\n"
    )
    assert ended.err.count("warning") == ended.err.count(warning) == 1


def _at(serving: Running, file: Path) -> Inbox:
    inbox = Inbox.__new__(Inbox)
    inbox.serving, inbox.file = serving, file
    return inbox


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing here is always full")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    file = MetricsFile(str(tmp_path / "m.prom"), said.append)
    file.write("first\n")
    opened = os.open
    with monkeypatch.context() as full:
        full.setattr(os, "open", lambda *_: opened("/dev/full", os.O_WRONLY))
        file.write("second\n")
        file.write("third\n")
    assert said == [
        f"metrics cannot be written to '{tmp_path}/m.prom': no space left on device;"
        " it is tried again"
    ]
    assert (tmp_path / "m.prom").read_text() == "first\n"
    file.write("fourth\n")
    assert (tmp_path / "m.prom").read_text() == "fourth\n"
    assert os.listdir(tmp_path) == ["m.prom"]


@pytest.mark.parametrize("place", ["/dev/null", "inbox", "fifo", ""])
def test_what_is_no_file_is_not_replaced(commands: Commands, place: str) -> None:
    os.mkfifo(commands.folder / "fifo")
    ended = commands.run("serve", "inbox", "--metrics", place, "--listen", "tcp://127.0.0.1:0")
    assert ended.code == 2
    assert ended.err == (
        f"objxfer: error: metrics cannot be written to '{place}': it is no file\n"
        "hint: name a file; it is replaced each time\n"
    )


def test_what_another_left_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("contents")
    (tmp_path / ".m.prom.objxfer").symlink_to("precious")
    said: list[str] = []
    umask = os.umask(0o077)
    try:
        MetricsFile(str(tmp_path / "m.prom"), said.append).write("written\n")
    finally:
        os.umask(umask)
    assert (tmp_path / "m.prom").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "precious").read_text() == "contents"
    assert (said, sorted(os.listdir(tmp_path))) == ([], ["m.prom", "precious"])


def test_a_link_stands_for_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "m.prom").symlink_to("folder/real.prom")
    MetricsFile(str(tmp_path / "m.prom"), print).write("written\n")
    assert (tmp_path / "m.prom").is_symlink()
    assert (tmp_path / "folder/real.prom").read_text() == "written\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ben", "ben"),
        ('a"b\\c', 'a"b\\c'),
        ("a\nb", r"a\nb"),
        ("\x1b[2J\x7f\x9b", r"\x1b[2J\x7f\x9b"),
        ("\u202egpj\u2028", r"\u202egpj\u2028"),
        ("\udcff", r"\xff"),
        ('",x="', '",x="'),
        ("} 1\n# HELP x", r"} 1\n# HELP x"),
        ("é 猫", "é 猫"),
    ],
)
def test_names_of_any_kind(name: str, shown: str) -> None:
    counts = Counts()
    counts.end(name, ExitCode.OK, 2.5)
    counts.entry(name, EntryReport(b"a", Outcome.RESUMED, 1000, kept=400))
    text = exposition(counts, up=True)
    text.encode()
    metrics = parse(text)
    assert value(metrics, "deliveries_total", peer=shown, result="ok") == 1
    assert value(metrics, "received_bytes_total", peer=shown) == 600
    assert value(metrics, "last_success_timestamp_seconds", peer=shown) > 10**9


def test_how_long_deliveries_took() -> None:
    counts = Counts()
    for seconds in (0.0, 0.1, 0.11, 59, 60, 5000):
        counts.end("", ExitCode.INCOMPLETE, seconds)
    counts.end("", ExitCode.TIMEOUT)
    metrics = parse(exposition(counts, up=False))
    took = {key[2]: count for key, count in metrics.items() if key[0].endswith("_bucket")}
    assert took == {"0.1": 2, "1": 3, "10": 3, "60": 5, "600": 5, "3600": 5, "+Inf": 6}
    assert value(metrics, "delivery_seconds_sum") == 5119.21
    assert value(metrics, "deliveries_total", peer="", result="incomplete") == 6
    assert value(metrics, "deliveries_total", peer="", result="timeout") == 1
    assert ("objxfer_last_success_timestamp_seconds", "peer", "") not in metrics


def test_every_exit_code_can_be_counted() -> None:
    counts = Counts()
    for code in ExitCode:
        counts.refuse(code)
        counts.end("", code)
    metrics = parse(exposition(counts, up=True))
    for code in ExitCode:
        assert value(metrics, "refused_total", reason=code.name.lower()) == 1
