"""The examples as they are in the tree: manifests, WIT, and the rule that big binaries are not committed."""

import subprocess
from itertools import groupby
from pathlib import Path

import pytest

from tools.build import EXAMPLES, ROOT, SOURCES
from trellis_wadm.manifest import parse_manifests

MANIFESTS = sorted((ROOT / "wadm-manifests").glob("*.yaml"))


def manifest(path: Path):
    (parsed,) = parse_manifests(path.read_text())
    assert parsed.findings == ()
    return parsed.manifest


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_has_no_findings_and_is_named_as_its_file(path: Path):
    assert manifest(path).name == path.stem


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_names_files_that_exist_or_are_built(path: Path):
    made = {example.output for example in EXAMPLES.values()}
    for component in manifest(path).spec.components:
        image = component.properties.image
        if image.startswith("file://"):
            file = (path.parent / image.removeprefix("file://")).resolve()
            assert file in made or file.exists()


def test_all_applications_can_run_at_the_same_time():
    addresses = [
        entry.properties["address"]
        for path in MANIFESTS
        for component in manifest(path).spec.components
        for link in component.links
        if link.source
        for entry in link.source.config
    ]
    assert len(addresses) == len(MANIFESTS)
    assert len(set(addresses)) == len(addresses)


def test_each_example_has_a_readme_that_names_its_manifest():
    table = (SOURCES / "README.md").read_text()
    readmes = "\n".join(path.read_text() for path in SOURCES.glob("*/README.md"))
    for path in MANIFESTS:
        assert f"wadm-manifests/{path.name}" in table
        assert f"wadm-manifests/{path.name}" in readmes


def test_copies_of_an_interface_are_equal():
    def package(path: Path) -> str:
        return next(line for line in path.read_text().splitlines() if line.startswith("package "))

    files = [path for path in SOURCES.glob("**/wit/**/*.wit") if "node_modules" not in path.parts]
    shared = sorted((package(path), path.read_text()) for path in files if path.name != "world.wit")
    for name, copies in groupby(shared, key=lambda item: item[0]):
        assert len(set(copies)) == 1, name


def test_no_wasm_above_100_kb_is_committed():
    listed = subprocess.run(["git", "ls-files", "*.wasm"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.split():
        assert (ROOT / name).stat().st_size <= 100_000, name
