"""The screens of ``docs/doctor.md`` are those of real machines on a cable."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from support.commands import Finished
from support.firewall import guard, needs_nft
from support.machines import MOVED_IPV4, Machine
from support.neighbours import THERE_IPV4, WIRE, Cable, needs_cable
from support.pages import Page
from test_docs import PROJECT, typical

pytestmark = [pytest.mark.timeout(120), needs_cable]
PAGE: Final = Page(PROJECT / "docs" / "doctor.md")
NAS: Final = f"tls://{THERE_IPV4}"
VARYING: Final = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "PEER"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"/\S+/(?:ben|nas)(/home)?\b"), "/HOME"),
    (re.compile(r"/home/(?:ben|anna)\b"), "/HOME"),
    (re.compile(r"into /\S+"), "into /HOME"),
    (re.compile(r"Linux \S+ on \S+"), "LINUX"),
    (re.compile(rf"\b(?:{WIRE}|eth0)\b"), "WIRE"),
    (re.compile(r"free, \w+$"), "free, KIND"),
    (re.compile(r"numpy [\w.]+"), "NUMPY"),
    (re.compile(r"no (?:answer in|route to host).*"), "NOT THERE"),
]
SAYS: Final = """
import socket, struct, sys
server = socket.create_server(("", 6259))
print("listening", flush=True)
while True:
    sock, _ = server.accept()
    if len(sys.argv) > 1:
        sock.sendall(sys.argv[1].encode())
    else:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
"""
"""A program that says something to each who comes, or hangs up on them."""


def alike(line: str, *, moved: bool) -> str:
    """Text in which what varies is the same."""
    for varying, constant in VARYING[: None if moved else -1]:
        line = varying.sub(constant, line)
    return typical(line)


class Scene:
    """Ben, and the nas, with the same key."""

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        self.cable = exit_stack.enter_context(Cable(ipv6=False))
        self.ben = Machine(folder / "ben", exit_stack, self.cable.here)
        self.nas = Machine(folder / "nas", exit_stack, self.cable.there)
        for machine in (self.ben, self.nas):
            self.nas.commands.key.save(machine.commands.key_file)

    def doctor(self, target: str = NAS) -> list[Finished]:
        return [self.ben.run("doctor", target)]

    def pair(self) -> None:
        for machine in (self.ben, self.nas):
            machine.commands.key_file.unlink()
        waiting, code, _ = self.nas.wait_with_code("--as", "nas")
        assert self.ben.run("pair", code, "nas", "--as", "ben").code == waiting.finish().code == 0


def well(scene: Scene) -> list[Finished]:
    scene.nas.listen("serve", "inbox")
    return scene.doctor()


def refused(scene: Scene) -> list[Finished]:
    return scene.doctor()


def dropped(scene: Scene) -> list[Finished]:
    guard(scene.cable.there, "tcp", "dport", "6259", "drop")
    return scene.doctor()


def rejected(scene: Scene) -> list[Finished]:
    rule = "tcp dport 6259 reject with icmpx admin-prohibited"
    guard(scene.cable.there, *rule.split())
    return scene.doctor()


def unreachable(scene: Scene) -> list[Finished]:
    return scene.doctor("tls://192.168.1.20")


def reset(scene: Scene) -> list[Finished]:
    assert scene.cable.there.python(SAYS).line() == "listening"
    return scene.doctor()


def ssh(scene: Scene) -> list[Finished]:
    assert scene.cable.there.python(SAYS, "SSH-2.0-OpenSSH_9.2\r\n").line() == "listening"
    return scene.doctor()


def scheme(scene: Scene) -> list[Finished]:
    scene.nas.listen("serve", "inbox", "--listen", "tcp://")
    return scene.doctor()


def key(scene: Scene) -> list[Finished]:
    scene.ben.commands.key_file.unlink()
    assert scene.ben.run("keygen").code == 0
    receiving = scene.nas.start("receive")
    said = [receiving.err_line(), receiving.err_line()]
    shown = scene.doctor()
    said.append(receiving.err_line())
    receiving.signal(signal.SIGTERM)
    receiving.finish()
    return [*shown, Finished(0, "\n".join(said), "")]


def code(scene: Scene) -> list[Finished]:
    scene.nas.commands.key_file.unlink()
    waiting = scene.nas.start("receive")
    assert waiting.err_line().startswith("code: ")
    return scene.doctor()


def moved(scene: Scene) -> list[Finished]:
    scene.pair()
    there = scene.cable.there
    there.run("ip", "address", "del", f"{THERE_IPV4}/24", "dev", WIRE)
    there.run("ip", "address", "add", f"{MOVED_IPV4}/24", "dev", WIRE)
    scene.nas.listen("serve", "inbox", "--listen", f"tls://{MOVED_IPV4}:7001")
    return scene.doctor("nas")


def another(scene: Scene) -> list[Finished]:
    scene.pair()
    scene.nas.commands.key.save(scene.nas.commands.key_file)
    scene.nas.peers.remove("ben")
    scene.nas.listen("serve", "inbox")
    return scene.doctor("nas")


def machine(scene: Scene) -> list[Finished]:
    return [scene.nas.run("doctor")]


SCENES: Final[dict[str, Callable[[Scene], list[Finished]]]] = {
    each.__name__: each
    for each in (
        *(well, refused, dropped, rejected, unreachable, reset),
        *(ssh, scheme, key, code, moved, another, machine),
    )
}
MARKS: Final = {
    "dropped": [pytest.mark.long, needs_nft],
    "rejected": [needs_nft],
    "moved": [pytest.mark.long],
    "another": [pytest.mark.long],
    "machine": [needs_nft],
}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as exit_stack:
        yield Scene(tmp_path, exit_stack)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, [])) for name in SCENES])
def test_what_a_screen_shows_is_what_happens(name: str, scene: Scene) -> None:
    said = (one.out + one.err for one in SCENES[name](scene))
    PAGE.check(name, said, partial(alike, moved=name == "moved"))


def test_every_screen_has_its_scene() -> None:
    assert set(PAGE.scenes) == set(SCENES)


def test_every_check_of_a_way_is_explained() -> None:
    steps = re.findall(r"^\| `(\w+)` \|", PAGE.text, re.MULTILINE)
    assert steps == ["key", "name", "mdns", "connect", "tls", "hello", "proof", "round_trip"]
