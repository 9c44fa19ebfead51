from __future__ import annotations

import base64
import copy
import hashlib
import os
import pickle
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from objxfer.errors import ExitCode, KeyFileError
from objxfer.security.keys import ENVIRONMENT, Key, Keyring, as_keyring, default_path
from objxfer.security.peers import Peers

SECRET = bytes(range(32))
KEY = Key.from_bytes(SECRET)
# Written down, not computed: a key file of today must be read by every later version.
LINE = b"objxfer-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9DR06C\n"

POSIX = os.name == "posix"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of its own, and no key in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return home


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a key"


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def line_of(secret: bytes) -> bytes:
    check = hashlib.sha256(b"objxfer/1 key check" + secret).digest()[:4]
    return b"objxfer-key-1:" + base64.b64encode(secret + check) + b"\n"


# --- keys -----------------------------------------------------------------------------------


def test_keys_are_random() -> None:
    assert len({Key.generate() for _ in range(100)}) == 100
    assert len(Key.generate().secret()) == 32


def test_the_id_is_part_of_a_labelled_hash() -> None:
    assert KEY.id == hashlib.sha256(b"objxfer/1 key id" + SECRET).hexdigest()[:8]
    assert KEY.id == "771ab416"


def test_equal_secrets_are_equal_keys() -> None:
    same, other = Key.from_bytes(SECRET), Key.generate()
    assert same == KEY
    assert hash(KEY) == hash(same)
    assert other != KEY
    assert SECRET != KEY


@pytest.mark.parametrize("secret", [b"", b"x" * 31, b"x" * 33, bytes(32)])
def test_what_is_no_secret(secret: bytes) -> None:
    with pytest.raises(ValueError, match="a secret"):
        Key.from_bytes(secret)


def test_text_is_no_secret() -> None:
    with pytest.raises(TypeError, match="bytes, not str"):
        Key.from_bytes("x" * 32)  # type: ignore[arg-type]  # what a user may try


def test_a_key_shows_its_id_only() -> None:
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), repr(Keyring(KEY))):
        assert KEY.id in shown
        assert str(SECRET)[2:-1] not in shown
        assert SECRET.hex() not in shown
        assert LINE.decode()[14:40] not in shown


@pytest.mark.parametrize(
    "take", [copy.copy, copy.deepcopy, *(lambda key, n=n: pickle.dumps(key, n) for n in range(6))]
)
def test_a_key_is_neither_copied_nor_pickled(take: Callable[[object], object]) -> None:
    for held in (KEY, {"config": [KEY]}):
        if take is copy.copy and held is not KEY:
            continue
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            take(held)


# --- files ----------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(path: Path) -> None:
    KEY.save(path)
    assert path.read_bytes() == LINE
    assert Key.load(path) == KEY
    assert Key.load(str(path)) == KEY


@pytest.mark.skipif(not POSIX, reason="this platform has no permission bits")
def test_only_the_owner_reads_what_is_saved(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KEY.save(tmp_path / "new" / "folder" / "key")
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((tmp_path / name).stat().st_mode)
        for name in ("new", "new/folder", "new/folder/key")
    }
    assert modes == {"new": 0o700, "new/folder": 0o700, "new/folder/key": 0o600}


def test_a_key_is_never_replaced(path: Path) -> None:
    KEY.save(path)
    with pytest.raises(KeyFileError, match="never replaced") as caught:
        Key.generate().save(path)
    assert caught.value.hint
    assert Key.load(path) == KEY


def test_a_key_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="never replaced"):
        KEY.save(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be made: file name too long"):
        KEY.save(tmp_path / ("x" * 300))
    with pytest.raises(KeyFileError, match="cannot be read: file name too long"):
        Key.load(tmp_path / ("x" * 300))


def test_a_file_that_grows_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINE)
    monkeypatch.setattr(os, "read", lambda _fd, size: LINE[:1] * size)
    with pytest.raises(KeyFileError, match="larger than 4096 bytes"):
        Key.load(path)


def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int, _size: int) -> bytes:
        raise OSError(5, "Input/output error")

    write(path, LINE)
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(KeyFileError, match="cannot be read: input/output error"):
        Key.load(path)


def test_no_half_key_stays_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="cannot be written: no space left on device"):
        KEY.save(path)
    assert not path.exists()


