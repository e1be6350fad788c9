"""`trellis inspect FILE`: what a component is made of, without running it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.output import Report
from trellis_cli.output.component import component_text, size_text
from trellis_cli.settings import default_data_dir
from trellis_lattice.errors import Denied, NotFound, RequestInvalid, TrellisError

if TYPE_CHECKING:
    from trellis_host.engine import Component

__all__ = ["register"]

_DOWNLOAD_TIMEOUT = 60.0


async def inspect(
    cli: Cli, file: Annotated[str, typer.Argument(metavar="FILE", help="A .wasm file, or the http(s) URL of one.")]
) -> None:
    """Show what a component imports and exports, as WIT, and its size.

    The file is checked and compiled, not run. Compiled code is kept, so that the next time is quick.
    """
    from trellis_host.engine import Engine, EngineSettings, LoadPhase
    from trellis_lattice.wit.render import world_text

    wasm = await _read(file, cli.settings.patience(_DOWNLOAD_TIMEOUT))
    engine = Engine(EngineSettings(max_in_flight=1, cache_dir=default_data_dir(os.environ) / "cache"))
    try:
        with cli.terminal.progress(f"Checking {file}") as progress:

            def tell(phase: LoadPhase) -> None:
                if phase is LoadPhase.COMPILING:
                    progress.update(f"Compiling {file} ({size_text(len(wasm))})")

            component = await engine.load(wasm, progress=tell)
    except TrellisError as error:
        error.message = f"{file}: {error.message}"
        raise
    finally:
        await engine.aclose()
    cli.terminal.emit(_report(file, component, world_text(component.imports, component.exports)))


def _report(file: str, component: Component, wit: str) -> Report:
    data = {
        "file": file,
        "size": component.size,
        "digest": f"sha256:{component.digest}",
        "imports": sorted(component.imports),
        "exports": sorted(component.exports),
        "wit": wit,
    }
    text = component_text(file, component.size, component.digest, wit)
    return Report(data, text=text, names=sorted(component.exports))


async def _fetch(reference: str, timeout: float) -> bytes:
    """From a URL, or from a registry with the logins that Docker keeps."""
    from trellis_cli.settings import docker_config
    from trellis_host.runtime.images import Images
    from trellis_host.runtime.registries import Registries
    from trellis_host.settings import ImageSettings

    with tempfile.TemporaryDirectory(prefix="trellis-") as folder:
        images = Images(ImageSettings(allow_latest=True), Registries({}, docker_config(os.environ)), Path(folder))
        return await images.fetch(reference, deadline=asyncio.get_running_loop().time() + timeout)


async def _read(file: str, timeout: float) -> bytes:
    if file.startswith(("http://", "https://", "oci://")):
        return await _fetch(file, timeout)
    try:
        return await asyncio.to_thread(lambda: Path(file.removeprefix("file://")).expanduser().read_bytes())
    except FileNotFoundError:
        from trellis_host.runtime.oci.reference import looks_like_one

        if looks_like_one(file):
            return await _fetch(file, timeout)
        raise NotFound(f"There is no file {file}.", remedy="Check the path.") from None
    except IsADirectoryError:
        raise RequestInvalid(f"{file} is a folder.", remedy="Name the .wasm file in it.") from None
    except OSError as error:
        raise Denied(f"{file} cannot be read: {os.strerror(error.errno or 0)}.") from None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    examples = ("trellis inspect build/http-hello.wasm", "trellis inspect build/http-hello.wasm -o json")
    command(app, "inspect", examples=examples, panel="Look")(inspect)
