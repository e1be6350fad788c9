"""Where a manifest's images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trellis_cli.manifests import Source, is_source, local_path, read_source, resolve_images, sound_manifests
from trellis_lattice.errors import NotFound, RequestInvalid


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("./x.wasm", "./x.wasm"),
        ("../b/x.wasm", "../b/x.wasm"),
        ("file://./x.wasm", "./x.wasm"),
        ("file://../with%20blank/x.wasm", "../with blank/x.wasm"),
        ("file://x.wasm", "x.wasm"),
        ("x.wasm", "x.wasm"),
        ("build/x.wasm", "build/x.wasm"),
        ("dist.d/x.wasm", "dist.d/x.wasm"),
        ("ghcr.io/me/x.wasm", None),
        ("file:///abs/x.wasm", None),
        ("/abs/x.wasm", None),
        ("https://example.org/x.wasm", None),
        ("ghcr.io/wasmcloud/http-server:0.23.2", None),
        ("localhost:5000/x.wasm", None),
        ("http-server", None),
        ("python:my_providers:Clock", None),
    ],
)
def test_which_images_are_relative_paths(image: str, path: str | None) -> None:
    assert local_path(image, lambda p: p == "dist.d/x.wasm") == path


def manifest(image: str) -> dict[str, Any]:
    return {"spec": {"components": [{"name": "echo", "type": "component", "properties": {"image": image}}]}}


def test_a_relative_image_starts_from_the_manifests_folder(tmp_path: Path) -> None:
    (tmp_path / "with blank").mkdir()
    (tmp_path / "with blank" / "x.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    original = manifest("file://./with%20blank/x.wasm")
    resolved = resolve_images(original, tmp_path / "sub" / "..")
    assert resolved["spec"]["components"][0]["properties"]["image"] == f"file://{tmp_path}/with%20blank/x.wasm"
    assert original == manifest("file://./with%20blank/x.wasm")


def test_a_missing_image_names_component_and_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="echo") as caught:
        resolve_images(manifest("./x.wasm"), tmp_path)
    assert str(tmp_path / "x.wasm") in caught.value.message
    with pytest.raises(RequestInvalid, match="relative"):
        resolve_images(manifest("./x.wasm"), None)


def test_an_image_that_is_no_component_is_refused_here_and_a_provider_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "x.wasm").write_bytes(b"\0asm\1\0\0\0")
    for image in ("./x.wasm", f"{tmp_path}/x.wasm", f"file://{tmp_path}/x.wasm"):
        with pytest.raises(RequestInvalid, match="core WebAssembly module"):
            resolve_images(manifest(image), tmp_path)
    with pytest.raises(RequestInvalid, match="folder"):
        resolve_images(manifest(str(tmp_path)), tmp_path)
    for image in ("http-server", "/on/another/machine.wasm", "https://example.org/x.wasm"):
        resolve_images(manifest(image), tmp_path)


def test_what_counts_as_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_text("")
    assert all(map(is_source, ["-", "a.yaml", "dir/a", "https://x/y", "plain"]))
    assert not is_source("my-app")


def test_findings_are_named_with_file_and_line(tmp_path: Path) -> None:
    text = b"apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata:\n  name: a\nspec:\n  components: []\n"
    with pytest.raises(RequestInvalid) as caught:
        sound_manifests(Source("a.yaml", text, tmp_path))
    assert "a.yaml: line 3" in caught.value.message
    assert caught.value.fields["findings"][0]["line"] == 3


def test_unreadable_sources(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        read_source(str(tmp_path / "none.yaml"))
    with pytest.raises(RequestInvalid, match="folder"):
        read_source(str(tmp_path))
    (tmp_path / "huge.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(RequestInvalid, match="longer"):
        read_source(str(tmp_path / "huge.yaml"))
