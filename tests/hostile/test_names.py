"""Names and links of a peer that wants to write somewhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from objxfer.errors import ConnectionLost, ExitCode, PeerError, RefusedByPeer
from objxfer.files.entries import Action, Answer, IfExists, Receipt, Verdict
from objxfer.protocol.fields import PATH_LIMIT
from objxfer.protocol.trees import Entries, Offer
from objxfer.transfer.report import Outcome
from support.byhand import (
    CONTENTS,
    CONTENTS_FOLLOW,
    delivers,
    file,
    folder,
    insists,
    link,
    offer,
    perform,
    simulate,
)
from support.connected import PATIENCE, begin, connected
from support.inbox import Row, corpus

REFUSED = [row for row in corpus() if not row.ok and len(row.name) <= PATH_LIMIT]
UNSPEAKABLE = [row for row in corpus() if len(row.name) > PATH_LIMIT]
ALLOWED = [row for row in corpus() if row.ok]


def named(row: Row) -> str:
    return ascii(row.name[:40])


def offered(row: Row) -> Offer:
    """An offer of the very thing that a row names, as far as one can be made."""
    return offer(row.name.split(b"/")[0][:255] or b"t", b"target")


def everything(top: Path) -> dict[bytes, bytes]:
    """The contents of all files, by their paths, which may be too long to be opened by."""
    found: dict[bytes, bytes] = {}
    for place, _, files, fd in os.fwalk(os.fsencode(top)):
        for name in files:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), "rb") as opened:
                path = os.path.relpath(place, os.fsencode(top)) + b"/" + name
                found[path.removeprefix(b"./")] = opened.read()
    return found


# --- the corpus ---


@pytest.mark.parametrize("row", ALLOWED, ids=named)
def test_an_allowed_name_lands_exactly_there(row: Row, inbox: Path) -> None:
    words, error = simulate(delivers(offered(row), file(row.name)), inbox)
    assert error is None
    assert isinstance(words, list)
    (receipt,) = words
    assert isinstance(receipt, Receipt)
    assert receipt.action is Action.RECEIVED
    assert receipt.durable
    assert everything(inbox) == {row.name: CONTENTS}


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_a_refused_name_leaves_nothing_anywhere(row: Row, inbox: Path) -> None:
    away = (b"../" * row.name.count(b"/") + b"target")[-PATH_LIMIT:]
    steps = delivers(offered(row), file(row.name), link(row.name, away), folder(row.name))
    words, error = simulate(steps, inbox)
    assert error is None
    assert isinstance(words, list)
    verdict, *receipts = words
    assert isinstance(verdict, Verdict)
    assert verdict.answer is Answer.REFUSED
    for word in words:
        assert word.code is ExitCode.REFUSED
        assert word.reason.isprintable()
    assert len(receipts) == 2
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("row", UNSPEAKABLE, ids=named)
def test_a_name_that_no_message_may_hold_ends_the_connection(row: Row, inbox: Path) -> None:
    _, error = simulate(delivers(offered(row), file(row.name)), inbox)
    assert isinstance(error, PeerError)
    assert error.exit_code is ExitCode.MISMATCH
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_sending_a_refused_file_all_the_same_ends_the_connection(row: Row, inbox: Path) -> None:
    steps = insists(offered(row), [Entries([file(row.name)]), *CONTENTS_FOLLOW])
    heard, error = simulate(steps, inbox)
    assert isinstance(error, PeerError)
    assert error.exit_code is ExitCode.MISMATCH
    assert isinstance(heard, (PeerError, ConnectionLost))
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("row", [row for row in REFUSED if row.name], ids=named)
def test_a_folder_of_a_refused_name_is_not_made(row: Row, inbox: Path) -> None:
    heard, _ = simulate(delivers(offer(b"t", into=row.name), file(b"t")), inbox)
    assert isinstance(heard, RefusedByPeer)
    assert heard.exit_code is ExitCode.REFUSED
    assert str(heard).isprintable()
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_all_of_them_hold_over_one_real_connection(scheme: str, inbox: Path) -> None:
    rows = REFUSED + ALLOWED
    assert len(rows) >= 150
    with connected(scheme, there={"into": inbox}) as (client, server):
        for number, row in enumerate(rows):
            # A folder each: some of them are one name with another on some file systems.
            into = b"%d" % number
            top = row.name.split(b"/")[0][:255] or b"t"
            receiving = begin(server.recv, PATIENCE)
            (word,) = perform(client, delivers(offer(top, into=into), file(row.name)))
            report = receiving.result(PATIENCE)
            assert (word.code is ExitCode.OK) == row.ok, row
            assert report.exit_code == word.code
            kept = {row.name: CONTENTS} if row.ok else {}
            assert everything(inbox / str(number)) == kept, row


# --- links ---


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/etc/passwd",
        b"..",
        b"../outside",
        b"../../outside/file",
        b"a/../../outside",
        b"b/..",
        b"./../..",
        b"//outside",
        b"../t/../../outside",
        b"",
        b"a\0b",
        b"a\nb",
        b"x" * 4096 + b"/..",
    ],
)
def test_a_link_that_leads_out_is_not_made(target: bytes, inbox: Path) -> None:
    steps = delivers(offer(b"t"), link(b"t", target))
    words, error = simulate(steps, inbox)
    if isinstance(error, PeerError):  # no message may say it
        assert not target or len(target) > 4096
    else:
        assert isinstance(words, list)
        assert (words[0].code, error) == (ExitCode.REFUSED, None)
    assert list(inbox.iterdir()) == []


def test_a_chain_of_links_does_not_lead_out(inbox: Path) -> None:
    steps = delivers(
        offer(b"t"),
        link(b"t/d/b", b"../e"),
        link(b"t/a", b"d/b/../../.."),
        link(b"t/c", b"d/b/.."),
    )
    words, error = simulate(steps, inbox)
    assert error is None
    assert isinstance(words, list)
    assert [word.code for word in words] == [ExitCode.OK, ExitCode.REFUSED, ExitCode.REFUSED]
    assert {path.name for path in inbox.rglob("*")} == {"t", "d", "b"}


def test_a_file_behind_a_link_breaks_the_order(inbox: Path) -> None:
    steps = insists(
        offer(b"t"), [Entries([link(b"t/l", b"d")]), Entries([file(b"t/l/x")]), *CONTENTS_FOLLOW]
    )
    _, error = simulate(steps, inbox)
    assert isinstance(error, PeerError)
    assert "in the order" in str(error)
    assert [path for path in inbox.rglob("*") if not path.is_symlink()] == [inbox / "t"]


@pytest.mark.parametrize("if_exists", IfExists)
def test_a_file_of_a_later_delivery_does_not_go_through_a_link(
    if_exists: IfExists, inbox: Path
) -> None:
    words, _ = simulate(delivers(offer(b"t"), link(b"t/l", b"d"), folder(b"t/d")), inbox)
    assert isinstance(words, list)
    assert [word.code for word in words] == [ExitCode.OK, ExitCode.OK]
    words, error = simulate(delivers(offer(b"t"), file(b"t/l/x")), inbox, if_exists)
    assert error is None
    assert isinstance(words, list)
    assert words[0].code in (ExitCode.REFUSED, ExitCode.FAILED)
    assert list((inbox / "t" / "d").iterdir()) == []
    assert (inbox / "t" / "l").readlink() == Path("d")


@pytest.mark.parametrize("if_exists", IfExists)
def test_nothing_goes_through_a_link_that_lay_there(
    if_exists: IfExists, inbox: Path, outside: Path
) -> None:
    (inbox / "t").symlink_to(outside)
    (inbox / "f").symlink_to(outside / "file")
    entries = [
        file(b"f"),
        file(b"t/file"),
        file(b"t/new"),
        link(b"t/l", b"new"),
        folder(b"t/below"),
    ]
    words, error = simulate(delivers(offer(b"f", b"t"), *entries), inbox, if_exists)
    assert error is None
    assert isinstance(words, list)
    assert all(word.code in (ExitCode.REFUSED, ExitCode.FAILED) for word in words[1:])
    assert (inbox / "t").readlink() == outside
    if (inbox / "f").is_symlink():
        assert if_exists is not IfExists.REPLACE
    else:
        assert (inbox / "f").read_bytes() == CONTENTS


SWAPS = """
import os, shutil, sys
folder, away = sys.argv[1:]
os.chdir(folder)
swaps = 0
print("swapping", flush=True)
while not os.path.exists("stop"):
    os.rename("d", "d.kept")
    swaps += 1
    try:
        os.symlink(away, "d")
        os.unlink("d")
        os.rename("d.kept", "d")
    except OSError:  # it was made anew meanwhile
        shutil.rmtree("d.kept", ignore_errors=True)
