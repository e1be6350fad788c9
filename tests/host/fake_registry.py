"""A registry that misbehaves on request, on a free port of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

__all__ = ["Asked", "FakeRegistry", "digest", "fake_registry", "manifest_of"]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_of(data: bytes, *, size: int | None = None, kind: str = "application/wasm") -> bytes:
    layer = {"mediaType": kind, "digest": digest(data), "size": len(data) if size is None else size}
    return json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeRegistry:
    """`answers`: path → status, headers, body. `token`: what `Authorization` must hold, given out at /token."""

    port: int = 0
    token: str | None = None
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hold(self, repository: str, version: str, data: bytes, **manifest: int | str) -> None:
        """Makes an image of one layer."""
        self.answers[f"/v2/{repository}/manifests/{version}"] = (200, {}, manifest_of(data, **manifest))  # type: ignore[arg-type]
        self.answers[f"/v2/{repository}/blobs/{digest(data)}"] = (200, {}, data)

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.path == "/token":
            return 200, {}, json.dumps({"token": self.token}).encode()
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            realm = f'Bearer realm="http://{self.name}/token",service="fake"'
            return 401, {"www-authenticate": realm}, b'{"errors":[{"code":"UNAUTHORIZED"}]}'
        return self.answers.get(asked.path, (404, {}, b'{"errors":[{"message":"manifest unknown"}]}'))


@asynccontextmanager
async def fake_registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if not first.isalpha():  # TLS, which this does not speak
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        asked = Asked(method, parts.path, parse_qs(parts.query), headers, body)
        registry.asked.append(asked)
        status, more, answer = registry.answer(asked)
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(answer)}", "connection: close"]
        lines += [f"{key}: {value}" for key, value in more.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        registry.port = server.sockets[0].getsockname()[1]
        yield registry
