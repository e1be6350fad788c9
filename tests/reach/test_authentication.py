"""Who we are, and TLS, against real servers: what works, and what is said when it does not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from trellis_lattice.bus.connection import Connection, ConnectionSettings, TlsSettings
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import ConfigError, Denied, TrellisError, Unavailable
from trellis_lattice.nkeys import KeyPair, Role

from .documented import documented
from .pki import Authority, Certificate
from .servers import NatsNode, cluster_of, filled, running, single, soon


def key(role: Role = Role.USER) -> KeyPair:
    return KeyPair.from_bytes(role, os.urandom(32))


def jwt(issuer: KeyPair, subject: str, kind: str, name: str) -> str:
    """A NATS JWT, version 2."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()

    limits = {"subs": -1, "data": -1, "payload": -1}
    of_account = limits | {"imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    stored = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    anything: dict[str, object] = {"default_permissions": {"pub": {}, "sub": {}}}
    more: dict[str, dict[str, object]] = {
        "operator": {},
        "user": dict(limits),
        "account": {"limits": of_account | stored, **anything},
        "system": {"limits": of_account, **anything},
    }
    nats = {"type": kind.replace("system", "account"), "version": 2, **more[kind]}
    claims = {"iat": 1_700_000_000, "iss": issuer.public, "name": name, "sub": subject, "nats": nats}
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    signed = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(claims)}"
    return f"{signed}.{base64.urlsafe_b64encode(issuer.sign(signed.encode())).rstrip(b'=').decode()}"


async def works(settings: ConnectionSettings) -> None:
    connection = await Connection.connect(settings, timeout=10)
    try:
        bucket = await open_bucket(connection, "B", deadline=soon())
        await bucket.put("k", b"v", deadline=soon())
        big = b"x" * 300_000
        await bucket.put("big", big, deadline=soon())
        found = await bucket.entries(deadline=soon())
        assert found["k"].value == b"v"
        assert found["big"].value == big
    finally:
        await connection.aclose()


async def refused(settings: ConnectionSettings) -> TrellisError:
    with pytest.raises(TrellisError) as caught:
        await Connection.connect(settings, timeout=10)
    return caught.value


async def test_a_user_with_credentials_of_an_operator(tmp_path: Path) -> None:
    operator, account, system, user = key(Role.OPERATOR), key(Role.ACCOUNT), key(Role.ACCOUNT), key()
    token = jwt(account, user.public, "user", "me")
    credentials = tmp_path / "me.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    accounts = {account.public: jwt(operator, account.public, "account", "lattice")}
    accounts[system.public] = jwt(operator, system.public, "system", "SYS")
    preload = "\n".join(f"  {name}: {text}" for name, text in accounts.items())
    config = (
        f"operator: {jwt(operator, operator.public, 'operator', 'op')}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
    )
    node = single(tmp_path / "n", config)
    async with running(node):
        await works(ConnectionSettings(urls=(node.url,), credentials=credentials))
        await works(ConnectionSettings(urls=(node.url,), jwt=token, seed=user.seed))
        stranger = ConnectionSettings(urls=(node.url,), jwt=token, seed=key().seed)
        assert isinstance(await refused(stranger), Denied)
        assert isinstance(await refused(ConnectionSettings(urls=(node.url,))), Denied)


async def test_nkey_password_and_token(tmp_path: Path) -> None:
    user = key()
    users = f'authorization {{ users: [ {{ nkey: {user.public} }}, {{ user: "me", password: "p@ss" }} ] }}'
    node = single(tmp_path / "n", users)
    async with running(node):
        where = node.url.removeprefix("nats://")
        await works(ConnectionSettings(urls=(node.url,), seed=user.seed))
        await works(ConnectionSettings(urls=(node.url,), user="me", password="p@ss"))
        await works(ConnectionSettings(urls=(f"nats://me:p%40ss@{where}",)))
        wrong = await refused(ConnectionSettings(urls=(node.url,), user="me", password="no"))
        assert isinstance(wrong, Denied)
        assert "p@ss" not in str(wrong)
    node = single(tmp_path / "t", 'authorization { token: "right" }')
    async with running(node):
        await works(ConnectionSettings(urls=(node.url,), token="right"))
        await works(ConnectionSettings(urls=(node.url.replace("//", "//right@"),)))


async def test_a_user_in_the_url_is_known_to_servers_found_later(tmp_path: Path) -> None:
    users = documented("cluster") + 'authorization { users: [ { user: "me", password: "p" } ] }\n'
    nodes = cluster_of(tmp_path, users)
    async with running(*nodes):
        first = nodes[0].url.replace("//", "//me:p@")
        connection = await Connection.connect(ConnectionSettings(urls=(first,)), timeout=10)
        try:
            back = asyncio.Event()
            async with asyncio.timeout(20):
                while len(connection.server_info.get("connect_urls", ())) < 3:
                    await asyncio.sleep(0.01)
            connection.listen(lambda up: back.set() if up else None)
            nodes[0].end()
            async with asyncio.timeout(20):
                await back.wait()
            assert connection.server_info["server_name"] in ("nats-2", "nats-3")
        finally:
            await connection.aclose()


