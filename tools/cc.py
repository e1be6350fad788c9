"""Compiles a C or Zig file to a component of a few KB with `ziglang` from pip.

python -m tools.cc main.c out.wasm [-I folder ...]
python -m tools.cc main.zig out.wasm
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.interfaces import Interface
from tools.wrap import wrap

__all__ = ["compile_component"]

_C = (
    "cc",
    *("-target", "wasm32-freestanding", "-Os", "-nostdlib", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Wno-unused-function"),
    *("-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--strip-all", "-Wl,-z,stack-size=16384"),
)
_ZIG = (
    *("build-exe", "-target", "wasm32-freestanding", "-O", "ReleaseSmall", "-fstrip"),
    *("-fno-entry", "-rdynamic", "--import-memory", "--stack", "16384"),
)


def compile_component(
    source: Path, include: Sequence[Path] = (), interfaces: Mapping[str, Interface] | None = None
) -> bytes:
    """The component made of one C or Zig file. `interfaces`: what it uses besides WASI, by full name.

    Raises CalledProcessError where the compiler refuses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        core = Path(folder) / "core.wasm"
        includes = [f"-I{path}" for path in include]
        flags = [*_ZIG, f"-femit-bin={core}"] if source.suffix == ".zig" else [*_C, "-o", str(core)]
        subprocess.run([sys.executable, "-m", "ziglang", *flags, *includes, str(source)], check=True)
        return wrap(core.read_bytes(), interfaces)


def main(arguments: list[str]) -> int:
    """`python -m tools.cc SOURCE OUT [-I FOLDER ...]`"""
    if len(arguments) < 2:
        print("usage: python -m tools.cc SOURCE.c|SOURCE.zig OUT.wasm [-I FOLDER ...]", file=sys.stderr)
        return 2
    source, out, *rest = arguments
    component = compile_component(Path(source), [Path(item) for item in rest if item != "-I"])
    Path(out).write_bytes(component)
    print(f"{out}: {len(component)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
