"""``objxfer digest``: what lies here, by itself and beside the receipts of its delivery."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from objxfer.files.digest import file_digest, written
from support.commands import PATIENCE, Commands, command

pytestmark = pytest.mark.timeout(60)


def ox1(contents: bytes) -> str:
    return written(file_digest(contents))


def receipt(path: str, contents: bytes = b"contents", **values: Any) -> dict[str, Any]:
    line = {"type": "file", "path": path, "action": "received"}
    return line | {"size": len(contents), "digest": ox1(contents), "durable": True} | values


def receipts(commands: Commands, *lines: dict[str, Any]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    commands.file("receipts", text.encode())


def deliver(commands: Commands, *arguments: str) -> tuple[bytes, bytes]:
    """Send with ``--json``; return what sender and receiver wrote."""
    receiving = commands.listen_json("receive", "--into", "inbox")
    sent = commands.run("send", *arguments, "--to", receiving.url, "--json")
    assert sent.code == 0, sent.err
    return sent.out.encode(), receiving.finish().out.encode()


class TestShowing:
    def test_files_come_as_a_delivery_would_name_and_order_them(self, commands: Commands) -> None:
        large = os.urandom(2_500_000)
        commands.file("a/photos/b/large", large)
        commands.file("a/photos/c")
        commands.file("a/photos/a", b"")
        commands.file("letter.txt", b"Dear Anna,\n")
        (commands.folder / "a/photos/link").symlink_to("/etc/hostname")
        (commands.folder / "a/photos/empty").mkdir()
        shown = commands.run("digest", "letter.txt", "a/photos/")
        assert shown == (
            0,
            f"{ox1(b'Dear Anna,' + bytes([10]))}  letter.txt\n"
            f"{ox1(b'')}  photos/a\n"
            f"{ox1(large)}  photos/b/large\n"
            f"{ox1(b'contents')}  photos/c\n",
            "",
        )

    def test_as_json_lines(self, commands: Commands) -> None:
        commands.file("photos/a")
        with open(os.fsencode(commands.folder) + b"/photos/\xff", "wb") as file:
            file.write(b"x")
        shown = commands.run("digest", "photos", "absent", "--json")
        error, one, other, summary = shown.lines
        assert error == {
            "type": "error",
            "exit_code": 3,
            "name": "FileFailed",
            "message": "no such file or directory",
            "path": "absent",
        }
        digest = ox1(b"contents")
        assert one == {"type": "file", "path": "photos/a", "size": 8, "digest": digest}
        assert base64.b64decode(other["path_b64"]) == b"photos/\xff"
        assert {**summary, "seconds": 0} == {
            "type": "summary",
            "files": 3,
            "failed": 1,
            "skipped": 0,
            "unchecked": 0,
            "bytes": 9,
            "seconds": 0,
            "exit_code": 3,
        }
        assert shown.code == 3

    def test_names_are_escaped(self, commands: Commands) -> None:
        commands.file("a\x1b[2J\nb")
        assert commands.run("digest", "a\x1b[2J\nb").out.endswith("  a\\x1b[2J\\nb\n")

    def test_what_is_absent_stops_nothing(self, commands: Commands) -> None:
        commands.file("there")
        shown = commands.run("digest", "absent", "there")
        assert shown.code == 3
        assert shown.out == f"{ox1(b'contents')}  there\n"
        assert shown.err == "objxfer: error: absent: no such file or directory\n"
        assert commands.run("digest", "absent").code == 3

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_what_cannot_be_read_stops_nothing(self, commands: Commands) -> None:
        commands.file("photos/closed").chmod(0)
        commands.file("photos/open")
        shown = commands.run("digest", "photos")
        assert shown.code == 3
        assert shown.out.endswith("  photos/open\n")
        assert shown.err == "objxfer: error: photos/closed: permission denied\n"

    def test_what_vanishes_stops_nothing(self, commands: Commands) -> None:
        names = [f"{number:04}{'x' * 200}" for number in range(1000)]
        for name in names:
            commands.file(f"photos/{name}")
        showing = commands.start("digest", "photos")
        first = showing.out_line()
        (commands.folder / "photos" / names[-2]).unlink()  # nobody read on, so it is not there yet
        shown = showing.finish()
        assert first.endswith(names[0])
        assert shown.out.endswith(f"{names[-1]}\n")
        assert shown.err == f"objxfer: error: photos/{names[-2]}: vanished\n"
        assert shown.code == 5

    def test_what_changes_stops_nothing_and_has_no_digest(self, commands: Commands) -> None:
        log = commands.file("logs/growing")
        os.truncate(log, 64_000_000)
        commands.file("logs/still")
        ended = threading.Event()

        def grow() -> None:
            with open(log, "ab", buffering=0) as file:
                while not ended.wait(0.0005):
                    file.write(b"x")

        growing = threading.Thread(target=grow)
        growing.start()
        try:
            shown = commands.run("digest", "logs")
        finally:
            ended.set()
            growing.join()
        assert shown.out == f"{ox1(b'contents')}  logs/still\n"
        assert shown.err == "objxfer: error: logs/growing: changed while it was read\n"
        assert shown.code == 4

    def test_what_is_no_file_is_passed_over(self, commands: Commands) -> None:
        commands.file("photos/a")
        os.mkfifo(commands.folder / "photos/fifo")
        (commands.folder / "photos/out").symlink_to("/")
        shown = commands.run("digest", "photos")
        assert (shown.code, shown.err, shown.out.count("\n")) == (0, "", 1)

    def test_without_a_reader_it_ends(self, commands: Commands) -> None:
        for number in range(10):
            commands.file(f"photos/{number}")
        process = subprocess.Popen(
            command(["digest", "photos"]),
            cwd=commands.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE

    def test_it_takes_something(self, commands: Commands) -> None:
        assert commands.run("digest").code == 2


class TestChecking:
    def test_both_sides_can_check_what_either_wrote(self, commands: Commands) -> None:
        for number in range(3):
            commands.file(f"photos/{number}", os.urandom(number * 1_100_000))
        for lines in deliver(commands, "photos"):
            for folder in ((), ("inbox",)):
                checked = commands.run("digest", "-c", "-", *folder, stdin=lines)
                assert checked == (0, "3 files match\n", "")

    def test_what_serve_wrote(self, commands: Commands) -> None:
        commands.file("letter.txt")
        serving = commands.listen_json("serve", "inbox")
        commands.run("send", "letter.txt", "--to", serving.url)
        lines = "\n".join(serving.out_line() for _ in range(3))
        assert commands.run("digest", "-c", "-", "inbox", stdin=lines.encode()).code == 0

    def test_what_digest_wrote(self, commands: Commands) -> None:
        commands.file("photos/a")
        with open(os.fsencode(commands.folder) + b"/photos/\xff", "wb") as file:
            file.write(b"x")
        lines = commands.run("digest", "photos", "--json").out.encode()
        assert commands.run("digest", "-c", "-", stdin=lines) == (0, "2 files match\n", "")

    def test_the_name_it_is_stored_as_counts_first(self, commands: Commands) -> None:
        commands.file("inbox/letter.txt", b"another")
        commands.file("letter.txt")
        sent, received = deliver(commands, "letter.txt")
        assert b"letter (1).txt" in sent
        for lines in (sent, received):
            assert commands.run("digest", "-c", "-", "inbox", stdin=lines).code == 0
            assert commands.run("digest", "-c", "-", stdin=lines).code == 0
        (commands.inbox / "letter (1).txt").write_bytes(b"damaged!")
        checked = commands.run("digest", "-c", "-", "inbox", stdin=received)
        assert checked.code == 30
        assert checked.err.startswith("objxfer: error: letter.txt: letter (1).txt: its contents")
        (commands.inbox / "letter (1).txt").unlink()
        checked = commands.run("digest", "-c", "-", "inbox", stdin=received)
        assert checked.code == 30
        assert checked.err == (
            "objxfer: error: letter.txt: has 7 bytes, and its receipt says 8;"
            " and there is no letter (1).txt\n"
        )

    def test_what_is_wrong_is_named(self, commands: Commands) -> None:
        for name in ("damaged", "shorter", "lost", "well"):
            commands.file(f"photos/{name}")
        deliver(commands, "photos")
        _, received = deliver(commands, "photos")  # nothing was carried, so there is no digest
        checked = commands.run("digest", "-c", "-", "inbox", stdin=received)
        assert checked == (
            3,
            "0 files match\n",
            "objxfer: warning: 4 files not checked, because the receipt has no digest:"
            " photos/damaged, photos/lost, photos/shorter and 1 more\n",
        )
        shutil.rmtree(commands.inbox / "photos")
        _, received = deliver(commands, "photos")
        (commands.inbox / "photos/damaged").write_bytes(b"CONTENTS")
        (commands.inbox / "photos/shorter").write_bytes(b"content")
        (commands.inbox / "photos/lost").unlink()
        for quiet in ((), ("-q",)):
            checked = commands.run("digest", "-c", "-", "inbox", *quiet, stdin=received)
            assert checked == (
                30,
                "" if quiet else "1 file matches, 3 do not\n",
                "objxfer: error: photos/damaged: its contents are not those of its receipt\n"
                "objxfer: error: photos/lost: vanished\n"
                "objxfer: error: photos/shorter: has 7 bytes, and its receipt says 8\n",
            )
        checked = commands.run("digest", "-c", "-", "inbox", "--json", stdin=received)
        *errors, summary = checked.lines
        assert [(line["path"], line["exit_code"]) for line in errors] == [
            ("photos/damaged", 30),
            ("photos/lost", 5),
            ("photos/shorter", 30),
        ]
        assert {**summary, "seconds": 0} == {
            "type": "summary",
            "files": 4,
            "failed": 3,
            "skipped": 0,
            "unchecked": 0,
            "bytes": 8,
            "seconds": 0,
            "exit_code": 30,
        }

    def test_a_lost_file_alone(self, commands: Commands) -> None:
        receipts(commands, receipt("gone/and/lost"))
        checked = commands.run("digest", "-c", "receipts")
        assert (checked.code, checked.out) == (5, "0 files match, 1 does not\n")

    def test_silence_is_success(self, commands: Commands) -> None:
        commands.file("a")
        receipts(commands, receipt("a"))
        assert commands.run("digest", "-q", "-c", "receipts") == (0, "", "")

    def test_links_and_what_was_skipped_have_no_contents(self, commands: Commands) -> None:
        commands.file("photos/a")
        (commands.folder / "photos/link").symlink_to("a")
        sent, _ = deliver(commands, "photos")
        checked = commands.run("digest", "-c", "-", "inbox", stdin=sent)
        assert checked == (0, "1 file matches, 1 skipped\n", "")

    def test_a_file_that_was_not_delivered_is_not_checked(self, commands: Commands) -> None:
        commands.file("a")
        failed = {"type": "file", "path": "b", "action": "failed", "size": 0, "digest": None}
        receipts(commands, receipt("a"), failed)
        checked = commands.run("digest", "-c", "receipts")
        assert checked.code == 3
        assert "1 file not checked" in checked.err

    def test_it_takes_one_folder(self, commands: Commands) -> None:
        receipts(commands, receipt("a"))
        assert commands.run("digest", "-c", "receipts", "inbox", "inbox").code == 2
        assert commands.run("digest", "-c", "receipts", "absent").code == 2
        assert commands.run("digest", "-c", "receipts", "receipts").code == 2
        assert commands.run("digest", "-c", "absent").code == 2


class TestHostileReceipts:
    @pytest.mark.parametrize(
        "path",
        ["../secret", "photos/../../secret", "/etc/hostname", ".", "photos//a", "photos/\0"],
    )
    @pytest.mark.parametrize("key", ["path", "stored_as"])
    def test_nothing_outside_is_looked_at(self, commands: Commands, path: str, key: str) -> None:
        secret = commands.file("secret")
        commands.file("inbox/photos/a")
        receipts(commands, receipt("photos/a") | {key: path}, receipt("photos/a"))
        before = secret.stat().st_atime_ns
        checked = commands.run("digest", "-c", "receipts", "inbox")
        assert (checked.code, checked.out) == (3, "1 file matches, 1 does not\n")
        assert secret.stat().st_atime_ns == before

    def test_no_link_is_followed(self, commands: Commands) -> None:
        commands.file("secret/a")
        (commands.inbox / "photos").symlink_to("../secret")
        (commands.inbox / "a").symlink_to("../secret/a")
        receipts(commands, receipt("photos/a"), receipt("a"))
        checked = commands.run("digest", "-c", "receipts", "inbox")
        assert checked.code == 3
        assert checked.err == (
            "objxfer: error: photos/a: photos leads through something that is no folder\n"
            "objxfer: error: a: is a link by now\n"
        )

    def test_nothing_that_blocks_is_opened(self, commands: Commands) -> None:
        os.mkfifo(commands.inbox / "fifo")
        receipts(commands, receipt("fifo"), receipt(""))
        assert commands.run("digest", "-c", "receipts", "inbox").code == 3

    @pytest.mark.parametrize(
        "line",
        [
            b"ox1:9f2c  photos/a",
            b"\xff\xfe",
            b"",
            b"null",
            b"[]",
            b"7" * 6000,
            b"[" * 60_000,
            b"{" * 1_000_000,
            b'{"type":"file"}',
            b'{"type":"file","path":5}',
            b'{"type":"file","path":"\\ud800"}',
            b'{"type":"file","path":"a","path_b64":"!"}',
            b'{"type":"file","path":"a","path_b64":7}',
            b'{"type":"file","path":"a","stored_as":null}',
            b'{"type":"file","path":"a","size":"8","digest":null}',
            b'{"type":"file","path":"a","size":-8,"digest":null}',
            b'{"type":"file","path":"a","size":true,"digest":null}',
            b'{"type":"file","path":"a","size":8,"digest":null,"action":["received"]}',
            b'{"type":"file","path":"a","size":8,"digest":"ox1:9f2c"}',
            b'{"type":"file","path":"a","size":8,"digest":["ox1"]}',
            b'{"type":"file","path":"a","si',
        ],
    )
    def test_what_objxfer_does_not_write_is_an_error_of_usage(
        self, commands: Commands, line: bytes
    ) -> None:
        commands.file("a")
        good = json.dumps(receipt("a")).encode()
        commands.file("receipts", good + b"\n" + line + b"\n" + good + b"\n")
        checked = commands.run("digest", "-c", "receipts")
        assert checked.code == 2
        assert checked.err.startswith("objxfer: error: receipts, line 2, is no line that objxfer")

    def test_other_lines_and_keys_are_passed_over(self, commands: Commands) -> None:
        commands.file("a")
        receipts(commands, {"type": "new"}, receipt("a", new=1), {"type": "summary"})
        assert commands.run("digest", "-c", "receipts").code == 0

    @pytest.mark.parametrize("lines", [b"", b'{"type":"summary"}\n'])
    def test_no_receipts_are_no_success(self, commands: Commands, lines: bytes) -> None:
        checked = commands.run("digest", "-c", "-", stdin=lines)
        assert checked.code == 2
        assert checked.err.startswith("objxfer: error: standard input holds no receipts\n")

    def test_names_are_escaped(self, commands: Commands) -> None:
        receipts(commands, receipt("a\u202e\x1b]0;x\x07"))
        checked = commands.run("digest", "-c", "receipts")
        assert checked.code == 3
        assert checked.err.isascii()
        assert "\x1b" not in checked.err

    @pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
    def test_memory_does_not_grow(self, commands: Commands, tmp_path: Path) -> None:
        commands.file("small")
        os.truncate(commands.file("large"), 200_000_000)
        one = commands.run("digest", "small", "--json").out.splitlines()[0]
        (tmp_path / "receipts").write_text(f"{one}\n" * 100_000)
        peak = (
            "import resource, runpy, sys\n"
            "try: runpy.run_module('objxfer_cli', run_name='__main__')\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        few = tmp_path / "few"
        few.write_text(f"{one}\n")
        peaks = []
        for arguments in (["-c", "few"], ["-c", "receipts"], ["large"]):
            done = subprocess.run(
                [sys.executable, "-c", peak, "digest", *arguments],
                cwd=commands.folder,
                capture_output=True,
                check=True,
                timeout=PATIENCE,
            )
            peaks.append(int(done.stderr))
        assert max(peaks) < peaks[0] + 8_000, peaks
