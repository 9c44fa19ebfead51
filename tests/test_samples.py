"""Every sample runs, and does what its first lines say."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import objxfer

SAMPLES = Path(__file__).parent.parent / "samples"
SECONDS = 60
LOOPBACK = "tcp://127.0.0.1:0"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> objxfer.Key:
    key = objxfer.Key.generate()
    key.save(tmp_path / "key")
    monkeypatch.setenv("OBJXFER_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    return key


def python(sample: str, *arguments: str) -> list[str]:
    return [sys.executable, str(SAMPLES / sample), *arguments]


def output(command: list[str]) -> str:
    """What a command prints that ends well, without a word of complaint."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that is ended at the latest when the ``with`` block is."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")


def where(process: subprocess.Popen[str]) -> str:
    """The last word of what a server says first: where it listens."""
    return line(process).split()[-1]


def test_each_is_short_and_is_run_here() -> None:
    run_here = Path(__file__).read_text("utf-8")
    for sample in SAMPLES.rglob("*.*"):
        assert len(sample.read_text("utf-8").splitlines()) < 40, sample
        assert f'"{sample.name}"' in run_here, sample


def test_the_tutorial_pair_moves_an_object() -> None:
    with running(python("tutorial_server.py", "0")) as server:
        assert output(python("tutorial_client.py", where(server))) == ""
        assert eval(line(server)) == {"step": 3, "tags": {"a", "b"}}
        assert server.wait(SECONDS) == 0


@pytest.mark.usefixtures("key")
def test_the_objxfer_pair_moves_objects() -> None:
    with running(python("objxfer_server.py", LOOPBACK)) as server:
        assert output(python("objxfer_client.py", where(server))) == ""
        assert eval(line(server)) == {"step": 3, "tags": {"a", "b"}}
        assert eval(line(server)) == [1.5, b"bytes", ("a", "tuple")]
        assert server.wait(SECONDS) == 0


def test_a_file(key: objxfer.Key, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "report.txt").write_text("new")
    (tmp_path / "inbox" / "report.txt").write_text("another")
    with objxfer.serve(tmp_path / "inbox", "tls://127.0.0.1:0", key=key) as server:
        said = output(python("send_a_file.py", str(tmp_path / "report.txt"), server.url))
    assert "3 bytes sent, OK" in said
    assert "report (1).txt" in said
    assert (tmp_path / "inbox" / "report (1).txt").read_text() == "new"


def test_a_folder(key: objxfer.Key, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    (tmp_path / "photos" / "b.jpg").write_bytes(b"b")
    with objxfer.serve(tmp_path / "inbox", "tls://127.0.0.1:0", key=key) as server:
        command = python("send_a_folder.py", str(tmp_path / "photos"), f"{server.url}/copies")
        assert output(command) == "2 of 2 files sent, 0 unchanged, OK\n"
        (tmp_path / "photos" / "b.jpg").write_bytes(b"longer")
        (tmp_path / "photos" / "out").symlink_to("/")
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == objxfer.ExitCode.INCOMPLETE
    assert "1 of 3 files sent, 1 unchanged, INCOMPLETE" in ended.stdout
    assert "skipped: b'photos/out'" in ended.stdout
    assert (tmp_path / "inbox" / "copies" / "photos" / "b (1).jpg").read_bytes() == b"longer"


def test_arrays() -> None:
    pytest.importorskip("numpy")
    assert output(python("arrays.py")).startswith("40 MB of arrays there and back")


def test_a_serialiser_of_ones_own() -> None:
    assert output(python("custom_serializer.py")) == "True\n"


@pytest.mark.usefixtures("key")
def test_the_chat_room() -> None:
    with running(python("chat_room.py", LOOPBACK)) as room:
        url = where(room)
        with (
            running(python("chat_client.py", "anna", url)) as anna,
            running(python("chat_client.py", "ben", url)) as ben,
        ):
            for each, name in ((anna, "anna"), (ben, "ben")):
                say(each, "I am here")
                heard = line(each)
                if heard != f"{name}: I am here":  # ben may have come before anna spoke
                    heard = line(each)
                assert heard == f"{name}: I am here"
            say(ben, "welcome \x1b[31m")
            assert line(anna) == "ben: I am here"
            assert line(anna) == "'ben: welcome \\x1b[31m'"
            assert anna.stdin is not None
            anna.stdin.close()
            assert anna.wait(SECONDS) == 0
            assert line(ben) == "'ben: welcome \\x1b[31m'"
            assert line(ben) == "127.0.0.1 has left"


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("divide", "1", "4"), "0.25"),
        (("divide", "1", "0"), "Failure(reason=\"ZeroDivisionError('float division by zero')\")"),
        (("format", "1"), "Failure(reason=\"KeyError('format')\")"),
    ],
)
def test_remote_calls(call: tuple[str, ...], said: str) -> None:
    with running(python("remote_calls.py", "serve", LOOPBACK)) as server:
        assert output(python("remote_calls.py", "call", where(server), *call)) == said + "\n"
        assert server.wait(SECONDS) == 0


