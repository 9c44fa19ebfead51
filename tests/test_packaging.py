"""What is installed: two packages, typed, of small modules, and light to import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import objxfer

PROJECT = Path(__file__).parent.parent
MODULES = [*PROJECT.glob("objxfer/**/*.py"), *PROJECT.glob("cli/**/*.py")]
HEAVY = {
    *(
        "blake3",
        "click",
        "cloudpickle",
        "cryptography",
        "ifaddr",
        "msgpack",
        "numpy",
        "pickle",
        "platformdirs",
        "zeroconf",
    ),
    *("asyncio", "multiprocessing", "socket", "ssl", "tqdm"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    builder = hatchling.WheelBuilder(str(PROJECT))
    (built,) = builder.build(directory=str(tmp_path_factory.mktemp("wheel")))
    return zipfile.Path(built)


def test_the_wheel_holds_two_packages_and_nothing_else(wheel: zipfile.Path) -> None:
    information = f"objxfer-{objxfer.__version__}.dist-info"
    assert {entry.name for entry in wheel.iterdir()} == {"objxfer", "objxfer_cli", information}
    for package in ("objxfer", "objxfer_cli"):
        assert (wheel / package / "py.typed").is_file()
    assert (wheel / information / "licenses" / "LICENSE").is_file()


def test_the_wheel_holds_every_module(wheel: zipfile.Path) -> None:
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        held = {name for name in archive.namelist() if name.endswith(".py")}
    assert held == {path.relative_to(PROJECT).as_posix().removeprefix("cli/") for path in MODULES}


def test_cli_is_a_folder_and_no_package() -> None:
    assert not (PROJECT / "cli" / "__init__.py").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_modules_are_short(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) < 400


def loaded_by(program: str) -> set[str]:
    """The top-level modules that a program loads beside those that Python itself does."""
    script = f"import sys, json; before = set(sys.modules); {program}; "
    script += "print(json.dumps(sorted(set(sys.modules) - before)))"
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    return {name.partition(".")[0] for name in json.loads(ended.stdout)}


@pytest.mark.parametrize("program", ["import objxfer", "import objxfer; objxfer.ObjxferError"])
def test_importing_it_loads_nothing_heavy(program: str) -> None:
    assert not loaded_by(program) & HEAVY


def test_connecting_does_not_load_what_it_does_not_use() -> None:
    unused = {
        "asyncio",
        "cloudpickle",
        "ifaddr",
        "multiprocessing",
        "numpy",
        "spake2",
        "tqdm",
        "zeroconf",
    }
    assert not loaded_by("import objxfer; objxfer.connect, objxfer.listen, objxfer.push") & unused


@pytest.mark.parametrize(
    "command",
    [
        "digest pyproject.toml",
        "send pyproject.toml --to tcp://127.0.0.1:1 --insecure --retry 0",
        "receive --listen tcp://192.0.2.1:0 --insecure",
        "serve objxfer --listen tcp://192.0.2.1:0 --insecure",
    ],
)
def test_a_command_that_looks_for_nobody_does_not_load_what_looks(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "objxfer_cli", *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
    )
    loaded = set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))
    assert "objxfer_cli.options" in loaded, "the command did not run"
    assert not {name.partition(".")[0] for name in loaded} & {"asyncio", "zeroconf"}
