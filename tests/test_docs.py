"""What the pages show is what happens: every command and every Python block is run.

A page is run from top to bottom in a home folder of its own, which holds a key and a few files.

- ``console``: lines that begin with a prompt (``$``, ``nas$``) are commands. What is shown under
  one must be among what it prints, where numbers, hosts, ids and digests stand for any of their
  kind, and ``…`` for anything. A command ends with 0, unless ``echo $?`` is next and says
  otherwise. What takes root or another machine (``ELSEWHERE``) is not run.
- Anna's commands run in a folder of their own below that home.
- A command that listens goes on, at a free port, until the page is through. Hosts of later URLs
  stand for the last that began, and ``nas`` for the last inbox; or for a receiver that takes
  everything. At port 6260 there is nobody.
- ``python`` that begins with ``# name.py`` is that file. All other blocks of a page are one
  program, run when the commands are through.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import objxfer
from objxfer.files.digest import file_digest, written

PROJECT = Path(__file__).parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
SECONDS = 60

ELSEWHERE = {"git", "journalctl", "pip", "pytest", "scp", "ssh", "sudo", "systemctl"}
INSTALLED = re.compile(r"^(?:python3 -m venv .*&& )?\.venv/bin/")
"""What goes before a command on a machine that has nothing yet."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROMPT = re.compile(r"^(\w*)\$ (.*)$")
URL = re.compile(r"\b(?P<scheme>tls|tcp)://(?P<host>[\w.]+)(?P<port>:\d+)?(?=[/\"'\s]|$)", re.M)
ANY_PORT = r"\g<scheme>://127.0.0.1:0"
LISTENING = re.compile(r"listening on \w+://([\w.]+:\d+)|\"listening\",.*\"url\":\"\w+://([\w.:]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)

VARYING = [
    (re.compile(r"ox1:[0-9a-f…]+"), "DIGEST"),
    (re.compile(r"\b(key \(?|id )[0-9a-f]{8}\b"), r"\1ID"),
    (re.compile(r"\b(?:\d+\.\d+\.\d+\.\d+|nas)\b(?::\d+)?"), "HOST"),
    (re.compile(r"\d(?:[\d.,]*\d)?"), "0"),
    (re.compile(r"\b[kMG]B\b"), "B"),
    (re.compile(r"\s+"), " "),
]


class Block(NamedTuple):
    language: str
    text: str
    line: int
    """Of its first line on the page."""


class Typed(NamedTuple):
    """A command of a page, and what the page shows under it."""

    who: str
    command: str
    shown: list[str]


class Listening(NamedTuple):
    """A command that goes on until the page is through."""

    typed: Typed
    process: subprocess.Popen[str]
    printed: list[str]


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)
        for found in BLOCK.finditer(text)
    ]


def typical(text: str) -> str:
    """Text in which what varies from run to run is the same each time."""
    for varying, constant in VARYING:
        text = varying.sub(constant, text)
    return text.strip()


