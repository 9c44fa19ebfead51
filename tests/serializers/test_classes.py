"""Dataclasses and enums travel after both sides registered them, and run nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, Flag, IntEnum, auto
from functools import cached_property
from typing import Any

import pytest

from objxfer.errors import LimitExceeded, NotAllowed, NotSerializable, PeerError
from objxfer.serializers import classes
from objxfer.serializers.classes import register_class
from objxfer.serializers.msgpack import MSGPACK, Msgpack


def there_and_back(value: Any) -> Any:
    head, buffers = MSGPACK.dump(value)
    return MSGPACK.load(head, [memoryview(bytearray(buffer)) for buffer in buffers])


def nested(depth: int, wrap: Any) -> Any:
    value: Any = wrap(0)
    for _ in range(depth - 1):
        value = wrap(value)
    return value


class UnregisteredJob:
    pass


class Color(IntEnum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Job:
    step: int
    tags: tuple[str, ...]
    parent: Job | None = None
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if self.step > 99:
            raise AssertionError("rebuilding must not call this")
        object.__setattr__(self, "digest", f"of {self.step}")


@dataclass
class Model:
    weights: Any

    @cached_property
    def size(self) -> int:
        return 1


class Mode(Enum):
    FAST = object()
    SLOW = 2
    LAZY = SLOW


class Access(Flag):
    READ = auto()
    WRITE = auto()


class Level(IntEnum):
    LOW = 1


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_by_class", {})
    monkeypatch.setattr(classes, "_by_name", {})
    for cls in (Job, Model, Mode, Access, Level):
        register_class(cls)


@pytest.mark.usefixtures("registered")
def test_registered_classes_come_back_without_running_their_code() -> None:
    job = Job(3, ("a",), Job(2, ()))
    object.__setattr__(job, "step", 100)
    again = there_and_back({"job": [job]})["job"][0]
    assert again == job
    assert (type(again), again.digest, type(again.parent)) == (Job, "of 3", Job)
    assert there_and_back({job: 1}) == {job: 1}


@pytest.mark.usefixtures("registered")
def test_enum_members_come_back_as_themselves() -> None:
    for member in (*Mode, Mode.LAZY, Level.LOW, *Access):
        assert there_and_back(member) is member
    for flags in (Access(0), Access.READ | Access.WRITE):
        assert there_and_back([flags]) == [flags]
    assert there_and_back({Level.LOW: 1}) == {1: 1}
    assert type(next(iter(there_and_back({Level.LOW: 1})))) is Level


@pytest.mark.usefixtures("registered")
def test_instances_that_are_more_or_less_than_their_fields_are_refused() -> None:
    model = Model([1])
    assert there_and_back(model) == model
    assert model.size == 1
    with pytest.raises(NotSerializable, match=r"obj\[0\].size is an attribute that is no field"):
        MSGPACK.dump([model])
    model = Model(1)
    del model.weights
    with pytest.raises(NotSerializable, match=r"obj.weights is a field that is not set"):
        MSGPACK.dump(model)
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump([0, Model({"f": print})])
    assert caught.value.path == 'obj[1].weights["f"]'


@pytest.mark.usefixtures("registered")
def test_cycles_and_chains_of_instances() -> None:
    model = Model(None)
    model.weights = [model]
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump(model)
    assert caught.value.path == "obj.weights[0]"
    chain = nested(256, Model)
    assert there_and_back(chain) == chain
    head, _ = Msgpack(nesting=300).dump(nested(257, Model))
    with pytest.raises(LimitExceeded):
        MSGPACK.load(head, [])


@pytest.mark.usefixtures("registered")
def test_unknown_and_changed_classes_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    instance, _ = MSGPACK.dump(Job(1, ()))
    member, _ = MSGPACK.dump(Level.LOW)
    monkeypatch.setattr(classes, "_by_class", {})
    monkeypatch.setattr(classes, "_by_name", {})
    for head in (instance, member):
        with pytest.raises(NotAllowed, match="not registered here"):
            MSGPACK.load(head, [])
    register_class(Model, name=f"{__name__}:Job")
    with pytest.raises(NotAllowed, match="other fields"):
        MSGPACK.load(instance, [])
    register_class(Mode, name=f"{__name__}:Level")
    with pytest.raises(PeerError):
        MSGPACK.load(member, [])


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_registered() -> None:
    @dataclass
    class Mapping(dict[str, int]):
        x: int

    for cls in (Mapping, UnregisteredJob, int):
        with pytest.raises(TypeError):
            register_class(cls)
    assert register_class(Job) is Job
    with pytest.raises(ValueError, match="is registered as"):
        register_class(Job, name="other")
    with pytest.raises(ValueError, match="another class"):
        register_class(Color, name=f"{__name__}:Job")
    with pytest.raises(ValueError, match="characters"):
        register_class(Color, name="")
