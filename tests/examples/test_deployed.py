"""Each example built from source, deployed by its manifest, and asked over HTTP, as its README says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from tests.fixtures.lattice import Lattice, answer, lattice
from tools.build import EXAMPLES, ROOT, build

pytestmark = [pytest.mark.guests, pytest.mark.journey, pytest.mark.timeout(600)]

MANIFESTS = ROOT / "wadm-manifests"
TO_BE = "/?text=to+be+or+not+to+be%3F"
REPORT = {
    "words": 6,
    "longest": "not",
    "common": [{"word": "to", "count": 2}, {"word": "be", "count": 2}, {"word": "or", "count": 1}],
    "mood": {"tag": "asking", "val": 1},
}


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    for name in EXAMPLES:
        build(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(built: None) -> AsyncIterator[Lattice]:
    """A lattice of one host, which each test leaves as it found it but for what is counted."""
    async with lattice() as running:
        yield running


@asynccontextmanager
async def deployed(running: Lattice, name: str) -> AsyncIterator[int]:
    """The port on which the application answers."""
    yield await running.deploy(MANIFESTS / f"{name}.yaml")
    await running.trellis("app", "undeploy", name)


async def test_greetings_in_three_languages(running: Lattice) -> None:
    async with AsyncExitStack() as stack:
        for name, text in (("hello-c", "C"), ("hello-js", "JavaScript"), ("hello-python", "Python")):
            port = await stack.enter_async_context(deployed(running, name))
            response = await answer(port)
            assert (response.status, response.body.decode()) == (200, f"Hello from {text}!\n")
            assert response.headers["content-type"].startswith("text/plain")


async def test_the_counter_counts_each_path_and_keeps_its_counts(running: Lattice) -> None:
    async with deployed(running, "kv-counter") as port:
        counts = [json.loads((await answer(port, path)).body) for path in ("/", "/cats", "/cats?really", "/")]
    assert counts == [
        {"key": "default", "count": 1},
        {"key": "cats", "count": 1},
        {"key": "cats", "count": 2},
        {"key": "default", "count": 2},
    ]
    async with deployed(running, "kv-counter") as port:
        assert json.loads((await answer(port, "/cats")).body) == {"key": "cats", "count": 3}
        answers = await asyncio.gather(*(answer(port, "/many") for _ in range(20)))
        assert sorted(json.loads(one.body)["count"] for one in answers) == list(range(1, 21))


async def ask_pipeline(port: int) -> None:
    assert json.loads((await answer(port, TO_BE)).body) == REPORT
    posted = json.loads((await answer(port, "/", method="POST", body="Grüße, Welt!!".encode())).body)
    assert posted["longest"] == "grüße"
    assert posted["mood"] == {"tag": "excited", "val": 2}
    refused = await answer(port, "/?text=")
    assert (refused.status, json.loads(refused.body)) == (400, {"problem": {"tag": "no-words"}})
    too_long = await answer(port, "/", method="POST", body=b"x " * 15_000)
    assert json.loads(too_long.body) == {"problem": {"tag": "too-long", "val": 20_000}}


async def test_the_pipeline_on_one_host(running: Lattice) -> None:
    async with deployed(running, "pipeline") as port:
        await ask_pipeline(port)


async def test_the_pipeline_across_two_hosts() -> None:
    async with (
        lattice("--label", "stage=front") as running,
        running.host("--label", "stage=words"),
        deployed(running, "pipeline-two-hosts") as port,
    ):
        await ask_pipeline(port)
        components = await running.trellis("get", "components")
        where = {item["id"]: item["host_id"] for item in components["components"]}
        assert where["pipeline_two_hosts-front"] != where["pipeline_two_hosts-words"]
