from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from objxfer.errors import ExitCode, UnsafePath
from objxfer.files.paths import SafePath, is_ours, safe_path, safe_target, shown, stays_inside
from objxfer.limits import Limits
from support.inbox import Row, corpus

LIMITS = Limits()


@pytest.mark.parametrize("row", corpus(), ids=lambda row: ascii(row.name[:40]))
def test_every_name_of_the_corpus_gets_its_verdict(row: Row) -> None:
    if row.ok:
        path = safe_path(row.name, LIMITS)
        assert bytes(path) == row.name
        assert path.portable is (row.kind != "windows")
    else:
        with pytest.raises(UnsafePath) as refusal:
            safe_path(row.name, LIMITS)
        assert refusal.value.exit_code == ExitCode.REFUSED
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value).encode()) <= 1024


def test_the_corpus_is_worth_its_name() -> None:
    assert len(corpus()) >= 150


@given(st.binary(max_size=40))
@example(b"a/b")
def test_what_is_accepted_cannot_climb_and_is_carried_exactly(raw: bytes) -> None:
    try:
        path = safe_path(raw, LIMITS)
    except UnsafePath:
        return
    assert bytes(path) == raw
    for component in path.components:
        assert component not in (b"", b".", b"..")
        assert b"/" not in component
        assert b"\0" not in component
        assert not is_ours(component)


def test_a_path_knows_its_folder_and_name() -> None:
    path = safe_path(b"a/b/c.txt", LIMITS)
    assert path.folder == (b"a", b"b")
    assert path.name == b"c.txt"
    assert path.beside(b"c (1).txt") == b"a/b/c (1).txt"


def test_a_safe_path_cannot_be_made_without_the_check() -> None:
    with pytest.raises(TypeError):
        SafePath((b"..",), portable=True, mint=object())


@pytest.mark.parametrize(
    ("raw", "limits"),
    [
        (b"abcd", Limits(name=3)),
        (b"a/abcd", Limits(name=3)),
        (b"ab/cd", Limits(path=4)),
        (b"a/b/c", Limits(depth=2)),
    ],
)
def test_limits_can_be_lowered(raw: bytes, limits: Limits) -> None:
    safe_path(raw, LIMITS)
    with pytest.raises(UnsafePath):
        safe_path(raw, limits)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("grün".encode(), "grün"),
        (b"a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\u202eb".encode(), r"a\u202eb"),
        (b"a\x9bb", r"a\x9bb"),
        (rb"it's a\b", rb"it's a\b".decode()),
    ],
)
def test_names_are_shown_without_effect(raw: bytes, text: str) -> None:
    assert shown(raw) == text


def test_long_names_are_shown_short() -> None:
    assert len(shown(b"x" * 4096)) == 160


LINKS = [
    # folder of the link, target, stays
    (b"top", b"x", True),
    (b"top", b"./x", True),
    (b"top", b"x/", True),
    (b"top", b"a/b//c", True),
    (b"top", b".", True),
    (b"top/a", b"..", True),
    (b"top/a", b"../b", True),
    (b"top/a", b"./../b", True),
    (b"top/a/b", b"../../x", True),
    (b"top/a", b"../../other/x", True),
    (b"top", b"..name", True),
    (b"", b"other", True),
    (b"", b"other/x", True),
    (b"top", b"", False),
    (b"top", b"/", False),
    (b"top", b"/etc/passwd", False),
    (b"top", b"..", False),
    (b"top", b"../..", False),
    (b"top", b"../../../etc", False),
    (b"top", b"../unsent/x", False),
    (b"top/a", b"../../unsent", False),
    (b"top/a", b"b/..", False),
    (b"top/a", b"b/../c", False),
    (b"top/a", b"../b/../c", False),
    (b"", b"unsent", False),
    (b"", b".", False),
    (b"", b"../top/x", False),
]


@pytest.mark.parametrize(("folder", "target", "stays"), LINKS)
def test_links_stay_inside_or_are_refused(folder: bytes, target: bytes, *, stays: bool) -> None:
    tops = (b"top", b"other")
    assert stays_inside(folder.split(b"/") if folder else [], target, tops) is stays
    link = safe_path(folder + b"/link" if folder else b"link", LIMITS)
    if stays:
        assert safe_target(link, target, tops, LIMITS) == target
    else:
        with pytest.raises(UnsafePath):
            safe_target(link, target, tops, LIMITS)


@pytest.mark.parametrize("target", [b"a\0b", b"a\nb", b"\x1b[2J", "a\x9bb".encode(), b"x" * 4097])
def test_a_links_target_obeys_the_rules_for_names(target: bytes) -> None:
    with pytest.raises(UnsafePath) as refusal:
        safe_target(safe_path(b"top/link", LIMITS), target, (b"top",), LIMITS)
    assert str(refusal.value).isprintable()