async def test_what_is_not_permitted_is_named(tmp_path: Path) -> None:
    permissions = '{ publish: { deny: "Secret.>" }, subscribe: { deny: "Other" } }'
    node = single(
        tmp_path / "n", f"authorization {{ users: [ {{ user: a, password: b, permissions: {permissions} }} ] }}"
    )
    async with running(node):
        connection = await Connection.connect(ConnectionSettings(urls=(node.url,), user="a", password="b"), timeout=10)
        try:
            with pytest.raises(Denied, match=r"may not publish to Secret\.Thing"):
                await connection.request("Secret.Thing", b"x", deadline=soon(60))
            await connection.subscribe("Other", lambda message: None)
            await connection.flush(deadline=soon())
            assert connection.refusals.all == [("publish", "Secret.Thing"), ("subscription", "Other")]
            assert connection.connected
        finally:
            await connection.aclose()


def secured(folder: Path, server: Certificate, ca: Path, *, verify: bool = True, first: bool = False) -> NatsNode:
    node = single(folder)
    node.config = filled(
        documented("tls"),
        {
            "0.0.0.0:4222": f"127.0.0.1:{node.port}",
            "/var/lib/nats": str(folder / "js"),
            "/etc/nats/server.pem": str(server.path),
            "/etc/nats/server-key.pem": str(server.key),
            "/etc/nats/ca.pem": str(ca),
            "  verify: true": f"  verify: {str(verify).lower()}\n  handshake_first: {str(first).lower()}",
        },
    )
    return node


async def test_tls_with_certificates_on_both_sides(tmp_path: Path, authority: Authority) -> None:
    node, me = secured(tmp_path / "n", authority.issue("server"), authority.path), authority.issue("client")
    async with running(node):
        tls = TlsSettings(authority.path, me.path, me.key)
        await works(ConnectionSettings(urls=(node.url,), tls=tls))
        await works(ConnectionSettings(urls=(node.url.replace("nats:", "tls:"),), tls=tls))
        bare = await refused(ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path)))
        assert "certificate" in str(bare)


async def test_tls_before_the_greeting(tmp_path: Path, authority: Authority) -> None:
    node = secured(tmp_path / "n", authority.issue("server"), authority.path, verify=False, first=True)
    async with running(node):
        await works(ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path, first=True)))
        assert "--tls-first" in str(await refused(ConnectionSettings(urls=(node.url,))))


@pytest.mark.parametrize(
    ("trusted", "certificate", "says"),
    [
        ("other", {}, "not signed by a CA that is trusted here"),
        ("own", {"expired": True}, "has expired"),
        ("own", {"addresses": "DNS:elsewhere"}, "is not for"),
    ],
)
async def test_a_server_that_cannot_be_trusted_is_refused(
    trusted: str,
    certificate: dict[str, str],
    says: str,
    tmp_path: Path,
    authority: Authority,
    other_authority: Authority,
) -> None:
    node = secured(tmp_path / "n", authority.issue("server", **certificate), authority.path, verify=False)  # type: ignore[arg-type]
    ca = authority.path if trusted == "own" else other_authority.path
    async with running(node):
        error = await refused(ConnectionSettings(urls=(node.url,), tls=TlsSettings(ca)))
    assert isinstance(error, Unavailable)
    assert error.fields["reason"] == "tls"
    assert says in error.message


async def test_asked_for_tls_it_never_goes_on_without(tmp_path: Path, authority: Authority) -> None:
    node = single(tmp_path / "n")
    async with running(node):
        for settings in (
            ConnectionSettings(urls=(node.url.replace("nats:", "tls:"),)),
            ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path)),
        ):
            assert "does not offer TLS" in (await refused(settings)).message
        first = await refused(ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path, first=True)))
        assert "did not answer with TLS" in first.message


async def test_files_that_hold_something_else(tmp_path: Path, authority: Authority) -> None:
    node = secured(tmp_path / "n", authority.issue("server"), authority.path)
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nothing of the kind\n")
    one, other = authority.issue("one"), authority.issue("two")
    async with running(node):
        for settings in (
            ConnectionSettings(urls=(node.url,), tls=TlsSettings(nonsense)),
            ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path, one.path, other.key)),
            ConnectionSettings(urls=(node.url,), tls=TlsSettings(authority.path, nonsense, one.key)),
            ConnectionSettings(urls=(node.url,), tls=TlsSettings(tmp_path / "absent")),
            ConnectionSettings(
                urls=(node.url,), tls=TlsSettings(authority.path, one.path, one.key), credentials=nonsense
            ),
        ):
            assert isinstance(await refused(settings), ConfigError)


@pytest.mark.parametrize("last", [b"", b"-ERR 'Authentication Timeout'\r\n"])
async def test_a_server_that_hangs_up_on_us_did_not_refuse_us(last: bytes) -> None:
    """It may be overloaded: whoever is patient tries again."""
    greeted = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        writer.write(b'INFO {"max_payload": 1048576, "headers": true}\r\n')
        await reader.readline()
        writer.write(last)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refused(ConnectionSettings(urls=(f"nats://127.0.0.1:{port}",)))
    assert isinstance(error, Unavailable)
    assert greeted == 2
