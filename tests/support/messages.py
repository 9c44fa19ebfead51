"""One message of each type, and all that could be said."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from objxfer.errors import ExitCode
from objxfer.files.entries import Action, Answer, Entry, IfExists, Kind, Receipt, Verdict
from objxfer.protocol.answers import Accept, Compared, Receipts, Wanted
from objxfer.protocol.chunks import UNKNOWN, Type
from objxfer.protocol.messages import (
    Abort,
    Credit,
    Done,
    End,
    Failure,
    Message,
    Object,
    Objects,
    Ping,
    Pong,
    Spoken,
    Taken,
)
from objxfer.protocol.session import data
from objxfer.protocol.trees import (
    Entries,
    Fate,
    File,
    FileEnd,
    Flush,
    Nodes,
    Offer,
    Pack,
    Packed,
    Patch,
)

LARGE: Final = Object("raw", 1, (4, 2), receipt_wanted=False, content=None)
"""An object whose data follows."""
OFFER: Final = Offer((b"photos", b"\xff"), b"2026", IfExists.SKIP, 3, UNKNOWN)

EXAMPLES: Final[dict[Type, Message]] = {
    message.type: message
    for message in (
        End(),
        Ping(7),
        Pong(7),
        Failure(),
        Object("msgpack", 2, (1, 3), receipt_wanted=False, content=b"hdbuff"),
        Objects(
            (
                Object("text", 2, (), receipt_wanted=False, content=b"hi"),
                Object("raw", 0, (1,), receipt_wanted=False, content=b"x"),
            )
        ),
        OFFER,
        data(b"hello"),
        Entries(
            [
                Entry(b"photos/a", Kind.FILE, 5, 10**18, 0o644),
                Entry(b"photos/l", Kind.LINK, 0, -1, 0o777, b"a"),
                Entry(b"photos/d", Kind.FILE, 5, 10**18, 0o644, b"", b"d" * 32),
                Entry(b"photos", Kind.FOLDER, 0, 0, 0o755),
            ]
        ),
        Pack([Packed(Fate.READ, 5, 10**18, 0o600), Packed(Fate.LOST, 0, 0, 0)]),
        File(5, 10**18, 0o644, 3),
        FileEnd(Fate.READ, 5),
        Nodes([b"n" * 32, b"m" * 32]),
        Patch(1),
        Flush(),
        Done(),
        Abort(ExitCode.REFUSED, b"photos/a", "not here"),
        Accept(4096),
        Credit(2**21),
        Wanted(
            [
                Verdict(Answer.WANTED),
                Verdict(Answer.UNCHANGED, b"photos/a (1)"),
                Verdict(Answer.SKIPPED, code=ExitCode.OK, reason="exists"),
                Verdict(Answer.REFUSED, code=ExitCode.REFUSED, reason="näh"),
                Verdict(Answer.PARTIAL, held=3),
            ]
        ),
        Receipts(
            [
                Receipt(Action.RECEIVED, 5, b"d" * 32, True, b"photos/a (1)"),
                Receipt(Action.FAILED, code=ExitCode.NO_SPACE, reason="no space left"),
            ]
        ),
        Taken(),
        Compared([True, False]),
    )
}
"""Each type once."""

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
times = st.integers(-(2**63), 2**63 - 1)
modes = st.integers(0, 0o777)
texts = st.text(max_size=250)
paths = st.binary(max_size=300)
codes = st.sampled_from(ExitCode)


@st.composite
def objects(draw: st.DrawFn, *, small: bool = False) -> Object:
    name = draw(st.text("abcdefgh_0", min_size=1, max_size=32))
    if small or draw(st.booleans()):
        head, buffers = (
            draw(st.binary(max_size=30)),
            draw(st.lists(st.binary(min_size=1, max_size=9))),
        )
        wanted = False if small else draw(st.booleans())
        return Object(name, len(head), tuple(map(len, buffers)), wanted, head + b"".join(buffers))
    sizes = draw(st.lists(u64.filter(bool), max_size=9))
    return Object(name, draw(u32), tuple(sizes), draw(st.booleans()), None)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(Kind))
    return Entry(
        draw(paths),
        kind,
        draw(u64) if kind is Kind.FILE else 0,
        draw(times),
        draw(modes),
        draw(st.binary(min_size=1, max_size=300)) if kind is Kind.LINK else b"",
        draw(st.sampled_from((b"", b"d" * 32))) if kind is Kind.FILE else b"",
    )


verdicts = st.one_of(
    st.just(Verdict(Answer.WANTED)),
    paths.map(lambda path: Verdict(Answer.UNCHANGED, path)),
    u32.filter(bool).map(lambda held: Verdict(Answer.PARTIAL, held=held)),
    st.builds(
        lambda answer, code, reason: Verdict(answer, code=code, reason=reason),
        st.sampled_from((Answer.SKIPPED, Answer.REFUSED)),
        codes,
        texts,
    ),
)
receipts = st.builds(
    Receipt,
    st.sampled_from(Action),
    u64,
    st.one_of(st.just(b""), st.binary(min_size=32, max_size=32).filter(any)),
    st.booleans(),
    paths,
    codes,
    texts,
)
packed_files = st.one_of(
    st.builds(Packed, st.just(Fate.READ), u32, times, modes),
    st.just(Packed(Fate.LOST, 0, 0, 0)),
)

messages: st.SearchStrategy[Spoken] = st.one_of(
    st.sampled_from((End(), Failure(), Flush(), Done(), Taken())),
    st.builds(Ping, u64),
    st.builds(Pong, u64),
    st.builds(Credit, st.integers(1, 2**64 - 1)),
    objects(),
    st.lists(objects(small=True), min_size=1).map(lambda some: Objects(tuple(some))),
    st.builds(
        Offer,
        st.lists(st.binary(min_size=1, max_size=255), min_size=1).map(tuple),
        paths,
        st.one_of(st.none(), st.sampled_from(IfExists)),
        u64,
        u64,
    ),
    st.builds(Entries, st.lists(entries(), min_size=1)),
    st.builds(Pack, st.lists(packed_files, min_size=1)),
    st.builds(File, u64, times, modes, u32),
    st.builds(Nodes, st.lists(st.binary(min_size=32, max_size=32), min_size=1)),
    st.builds(Patch, u64),
    st.builds(Compared, st.lists(st.booleans(), min_size=1)),
    st.one_of(st.builds(FileEnd, st.just(Fate.READ), u64), st.just(FileEnd(Fate.LOST, 0))),
    st.builds(Abort, codes, paths, texts),
    st.builds(Accept, st.integers(1, 2**32 - 1)),
    st.builds(Wanted, st.lists(verdicts, min_size=1)),
    st.builds(Receipts, st.lists(receipts, min_size=1)),
)
"""All that can be said and is not data."""
