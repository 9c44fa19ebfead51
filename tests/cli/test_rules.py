"""``serve --peer`` and ``--config``: what is typed, what is written, and what is said of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import objxfer
from objxfer.errors import ExitCode, ObjxferError
from objxfer_cli.rules import Rulebook, line_of
from objxfer_cli.terminal import Terminal
from support.commands import Commands, Running
from support.streaming import BEGINNING

pytestmark = pytest.mark.timeout(60)

Fails = Callable[..., str]
TIME = r"\d\d:\d\d:\d\d"


# --- where something is written ---

TOML = """\
# who may send
peers.inline = { quota = 9, folder = "x" }
peers.dotted.quota = [
  1,
  2,
]

[peers.ben]
quota = "50GB"   # all he has
folder = '''
ben'''

["peers".'büro 2']
rights = "none"

# the end
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("peers", "inline", "folder"), 2),
        (("peers", "dotted", "quota"), 3),
        (("peers", "ben"), 8),
        (("peers", "ben", "quota"), 9),
        (("peers", "ben", "folder"), 10),
        (("peers", "ben", "rights"), 8),  # it is not there
        (("peers", "büro 2", "rights"), 14),
    ],
)
def test_the_line_of_what_is_set(keys: tuple[str, ...], line: int) -> None:
    assert line_of(TOML, keys) == line


# --- what is wrong with it ---


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Sets rules up that cannot hold, in a folder with two keys and no peers; returns why."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "inbox").mkdir()
    for name in ("a.key", "b.key"):
        objxfer.Key.generate().save(tmp_path / name)

    def fail(*named: str, file: bytes | None = None, url: str = "tls://") -> str:
        if file is not None:
            (tmp_path / "rules.toml").write_bytes(file)
        rulebook = Rulebook(named, None if file is None else "rules.toml")
        with pytest.raises(ObjxferError) as wrong:
            rulebook.set_up(Terminal(), "inbox", url)
        assert wrong.value.exit_code == ExitCode.USAGE
        return str(wrong.value)

    return fail


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ben", "--peer: 'ben': there is no such peer"),
        ("ben:", "--peer: 'ben': a rule is as in quota=50GB"),
        ("ben:quota", "--peer: 'ben': a rule is as in quota=50GB"),
        ("ben:quota=1GB,quota=2GB", "--peer: 'ben': 'quota' is there twice"),
        ("ben:colour=red", "--peer: 'ben': 'colour' is not known: rights, quota, folder and key"),
        ("ben:rights=pull", "--peer: 'ben': 'pull' is no right: push or none is"),
        ("ben:quota=50GiB", "--peer: 'ben': '50GiB' is no quota: a size is a number and"),
        ("ben:quota=0,key=a.key", "--peer: 'ben': a quota is at least 1 byte"),
        ("ben:folder=..,key=a.key", "--peer: 'ben': the folder .. holds . or .."),
        ("ben:folder=,key=a.key", "--peer: 'ben': the folder is empty"),
        ("ben:key=absent", "--peer: 'ben': key file 'absent' is not there"),
        ("-x", "--peer: '-x' cannot be the name of a peer: it begins with -"),
        ("a\x1b[2J", r"--peer: 'a\x1b[2J' cannot be the name of a peer: it is not printable"),
        ("4-walnut-copper-tiger", "--peer: a code was given where the name of a peer belongs"),
    ],
)
def test_a_rule_that_is_none(fails: Fails, value: str, said: str) -> None:
    assert fails(value).startswith(said)


def test_rules_that_contradict_each_other(fails: Fails) -> None:
    a, b = "a:key=a.key,folder=x", "b:key=b.key,folder=x/y"
    assert fails(a, a) == "--peer: 'a' is named twice"
    file = b"[peers.a]\nkey = 'a.key'\n"
    assert fails(a, file=file) == "rules.toml, line 1: 'a' is named at --peer, too"
    assert fails(a, b) == "--peer: 'b': its folder lies in that of 'a'"
    assert fails("ben", url="tcp://") == "--peer: 'ben': a paired peer comes over tls:// only"


