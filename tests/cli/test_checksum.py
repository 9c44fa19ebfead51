"""``send --checksum``: what lies there is known by its contents."""

from __future__ import annotations

import json
import os

import pytest

from objxfer.files.digest import file_digest, written
from support.commands import Commands, Line

pytestmark = pytest.mark.timeout(60)
TIME = 1_700_000_000 * 10**9


def sent(commands: Commands, *arguments: str) -> dict[str, Line]:
    """Deliver the folder and return what became of each file."""
    receiving = commands.receive("--if-exists", "replace")
    done = commands.run("send", "photos", "--to", receiving.url, "--json", *arguments)
    assert receiving.finish().code == done.code == 0
    return {line["path"]: line for line in done.lines if line["type"] == "file"}


@pytest.fixture
def there(commands: Commands) -> Commands:
    """Three files on both sides: equal, of another time, and of other contents."""
    for name, mine, theirs, later in (
        ("equal", b"one", b"one", 0),
        ("touched", b"two", b"two", 1),
        ("damaged", b"three", b"thrEe", 0),
    ):
        os.utime(commands.file(f"photos/{name}", mine), ns=(TIME, TIME))
        os.utime(commands.file(f"inbox/photos/{name}", theirs), ns=(TIME + later, TIME + later))
    return commands


def test_size_and_time_do_not_tell_all(there: Commands) -> None:
    actions = {path: line["action"] for path, line in sent(there).items()}
    assert actions == {
        "photos/equal": "unchanged",
        "photos/touched": "replaced",
        "photos/damaged": "unchanged",
    }


def test_contents_do(there: Commands) -> None:
    lines = sent(there, "--checksum")
    assert {path: line["action"] for path, line in lines.items()} == {
        "photos/equal": "unchanged",
        "photos/touched": "unchanged",
        "photos/damaged": "replaced",
    }
    for name, contents in (("equal", b"one"), ("touched", b"two"), ("damaged", b"three")):
        assert lines[f"photos/{name}"]["digest"] == written(file_digest(contents))
        assert (there.inbox / "photos" / name).read_bytes() == contents
    receipts = there.file("receipts", "\n".join(map(json.dumps, lines.values())).encode())
    assert there.run("digest", "-c", str(receipts), "inbox").code == 0


def test_a_large_file_is_compared_too(commands: Commands) -> None:
    contents = bytes(range(256)) * 20_000
    commands.file("photos/large", contents)
    commands.file("inbox/photos/large", contents)
    assert sent(commands, "--checksum")["photos/large"]["action"] == "unchanged"
    commands.file("inbox/photos/large", contents[:-1] + b"!")
    assert sent(commands, "--checksum")["photos/large"]["action"] == "replaced"


def test_an_unreadable_file_says_so(commands: Commands) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    commands.file("photos/secret").chmod(0)
    commands.file("photos/open")
    receiving = commands.receive()
    done = commands.run("send", "photos", "--to", receiving.url, "--checksum")
    assert done.code == 3
    assert "photos/secret: permission denied" in done.err
    assert (commands.inbox / "photos/open").exists()


@pytest.mark.parametrize("arguments", [("-",), ("photos", "--insecure")])
def test_where_it_means_nothing(commands: Commands, arguments: tuple[str, ...]) -> None:
    done = commands.run("send", *arguments, "--checksum", "--to", "tcp://127.0.0.1:1")
    assert done.code == 2
    assert "--checksum" in done.err


def test_nobody_without_a_key_learns_what_lies_there(commands: Commands) -> None:
    """A sender could guess contents, and see whether they are unchanged."""
    import objxfer

    commands.file("guess", b"the secret")
    commands.file("inbox/guess", b"the secret")
    receiving = commands.receive("--insecure")
    with objxfer.connect(receiving.url, insecure=True) as connection:
        report = connection.push(commands.folder / "guess", checksum=True)
    assert report.exit_code == 20
    assert "only for who has a key" in report.problems[0].reason
