"""The application API against a real NATS server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.wadm.manifests import application, component, http, link, provider, spread
from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid, Unavailable
from trellis_wadm.api import StatusReport, WadmClient, WadmServer
from trellis_wadm.board import StatusBoard
from trellis_wadm.planner import StatusType
from trellis_wadm.store import BUCKET


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@pytest_asyncio.fixture
async def server(connection: Connection, lattice: str) -> AsyncIterator[WadmServer]:
    server = WadmServer(connection, lattice, await open_bucket(connection, BUCKET, deadline=soon()))
    await server.start(deadline=soon())
    yield server
    await server.aclose()


@pytest.fixture
def client(connection: Connection, lattice: str, server: WadmServer) -> WadmClient:
    return WadmClient(connection, lattice)


def app(name: str = "app", version: str | None = "v1", **more: Any) -> bytes:
    data = application(name, component("c", spread(1)), **more)
    if version is None:
        del data["metadata"]["annotations"]["version"]
    else:
        data["metadata"]["annotations"]["version"] = version
    return json.dumps(data).encode()


async def raw(connection: Connection, subject: str, payload: bytes = b"", **headers: str) -> Any:
    message = await connection.request(subject, payload, deadline=soon(), headers=headers or None)
    return json.loads(message.data)


async def test_versions_are_kept_in_the_order_they_came(client: WadmClient) -> None:
    first = await client.put(app(version="v1"), deadline=soon())
    second = await client.put(app(version="v0"), deadline=soon())

    assert (first.result, first.current_version, first.total_versions) == ("created", "v1", 1)
    assert (second.result, second.current_version, second.total_versions) == ("newversion", "v0", 2)
    assert [(v.version, v.deployed) for v in await client.versions("app", deadline=soon())] == [
        ("v1", False),
        ("v0", False),
    ]
    assert (await client.get("app", deadline=soon()))["metadata"]["annotations"]["version"] == "v0"
    assert (await client.get("app", "v1", deadline=soon()))["metadata"]["annotations"]["version"] == "v1"


async def test_a_version_is_made_up_where_there_is_none(client: WadmClient) -> None:
    result = await client.put(app(version=None), deadline=soon())

    assert len(result.current_version) == 26
    manifest = await client.get("app", deadline=soon())
    assert manifest["metadata"]["annotations"]["version"] == result.current_version


async def test_a_version_is_put_once(client: WadmClient) -> None:
    await client.put(app(), deadline=soon())

    with pytest.raises(Conflict) as refused:
        await client.put(app(), deadline=soon())

    assert refused.value.message == "Manifest version v1 already exists."


async def test_a_bad_manifest_is_refused_with_all_findings(client: WadmClient) -> None:
    with pytest.raises(RequestInvalid) as refused:
        await client.put("kind: Application\nspec: {}\n", deadline=soon())

    codes = {finding["code"] for finding in refused.value.fields["findings"]}
    assert codes == {"missing-key"}
    assert "apiVersion" in refused.value.message


async def test_what_v1_reads_is_what_is_stored(connection: Connection, client: WadmClient, lattice: str) -> None:
    await client.put(app("my-app"), deadline=soon())
    await client.deploy("my-app", deadline=soon())

    bucket = await open_bucket(connection, BUCKET, deadline=soon())
    names = await bucket.get(lattice, deadline=soon())
    record = await bucket.get(f"{lattice}-my-app", deadline=soon())

    assert names is not None
    assert record is not None
    assert json.loads(names.value) == ["my-app"]
    stored = json.loads(record.value)
    assert stored["deployed_version"] == "v1"
    assert stored["manifests"]["v1"]["spec"]["components"][0]["traits"] == [
        {"type": "spreadscaler", "properties": {"instances": 1}}
    ]


async def test_the_answers_are_those_of_v1(connection: Connection, server: WadmServer, lattice: str) -> None:
    def subject(operation: str, name: str | None = None) -> str:
        return subjects.wadm(lattice, operation, name)

    answer = await raw(connection, subject("put"), app(), **{"Content-Type": "application/json"})
    assert answer["result"] == "created"
    listed = await raw(connection, subject("list"))
    assert isinstance(listed, list)
    assert (listed[0]["name"], listed[0]["version"], listed[0]["status"]) == ("app", "v1", "undeployed")
    assert "no hosts" in listed[0]["status_message"]
    assert (await raw(connection, subject("get")))["models"] == listed
    assert (await raw(connection, subject("get", "app")))["result"] == "success"
    assert (await raw(connection, subject("get", "other")))["result"] == "notfound"
    assert await raw(connection, subject("deploy", "app"), b'{"version":"latest"}') == {
        "result": "acknowledged",
        "message": "Successfully deployed model app v1",
        "name": "app",
        "version": "v1",
    }
    versions = (await raw(connection, subject("versions", "app")))["versions"]
    assert [(item["version"], item["deployed"]) for item in versions] == [("v1", True)]
    assert (await raw(connection, subject("deploy", "other")))["result"] == "notfound"
    missing = await raw(connection, subject("deploy", "app"), b'{"version":"v9"}')
    assert missing["result"] == "error"
    assert "v9" in missing["message"]
    assert (await raw(connection, subject("undeploy", "app"), b"{}"))["result"] == "acknowledged"
    assert (await raw(connection, subject("undeploy", "app"), b"{}"))["version"] is None
    status = await raw(connection, subject("status", "never"))
    assert (status["result"], status["status"]["status"]["type"]) == ("ok", "undeployed")
    assert (await raw(connection, subject("history", "app")))["result"] == "error"
    assert "Unsupported subject" in (await raw(connection, subject("history", "app")))["message"]
    assert "Invalid subject" in (await raw(connection, subject("put", "app")))["message"]
    assert "Invalid subject" in (await raw(connection, f"wadm.api.{lattice}.model.get.a.b"))["message"]
    refused = await raw(connection, subject("put"), app(), **{"Content-Type": "text/html"})
    assert (refused["result"], "content type" in refused["message"]) == ("error", True)


async def test_what_was_done_is_remembered_with_who_and_when(
    connection: Connection, client: WadmClient, lattice: str
) -> None:
    ada = WadmClient(connection, lattice, by="ada@desk\nx")
    await ada.put(app(version="v1"), deadline=soon())
    await client.put(app(version="v2"), deadline=soon())
    await ada.deploy("app", "v1", deadline=soon())
    await client.deploy("app", "v2", deadline=soon())
    await client.deploy("app", "v2", deadline=soon())
    await client.undeploy("app", deadline=soon())
    await client.deploy("app", "v1", deadline=soon())

    report = await client.history("app", deadline=soon())

    first, second = report.versions
    assert (first.version, first.deployed, first.put_by, first.deployed_by) == ("v1", True, "ada@desk x", None)
    assert (second.version, second.deployed, second.put_by) == ("v2", False, None)
    assert [(one.version, one.by) for one in report.deployments] == [
        ("v1", "ada@desk x"),
        ("v2", None),
        (None, None),
        ("v1", None),
    ]
    assert first.put_at is not None
    assert first.put_at <= report.deployments[0].at <= report.deployments[-1].at
    assert report.deployed == "v1"


async def test_what_another_tool_did_is_only_missing_in_the_history(
    connection: Connection, client: WadmClient, lattice: str
) -> None:
    await client.put(app(version="v1"), deadline=soon())
    bucket = await open_bucket(connection, BUCKET, deadline=soon())
    entry = await bucket.get(f"{lattice}-app", deadline=soon())
    assert entry is not None
    record = json.loads(entry.value)
    record["manifests"]["v2"] = json.loads(app(version="v2"))
    record["deployed_version"] = "v2"
    await bucket.put(f"{lattice}-app", json.dumps(record).encode(), deadline=soon())

    report = await client.history("app", deadline=soon())

    assert [(info.version, info.deployed, info.put_at is None) for info in report.versions] == [
        ("v1", False, False),
        ("v2", True, True),
    ]
    await client.delete("app", deadline=soon())
    await client.put(app(version="v3"), deadline=soon())
    assert (await client.history("app", deadline=soon())).deployments == (), "the history of what is gone is gone"


async def test_a_version_is_replaced_where_that_is_asked_for(client: WadmClient) -> None:
    await client.put(app(version="v1"), deadline=soon())
    await client.deploy("app", deadline=soon())
    data = application("app", component("c", spread(7)), version="v1")

    with pytest.raises(Conflict):
        await client.put(json.dumps(data), deadline=soon())
    result = await client.put(json.dumps(data), deadline=soon(), replace=True)

    assert (result.result, result.total_versions) == ("newversion", 1)
    stored = await client.get("app", deadline=soon())
    assert stored["spec"]["components"][0]["traits"][0]["properties"]["instances"] == 7
    assert (await client.history("app", deadline=soon())).deployed == "v1", "it never stopped to be deployed"


async def test_what_replaces_a_deployed_version_is_judged_as_a_deploy(client: WadmClient) -> None:
    def web(name: str, address: str) -> bytes:
        return json.dumps(application(name, component("c", spread(1)), provider("http", http("c", address)))).encode()

    for name, address in (("one", "0.0.0.0:8000"), ("two", "0.0.0.0:9000")):
        await client.put(web(name, address), deadline=soon())
        await client.deploy(name, deadline=soon())

    with pytest.raises(Conflict) as refused:
        await client.put(web("two", "0.0.0.0:8000"), deadline=soon(), replace=True)

    assert "Two listeners on one address" in refused.value.message
    kept = await client.get("two", deadline=soon())
    assert "9000" in json.dumps(kept)


async def test_deleting_says_what_it_did(client: WadmClient) -> None:
    await client.put(app(version="v1"), deadline=soon())
    await client.put(app(version="v2"), deadline=soon())
    await client.deploy("app", "v2", deadline=soon())

    assert (await client.delete("app", "v9", deadline=soon())).result == "noop"
    first = await client.delete("app", "v1", deadline=soon())
    second = await client.delete("app", "v2", deadline=soon())

    assert (first.result, first.undeploy) == ("deleted", False)
    assert (second.result, second.undeploy) == ("deleted", True)
    assert (await client.delete("app", deadline=soon())).result == "noop"
    assert await client.applications(deadline=soon()) == []
    with pytest.raises(NotFound):
        await client.get("app", deadline=soon())


async def test_what_cannot_stand_together_is_refused_at_deploy(client: WadmClient) -> None:
    def web(name: str, address: str, **properties: Any) -> bytes:
        parts = (component("c", spread(1)), provider("http", http("c", address), **properties))
        return json.dumps(application(name, *parts)).encode()

    await client.put(web("one", "0.0.0.0:8000", id="http_server"), deadline=soon())
    await client.put(web("two", "0.0.0.0:9000", id="http_server"), deadline=soon())
    await client.put(web("three", "127.0.0.1:8000"), deadline=soon())
    await client.deploy("one", deadline=soon())

    with pytest.raises(Conflict) as same_id:
        await client.deploy("two", deadline=soon())
    with pytest.raises(Conflict) as same_address:
        await client.deploy("three", deadline=soon())

    assert "Component identifier 'http_server' is already deployed" in same_id.value.message
    assert "Two listeners on one address" in same_address.value.message
    await client.deploy("one", deadline=soon())
    await client.undeploy("one", deadline=soon())
    await client.deploy("two", deadline=soon())


async def test_a_shared_application_stays_while_others_use_it(client: WadmClient) -> None:
    shared = application("edge", provider("http"), annotations={"experimental.wasmcloud.dev/shared": "true"})
    reference = {"application": {"name": "edge", "component": "http"}}
    user = {"name": "http", "type": "capability", "properties": reference, "traits": [http("c", "0.0.0.0:8000")]}
    await client.put(json.dumps(application("user", component("c", spread(1)), user)), deadline=soon())
    with pytest.raises(RequestInvalid) as missing:
        await client.deploy("user", deadline=soon())
    await client.put(json.dumps(shared), deadline=soon())
    await client.deploy("edge", deadline=soon())
    await client.deploy("user", deadline=soon())

    with pytest.raises(Conflict) as used:
        await client.undeploy("edge", deadline=soon())

    assert "no application 'edge'" in missing.value.message
    assert used.value.fields["used_by"] == ["user"]
    await client.undeploy("user", deadline=soon())
    await client.undeploy("edge", deadline=soon())


async def test_a_deployed_application_may_be_put_again_under_another_version(client: WadmClient) -> None:
    await client.put(app(version="v1"), deadline=soon())
    await client.deploy("app", deadline=soon())
    data = application("app", component("c", spread(1), link("kv")), provider("kv"), version="v2")

    await client.put(json.dumps(data), deadline=soon())
    result = await client.deploy("app", deadline=soon())

    assert result.version == "v2"


async def test_two_puts_at_once_are_both_kept(client: WadmClient) -> None:
    await asyncio.gather(*(client.put(app(version=f"v{i}"), deadline=soon()) for i in range(8)))
    await asyncio.gather(*(client.put(app(f"app{i}"), deadline=soon()) for i in range(8)))

    assert len(await client.versions("app", deadline=soon())) == 8
    assert {summary.name for summary in await client.applications(deadline=soon())} == {
        "app",
        *(f"app{i}" for i in range(8)),
    }


async def test_statuses_are_read_and_watched(connection: Connection, client: WadmClient, lattice: str) -> None:
    heard: asyncio.Queue[StatusReport] = asyncio.Queue()
    subscription = await client.watch_status("app", heard.put_nowait)
    await connection.flush(deadline=soon())
    board = StatusBoard(connection, lattice)

    await board.post("app", StatusReport.undeployed(), deadline=soon())

    assert (await asyncio.wait_for(heard.get(), 5)).type is StatusType.UNDEPLOYED
    assert (await client.status("app", deadline=soon())).message == "Manifest has been undeployed"
    await subscription.unsubscribe()


async def test_a_lattice_without_a_scheduler_is_told_apart(connection: Connection) -> None:
    with pytest.raises(Unavailable) as nobody:
        await WadmClient(connection, "nobody-here").applications(deadline=soon())

    assert nobody.value.message.startswith("No scheduler answered on lattice `nobody-here` (NATS nats://127.0.0.1")
    assert nobody.value.remedy == "Start one: trellis up"


async def test_several_hosts_share_the_requests(connection: Connection, client: WadmClient, lattice: str) -> None:
    other = WadmServer(connection, lattice, await open_bucket(connection, BUCKET, deadline=soon()))
    await other.start(deadline=soon())

    results = [await client.put(app(version=f"v{i}"), deadline=soon()) for i in range(6)]

    assert [result.total_versions for result in results] == [1, 2, 3, 4, 5, 6]
    await other.aclose()