def test_they_leave_no_room_for_others(commands: Commands) -> None:
    for more in (["--key", "a.key"], ["--insecure"]):
        ended = commands.run("serve", "inbox", "--peer", "a:key=a.key", *more)
        assert ended.code == 2
        assert ended.err.startswith("objxfer: error: only who is named comes in: instead of --key")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[peers.a]\nkey = \n", "rules.toml, line 2: invalid value"),
        (b'[peers.a]\nkey = "a', "rules.toml, line 2: unterminated string"),
        (b"[peers.a]\n[peers.a]\n", "rules.toml, line 2: cannot declare"),
        (b'# \xe4\n[peers.a]\nkey = "\xe4"', "rules.toml, line 1: it is not UTF-8"),
        (b"\n\n[peer.a]\n", "rules.toml, line 3: 'peer' is not known; [peers.NAME] is"),
        (b"\npeers = 1\n", "rules.toml, line 2: peers are tables"),
        (b"[peers]\n\na = 1\n", "rules.toml, line 3: 'a' is no table"),
        (b"[peers.a]\n\nquota = 1.5\n", "rules.toml, line 3: 'a': quota is a text in quotes"),
        (b"[peers.a]\nquota = true\n", "rules.toml, line 2: 'a': quota is a text in quotes"),
        (b"[peers.a]\nquota = -1\n", "rules.toml, line 2: 'a': -1 is no quota"),
        (b"[peers.a]\nrights = 1\n", "rules.toml, line 2: 'a': rights is a text in quotes"),
        (b"[peers.a]\nrights='none'\n", "rules.toml, line 1: 'a': there is no such peer"),
        (b'[peers."\\u0007"]\n', r"rules.toml, line 1: '\x07' cannot be the name"),
        (b"[peers.a]\nkey='a.key'\nfolder='/x'\n", "rules.toml, line 3: 'a': the folder /x is"),
        (
            b"[peers.a]\nkey='a.key'\n[peers.b]\nfolder='b'\nkey='a.key'\n",
            "rules.toml, line 5: 'b': 'a' has the key",
        ),
        (
            b"[peers.a]\nkey='a.key'\n[peers.b]\nkey='b.key'\nfolder='b'\n",
            "rules.toml, line 5: 'b': its folder lies in that of 'a', which is the whole inbox",
        ),
        (
            "[peers.'é']\nkey='a.key'\n\n[peers.'e\u0301']\n".encode(),
            "rules.toml, line 4: 'é' is named at rules.toml, line 1, too",
        ),
        (b"a = " + b"[" * 100_000, "rules.toml: it is nested too deeply"),
        (b"#" * (2**20 + 1), "--config: rules.toml is larger than 1.05 MB"),
    ],
)
def test_an_error_in_the_file_says_its_line(fails: Fails, text: bytes, said: str) -> None:
    assert fails(file=text).startswith(said)


def test_what_is_secret_is_not_shown(fails: Fails) -> None:
    key = Path("a.key").read_text("ascii").strip()
    shown = [
        fails("ben:" + key),
        fails("ben:key=" + key),
        fails("ben:key=4-walnut-copper-tiger"),
        fails("4-walnut-copper-tiger:quota=1GB"),
        fails(file=f"[peers.ben]\nkey = '{key}'\n".encode()),
        fails(file=b"[peers.ben]\nkey = '4-walnut-copper-tiger'\n"),
    ]
    for message in shown:
        assert key not in message
        assert "walnut" not in message


def test_a_file_that_is_not_there(commands: Commands) -> None:
    ended = commands.run("serve", "inbox", "--config", "rules.toml")
    said = "--config: cannot read rules.toml: no such file or directory"
    assert ended == (2, "", f"objxfer: error: {said}\n")


# --- what it says when all is well ---


