"""What a host reads of registries, of signatures, and of the services around a lattice: one entry each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial

from tests.fixtures import components
from tests.host.signing import ISSUER, signed, token
from trellis_host.runtime.claims import read_signature, read_token, without_token
from trellis_host.runtime.oci.challenge import parse_challenges
from trellis_host.runtime.oci.manifest import read_manifest
from trellis_host.runtime.oci.reference import parse_reference
from trellis_host.runtime.oci.refusals import reason_of
from trellis_host.runtime.registries import docker_credential
from trellis_lattice.control.claims import read_claims
from trellis_lattice.control.policy import PolicyDecision, PolicyRequest
from trellis_lattice.control.supplemental import SupplementalConfig, SupplementalRequest

__all__ = ["V1_DECODERS"]

_DIGEST = "sha256:" + "0" * 64
_MANIFEST = {"layers": [{"mediaType": "application/wasm", "digest": _DIGEST, "size": 7}]}
_INDEX = {"manifests": [{"digest": _DIGEST, "size": 7, "platform": {"architecture": "wasm"}}]}
_CLAIMS = {"call_alias": "", "issuer": "A", "name": "e", "revision": "0", "subject": "M", "tags": [], "version": "1"}
_POLICY = {
    "requestId": "1",
    "kind": "startProvider",
    "version": "v1",
    "request": {"providerId": "p", "imageRef": "r", "annotations": {}, "claims": None},
    "host": {"publicKey": "N", "lattice": "default", "labels": {}},
}
_TOKEN = token({"iss": ISSUER.public, "sub": "M", "wascap": {"hash": hashlib.sha256(b"").hexdigest()}})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: function(data.decode("utf-8", "replace"))


def _stripped(wasm: bytes) -> object:
    """What is no WebAssembly never gets so far."""
    try:
        return without_token(wasm)
    except ValueError:
        return None


V1_DECODERS: tuple[tuple[str, Callable[[bytes], object], tuple[bytes, ...]], ...] = (
    ("reference to an image", _text(parse_reference), (b"ghcr.io/you/echo:1@" + _DIGEST.encode(),)),
    ("challenge of a registry", _text(parse_challenges), (b'Bearer realm="https://t",scope="a:b:pull", Basic x=y',)),
    ("manifest of an image", partial(read_manifest, image="r/x:1"), (_json(_MANIFEST), _json(_INDEX))),
    ("refusal of a registry", reason_of, (_json({"errors": [{"code": "C", "message": "m"}]}),)),
    (
        "logins of Docker",
        partial(docker_credential, registry="r.example"),
        (_json({"auths": {"r.example": {"auth": "dTpw"}}}),),
    ),
    ("signed component", lambda data: read_signature(data, "x", 2.0), (signed(components.add()),)),
    ("component without its signature", _stripped, (signed(components.add()),)),
    ("token of a component", partial(read_token, image="x"), (_TOKEN,)),
    ("stored claims", partial(read_claims, "CLAIMS_M"), (_json(_CLAIMS),)),
    ("question to a policy service", PolicyRequest.from_json, (_json(_POLICY),)),
    ("decision of a policy service", PolicyDecision.from_json, (_json({"requestId": "1", "permitted": True}),)),
    ("question to a config service", SupplementalRequest.from_json, (_json({"labels": {"a": "b"}}),)),
    (
        "answer of a config service",
        SupplementalConfig.from_json,
        (_json({"registryCredentials": {"r.example": {"username": "u"}}}),),
    ),
)