def test_the_sizes_of_recv() -> None:
    measured = re.findall(
        r"recv\( *([\d,]+)\) +[\d.]+ MB/s", output(python("recv_sizes.py", "0.01"))
    )
    assert (measured[0], measured[-1]) == ("16", "1,048,576")


@pytest.fixture
def _commands_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    monkeypatch.setenv("PAUSE", "0")


@pytest.mark.usefixtures("_commands_are_found")
def test_the_nightly_copy(key: objxfer.Key, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter").write_text("first")
    copy = [str(SAMPLES / "nightly_copy.sh"), str(tmp_path / "documents")]
    where = tmp_path / "backup"
    with objxfer.serve(where, "tls://127.0.0.1:0", key=key, if_exists="replace") as server:
        for text in ("first", "second, longer"):
            (tmp_path / "documents" / "letter").write_text(text)
            assert output([*copy, f"{server.url}/laptop"]) == ""
            assert (where / "laptop" / "documents" / "letter").read_text() == text


@pytest.mark.usefixtures("_commands_are_found", "key")
def test_the_nightly_copy_tries_again_where_that_may_help(tmp_path: Path) -> None:
    copy = [str(SAMPLES / "nightly_copy.sh"), str(tmp_path)]
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"tls://127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run([*copy, url], capture_output=True, text=True, check=False)
    assert ended.returncode == objxfer.ExitCode.CANNOT_CONNECT
    assert ended.stderr.count("cannot connect") == 3
    ended = subprocess.run([*copy, "nas"], capture_output=True, text=True, check=False)
    assert ended.returncode == objxfer.ExitCode.USAGE
    assert ended.stderr.count("error") == 1


UNITS = ["objxfer.service", "objxfer.socket", "objxfer-copy.service", "objxfer-copy.timer"]


@pytest.mark.parametrize("name", UNITS)
def test_the_units_are_of_the_words_systemd_knows(name: str) -> None:
    unit = (SAMPLES / "systemd" / name).read_text("utf-8")
    assert re.findall(r"^\[(\w+)\]$", unit, re.MULTILINE)[0] == "Unit"
    for start in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE):
        _program, command, *arguments = start.split()
        help_text = output([sys.executable, "-m", "objxfer_cli", command, "--help"])
        for option in (word for word in arguments if word.startswith("-")):
            assert option in help_text


def systemd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Have systemd look at units."""
    return subprocess.run(
        ["systemd-analyze", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, of programs that are there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name in UNITS:
        unit = (SAMPLES / "systemd" / name).read_text("utf-8")
        installed = re.sub(r"^(ExecStart=)\S+", rf"\1{sys.executable}", unit, flags=re.MULTILINE)
        (tmp_path / name).write_text(installed)
    return [str(tmp_path / name) for name in UNITS]


def test_systemd_takes_the_units(units: list[str]) -> None:
    verified = systemd("verify", *units)
    assert (verified.returncode, verified.stdout) == (0, "")


def test_the_inbox_can_do_little_beside_what_it_is_for(units: list[str]) -> None:
    judged = systemd("security", "--offline=true", "--threshold=20", units[0])
    if "nrecognized option" in judged.stdout:
        pytest.skip("this systemd-analyze judges running services alone")
    assert judged.returncode == 0, judged.stdout  # 2.0 of 10, where 10 may do everything
