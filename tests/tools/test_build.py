"""Examples are built when their sources or their toolchain changed, and only then."""

from pathlib import Path

import pytest

from tools import build as building
from tools.build import EXAMPLES, BuildFailed, build, main


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with the sources of one example and no compiler."""
    source = tmp_path / "examples" / "kv-counter"
    (source / "wit").mkdir(parents=True)
    (source / "app.py").write_text("print('hello')\n")
    (source / "wit" / "world.wit").write_text("package a:b;\n")
    for name, path in (("ROOT", tmp_path), ("SOURCES", tmp_path / "examples"), ("BUILD", tmp_path / "build")):
        monkeypatch.setattr(building, name, path)
    return tmp_path


@pytest.fixture
def compiled(folders: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the examples that were compiled."""
    names: list[str] = []

    def compile_to(example: building.Example, out: Path) -> None:
        names.append(example.name)
        out.write_bytes(b"component %d" % len(names))

    monkeypatch.setattr(building, "_compile", compile_to)
    return names


def test_it_is_built_once(folders, compiled):
    assert build("kv-counter") == folders / "build" / "kv-counter.wasm"
    assert build("kv-counter").read_bytes() == b"component 1"
    assert compiled == ["kv-counter"]


@pytest.mark.parametrize("name", ["app.py", "wit/world.wit", "new.py"])
def test_a_changed_or_new_source_builds_again(folders, compiled, name):
    build("kv-counter")
    (folders / "examples" / "kv-counter" / name).write_text("changed\n")
    assert build("kv-counter").read_bytes() == b"component 2"


@pytest.mark.parametrize("name", ["README.md", "__pycache__/app.pyc"])
def test_what_is_no_source_does_not_count(folders, compiled, name):
    build("kv-counter")
    path = folders / "examples" / "kv-counter" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed\n")
    assert build("kv-counter").read_bytes() == b"component 1"


def test_a_lost_component_is_built_again(folders, compiled):
    build("kv-counter").unlink()
    assert build("kv-counter").read_bytes() == b"component 2"


def test_a_failed_build_leaves_the_old_component_and_no_rubbish(folders, compiled, monkeypatch):
    build("kv-counter")
    (folders / "examples" / "kv-counter" / "app.py").write_text("broken\n")

    def fail(example: building.Example, out: Path) -> None:
        out.write_bytes(b"half")
        raise BuildFailed("syntax error")

    monkeypatch.setattr(building, "_compile", fail)
    with pytest.raises(BuildFailed):
        build("kv-counter")
    assert sorted(path.name for path in (folders / "build").iterdir()) == ["kv-counter.digest", "kv-counter.wasm"]
    assert (folders / "build" / "kv-counter.wasm").read_bytes() == b"component 1"


def test_an_unknown_example_is_refused(capsys):
    assert main(["kv-counte"]) == 2
    assert "no such example: kv-counte" in capsys.readouterr().err


def test_a_missing_tool_is_named_with_its_remedy(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building.sys, "executable", str(tmp_path / "bin" / "python"))
    assert main(["kv-counter"]) == 1
    assert "componentize-py is not in" in (error := capsys.readouterr().err)
    assert "pip install" in error


@pytest.mark.guests
def test_a_compiler_s_complaint_is_passed_on(folders, capsys):
    assert set(EXAMPLES) >= {"kv-counter"}
    assert main(["kv-counter"]) == 1
    assert "kv-counter" in capsys.readouterr().err
