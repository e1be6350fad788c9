"""Manifests as people name them: a file, `-` for standard input, or a URL; and the images they refer to.

The law of this file: an image that is a relative path means a file beside the manifest, wherever the command
was run and whichever host will read it; so it is made absolute before the manifest leaves this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from trellis_lattice.errors import Denied, NotFound, RequestInvalid, Unavailable

if TYPE_CHECKING:
    from trellis_wadm.manifest import Parsed

__all__ = ["Source", "is_source", "local_path", "names_in", "read_source", "resolve_images", "sound_manifests"]

_MAX_BYTES = 1024 * 1024
_SUFFIXES = (".yaml", ".yml", ".json")
_COMPONENT = b"\0asm\x0d\0\1\0"
"""How every component begins."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a manifest. `name`: what it is called in messages; `base`: the folder its paths start from."""

    name: str
    text: bytes
    base: Path | None


def is_source(text: str) -> bool:
    """Whether an argument names a manifest rather than an application that is stored already."""
    return text == "-" or "://" in text or "/" in text or text.endswith(_SUFFIXES) or os.path.isfile(text)


def read_source(text: str) -> Source:
    """Reads FILE, `-` or http(s) URL. Raises `NotFound`, `Denied`, `RequestInvalid`, `Unavailable`."""
    if text == "-":
        return Source("standard input", _bounded("standard input", sys.stdin.buffer.read(_MAX_BYTES + 1)), Path.cwd())
    if text.startswith(("http://", "https://")):
        return Source(text, _bounded(text, _download(text)), None)
    path = Path(text).expanduser()
    try:
        with path.open("rb") as file:
            data = _bounded(text, file.read(_MAX_BYTES + 1))
    except FileNotFoundError:
        raise NotFound(f"There is no file {text}.", remedy="Check the path of the manifest.") from None
    except IsADirectoryError:
        raise RequestInvalid(f"{text} is a folder.", remedy="Name the manifest file in it.") from None
    except OSError as error:
        raise Denied(f"{text} cannot be read: {os.strerror(error.errno or 0)}.") from None
    return Source(text, data, path.absolute().parent)


def sound_manifests(source: Source) -> list[tuple[Parsed, dict[str, Any]]]:
    """The applications of a source, each with its JSON form in which images are absolute.

    Raises `RequestInvalid` with every finding that forbids to store them, each with its place and remedy.
    """
    from trellis_wadm.manifest import errors, parse_manifests

    parsed = parse_manifests(source.text)
    found = [finding for one in parsed for finding in errors(one.findings)]
    if found:
        places = "\n".join(f"  {source.name}: {finding}" for finding in found)
        raise RequestInvalid(
            f"The manifest has {len(found)} error{'s' if len(found) > 1 else ''}; nothing was changed.\n{places}",
            findings=[finding.to_json() for finding in found],
        )
    result = []
    for one in parsed:
        assert one.manifest is not None
        result.append((one, resolve_images(one.manifest.to_wire(), source.base)))
    return result


def names_in(source: Source) -> list[str]:
    """The names of the applications of a source, which need not be valid otherwise. Raises `RequestInvalid`."""
    from trellis_wadm.manifest import parse_manifests

    names = [one.manifest.name for one in parse_manifests(source.text) if one.manifest is not None]
    if not names:
        raise RequestInvalid(f"{source.name} names no application.", remedy=f"trellis app validate {source.name}")
    return names


def resolve_images(manifest: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    """The manifest with relative images made `file://` URLs.

    Raises `NotFound` for an image that does not exist there, and `RequestInvalid` for one that is no component, or
    a relative one where there is no folder to start from (a manifest from a URL).
    """
    components = [_resolved(component, base) for component in manifest["spec"]["components"]]
    return {**manifest, "spec": {**manifest["spec"], "components": components}}


def _resolved(component: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    properties = dict(component["properties"])
    image = properties.get("image")
    relative = local_path(image, lambda path: base is not None and os.path.isfile(base / path)) if image else None
    name = component["name"]
    if relative is None:
        if image and image.startswith(("/", "file:///")):
            _check_component(name, Path(unquote(image.removeprefix("file://"))))
        return dict(component)
    if base is None:
        raise RequestInvalid(
            f"The image of `{name}` is the relative path {image}, but the manifest is not a file.",
            remedy="Save the manifest as a file beside the component, or use an absolute path.",
        )
    path = Path(os.path.normpath(base / relative))
    if not os.path.exists(path):
        raise NotFound(
            f"The image of `{name}` is {image}, but there is no file {path}.",
            remedy="Build the component first, or correct the path; it starts from the manifest's folder.",
        )
    _check_component(name, path)
    properties["image"] = "file://" + quote(str(path))
    return {**component, "properties": properties}


def _check_component(name: str, path: Path) -> None:
    """Raises `RequestInvalid` if the file is here and does not begin like a component: no host need try it."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except IsADirectoryError:
        raise RequestInvalid(f"The image of `{name}`, {path}, is a folder.", remedy="Name the .wasm file.") from None
    except OSError:
        return  # a host may be able to read it
    if head.startswith(_COMPONENT):
        return
    from trellis_host.engine.component import check_header

    try:
        check_header(head)
    except RequestInvalid as error:
        raise RequestInvalid(f"The image of `{name}`, {path}: {error.message}", remedy=error.remedy) from None


def local_path(image: str, exists: Callable[[str], bool]) -> str | None:
    """The relative path that an image means; None if it is absolute, a URL, a registry reference or a name.

    `./x.wasm`, `../x.wasm` and `file://x.wasm` are always paths; `build/x.wasm` is one unless its first part
    looks like a registry (`ghcr.io/…`) and there is no such file.
    """
    if image.startswith("file://"):
        path = unquote(image.removeprefix("file://"))
        return None if path.startswith("/") else path
    if image.startswith(("./", "../")):
        return image
    if "://" in image or ":" in image or image.startswith("/") or not image.endswith(".wasm"):
        return None
    head, slash, _ = image.partition("/")
    return image if not slash or "." not in head or exists(image) else None


def _bounded(name: str, data: bytes) -> bytes:
    if len(data) > _MAX_BYTES:
        raise RequestInvalid(f"{name} is longer than {_MAX_BYTES // 1024} KiB: that is not a manifest.")
    return data


def _download(url: str) -> bytes:
    import httpx

    data = b""
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=10.0) as response:
            if response.status_code != 200:
                raise NotFound(f"{url}: the server answered {response.status_code}.", remedy="Check the URL.")
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > _MAX_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} cannot be read: {error or type(error).__name__}.", remedy="Check the URL.") from None
    return data
