"""References to images, what registries ask for, and which blob of a manifest is the component."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_host.runtime.oci.cache import BlobCache, digest_of
from trellis_host.runtime.oci.challenge import Challenge, parse_challenges
from trellis_host.runtime.oci.manifest import Descriptor, read_manifest
from trellis_host.runtime.oci.reference import Reference, looks_like_one, parse_reference
from trellis_host.runtime.registries import Credential, Registries, docker_credential
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.errors import Overloaded, PeerMisbehaved, RequestInvalid

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io/you/echo:1.0", Reference("ghcr.io", "you/echo", "1.0")),
        ("oci://ghcr.io/you/echo:1.0", Reference("ghcr.io", "you/echo", "1.0")),
        ("GHCR.io/echo", Reference("ghcr.io", "echo")),
        (f"localhost:5000/x@{DIGEST}", Reference("localhost:5000", "x", None, DIGEST)),
        (f"127.0.0.1:5000/a/b__c/d-e:v1@{DIGEST}", Reference("127.0.0.1:5000", "a/b__c/d-e", "v1", DIGEST)),
        ("[::1]:5000/x:1", Reference("[::1]:5000", "x", "1")),
        ("localhost/x:1", Reference("localhost", "x", "1")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert looks_like_one(text)
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected
    assert expected.is_loopback == expected.registry.startswith(("localhost", "127.", "[::1]"))


def test_what_to_ask_and_whom() -> None:
    assert parse_reference("ghcr.io/x").version == "latest"
    assert parse_reference("ghcr.io/x:1").version == "1"
    assert parse_reference(f"ghcr.io/x:1@{DIGEST}").version == DIGEST
    assert parse_reference("docker.io/you/x:1").server != "docker.io"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("oci://echo:1", "names no registry"),
        ("oci://you/echo:1", "names no registry"),
        ("ghcr.io/You/echo:1", "not a repository"),
        ("ghcr.io//echo:1", "not a repository"),
        ("ghcr.io/echo:-1", "not a tag"),
        ("ghcr.io/echo:", "not a tag"),
        ("ghcr.io/echo@sha256:12", "not a digest"),
        ("ghcr.io:99999/echo", "names no registry"),
        ("ghcr.io/" + "a" * 300, "not a repository"),
        ("ghcr.io/a b:1", "not a repository"),
    ],
)
def test_what_is_no_reference_says_why(text: str, why: str) -> None:
    with pytest.raises(RequestInvalid, match=why):
        parse_reference(text)


@given(st.text(max_size=40) | st.from_regex(r"[a-z.:/@-]{0,40}", fullmatch=True))
def test_no_text_breaks_the_reference_parser(text: str) -> None:
    looks_like_one(text)
    try:
        reference = parse_reference(text)
    except RequestInvalid:
        return
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="a registry"', [Challenge("basic", {"realm": "a registry"})]),
        (
            'Bearer realm="https://t.example/token",service="r.example",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://t.example/token",
                        "service": "r.example",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            'bearer Realm=x , error="in \\"quotes\\"", Basic realm=y',
            [Challenge("bearer", {"realm": "x", "error": 'in "quotes"'}), Challenge("basic", {"realm": "y"})],
        ),
        ("Negotiate", [Challenge("negotiate", {})]),
        ("", []),
        ("=", []),
        ('realm="x"', []),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header) == expected


@given(st.text(max_size=60))
def test_no_header_breaks_the_challenge_parser(header: str) -> None:
    parse_challenges(header)


def layer(kind: str, digest: str = DIGEST, size: int = 7) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}


def entry(architecture: str | None, digest: str = DIGEST) -> dict[str, Any]:
    platform = {} if architecture is None else {"platform": {"architecture": architecture, "os": "wasip2"}}
    return {**layer("application/vnd.oci.image.manifest.v1+json", digest), **platform}


OTHER = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"layers": [layer("application/wasm")]}, Descriptor(DIGEST, 7, is_manifest=False)),
        (
            {"layers": [layer("application/vnd.wasm.content.layer.v1+wasm"), layer("text/plain", OTHER)]},
            Descriptor(DIGEST, 7, is_manifest=False),
        ),
        (
            {"layers": [layer("application/vnd.module.wasm.content.layer.v1+wasm")]},
            Descriptor(DIGEST, 7, is_manifest=False),
        ),
        ({"manifests": [entry("amd64", OTHER), entry("wasm")]}, Descriptor(DIGEST, 7, is_manifest=True)),
        ({"manifests": [entry(None)]}, Descriptor(DIGEST, 7, is_manifest=True)),
        ({"manifests": [entry("unknown", OTHER), entry("wasm")]}, Descriptor(DIGEST, 7, is_manifest=True)),
    ],
)
def test_which_blob_is_the_component(manifest: dict[str, Any], expected: Descriptor) -> None:
    assert read_manifest(json.dumps(manifest).encode(), "ghcr.io/x:1") == expected


@pytest.mark.parametrize(
    ("manifest", "error", "why"),
    [
        ({"layers": []}, RequestInvalid, "no WebAssembly component"),
        ({"layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip")]}, RequestInvalid, r"layer.v1.tar\+gzip"),
        (
            {"layers": [layer("application/vnd.wasmcloud.provider.archive.layer.v1+par")]},
            RequestInvalid,
            "provider archive",
        ),
        ({"layers": [layer("application/wasm"), layer("application/wasm", OTHER)]}, RequestInvalid, "2 WebAssembly"),
        ({"manifests": [entry("amd64"), entry("arm64")]}, RequestInvalid, "list of 2 images"),
        ({"layers": [layer("application/wasm", "sha256:short")]}, PeerMisbehaved, "does not say what it holds"),
        ({"layers": [layer("application/wasm", size=-1)]}, PeerMisbehaved, "does not say"),
        ({"layers": "x"}, PeerMisbehaved, "not the manifest"),
        ({}, PeerMisbehaved, "not the manifest"),
        ([], PeerMisbehaved, "not a manifest"),
    ],
)
def test_what_holds_no_component_says_so(manifest: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        read_manifest(json.dumps(manifest).encode(), "ghcr.io/x:1")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_manifest_reader(body: bytes) -> None:
    with pytest.raises((PeerMisbehaved, RequestInvalid)):
        read_manifest(body, "ghcr.io/x:1")


async def test_credentials_that_were_sent_win_over_the_login_of_docker(tmp_path: Path) -> None:
    login = base64.b64encode(b"docker:its-password").decode()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"https://r.example:5000/": {"auth": login}, "ghcr.io": {"auth": "?"}}}))
    registries = Registries({"given.example": RegistryCredential(username="u", password="p")}, config)

    assert await registries.find("given.example") == Credential("u", "p")
    assert await registries.find("r.example:5000") == Credential("docker", "its-password")
    assert await registries.find("ghcr.io") is None
    registries.put({"https://R.example:5000": RegistryCredential(token="t")})
    assert await registries.find("r.example:5000") == Credential(token="t")
    registries.put({"ftp.example": RegistryCredential(registryType="ftp", username="u")})
    assert await registries.find("ftp.example") is None
    with pytest.raises(Overloaded):
        registries.put({f"r{number}.example": RegistryCredential() for number in range(1025)})
    assert "its-password" not in repr(await registries.find("r.example:5000"))


def test_other_shapes_of_dockers_file() -> None:
    auths = {"index.docker.io/v1/": {"username": "u", "password": "p"}, "a.example": {"identitytoken": "i"}}
    content = json.dumps({"auths": auths}).encode()
    assert docker_credential(content, "docker.io") == Credential("u", "p")
    assert docker_credential(content, "a.example") == Credential(identity_token="i")
    assert docker_credential(content, "b.example") is None
    for broken in (b"", b"[]", b"{", b'{"auths": 1}', b'{"auths": {"b.example": 1}}'):
        assert docker_credential(broken, "b.example") is None


def test_the_cache_believes_only_what_has_the_right_digest(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "images", max_bytes=10)
    first, second = digest_of(b"first!", DIGEST), digest_of(b"second", DIGEST)
    assert cache.find(first, 6) is None
    assert cache.store(first, b"first!")
    assert cache.find(first, 6) == b"first!"
    assert cache.store(second, b"second")  # together more than the bound: what was used longest ago leaves
    assert cache.find(second, 6) == b"second"
    assert cache.find(first, 6) is None
    next((tmp_path / "images").iterdir()).write_bytes(b"forged")
    assert cache.find(second, 6) is None
    (tmp_path / "file").write_bytes(b"")
    assert not BlobCache(tmp_path / "file" / "images").store(first, b"first!")
