"""Images are fetched and compiled before they are needed, and nobody waits for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import Operator, eventually, image, running_host
from trellis_host.runtime import prepare
from trellis_lattice.control import component
from trellis_lattice.control import host as hosts


async def test_a_prepared_image_is_listed_and_starts_from_the_cache(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        before = one.state.revision
        for _ in range(2):
            answer = await operator.ask(component.PREPARE, component.Prepare(component_ref=wasm), me)
            assert answer.success
        await eventually(lambda: one.inventory().prepared == (wasm,))
        compiled = list((tmp_path / "cache").rglob("*"))
        await operator.start_component(one, "echo", wasm)
        told = (await operator.ask(hosts.GET, to=me)).unwrap()

    assert told.prepared == (wasm,)
    assert one.state.revision > before
    assert [path for path in compiled if path.is_file()]


async def test_what_cannot_be_prepared_is_only_logged(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    async with running_host(nats_server, lattice, tmp_path) as one:
        for reference in ((tmp_path / "gone.wasm").as_uri(), image(tmp_path, "bad", b"no component"), wasm):
            request = component.Prepare(component_ref=reference)
            assert (await operator.ask(component.PREPARE, request, one.state.host_id)).success
        await eventually(lambda: one.inventory().prepared == (wasm,))

    assert caplog.text.count("cannot be prepared") == 2


async def test_too_many_images_are_refused(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MAX_QUEUED", 0)
    async with running_host(nats_server, lattice, tmp_path) as one:
        request = component.Prepare(component_ref="file:///x.wasm")
        answer = await operator.ask(component.PREPARE, request, one.state.host_id)

    assert not answer.success
    assert "wait to be prepared" in answer.message
