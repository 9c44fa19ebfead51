"""Keys, codes and contents, looked for in all that others can see of the real commands.

``MAY_HOLD`` says where each of them lies by its nature. All other places are searched: what is
printed with ``-vv``, JSON lines, arguments and environments, all files and their names, and every
packet of the network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer.limits import MIB
from support.commands import Commands, Finished, Running
from support.machines import Machine
from support.neighbours import Cable, needs_cable
from support.relay import cutting, relay
from support.secrets import CAPTURE, Watch, spellings, without

pytestmark = pytest.mark.timeout(120)

MAY_HOLD: Final[dict[str, tuple[str, ...]]] = {
    "key": ("file */.config/objxfer/key",),
    "key of a pair": ("file */.config/objxfer/peers/*",),
    "contents": (
        "file */letter*",  # what is sent, and what was delivered
        "file */inbox/.objxfer*",  # of a delivery that was cut off
    ),
    "code": ("what * shows",),
}
CODE_LINES: Final = (
    "code: ",
    "there: ",
    '{"type":"code"',
    "on the other machine: ",
    "if it finds nobody: ",
)
"""How the lines begin that a code is told by to who reads the screen."""
SECRET: Final = bytes(range(100, 132))
MARKER: Final = b"the marker of what is private %d\n"


def contents(size: int) -> bytes:
    """Contents of which each piece tells what they are."""
    return MARKER % 7 * (size // len(MARKER))


class Scene:
    """Two machines, perhaps on a cable, and who watches them."""

    def __init__(self, folder: Path, exit_stack: ExitStack, cable: Cable | None = None) -> None:
        self.folder = folder
        self.watch = Watch(MAY_HOLD)
        self.watch.hide("contents", MARKER % 7)
        self.anna = Machine(folder / "anna", exit_stack, cable.here if cable else None)
        self.ben = Machine(folder / "ben", exit_stack, cable.there if cable else None)
        self.cable = cable
        for machine in (self.anna, self.ben):
            scratch = machine.commands.folder / "scratch"
            scratch.mkdir()
            machine.commands.environment["TMPDIR"] = str(scratch)
        self.ben.commands.file("letter", contents(300_000))
        if cable is not None:
            self._capture = cable.here.python(CAPTURE, str(folder / "packets"))
            assert self._capture.line() == "listening"

    def shown_code(self, name: str, running: Running) -> str:
        """Read the code that a command shows."""
        line = running.err_line()
        said = [line]
        while not line.startswith("code: "):
            assert line, said
            line = running.err_line()
            said.append(line)
        code = line.removeprefix("code: ")
        self.watch.hide("code", objxfer.Code.parse(code))
        self.watch.see(f"what {name} shows", line)
        self.watch.see(f"screen of {name}", without("\n".join(said), CODE_LINES))
        return code

    def look(self, **running: Running) -> None:
        """Look at processes on their way."""
        for name, one in running.items():
            self.watch.see_process(name, one.process.pid)

    def see(self, code: int, **finished: Finished) -> None:
        """Look at what commands printed, which all ended with a code."""
        for name, one in finished.items():
            assert one.code == code, one
            self.watch.see(f"screen of {name}", without(one.out, CODE_LINES))
            self.watch.see(f"log of {name}", without(one.err, CODE_LINES))

    def check(self) -> None:
        if self.cable is not None:
            assert self._capture.finish() == []
            packets = self.folder / "packets"
            assert b"_objxfer" in packets.read_bytes()
        for machine in (self.anna, self.ben):
            for peer in machine.peers:
                self.watch.hide("key of a pair", peer.pair.key)
        self.watch.see_disk(self.folder)
        self.watch.check()


@pytest.fixture
def exit_stack() -> Iterator[ExitStack]:
    with ExitStack() as exit_stack:
        yield exit_stack


@pytest.fixture
def on_a_cable(tmp_path: Path, exit_stack: ExitStack) -> Scene:
    return Scene(tmp_path, exit_stack, exit_stack.enter_context(Cable(ipv6=False)))


@pytest.fixture
def beside(tmp_path: Path, exit_stack: ExitStack) -> Scene:
    return Scene(tmp_path, exit_stack)


def with_key(scene: Scene) -> None:
    """Have a key made, and bring it across."""
    made = scene.anna.run("keygen")
    key_file = scene.anna.commands.key_file
    scene.watch.hide("key", objxfer.Key.load(key_file))
    objxfer.Key.load(key_file).save(scene.ben.commands.key_file)
    scene.see(0, keygen=made)


@pytest.mark.parametrize("way", range(len(spellings(b"a secret"))))
def test_the_search_finds_what_is_told(way: int) -> None:
    watch = Watch({"key": ("file */key",)})
    watch.hide("key", SECRET)
    watch.see("file home/key", SECRET)
    watch.check()
    watch.see("a log", b"it is " + spellings(SECRET)[way] + b", as it were")
    with pytest.raises(AssertionError, match="key is told by"):
        watch.check()


# --- by a key ---


def test_a_key_and_what_is_sent_by_it(beside: Scene) -> None:
    with_key(beside)
    serving = beside.anna.listen("serve", "inbox", "-vv", "--listen", "tls://127.0.0.1:0")
    sending = beside.ben.start("send", "-", "--name", "letter", "--to", serving.url, "-vv")
    sending.write(contents(300_000))
    beside.look(serve=serving, send=sending)
    sent = sending.finish()
    again = beside.ben.run("send", "letter", "--to", serving.url, "-vv", "--json")
    serving.signal(15)
    beside.see(0, send=sent, again=again, serve=serving.finish())
    assert (beside.anna.inbox / "letter").read_bytes() == contents(300_000)
    beside.check()


@pytest.mark.long
def test_another_key(beside: Scene) -> None:
    with_key(beside)
    receiving = beside.anna.listen("receive", "-vv", "--listen", "tls://127.0.0.1:0")
    beside.ben.commands.key_file.unlink()
    other = objxfer.Key.generate()
    beside.watch.hide("key", other)
    other.save(beside.ben.commands.key_file)
    beside.see(13, send=beside.ben.run("send", "letter", "--to", receiving.url, "-vv", "--json"))
    receiving.signal(2)
    beside.see(130, receive=receiving.finish())
    beside.check()


@pytest.mark.long
def test_a_delivery_that_is_cut_off(beside: Scene) -> None:
    """Contents lie in what may be gone on with, and nowhere else beside the source."""
    with_key(beside)
    beside.ben.commands.file("letter", contents(5 * MIB))
    serving = beside.anna.listen("serve", "inbox", "-vv", "--listen", "tls://127.0.0.1:0")
    with relay(serving.url, cutting(3 * MIB)) as url:
        sent = beside.ben.run("send", "letter", "--to", url, "-vv", "--retry", "0")
    serving.signal(15)
    beside.see(11, send=sent)
    beside.see(0, serve=serving.finish())
    assert not (beside.anna.inbox / "letter").exists()
    assert any(beside.anna.inbox.glob(".objxfer*"))
    beside.check()


CRASH: Final = """
import sys
from objxfer.security import sealing

