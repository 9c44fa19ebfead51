"""What the doctor says of who answers, whatever answers."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer.blocking.doctor import target as way
from objxfer.blocking.doctor import visiting
from objxfer.blocking.doctor.checks import Check, Status, conclusion, failed, ok, warning
from objxfer.blocking.doctor.target import examine
from objxfer.blocking.terms import Terms
from objxfer.errors import ExitCode, ObjxferError, WrongKey
from objxfer.protocol.handshake import Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.pairing import Code, Invitation, Pair
from support.connected import KEY, OTHER_KEY, PATIENCE

CODE = Code(4, ("walnut", "copper", "tiger"))
ESCAPES = "\x1b[2J\x9b31m"
Refused = SimpleQueue[ObjxferError]
Answer = Callable[[socket.socket], object]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("OBJXFER_KEY_FILE", raising=False)
    return tmp_path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    KEY.save(tmp_path / "key")
    return tmp_path / "key"


@contextmanager
def listening(
    scheme: str = "tls", key: object = KEY, **terms: object
) -> Iterator[tuple[objxfer.Listener, Refused]]:
    refused: Refused = SimpleQueue()
    with objxfer.listen(
        f"{scheme}://127.0.0.1:0",
        key=key,  # type: ignore[arg-type]  # what a test says it is
        on_refused=lambda _, error: refused.put(error),
        **terms,  # type: ignore[arg-type]
    ) as listener:
        yield listener, refused


@contextmanager
def taking(listener: objxfer.Listener) -> Iterator[None]:
    """Somebody who waits for deliveries, one after the other."""

    def take() -> None:
        while True:
            try:
                connection = listener.accept()
            except objxfer.ConnectionClosed:
                return
            with pytest.raises(objxfer.ConnectionClosed):
                connection.recv(PATIENCE)
            connection.abandon()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        listener.close()
        thread.join()


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """Somebody who answers as they like, each who comes; the port."""
    with ExitStack() as exit_stack, socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    sock = exit_stack.enter_context(server.accept()[0])
                    answer(sock)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def says(words: bytes, *, ends: bool = False) -> Answer:
    def answer(sock: socket.socket) -> None:
        sock.sendall(words)
        if ends:
            sock.close()

    return answer


def resets(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ends(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.close()


def introduces_itself(*, behind: bytes = b"", ends: bool = True, **said: object) -> Answer:
    """One that says a hello, whatever it is told, and perhaps ends."""
    own = Hello(Role.SERVER, Mode.KEY, b"n" * 32, b"p" * 16, key_id=bytes.fromhex(KEY.id))
    for name, value in said.items():
        object.__setattr__(own, name, value)

    def answer(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(own.pack() + behind)
        if ends:
            sock.close()

    return answer


def of(name: str, checks: Sequence[Check]) -> Check:
    (found,) = (check for check in checks if check.name == name)
    return found


def outcome(checks: Sequence[Check]) -> dict[str, str]:
    return {check.name: check.status.value for check in checks}


def not_reached(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "not_reached")


ALL_OK = dict.fromkeys(("key", "connect", "tls", "hello", "proof", "round_trip"), "ok")


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_all_is_well(scheme: str, key_file: Path) -> None:
    with listening(scheme) as (listener, refused), taking(listener):
        checks = list(examine(f"{listener.url}/folder", key_file=key_file))
        assert outcome(checks) == ALL_OK
        assert KEY.id in of("key", checks).message
        assert "version 1" in of("hello", checks).message
        assert "objects as raw, text, json, msgpack" in of("hello", checks).message
        assert "files" not in of("hello", checks).message
        assert "ms at best" in of("round_trip", checks).message
    assert refused.empty()
    assert conclusion(checks, "well") == ok("conclusion", "well")


def test_nobody_listens(key_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    checks = list(examine(f"tls://127.0.0.1:{port}", key_file=key_file))
    assert outcome(checks) == {"key": "ok", "connect": "failed"} | not_reached(*visiting.STEPS)
    failure = of("connect", checks)
    assert "connection refused" in failure.message
    assert failure.advice.startswith('start "objxfer receive" there')
    assert conclusion(checks, "").exit_code is ExitCode.CANNOT_CONNECT


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_another_key(scheme: str, key_file: Path) -> None:
    with listening(scheme, OTHER_KEY) as (listener, refused):
        checks = list(examine(listener.url, key_file=key_file))
        assert isinstance(refused.get(timeout=PATIENCE), WrongKey)
        assert refused.empty()
    assert outcome(checks) == ALL_OK | {"proof": "failed", "round_trip": "not_reached"}
    assert of("proof", checks).message == f"it does not hold our key ({KEY.id})"
    assert of("proof", checks).exit_code is ExitCode.NOT_AUTHENTICATED


def test_without_a_key_it_is_said_how_far_it_goes() -> None:
    with listening() as (listener, _):
        checks = list(examine(listener.url))
    assert outcome(checks) == ALL_OK | {
        "key": "failed",
        "proof": "failed",
        "round_trip": "not_reached",
    }
    assert of("proof", checks).message == "it has a key, and asks for it"
    assert conclusion(checks, "").exit_code is ExitCode.USAGE


def test_a_key_file_that_is_damaged(home: Path) -> None:
    path = home / "config" / "objxfer" / "key"
    KEY.save(path)
    path.write_text(path.read_text().swapcase())
    with listening() as (listener, _):
        checks = list(examine(listener.url))
    assert "holds no key in line 1" in of("key", checks).message
    assert outcome(checks)["hello"] == "ok"
    assert conclusion(checks, "").exit_code is ExitCode.USAGE


@pytest.mark.parametrize("insecure", [True, False])
def test_somebody_who_lets_everybody_in(insecure: bool) -> None:
    with listening(key=None, insecure=True) as (listener, _), taking(listener):
        checks = list(examine(listener.url, insecure=insecure))
    if insecure:
        assert outcome(checks) == ALL_OK | {"key": "warning"}
    else:
        assert outcome(checks) == ALL_OK | {"key": "failed", "proof": "not_reached"}


def test_somebody_without_a_key(key_file: Path) -> None:
    with listening(key=None, insecure=True) as (listener, _):
        checks = list(examine(listener.url, key_file=key_file))
    assert "it has no key" in of("proof", checks).message


def test_somebody_who_waits_with_a_code_whose_code_is_not_burnt(key_file: Path) -> None:
    invitation = Invitation(CODE)
    with listening(key=invitation) as (listener, _):
        for file in (key_file, None):
            checks = list(examine(listener.url, key_file=file))
            assert of("proof", checks).message == "it waits for a code"
        assert invitation.code == CODE
        objxfer.connect(listener.url, key=CODE).abandon()


@pytest.mark.parametrize(
    ("terms", "command"),
    [
        ({"accepts": ["text"], "into": "."}, "objxfer send PATH --code CODE"),
        ({"accepts": []}, "objxfer receive CODE"),
        ({"accepts": ["json"]}, "objxfer pair CODE"),
    ],
)
def test_what_to_do_with_a_code_goes_by_what_is_taken(
    key_file: Path, terms: dict[str, Any], command: str
) -> None:
    with listening(key=Invitation(CODE), **terms) as (listener, _):
        checks = list(examine(listener.url, key_file=key_file))
    assert of("proof", checks).advice == f"type the code that it shows: {command}"


def test_somebody_who_lets_in_peers_only(key_file: Path) -> None:
    pair = Pair(OTHER_KEY, b"n" * 16, b"a" * 16)
    with listening(key=pair) as (listener, _):
        checks = list(examine(listener.url, key_file=key_file))
    assert "it lets in its peers" in of("proof", checks).message
    assert '"objxfer pair"' in of("proof", checks).advice


@pytest.mark.parametrize(("listens", "calls"), [("tcp", "tls"), ("tls", "tcp")])
def test_the_other_scheme(listens: str, calls: str, key_file: Path) -> None:
    with listening(listens) as (listener, _):
        url = listener.url.replace(f"{listens}:", f"{calls}:")
        checks = list(examine(url, key_file=key_file))
        failure = next(check for check in checks if check.status is Status.FAILED)
        assert failure.name == ("tls" if calls == "tls" else "hello")
        assert failure.exit_code is ExitCode.MISMATCH
        assert listener.url in failure.advice


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "an SSH server answers there: 'SSH-2.0-OpenSSH_9.2'"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a web server answers there: 'HTTP/1.1 400"),
        (says(b"220 mail ESMTP\r\n"), "another program answers there: '220 mail ESMTP'"),
        (says(ESCAPES.encode("latin-1") + b"hi\n"), "'\\x1b[2J\\x9b31mhi'"),
        (says(bytes(range(1, 32)) * 100), "does not speak"),
        (says(b"\xff" * 10_000), "another program answers there: '\\xff"),
        (resets, "accepted, and then reset"),
        (ends, "accepted, and closed at the first word"),
    ],
)
def test_another_program(scheme: str, answer: Answer, said: str, key_file: Path) -> None:
    with answering(answer) as port:
        checks = list(examine(f"{scheme}://127.0.0.1:{port}", key_file=key_file))
    failure = next(check for check in checks if check.status is Status.FAILED)
    assert failure.name == ("tls" if scheme == "tls" else "hello")
    assert said in failure.message
    assert failure.message.isprintable()
    assert len(failure.message) < 400
    assert failure.exit_code is ExitCode.MISMATCH


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_web_server(key_file: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        checks = list(examine(f"tls://127.0.0.1:{server.server_port}", key_file=key_file))
        server.shutdown()
        thread.join()
    assert "a web server answers there" in of("tls", checks).message


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_somebody_who_accepts_and_is_silent(
    scheme: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "SECONDS", 0.3)
    with answering(lambda _: None) as port:
        checks = list(examine(f"{scheme}://127.0.0.1:{port}", key_file=key_file))
    failure = next(check for check in checks if check.status is Status.FAILED)
    assert failure.message.startswith("accepted, and then silent")
    assert failure.exit_code is ExitCode.TIMEOUT


@pytest.mark.parametrize(
    ("versions", "which"), [((2, 3), "this machine"), ((200, 255), "this machine")]
)
def test_no_common_version(versions: tuple[int, int], which: str, key_file: Path) -> None:
    with answering(introduces_itself(versions=versions)) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    low, high = versions
    failure = of("hello", checks)
    assert failure.message == (
        f"it speaks versions {low} to {high} of the protocol, and this machine 1"
    )
    assert failure.advice == f"update objxfer on {which}"
    assert failure.exit_code is ExitCode.MISMATCH


def test_an_older_one_is_to_be_updated(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting, "VERSION", 2)
    terms = Terms.handshake

    def newer(self: Terms, role: Role, channel: bytes) -> Handshake:
        handshake = terms(self, role, channel)
        object.__setattr__(handshake.own, "versions", (2, 2))
        return handshake

    monkeypatch.setattr(Terms, "handshake", newer)
    with answering(introduces_itself()) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    assert of("hello", checks).advice == "update objxfer on the other machine"


def test_what_a_hello_says_is_harmless(key_file: Path) -> None:
    hostile = introduces_itself(python="\x1b[2J\r\n\x07", serializers=("\x1b]0;x\x07", "y" * 2000))
    with answering(hostile) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    said = of("hello", checks).message
    assert said.isprintable()
    assert "\\x1b[2J" in said
    assert len(said) < 400
    assert of("proof", checks).status is Status.FAILED


@pytest.mark.parametrize("said", [b"objxfer" + bytes(200), b"objxfer\xff\xff" + bytes(99), b"obj"])
def test_a_hello_that_is_none(said: bytes, key_file: Path) -> None:
    with answering(says(said, ends=True)) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    failure = of("hello", checks)
    assert failure.status is Status.FAILED
    assert failure.exit_code is ExitCode.MISMATCH
    assert failure.message.isprintable()


def test_somebody_who_sends_back_what_it_is_told(key_file: Path) -> None:
    with answering(lambda sock: sock.sendall(sock.recv(4096))) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    assert of("hello", checks).message == "it sends back what it is told: another program"
    assert of("hello", checks).exit_code is ExitCode.MISMATCH


def test_somebody_who_hangs_after_the_hello(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "SECONDS", 0.3)
    with answering(introduces_itself(ends=False)) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    assert outcome(checks)["hello"] == "ok"
    assert "and then nothing" in of("proof", checks).message
    assert of("proof", checks).exit_code is ExitCode.TIMEOUT


def test_a_proof_without_a_key_that_does_not_match() -> None:
    with answering(introduces_itself(mode=Mode.NONE, key_id=b"", behind=bytes(32))) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", insecure=True))
    assert of("proof", checks).message == "it has no key, and its proof does not match"


def test_somebody_who_is_busy(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting, "_PING_SECONDS", 0.05)
    with listening() as (listener, _):
        checks = list(examine(listener.url, key_file=key_file))
        assert outcome(checks) == ALL_OK | {"round_trip": "warning"}
        assert "busy" in of("round_trip", checks).message
        with listener.accept(PATIENCE) as connection, pytest.raises(objxfer.ConnectionClosed):
            connection.recv(PATIENCE)


def test_somebody_who_hangs_up_after_the_proof(key_file: Path) -> None:
    def hang_up(sock: socket.socket) -> None:
        own = Hello(Role.SERVER, Mode.KEY, b"n" * 32, b"p" * 16)
        holds = {Mode.KEY: lambda _: Held(KEY.secret())}
        handshake = Handshake(own, b"plain", find=holds)
        while handshake.established is None:
            sock.sendall(handshake.receive(sock.recv(4096)))
        sock.close()

    with answering(hang_up) as port:
        checks = list(examine(f"tcp://127.0.0.1:{port}", key_file=key_file))
    assert outcome(checks) == ALL_OK | {"round_trip": "failed"}
    assert of("round_trip", checks).exit_code is ExitCode.CONNECTION_LOST


def test_a_listener_has_one_visit_for_all_addresses_of_a_name(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as (listener, refused), taking(listener):
        port = int(listener.url.rpartition(":")[2])
        know(monkeypatch, "nas", "127.0.0.1", "127.0.0.2")
        checks = list(examine(f"tls://nas:{port}", key_file=key_file))
        assert of("name", checks).message == "nas is 127.0.0.1, 127.0.0.2"
        first, second = (check for check in checks if check.name == "connect")
        assert first.status is Status.OK
        assert second.status is Status.WARNING, "127.0.0.2 is another address"
        assert conclusion(checks, "well").message == "well, with 1 warning"
    assert refused.empty()


def test_who_leaves_without_a_word_is_told_from_who_says_something_else() -> None:
    for scheme in ("tls", "tcp"):
        with listening(scheme) as (listener, refused):
            port = int(listener.url.rpartition(":")[2])
            socket.create_connection(("127.0.0.1", port)).close()
            error = refused.get(timeout=PATIENCE)
            assert isinstance(error, objxfer.ConnectionLost)
            assert str(error).endswith("left without a word")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no nas"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "temporary failure"),
    ],
)
def test_a_name_that_cannot_be_looked_up(
    error: OSError, said: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    checks = list(examine("tls://nas", key_file=key_file))
    expected = {"key": "ok", "name": "failed"} | not_reached("connect", *visiting.STEPS)
    assert outcome(checks) == expected
    assert said in of("name", checks).message
    assert conclusion(checks, "").exit_code is ExitCode.CANNOT_CONNECT


def test_a_resolver_that_hangs(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        over.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(way, "SECONDS", 0.05)
    checks = list(examine("tls://nas", key_file=key_file))
    over.set()
    assert "no name server answers" in of("name", checks).message


@pytest.mark.parametrize("target", ["4-walnut-copper-tiger", "4 walnut copper tigr"])
def test_a_code_is_no_target_and_is_not_repeated(target: str) -> None:
    with pytest.raises(ObjxferError, match="a code is no target") as caught:
        examine(target)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "walnut" not in str(caught.value) + caught.value.hint


def test_who_is_given_up_leaves_nothing_open(key_file: Path) -> None:
    with listening() as (listener, _), taking(listener):
        examination = examine(listener.url, key_file=key_file)
        while next(examination).name != "hello":
            pass
        examination.close()  # type: ignore[attr-defined]  # it is a generator


def test_what_all_comes_to() -> None:
    first = failed("tls", "no", "do this", ExitCode.MISMATCH)
    second = failed("proof", "no", "do that", ExitCode.NOT_AUTHENTICATED)
    told = conclusion([ok("key", ""), warning("name", ""), first, second], "well")
    assert told == failed(
        "conclusion", "a delivery fails at tls, with exit code 15", "do this", ExitCode.MISMATCH
    )
    told = conclusion([warning("a", ""), ok("b", ""), warning("c", "")], "well")
    assert (told.status, told.message) == (Status.WARNING, "well, with 2 warnings")


def know(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    """Make the resolver know a name."""
    resolve = socket.getaddrinfo

    def answer(host: str, port: int, **options: object) -> object:
        if host != name:
            return resolve(host, port, **options)  # type: ignore[arg-type]
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
