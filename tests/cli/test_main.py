"""The way in: help, version, and what is loaded for them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import objxfer
from support.commands import Commands

pytestmark = pytest.mark.timeout(60)

HEAVY = (
    "ssl",
    "socket",
    "blake3",
    "msgpack",
    "cryptography",
    "tqdm",
    "numpy",
    "json",
    "platformdirs",
)
COMMON = {"--help"}
OPTIONS = {
    "send": {
        "--to",
        "--text",
        "--code",
        "--qr",
        "--listen",
        "--name",
        "--if-exists",
        "--copy-links",
        "--checksum",
        "--retry",
        "--key",
        "--insecure",
        "--timeout",
        "--json",
        "-q",
        "-v",
    },
    "receive": {
        "--from",
        "--yes",
        "--qr",
        "--listen",
        "--into",
        "--stdout",
        "--if-exists",
        "--keep-partial",
        "--retry",
        "--key",
        "--insecure",
        "--timeout",
        "--json",
        "-q",
        "-v",
    },
    "serve": {
        "--listen",
        "--if-exists",
        "--keep-partial",
        "--peer",
        "--config",
        "--key",
        "--insecure",
        "--metrics",
        "--log-json",
        "--json",
        "-q",
        "-v",
    },
    "digest": {"-c", "--json", "-q", "-v"},
    "pair": {"--as", "--listen", "--from", "--json", "-q", "-v"},
    "peers": {"--json", "-q", "-v"},
    "doctor": {"--key", "--insecure", "--json", "-v"},
    "keygen": set(),
    "demo": set(),
}


def test_version(commands: Commands) -> None:
    assert commands.run("--version") == (0, f"objxfer {objxfer.__version__}\n", "")


def test_version_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from objxfer_cli.commands import run\n"
        "from objxfer_cli.terminal import Terminal\n"
        "assert run(Terminal(), ['--version']) == 0\n"
        f"print(*sorted(set({HEAVY!r}) & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[1:] == [""]


def test_a_sender_loads_nothing_of_a_receiver() -> None:
    code = (
        "import sys\n"
        "import objxfer_cli.send, objxfer.blocking.connecting\n"
        "receiving = {'sink', 'judge', 'root', 'own', 'partials', 'temporaries', 'part'}\n"
        "print(*sorted({f'objxfer.files.{one}' for one in receiving} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "\n"


@pytest.mark.parametrize("command", OPTIONS)
def test_each_command_has_its_options_and_no_others(commands: Commands, command: str) -> None:
    shown = commands.run(command, "--help")
    assert shown.code == 0
    names = re.findall(r"^  (-[\w-]+)", shown.out, re.MULTILINE)
    assert set(names) == OPTIONS[command] | COMMON


def test_the_usage_of_send_is_paths_or_a_text(commands: Commands) -> None:
    usage = commands.run("send", "--help").out.partition("\n")[0]
    assert usage == "Usage: objxfer send [OPTIONS] (PATH… | --text TEXT)"


def test_the_help_names_the_commands(commands: Commands) -> None:
    shown = commands.run("--help")
    assert shown.code == 0
    section = shown.out.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+)", section, re.MULTILINE) == list(OPTIONS)