class Run:
    """One page on its way."""

    def __init__(self, home: Path, peers: dict[str, str], nobody: str) -> None:
        self._home = home
        self._nobody = nobody
        self._peers = peers
        self._inbox = self._last = ""
        self._listening: list[Listening] = []
        self._program = ""
        self._code = 0
        self._failed = ""
        commands = os.path.dirname(sys.executable)
        self._environment = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "PATH": os.pathsep.join([commands, os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
        }

    def block(self, block: Block) -> None:
        named = re.match(r"# (\w+\.py)\n", block.text)
        if block.language == "console":
            self._console(block.text.splitlines())
        elif block.language == "python" and named:
            (self._home / named[1]).write_text(block.text, "utf-8")
        elif block.language == "python":
            # At the line it has on the page, for who reads a traceback.
            self._program += "\n" * (block.line - 1 - self._program.count("\n")) + block.text

    def end(self) -> None:
        """Run the page's program; then end what listens, and compare what it printed."""
        if self._program:
            (self._home / "page.py").write_text(URL.sub(self._aim, self._program), "utf-8")
            self._run(Typed("", "python page.py", []))
            assert not self._failed, self._failed
        for typed, process, printed in self._listening:
            if typed.command.startswith("objxfer serve"):
                process.terminate()
            assert process.stdout is not None
            printed.extend(process.stdout)  # not communicate(): some of it is in the buffer by now
            process.wait(SECONDS)
            self._compare(typed, "".join(printed))

    def close(self) -> None:
        for listening in self._listening:
            listening.process.kill()
            listening.process.communicate()

    def _console(self, lines: list[str]) -> None:
        typed: list[Typed] = []
        for line in lines:
            if prompt := PROMPT.match(line):
                typed.append(Typed(prompt[1], INSTALLED.sub("", prompt[2]), []))
            else:
                typed[-1].shown.append(line)
        for each in typed:
            self._type(each)
        assert not self._failed, self._failed

    def _type(self, typed: Typed) -> None:
        if typed.command == "echo $?":
            assert typed.shown == [str(self._code)]
            self._failed = ""
            return
        assert not self._failed, self._failed
        words = typed.command.split()
        if words[0] in ELSEWHERE:
            return
        match words:
            case ["objxfer", "keygen"]:
                # One is there, which is put back: the receivers hold it.
                key = self._home / ".config" / "objxfer" / "key"
                aside = key.rename(key.with_name("aside"))
                self._run(typed)
                aside.replace(key)
            case ["objxfer", "serve" | "receive" as name, *rest]:
                if "--listen" not in rest:
                    listen = f"{name} --listen tls://127.0.0.1"
                    typed = typed._replace(command=typed.command.replace(name, listen, 1))
                self._listen(typed)
            case ["python", script] if "/" not in script:
                path = self._home / script
                program = path.read_text("utf-8")
                listens = "objxfer.listen(" in program
                aim = ANY_PORT if listens else self._aim
                path.write_text(URL.sub(aim, program), "utf-8")
                (self._listen if listens else self._run)(typed)
            case _:
                self._run(typed)

    def _listen(self, typed: Typed) -> None:
        """Start a command that listens, and wait until it does."""
        # Without -q: it has to say where it listens.
        process = self._start(typed.who, URL.sub(ANY_PORT, typed.command).removesuffix(" -q"))
        assert process.stdout is not None
        printed: list[str] = []
        while not (found := LISTENING.search("".join(printed))):
            printed.append(process.stdout.readline())
            assert printed[-1], "".join(printed)
        self._last = found[1] or found[2]
        if typed.command.startswith("objxfer serve"):
            self._inbox = self._last
        self._listening.append(Listening(typed, process, printed))

    def _run(self, typed: Typed) -> None:
        """Run a command to its end, and compare what it printed."""
        process = self._start(typed.who, URL.sub(self._aim, typed.command))
        printed = process.communicate(timeout=SECONDS)[0]
        self._code = process.returncode
        if self._code:
            self._failed = f"{typed.command} ended with {self._code}:\n{printed}"
        self._compare(typed, printed)

    def _start(self, who: str, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", command.replace(" /srv/", f" {self._home}/srv/")],
            cwd=self._home / "anna" if who == "anna" else self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _aim(self, url: re.Match[str]) -> str:
        """What a URL of the page stands for."""
        match url["host"], url["port"]:
            case _, ":0":
                return url[0]
            case _, ":6260":
                where = self._nobody
            case "nas", _:
                where = self._inbox or self._peers[url["scheme"]]
            case _:
                where = self._last or self._peers[url["scheme"]]
        return f"{url['scheme']}://{where}"

    def _compare(self, typed: Typed, printed: str) -> None:
        """Check that what the page shows is among what was printed."""
        for here, there in (("/srv/", "/srv/"), ("/anna", "/home/anna"), ("", "/home/ben")):
            printed = printed.replace(f"{self._home}{here}", there)
        lines = [typical(line) for line in printed.splitlines()]
        for each in typed.shown:
            if "%|" in each:
                continue  # a bar, which is drawn on a terminal only
            expected = re.escape(typical(each)).replace("…", ".*")
            assert any(re.fullmatch(expected, line) for line in lines), (
                f"{typed.command}\nshown:   {each}\nprinted: {printed}"
            )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a key, or rather with two, and with what the pages send."""
    home = tmp_path.resolve() / "home"
    for folder in ("anna", "photos", "documents", "srv/inbox", "srv/backup", "srv/peer"):
        (home / folder).mkdir(parents=True)
    for name in ("a", "b", "c"):
        (home / "photos" / f"{name}.jpg").write_bytes(name.encode() * 50_000)
    (home / "report.pdf").write_bytes(bytes(2_410_000))
    (home / "letter.txt").write_text("Dear Anna,\n\n")
    (home / "documents" / "letter.txt").write_text("Dear Anna,\n\n")
    (home / "samples").symlink_to(PROJECT / "samples")
    objxfer.Key.generate().save(home / "other.key")
    objxfer.Key.generate().save(home / ".config" / "objxfer" / "key")
    return home


@pytest.fixture
def peers(home: Path) -> Iterator[dict[str, str]]:
    """Where receivers take everything, by scheme."""
    key = objxfer.Key.load(home / ".config" / "objxfer" / "key")

    def take(listener: objxfer.Listener) -> None:
        while True:
            try:
                connection = listener.accept()
            except objxfer.ConnectionClosed:
                return
            with contextlib.suppress(objxfer.ObjxferError), connection:
                for _ in connection:
                    pass

    with contextlib.ExitStack() as stack:
        found = {}
        for scheme in ("tls", "tcp"):
            listener = objxfer.listen(
                f"{scheme}://127.0.0.1:0", key=key, into=home / "srv" / "peer"
            )
            thread = threading.Thread(target=take, args=(listener,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.close)
            found[scheme] = listener.url.partition("://")[2]
        yield found


@pytest.fixture
def nobody() -> Iterator[str]:
    """Where nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_happens(
    page: Path, home: Path, peers: dict[str, str], nobody: str
) -> None:
    run = Run(home, peers, nobody)
    with contextlib.closing(run):
        for block in blocks(page):
            run.block(block)
        run.end()


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may end in."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(page.read_text("utf-8"))
    }


@pytest.mark.parametrize("page", [*PROJECT.glob("*.md"), *PAGES[1:]], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_code_could_be_one(page: Path) -> None:
    for code in re.findall(r"\b\d{1,4}(?:-[a-z]+){3}\b", page.read_text("utf-8")):
        objxfer.Code.parse(code)


def test_every_page_is_in_the_index() -> None:
    index = (PROJECT / "docs" / "index.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert page.stem == "index" or f"({page.name})" in index


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    page = (PROJECT / "docs" / "exit-codes-and-json.md").read_text("utf-8")
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    assert table
    for code, name in table:
        assert objxfer.ExitCode[name] == int(code)


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 20) + 1, 5_000_000])
def test_the_lines_that_compute_a_digest_do(size: int) -> None:
    page = PROJECT / "docs" / "exit-codes-and-json.md"
    (lines,) = (block.text for block in blocks(page) if "blake3" in block.text)
    names: dict[str, Any] = {}
    exec(lines, names)
    contents = random.Random(size).randbytes(size)
    assert names["digest"](contents) == written(file_digest(contents))