def test_who_may_do_what_is_said(commands: Commands) -> None:
    ben, anna = objxfer.Key.generate(), objxfer.Key.generate()
    ben.save(commands.folder / "keys/ben.key")
    anna.save(commands.folder / "anna.key")
    commands.file("inbox/ben/old", bytes(1200))
    commands.file("keys/rules.toml", b'[peers.ben]\nkey = "ben.key"\nquota = 5000\nfolder = "ben"')
    serving = commands.start(
        "serve", "inbox", "--listen", "tcp://127.0.0.1:0", "--config", "keys/rules.toml",
        *("--peer", "anna:rights=none,key=anna.key"),
    )  # fmt: skip
    assert [serving.err_line() for _ in range(3)] == [
        f"inbox {commands.inbox}: who is named may send here; nobody can read or delete"
        " (existing files: rename)",
        f"anna (key {anna.id}) may not send",
        f"ben (key {ben.id}) may push into ben/ (quota 5.00 kB, 1.20 kB used)",
    ]
    line = serving.err_line()
    url = line.removeprefix("listening on ").partition(",")[0]
    assert line == f"listening on {url}, for anna, ben"

    commands.file("letter", bytes(3000))
    assert commands.run("send", "letter", "--to", url, "--key", "keys/ben.key").code == 0
    said = serving.out_line()
    assert re.fullmatch(rf"{TIME} ben \(127\.0\.0\.1\) letter: 1 file, 3\.00 kB in .* s", said)

    commands.file("book", bytes(900))
    refused = commands.run("send", "book", "--to", url, "--key", "keys/ben.key")
    said = "for 1 file: book (over the quota: 800 B free of 5.00 kB)"
    assert refused == (21, "", f"objxfer: error: no space left at 127.0.0.1 {said}\n")
    assert re.fullmatch(
        rf"{TIME} ben \(127\.0\.0\.1\) no space left here {re.escape(said)}", serving.err_line()
    )

    refused = commands.run("send", "book", "--to", url, "--key", "anna.key")
    said = "by the rules of this inbox, this sender may not send"
    assert refused == (20, "", f"objxfer: error: refused by 127.0.0.1: {said}\n")
    assert re.fullmatch(rf"{TIME} anna \(127\.0\.0\.1\) refused: {said}", serving.err_line())

    assert commands.run("send", "book", "--to", url).code == 13  # the default key is not named
    assert re.fullmatch(rf"{TIME} 127\.0\.0\.1 refused: wrong key", serving.err_line())
    assert not (commands.inbox / "book").exists()


# --- SIGHUP ---


def begun(commands: Commands, serving: Running, folder: str) -> Running:
    """Send standard input; return when it has begun to lie there."""
    sending = commands.start("send", "-", "--to", serving.url)
    sending.write(BEGINNING)
    while not list((commands.inbox / folder).glob(".objxfer-*")):
        assert sending.process.poll() is None
    return sending


def test_sighup_has_the_rules_read_again(commands: Commands) -> None:
    rules = commands.file("rules.toml")
    write(rules, commands, "a", "50 MB")
    serving = commands.listen("serve", "inbox", "--config", "rules.toml")
    sending = begun(commands, serving, "a")

    rules.write_bytes(b"[peers.ben]\n\nquota = 'much'\n")
    serving.signal(signal.SIGHUP)
    assert serving.err_line() == (
        "objxfer: warning: rules.toml, line 3: 'ben': 'much' is no quota: a size is a number and"
        " B, kB, MB, GB or TB, as in 50GB; the rules stay as they were"
    )
    commands.file("letter", bytes(1000))
    assert commands.run("send", "letter", "--to", serving.url).code == 0
    assert (commands.inbox / "a/letter").is_file()

    write(rules, commands, "b", "1 MB")
    serving.signal(signal.SIGHUP)
    assert serving.err_line() == "the rules were read again from rules.toml"
    assert serving.err_line() == (
        f"ben (key {commands.key.id}) may push into b/ (quota 1.00 MB, 0 B used)"
    )
    assert commands.run("send", "letter", "--to", serving.url).code == 0
    assert (commands.inbox / "b/letter").is_file()

    assert sending.finish(b"the rest").code == 0
    assert (commands.inbox / "a/stdin").read_bytes() == BEGINNING + b"the rest"
    serving.signal(signal.SIGTERM)
    assert serving.finish().code == 0


def write(rules: Path, commands: Commands, folder: str, quota: str) -> None:
    rules.write_text(
        f'[peers.ben]\nkey = "{commands.key_file}"\nfolder = "{folder}"\nquota = "{quota}"\n'
    )


def test_an_error_at_sighup_is_a_json_line_too(commands: Commands) -> None:
    rules = commands.file("rules.toml", b"")
    serving = commands.listen_json("serve", "inbox", "--config", "rules.toml")
    rules.unlink()
    serving.signal(signal.SIGHUP)
    assert "cannot read rules.toml" in serving.err_line()
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    (line,) = ended.lines
    assert (line["type"], line["exit_code"]) == ("error", 2)


def test_without_a_file_sighup_ends_it(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox", "--peer", f"ben:key={commands.key_file}")
    serving.signal(signal.SIGHUP)
    assert serving.finish().code == 128 + signal.SIGHUP
