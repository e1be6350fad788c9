"""Builds this folder's Python and JavaScript components with the toolchains users have, into build/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tools import build

__all__ = ["javascript_component", "python_component"]

_HERE = Path(__file__).parent / "components"
_WIT = build.SOURCES / "http-hello-python" / "wit"
_FETCH_EVENT = "0.2.10"
"""The version of wasi:http that componentize-js serves `fetch` events for."""


def python_component() -> bytes:
    """components/python/app.py, by componentize-py."""
    return _built(
        "python",
        _HERE / "python" / "app.py",
        version("componentize-py"),
        lambda source, out: _componentize(source, out),
    )


def javascript_component() -> bytes:
    """components/js/app.js, by componentize-js (StarlingMonkey)."""
    lock = (build.SOURCES / "package-lock.json").read_text()
    return _built("js", _HERE / "js" / "app.js", lock, _componentize_js)


def _built(name: str, source: Path, toolchain: str, make: Callable[[Path, Path], None]) -> bytes:
    wits = "".join(path.read_text() for path in sorted(_WIT.rglob("*.wit")))
    digest = hashlib.sha256("\0".join((source.read_text(), wits, toolchain)).encode()).hexdigest()
    built = build.BUILD / f"wasi-tests-{name}-{digest[:16]}.wasm"
    if not built.exists():
        build.BUILD.mkdir(exist_ok=True)
        for old in build.BUILD.glob(f"wasi-tests-{name}-*.wasm"):
            old.unlink()
        fresh = build.BUILD / f".wasi-tests-{name}-{os.getpid()}.wasm"
        make(source, fresh)
        fresh.replace(built)
    return built.read_bytes()


def _componentize(source: Path, out: Path) -> None:
    tool = Path(sys.executable).parent / "componentize-py"
    world = ["-q", "-d", str(_WIT), "-w", "http-hello"]
    subprocess.run([tool, *world, "componentize", "-p", str(source.parent), "-o", str(out), "app"], check=True)


def _componentize_js(source: Path, out: Path) -> None:
    build.build("http-hello-js")  # brings the npm packages
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    with tempfile.TemporaryDirectory() as folder:
        wit = Path(folder) / "wit"
        shutil.copytree(_WIT, wit)
        for path in wit.rglob("*.wit"):
            path.write_text(path.read_text().replace("@0.2.2", f"@{_FETCH_EVENT}"))
        command = [str(build.SOURCES / "node_modules" / ".bin" / "componentize-js"), str(source), "--wit", str(wit)]
        subprocess.run([*command, "--world-name", "http-hello", "--out", str(out)], check=True, env=environment)
