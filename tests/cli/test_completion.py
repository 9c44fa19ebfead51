"""What Tab completes, as click tells it and as real shells put it in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from objxfer.security.words import WORDS
from support.shells import Shell
from test_docs import PROJECT

pytestmark = pytest.mark.timeout(120)

SHELLS: Final = ("bash", "zsh", "fish")
PAGE: Final = (PROJECT / "docs" / "completion.md").read_text("utf-8")
INSTALLING: Final = re.findall(r"^\$ (.*=(\w+)_source.*)$", PAGE, re.MULTILINE)
ROWS: Final = re.findall(r"^\| `(.*⇥.*)` \| `(.*)` \|$", PAGE, re.MULTILINE)
NAMES: Final = ["nas", "büro 2", "$(touch pwned)", "it's; x", "a,b,", "[q]*"]
TOUCHES_NOTHING: Final = """
import sys

def refuse(event, _):
    if event.startswith("socket."):
        raise SystemExit(f"{event} while completing")

sys.addaudithook(refuse)
from objxfer_cli.main import main
try:
    main()
finally:
    for name in ("zeroconf", "cryptography", "ssl", "objxfer.blocking.connection"):
        assert name not in sys.modules, name
"""


def know(home: Path, *names: str) -> None:
    store = Peers(home / ".config" / "objxfer" / "peers")
    for name in names:
        pair = Pair(Key.generate(), store.own_id(), bytes([2]) * 16)
        store.add(Peer(name, pair, datetime.now(UTC), "192.168.1.20"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    know(tmp_path, *NAMES)
    (tmp_path / "report.pdf").touch()
    (tmp_path / "my file").touch()
    (tmp_path / "photos").mkdir()
    return tmp_path


def ask(
    home: Path, line: str | None, *program: str, breaks: str = " :="
) -> subprocess.CompletedProcess[str]:
    """Ask as bash does."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "_OBJXFER_COMPLETE": "bash_complete",
        "COMP_WORDBREAKS": breaks,
        "LANG": "C.UTF-8",
    }
    if line is not None:
        environment["COMP_LINE"] = line
    return subprocess.run(
        [sys.executable, *(program or ("-m", "objxfer_cli"))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def completed(home: Path, line: str, breaks: str = " :=") -> list[str]:
    asked = ask(home, line, breaks=breaks)
    assert (asked.returncode, asked.stderr) == (0, "")
    return [line.partition(",")[2] for line in asked.stdout.splitlines() if line]


def test_commands_and_options(home: Path) -> None:
    assert completed(home, "objxfer pe") == ["peers"]
    assert completed(home, "objxfer peers re") == ["remove", "rename"]
    options = completed(home, "objxfer send --")
    assert {"--to", "--text", "--code", "--help"} <= set(options)


def test_peers_and_urls(home: Path) -> None:
    assert completed(home, "objxfer send report.pdf --to ") == [*sorted(NAMES), "tls://", "tcp://"]
    assert completed(home, "objxfer send report.pdf --to nas:") == []
    assert completed(home, "objxfer peers rename n") == ["nas"]
    assert completed(home, "objxfer peers rename nas n") == []
    assert completed(home, "objxfer doctor n") == ["nas"]
    assert completed(home, "objxfer serve --peer n") == ["nas"]


def test_files(home: Path) -> None:
    for command in ("send", "send x --key", "serve --config", "serve --metrics"):
        assert ask(home, f"objxfer {command} ru").stdout == "file,ru\n"


def test_where_a_colon_ends_a_word_what_is_before_it_is_left_out(home: Path) -> None:
    assert completed(home, "objxfer receive --listen tls:") == ["//"]
    assert completed(home, "objxfer receive --listen tls:", breaks=" ") == ["tls://"]
    assert completed(home, "objxfer receive --listen=tls:", breaks=" ") == ["--listen=tls://"]


def test_words_of_codes(home: Path) -> None:
    assert completed(home, "objxfer receive 4-wal") == ["4-walnut-", "4-waltz-"]
    assert completed(home, "objxfer receive 4-walnut-COPP") == ["4-walnut-copper-"]
    assert completed(home, "objxfer pair 4-walnut-copper-tige") == ["4-walnut-copper-tiger"]
    assert completed(home, "objxfer receive 4-") == [f"4-{word}-" for word in WORDS]
    for none in ("4", "4-walnut-copper-tiger-", "4-xyz"):
        assert completed(home, f"objxfer receive {none}") == []
    assert completed(home, "objxfer pair 4-walnut-copper-tiger 4-") == []


@pytest.mark.parametrize("line", [None, "", "objxfer", "objxfer nothing ", "objxfer send --to 'n"])
def test_nothing_is_said_of_what_cannot_be_completed(home: Path, line: str | None) -> None:
    assert ask(home, line).stderr == ""


def test_nothing_is_said_of_peers_that_cannot_be_read(tmp_path: Path) -> None:
    assert completed(tmp_path, "objxfer peers remove ") == []
    folder = tmp_path / ".config" / "objxfer" / "peers"
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    asked = ask(tmp_path, "objxfer peers remove ")
    assert (asked.stdout, asked.stderr) == ("", "")
    folder.unlink()
    know(tmp_path, "nas")
    (folder / "damaged").write_text("?")
    assert completed(tmp_path, "objxfer peers remove ") == ["damaged", "nas"]


@pytest.mark.parametrize("line", ["send --to ", "receive 4-w", "s"])
def test_it_is_quick_and_keeps_off_the_network(home: Path, line: str) -> None:
    """What takes long is not even imported."""
    asked = ask(home, f"objxfer {line}", "-c", TOUCHES_NOTHING)
    assert asked.returncode == 0
    assert asked.stdout


def test_an_instruction_that_is_none(home: Path) -> None:
    for instruction in ("tcsh_source", "bash", "nonsense", "tcsh_complete"):
        done = subprocess.run(
            [sys.executable, "-m", "objxfer_cli"],
            env={"PATH": os.environ["PATH"], "_OBJXFER_COMPLETE": instruction},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


# --- in real shells, as the page says ---


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, home: Path) -> Iterator[Shell]:
    """A shell that was set up by the line of the page."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    (line,) = (line for line, of in INSTALLING if of == name)
    directory = os.path.dirname(sys.executable)
    environment = {
        "HOME": str(home),
        "PATH": os.pathsep.join([directory, os.environ["PATH"]]),
        "LANG": "C.UTF-8",
    }
    subprocess.run(["sh", "-c", line], env=environment, check=True, timeout=60)
    with ExitStack() as stack:
        yield Shell(name, home, stack)


def test_what_the_page_shows_is_what_tab_does(shell: Shell, home: Path) -> None:
    assert len(ROWS) > 10
    for typed, becomes in ROWS:
        assert shell.arguments(typed.replace("⇥", "\t")) == shlex.split(becomes)[1:], typed
    # A name that would be a command runs nothing, now or when the line is run.
    assert shell.arguments("objxfer peers remove \\$\t") == ["peers", "remove", "$(touch pwned)"]
    assert not (home / "pwned").exists()


@pytest.mark.long
def test_names_and_paths_that_mean_something_to_a_shell(shell: Shell) -> None:
    to = "objxfer send x --to "
    for typed, name in [("bür", NAMES[1]), ("it", NAMES[3]), ("a", NAMES[4]), (r"\[", NAMES[5])]:
        assert shell.arguments(f"{to}{typed}\t") == ["send", "x", "--to", name]
    assert shell.arguments(f"{to}tls:\tnas") == ["send", "x", "--to", "tls://nas"]
    assert shell.arguments("echo x | objxfer send my\t --key=rep\t") == [
        "send",
        "my file",
        "--key=report.pdf",
    ]
    assert shell.arguments("objxfer receive --into ph\t")[-1].rstrip("/") == "photos"
