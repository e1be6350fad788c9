"""Asks registries for components (OCI distribution specification 1.1).

The laws of this file: a tag is resolved anew each time, what a digest names is fetched once; nothing is believed
whose digest is not right, and nothing is read beyond its bound; credentials go to the registry and to the server of
tokens it names, never along with a redirect elsewhere; unencrypted only to registries on this machine and to those
that the host was told to; every failure is one `TrellisError` that names the image and the registry.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from trellis_host.runtime.oci import refusals
from trellis_host.runtime.oci.cache import BlobCache
from trellis_host.runtime.oci.challenge import Challenge, parse_challenges
from trellis_host.runtime.oci.manifest import ACCEPTED, Descriptor, read_manifest
from trellis_host.runtime.oci.reference import Reference
from trellis_host.runtime.registries import Credential, Registries

if TYPE_CHECKING:
    import httpx

__all__ = ["OciClient"]

_MAX_MANIFEST = 4 * 1024 * 1024
_MAX_TOKEN = 256 * 1024
_MAX_REDIRECTS = 5
_MAX_DEPTH = 3
"""Manifests between a reference and its component: an index of indexes is one too many already."""


@dataclass(frozen=True, slots=True)
class _Access:
    """Where one repository is, and whether without TLS."""

    base: str
    insecure: bool


class OciClient:
    """`insecure`: registries (`host[:port]`) that are asked without TLS; `max_bytes` bounds a component."""

    def __init__(self, registries: Registries, cache: BlobCache, *, insecure: frozenset[str], max_bytes: int) -> None:
        self._registries = registries
        self._cache = cache
        self._insecure = insecure
        self._max_bytes = max_bytes
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fetch(self, reference: Reference) -> bytes:
        """The component. The caller bounds the time.

        Raises `NotFound`, `Denied` (credentials), `Unavailable`, `PeerMisbehaved` (what came is not what was
        promised) and `RequestInvalid` (not a component, too large).
        """
        import httpx  # most hosts never ask a registry, and the import costs start-up time

        async with httpx.AsyncClient(timeout=None) as http:
            try:
                return await _Pull(self, http, reference).component()
            except httpx.InvalidURL as error:
                raise refusals.misbehaved(reference, f"it led to {error}") from None
            except httpx.HTTPError as error:
                raise refusals.unreachable(reference, str(error) or type(error).__name__) from None

    async def blob(self, pull: _Pull, what: Descriptor) -> bytes:
        """From the cache or the registry; the same one is fetched once at a time."""
        if what.size > self._max_bytes:
            raise refusals.too_large(pull.reference, what.size, self._max_bytes)
        lock = self._fetching.setdefault(what.digest, asyncio.Lock())
        async with lock:
            data = await asyncio.to_thread(self._cache.find, what.digest, what.size)
            if data is None:
                data = await pull.get(f"blobs/{what.digest}", what.size, digest=what.digest)
                await asyncio.to_thread(self._cache.store, what.digest, data)
        return data

    def access(self, reference: Reference) -> _Access:
        insecure = reference.is_loopback or reference.registry in self._insecure
        scheme = "http" if insecure else "https"
        return _Access(f"{scheme}://{reference.server}/v2/{reference.repository}", insecure)

    async def credential(self, reference: Reference) -> Credential | None:
        return await self._registries.find(reference.registry)


class _Pull:
    """One image, fetched once."""

    def __init__(self, client: OciClient, http: httpx.AsyncClient, reference: Reference) -> None:
        self.reference = reference
        self._client = client
        self._http = http
        self._access = client.access(reference)
        self._authorization: str | None = None

    async def component(self) -> bytes:
        version, digest = self.reference.version, self.reference.digest
        for _ in range(_MAX_DEPTH):
            body = await self.get(f"manifests/{version}", _MAX_MANIFEST, digest=digest, accept=ACCEPTED)
            found = read_manifest(body, str(self.reference))
            if not found.is_manifest:
                return await self._client.blob(self, found)
            version = digest = found.digest
        raise refusals.misbehaved(self.reference, "its manifests lead nowhere")

    async def get(self, path: str, limit: int, *, digest: str | None = None, accept: str = "*/*") -> bytes:
        """The body behind `path`, at most `limit` bytes, with `digest` if one is given."""
        response = await self._send(f"{self._access.base}/{path}", accept)
        try:
            if response.status_code == 401 and self._authorization is None:
                self._authorization = await self._authorize(response)
                await response.aclose()
                response = await self._send(f"{self._access.base}/{path}", accept)
            if response.status_code != 200:
                reason = refusals.reason_of(await self._body(response, _MAX_TOKEN, cut=True))
                known = await self._client.credential(self.reference) is not None
                raise refusals.refused(self.reference, response, reason, known=known)
            body = await self._body(response, limit)
        finally:
            await response.aclose()
        if digest is not None:
            algorithm, _, wanted = digest.partition(":")
            if (await asyncio.to_thread(hashlib.new, algorithm, body)).hexdigest() != wanted:
                raise refusals.misbehaved(self.reference, f"what it has for {digest} is something else")
        return body

    async def _send(self, url: str, accept: str) -> httpx.Response:
        """Asks, following redirects: without the authorization where they lead to another server."""
        import httpx

        target = httpx.URL(url)
        origin = (target.host, target.port)
        for _ in range(_MAX_REDIRECTS + 1):
            headers = {"accept": accept}
            if self._authorization is not None and (target.host, target.port) == origin:
                headers["authorization"] = self._authorization
            request = self._http.build_request("GET", target, headers=headers)
            response = await self._http.send(request, stream=True, follow_redirects=False)
            if response.next_request is None:
                return response
            await response.aclose()
            target = response.next_request.url
            if target.scheme != "https" and not self._access.insecure:
                raise refusals.misbehaved(self.reference, "it leads to a server without TLS")
        raise refusals.misbehaved(self.reference, "it leads in circles")

    async def _body(self, response: httpx.Response, limit: int, *, cut: bool = False) -> bytes:
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > limit:
                if cut:
                    break
                raise refusals.misbehaved(self.reference, f"it sends more than the {limit} bytes it may")
        return bytes(data)

    # authorization ------------------------------------------------------------------------------------

    async def _authorize(self, response: httpx.Response) -> str:
        """The `Authorization` that a challenge asks for."""
        credential = await self._client.credential(self.reference)
        challenges = {each.scheme: each for each in parse_challenges(response.headers.get("www-authenticate", ""))}
        if credential is not None and credential.token:
            return f"Bearer {credential.token}"
        if "bearer" in challenges:
            return f"Bearer {await self._token(challenges['bearer'], credential)}"
        if "basic" in challenges and credential is not None and credential.username:
            return _basic(credential)
        raise refusals.refused(self.reference, response, "", known=credential is not None)

    async def _token(self, challenge: Challenge, credential: Credential | None) -> str:
        """A token of the server that the challenge names (the token authentication of Docker's registry)."""
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in (("http", "https") if self._access.insecure else ("https",)):
            raise refusals.misbehaved(self.reference, "it sends us for a token to a server without TLS")
        wanted = {"service": challenge.parameters.get("service", "")}
        wanted["scope"] = challenge.parameters.get("scope") or f"repository:{self.reference.repository}:pull"
        request: httpx.Request
        if credential is not None and credential.identity_token:
            form = {**wanted, "grant_type": "refresh_token", "client_id": "trellis"}
            form["refresh_token"] = credential.identity_token
            request = self._http.build_request("POST", realm, data=form)
        else:
            headers = {"authorization": _basic(credential)} if credential is not None and credential.username else {}
            request = self._http.build_request("GET", realm, params=wanted, headers=headers)
        response = await self._http.send(request, stream=True)
        try:
            body = await self._body(response, _MAX_TOKEN)
        finally:
            await response.aclose()
        if response.status_code != 200:
            raise refusals.refused(
                self.reference, response, refusals.reason_of(body), known=credential is not None, server_of_tokens=True
            )
        answer: Any = refusals.as_json(body)
        token = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token.isprintable() or not token.isascii():
            raise refusals.misbehaved(self.reference, "its server of tokens gives none")
        return token


def _basic(credential: Credential) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{credential.username}:{credential.password}".encode()).decode()