def fail(*_):
    raise LookupError("this program's own fault")

sealing.Sealer.seal = fail
sys.argv = ["objxfer", *sys.argv[1:]]
from objxfer_cli.main import main
main()
"""
"""The command, with a fault in the middle of all that is secret."""


@pytest.mark.long
def test_a_crash(beside: Scene) -> None:
    with_key(beside)
    receiving = beside.anna.listen("receive", "-vv", "--listen", "tls://127.0.0.1:0")
    crashed = crash(beside.ben.commands, "send", "letter", "--to", receiving.url, "-vv")
    assert "Traceback" in crashed.err
    beside.see(1, send=crashed)
    receiving.signal(2)
    beside.see(130, receive=receiving.finish())
    beside.check()


def crash(commands: Commands, *arguments: str) -> Finished:
    ended = subprocess.run(
        [sys.executable, "-c", CRASH, *arguments],
        cwd=commands.folder,
        env=commands.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


# --- by a code, and paired, with all packets ---


@needs_cable
def test_a_code_that_the_sender_shows(on_a_cable: Scene) -> None:
    scene = on_a_cable
    sending = scene.ben.start("send", "letter", "-vv")
    code = scene.shown_code("send", sending)
    receiving = scene.anna.start("receive", "-", "--into", "inbox", "--yes", "-vv", "--json")
    scene.look(send=sending, receive=receiving)
    received = receiving.finish(f"{code}\n".encode())
    scene.see(0, receive=received, send=sending.finish())
    assert {line["type"] for line in received.lines} >= {"connected", "file", "summary"}
    scene.check()


@pytest.mark.long
@needs_cable
def test_a_code_that_the_receiver_shows(on_a_cable: Scene) -> None:
    scene = on_a_cable
    receiving = scene.anna.start("receive", "--into", "inbox", "--yes", "-vv", "--json")
    line = receiving.out_line()
    code = json.loads(line)["code"]
    scene.watch.hide("code", objxfer.Code.parse(code))
    scene.watch.see("what receive shows", line)
    sending = scene.ben.start("send", "letter", "--code", "-", "-vv", "--json")
    scene.look(send=sending, receive=receiving)
    sent = sending.finish(f"{code}\n".encode())
    scene.see(0, send=sent, receive=receiving.finish())
    scene.check()


@needs_cable
def test_a_wrong_code(on_a_cable: Scene) -> None:
    """Neither the right one is told, nor the wrong one, nor one that is misspelled."""
    scene = on_a_cable
    sending = scene.ben.start("send", "letter", "-vv")
    code = scene.shown_code("send", sending)
    room, *words = code.split("-")
    other = objxfer.Code.parse(f"{room}-{'-'.join(reversed(words))}")
    tried = scene.anna.run("receive", "-", "--yes", "-vv", stdin=other.spoken().encode())
    misspelled = f"{room}-{words[0]}-{words[1]}-{words[2][::-1]}"
    typed = scene.anna.run("receive", "-", "--yes", "-vv", stdin=misspelled.encode())
    following = scene.shown_code("send", sending)
    assert following != code
    sending.signal(2)
    scene.see(13, receive=tried)
    scene.see(2, typed=typed)
    scene.see(130, send=sending.finish())
    scene.check()


@pytest.mark.long
@needs_cable
def test_pairing_and_sending_by_name(on_a_cable: Scene) -> None:
    scene = on_a_cable
    waiting = scene.anna.start("pair", "-vv", "--as", "anna")
    code = scene.shown_code("pair", waiting)
    coming = scene.ben.start("pair", "-", "--as", "ben", "-vv", "--json")
    scene.look(pair=waiting, coming=coming)
    scene.see(0, coming=coming.finish(f"{code}\n".encode()), pair=waiting.finish())
    serving = scene.anna.listen("serve", "inbox", "-vv")
    sent = scene.ben.run("send", "letter", "--to", "anna:below", "-vv", "--json")
    scene.look(serve=serving)
    serving.signal(15)
    peers = scene.ben.run("peers", "-vv"), scene.ben.run("peers", "--json")
    scene.see(0, send=sent, serve=serving.finish(), peers=peers[0], listed=peers[1])
    assert (scene.anna.inbox / "below" / "letter").exists()
    scene.check()