print(swaps)
"""


def test_a_folder_swapped_for_a_link_leads_nowhere(
    tmp_path: Path, inbox: Path, outside: Path
) -> None:
    source = tmp_path / "source" / "t"
    (source / "d" / "below").mkdir(parents=True)
    for name in ("file", "below/file", *map(str, range(10))):
        (source / "d" / name).write_bytes(b"from the sender")
    (inbox / "t" / "d").mkdir(parents=True)
    swapping = subprocess.Popen(
        [sys.executable, "-c", SWAPS, inbox / "t", outside], stdout=subprocess.PIPE, text=True
    )
    there = {"into": inbox, "if_exists": "replace"}
    with swapping, connected(there=there) as (client, server):
        assert swapping.stdout is not None
        assert swapping.stdout.readline() == "swapping\n"
        outcomes: set[Outcome] = set()
        for turn in range(25):
            for path in (source / "d").rglob("*"):
                os.utime(path, ns=(turn, turn))
            receiving = begin(server.recv, PATIENCE)
            report = client.push(source)
            receiving.result(PATIENCE)
            outcomes |= set(report.outcomes)
        (inbox / "t" / "stop").touch()
        assert int(swapping.stdout.read()) > 20
    assert outcomes <= {Outcome.SENT, Outcome.REPLACED, Outcome.FAILED}
