"""A pickle is loaded only with a proof, and only what was accepted is named by it."""

from __future__ import annotations

import collections
import copyreg
import io
import pickle
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy
import pytest

from objxfer.errors import NotAllowed, NotSerializable, PeerError
from objxfer.security.sealing import Opener, Proof, Verified
from objxfer.serializers.base import IN_BAND
from objxfer.serializers.pickle import CLOUDPICKLE, PICKLE, Pickle

KEY = bytes(range(32))


def verified(head: bytes, buffers: Any = ()) -> Verified:
    proof = Opener(KEY, authenticated=True).proof
    assert proof is not None
    return Verified(proof, head, buffers)


class Canary:
    """Leaves a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.mark.parametrize("serializer", [PICKLE, CLOUDPICKLE])
def test_the_canary_sings_only_from_verified_and_accepted(serializer: Pickle, mark: Path) -> None:
    head, buffers = serializer.dump(Canary(mark))
    with pytest.raises(TypeError):
        serializer.load(head, classes=None)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError):
        Verified(None, head, buffers)  # type: ignore[arg-type]  # mode none has no proof
    with pytest.raises(TypeError):
        Verified(Proof(object()), head, buffers)
    for classes in ([], ["pathlib:Path"], ["pathlib:Path.touc"], ["builtins:getattr"]):
        with pytest.raises(NotAllowed):
            serializer.load(verified(head, buffers), classes=classes)
    assert not mark.exists()
    serializer.load(verified(head, buffers), classes=None)
    assert mark.exists()


@dataclass
class Job:
    step: int
    weights: Any = None

    class Inner:
        pass


JOB = f"{__name__}:Job"


def test_classes_are_compared_as_a_whole() -> None:
    head, buffers = PICKLE.dump(Job(3))
    assert PICKLE.load(verified(head, buffers), classes=[JOB]) == Job(3)
    for classes in ([], [f"{__name__}:Jo"], [f"{__name__}:Job.Inner"], ["x:Job"]):
        with pytest.raises(NotAllowed, match=":Job"):
            PICKLE.load(verified(head, buffers), classes=classes)
    head, _ = PICKLE.dump(Job.Inner())
    with pytest.raises(NotAllowed, match=r":Job\.Inner"):
        PICKLE.load(verified(head), classes=[JOB])
    assert PICKLE.load(verified(head), classes=[f"{JOB}.Inner"])
    with pytest.raises(ValueError, match="module:qualname"):
        PICKLE.load(verified(head), classes="x:y")


def test_no_old_name_stands_for_a_listed_one() -> None:
    python_2 = b"cUserList\nUserList\n."
    for classes in (None, ["collections:UserList"], ["UserList:UserList"]):
        with pytest.raises(NotAllowed):
            PICKLE.load(verified(python_2), classes=classes)


def test_the_extension_registry_is_no_way_around_the_list() -> None:
    copyreg.add_extension("collections", "OrderedDict", 240)
    try:
        head = pickle.dumps(collections.OrderedDict, 5)
        assert b"collections" not in head
        assert PICKLE.load(verified(head), classes=None) is collections.OrderedDict
        with pytest.raises(NotAllowed, match="collections:OrderedDict"):
            PICKLE.load(verified(head), classes=[])
    finally:
        copyreg.remove_extension("collections", "OrderedDict", 240)


def test_what_is_not_here_is_named() -> None:
    for head in (b"cno_such_module\nJob\n.", b"cpathlib\nNoSuchClass\n."):
        with pytest.raises(NotAllowed, match="is not here"):
            PICKLE.load(verified(head), classes=None)


def test_persistent_ids_are_refused() -> None:
    with pytest.raises(NotAllowed):
        PICKLE.load(verified(b"Pid\n."), classes=None)


@pytest.mark.parametrize("head", [b"", b"N", b"\x8e" + b"\x7f" * 8, b"garbage"])
def test_malformed_pickles(head: bytes) -> None:
    with pytest.raises(PeerError):
        PICKLE.load(verified(head), classes=None)


def test_a_pickle_cut_short_at_any_byte() -> None:
    head, _ = PICKLE.dump({"a": [1, 2.5, "x"]})
    for size in range(len(head)):
        with pytest.raises(PeerError):
            PICKLE.load(verified(head[:size]), classes=None)


class Failing:
    def __setstate__(self, state: object) -> None:
        raise ZeroDivisionError("mine")

    def __getstate__(self) -> object:
        return {"a": 1}


def test_what_loaded_code_raises_is_passed_on() -> None:
    head, _ = PICKLE.dump(Failing())
    with pytest.raises(ZeroDivisionError, match="mine"):
        PICKLE.load(verified(head), classes=None)


def test_arrays_travel_as_buffers_from_64_kib_on() -> None:
    for size in (IN_BAND - 1, IN_BAND):
        array = numpy.ones(size, "u1")
        head, buffers = PICKLE.dump({"a": array})
        assert len(buffers) == (size >= IN_BAND)
        arrived = [memoryview(bytearray(each)) for each in buffers]
        again = PICKLE.load(verified(head, arrived), classes=None)["a"]
        assert (again == array).all()
        assert again.flags.writeable
    strided = numpy.ones((IN_BAND, 2))[:, 0]
    head, buffers = PICKLE.dump(strided)
    assert not buffers
    assert (PICKLE.load(verified(head), classes=None) == strided).all()


class Recording(pickle.Unpickler):
    def __init__(self, head: bytes, buffers: Any) -> None:
        super().__init__(io.BytesIO(head), buffers=buffers)
        self.named: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.named.append(f"{module}:{name}")
        return super().find_class(module, name)


def test_arrays_have_no_exception_from_classes() -> None:
    head, buffers = PICKLE.dump(Job(1, numpy.ones(IN_BAND)))
    with pytest.raises(NotAllowed, match="numpy"):
        PICKLE.load(verified(head, buffers), classes=[JOB])
    recording = Recording(head, buffers)
    recording.load()
    again = PICKLE.load(verified(head, buffers), classes=recording.named)
    assert again.weights.sum() == IN_BAND


def test_cloudpickle_holds_functions_by_value() -> None:
    step = 3
    head, buffers = CLOUDPICKLE.dump(lambda x: x + step)
    assert CLOUDPICKLE.load(verified(head, buffers), classes=None)(1) == 4
    with pytest.raises(NotAllowed, match="cloudpickle"):
        CLOUDPICKLE.load(verified(head, buffers), classes=[JOB])
    assert cloudpickle.loads(head)(1) == 4


class Slotted:
    __slots__ = ("lock", "unset")

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Slotted, (self.lock,)


class Raising:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError("mine")


REFUSED: list[tuple[Any, str, str]] = [
    (threading.Lock(), "obj", "a _thread.lock, which pickle cannot hold"),
    ({"a": [1, threading.Lock()]}, 'obj["a"][1]', "a _thread.lock"),
    ([Job(1, {"f": lambda: None})], 'obj[0].weights["f"]', "a function"),
    ({"s": Slotted()}, 'obj["s"].lock', "a _thread.lock"),
    ({(1, Job.__dict__.get): 1}, "list(obj)[0][1]", "builtin_function_or_method"),
    ([(1, Raising())], "obj[0][1]", "mine"),
    ({"g": (x for x in "ab")}, 'obj["g"]', "a generator"),
]


@pytest.mark.parametrize(("value", "path", "what"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_pickled_is_found(value: object, path: str, what: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        PICKLE.dump(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} is ")
    assert what in str(caught.value)


def test_the_search_is_bounded_and_knows_cycles() -> None:
    cycle: list[Any] = [None] * 5000
    cycle[0] = cycle
    cycle.append(threading.Lock())
    with pytest.raises(NotSerializable) as caught:
        PICKLE.dump(cycle)
    assert caught.value.path.startswith("obj")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSerializable):
        PICKLE.dump(deep)
