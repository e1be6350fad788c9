"""`wasmcloud:bus/lattice`: a component chooses between its links of one interface, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import Operator, image, running_host
from trellis_host.host import Host
from trellis_lattice.errors import TrellisError
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, provides

ASK = FuncType((("link", Primitive.STRING), ("text", Primitive.STRING)), Primitive.STRING)
VERSIONS = ["1.0.0", "2.0.0", "2.0.1"]


@provides("test:echo/echo@0.1.0")
class Loud(Provider):
    async def text(self, text: str) -> str:
        return text.upper()


@provides("test:echo/echo@0.1.0")
class Quiet(Provider):
    async def text(self, text: str) -> str:
        return text.lower()


KINDS: dict[str, type[Provider]] = {"loud": Loud, "quiet": Quiet}


async def _deploy(operator: Operator, host: Host, folder: Path, version: str) -> None:
    await operator.put_link("chooser", "loud", "test:echo", "echo")
    await operator.put_link("chooser", "quiet", "test:echo", "echo", name="library")
    for kind in KINDS:
        await operator.start_provider(host, kind, kind)
    await operator.start_component(host, "chooser", image(folder, "chooser", components.chooser(version)))


async def _ask(operator: Operator, link: str) -> object:
    return await operator.call("chooser", "test:choose/choose@0.1.0", "ask", ASK, link, "Sh")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_chosen_link_is_taken_for_one_invocation(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, version: str
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=KINDS.__getitem__) as one:
        await _deploy(operator, one, tmp_path, version)

        assert [await _ask(operator, link) for link in ("library", "default", "library")] == ["sh", "SH", "sh"]


@pytest.mark.parametrize("version", ["2.0.0", "2.0.1"])
async def test_a_name_without_a_link_is_refused_with_the_words_of_v1(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, version: str
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=KINDS.__getitem__) as one:
        await _deploy(operator, one, tmp_path, version)

        answer = await _ask(operator, "attic")

    assert answer == "interface `test:echo/echo` does not have an existing link with name `attic`"


async def test_the_first_version_fails_at_the_call(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=KINDS.__getitem__) as one:
        await _deploy(operator, one, tmp_path, "1.0.0")

        with pytest.raises(TrellisError, match="attic"):
            await _ask(operator, "attic")
        assert await _ask(operator, "library") == "sh"