def test_a_folder_that_is_a_file(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(KeyFileError, match="has no folder to lie in"):
        KEY.save(path / "sub" / "key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(KeyFileError, match="cannot be made: permission denied"):
        KEY.save(closed / "key")


def test_the_newline_may_be_missing(path: Path) -> None:
    assert Key.load(write(path, LINE[:-1])) == KEY


def swapped(line: bytes, position: int) -> bytes:
    changed = bytearray(line)
    changed[position] = ord("B") if changed[position] != ord("B") else ord("C")
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n", "does not begin with objxfer-key-1:"),
        (SECRET, "does not begin"),
        (LINE[1:], "does not begin"),
        (b" " + LINE, "does not begin"),
        (b"\xef\xbb\xbf" + LINE, "does not begin"),
        (b"objxfer-key-2:" + LINE[14:], "does not begin"),
        (b"objxfer-key-1:\n", "not 48 letters of base64"),
        (LINE[:-2], "not 48 letters"),
        (LINE[:-1] + b"=\n", "not 48 letters"),
        (LINE[:-1] + b" \n", "not 48 letters"),
        (LINE[:-1] + b"\r\n", "not 48 letters"),
        (LINE[:-3] + b"==\n", "check bytes do not match"),
        (LINE[:20] + b"*" + LINE[21:], "not 48 letters"),
        (LINE[:20] + b"_" + LINE[21:], "not 48 letters"),
        (LINE[:20] + b"\xff" + LINE[21:], "not 48 letters"),
        (swapped(LINE, 14), "check bytes do not match"),
        (swapped(LINE, 40), "check bytes do not match"),
        (swapped(LINE, 61), "check bytes do not match"),
        (line_of(bytes(32)), "zeros"),
        (LINE + LINE, "holds 2 keys, not one"),
        (LINE + b"\n", "in line 2"),
        (LINE + b"# mine", "in line 2"),
        (LINE * 70, "larger than 4096 bytes"),
    ],
)
def test_a_malformed_file(path: Path, data: bytes, says: str) -> None:
    write(path, data)
    for load in (Key.load, Key.find):
        with pytest.raises(KeyFileError, match=says) as caught:
            load(path)
        error = caught.value
        assert repr(str(path)) in str(error)
        assert error.exit_code == ExitCode.USAGE
        shown = "".join(traceback.format_exception(error)) + error.hint
        assert LINE[30:45].decode() not in shown


def test_an_absent_file_that_was_named(path: Path) -> None:
    for load in (Key.load, Key.find, Keyring.load, as_keyring):
        with pytest.raises(KeyFileError, match="is not there"):
            load(path)


@pytest.mark.skipif(not POSIX, reason="this platform has no permission bits")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o660])
def test_a_file_that_is_open_to_others(path: Path, mode: int) -> None:
    write(path, LINE, mode)
    with pytest.raises(KeyFileError, match=f"is open to others .mode {mode:04o}") as caught:
        Key.load(path)
    assert caught.value.hint == f"chmod 600 '{path}'"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_only_we_read(path: Path, mode: int) -> None:
    assert Key.load(write(path, LINE, mode)) == KEY


def test_a_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(write(tmp_path / "real", LINE))
    with pytest.raises(KeyFileError, match="is a symbolic link"):
        Key.load(path)


def test_a_folder(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="is not a regular file"):
        Key.load(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_a_fifo_does_not_block(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="is not a regular file"):
        Key.load(path)


def test_a_device() -> None:
    with pytest.raises(KeyFileError, match="is not a regular file"):
        Key.load("/dev/zero")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_somebody_else(path: Path) -> None:
    write(path, LINE)
    os.chown(path, 12345, -1)
    with pytest.raises(KeyFileError, match=r"belongs to another user \(uid 12345\)") as caught:
        Key.load(path)
    assert "chown" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_we_may_not_read(path: Path) -> None:
    write(path, LINE, 0o200)
    with pytest.raises(KeyFileError, match="cannot be read: permission denied"):
        Key.load(path)


def test_no_descriptor_stays_open(path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    before = os.listdir("/proc/self/fd")
    write(path, LINE, 0o644)
    for _ in range(5):
        with pytest.raises(KeyFileError):
            Key.load(path)
    path.chmod(0o600)
    Key.load(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_key_in_the_place_of_its_path_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    text = LINE.decode().strip()
    monkeypatch.setenv(ENVIRONMENT, text)
    for load in (
        lambda: Key.load(text),
        lambda: as_keyring(text),
        lambda: KEY.save(text),
        Key.load,
        Key.find,
    ):
        with pytest.raises(KeyFileError, match="where the path of a key file belongs") as caught:
            load()
        assert text[20:40] not in "".join(traceback.format_exception(caught.value))


# --- where keys are looked for --------------------------------------------------------------


def test_the_default_lies_in_the_config_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.uname().sysname == "Linux":
        assert default_path() == home / ".config" / "objxfer" / "key"
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "x"))
        assert default_path() == home / "x" / "objxfer" / "key"
    assert default_path().name == "key"


@pytest.mark.skipif(sys.platform != "linux", reason="there all have a home")
def test_who_has_no_home_finds_nothing_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a receiving folder: others could have put a key there."""
    import pwd

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    Key.generate().save(tmp_path / "~" / ".config" / "objxfer" / "key")
    assert Key.find() is None
    assert not Peers()


def test_nothing_named_and_no_default_is_no_key() -> None:
    assert Key.find() is None
    with pytest.raises(KeyFileError, match="is not there") as caught:
        Key.load()
    assert "objxfer keygen" in caught.value.hint


def test_the_default_is_found() -> None:
    KEY.save(default_path())
    assert Key.find() == KEY
    assert Key.load() == KEY


def test_a_malformed_default_is_an_error_not_no_key() -> None:
    default_path().parent.mkdir(parents=True)
    write(default_path(), b"")
    with pytest.raises(KeyFileError, match="is empty"):
        Key.find()


def test_a_default_that_leads_nowhere_is_an_error_not_no_key(tmp_path: Path) -> None:
    default_path().parent.mkdir(parents=True)
    default_path().symlink_to(tmp_path / "unplugged")
    with pytest.raises(KeyFileError, match="is a symbolic link"):
        Key.find()


def test_the_environment_comes_before_the_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Key.generate().save(default_path())
    KEY.save(path)
    monkeypatch.setenv(ENVIRONMENT, str(path))
    assert Key.load() == KEY
    assert Key.find() == KEY


def test_an_argument_comes_before_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "/nowhere")
    KEY.save(path)
    assert Key.load(path) == KEY


@pytest.mark.parametrize("value", ["", "/nowhere/key"])
def test_an_environment_that_names_nothing_is_an_error(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    KEY.save(default_path())
    monkeypatch.setenv(ENVIRONMENT, value)
    for load in (Key.load, Key.find):
        with pytest.raises(KeyFileError, match=r"is empty|is not there"):
            load()


# --- keyrings -------------------------------------------------------------------------------


def test_the_first_key_is_used_and_all_are_found(path: Path) -> None:
    old, older = Key.generate(), Key.generate()
    older.save(path)
    ring = Keyring(KEY, Keyring(old), path)
    assert ring.first == KEY
    assert list(ring) == [KEY, old, older]
    assert len(ring) == 3
    assert ring.find(older.id) == older
    assert ring.find("00000000") is None


def test_a_file_of_several_lines_is_a_keyring(path: Path) -> None:
    other = Key.generate()
    write(path, LINE + line_of(other.secret()))
    assert list(Keyring.load(path)) == [KEY, other]


def test_one_bad_line_spoils_a_keyring(path: Path) -> None:
    write(path, LINE + LINE[1:])
    with pytest.raises(KeyFileError, match="in line 2"):
        Keyring.load(path)


def test_a_keyring_is_never_empty() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring()


def test_what_a_key_argument_may_be(path: Path) -> None:
    KEY.save(path)
    ring = Keyring(KEY)
    assert as_keyring(None) is None
    assert as_keyring(ring) is ring
    for given in (KEY, path, str(path)):
        found = as_keyring(given)
        assert found is not None
        assert list(found) == [KEY]


@pytest.mark.parametrize("given", [SECRET, bytearray(SECRET), 7, [KEY]])
def test_what_a_key_argument_may_not_be(given: object) -> None:
    with pytest.raises(TypeError, match=r"Key\.from_bytes") as caught:
        as_keyring(given)  # type: ignore[arg-type]  # what a user may try
    assert SECRET.hex() not in str(caught.value)
    assert repr(SECRET) not in str(caught.value)


def test_none_reads_no_file() -> None:
    KEY.save(default_path())
    assert as_keyring(None) is None
