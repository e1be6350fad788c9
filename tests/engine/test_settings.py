"""How the pool is sized."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_host.engine import EngineSettings
from trellis_host.engine.settings import PoolNeed, fitting, pool_bytes, pool_sizes, settings_digest
from trellis_lattice.errors import ConfigError


@given(flights=st.integers(1, 10_000), instances=st.integers(1, 100), tables=st.integers(1, 50))
def test_totals_are_flights_times_need(flights: int, instances: int, tables: int) -> None:
    settings = EngineSettings(max_in_flight=flights, need=PoolNeed(core_instances=instances, tables=tables))
    sizes = pool_sizes(settings)
    assert sizes["total_component_instances"] == sizes["total_stacks"] == flights
    assert sizes["total_core_instances"] == flights * instances
    assert sizes["total_tables"] == flights * tables
    assert pool_bytes(settings) > flights * settings.need.memories * settings.memory_reservation


def test_a_reservation_that_does_not_fit_is_halved() -> None:
    greedy = EngineSettings(max_in_flight=1000, memory_reservation=1 << 42)
    fitted = fitting(greedy)
    assert fitted.memory_reservation < greedy.memory_reservation
    assert pool_bytes(fitted) < 1 << 47
    assert settings_digest(fitted) != settings_digest(greedy)


def test_what_never_fits_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="does not hold a pool") as refused:
        fitting(EngineSettings(max_in_flight=1 << 30))
    assert refused.value.remedy


@pytest.mark.parametrize("key", ["max_in_flight", "memory_reservation", "tick", "max_wasm_stack"])
def test_settings_must_be_positive(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        EngineSettings(**{key: 0})  # type: ignore[arg-type]
    assert refused.value.fields["key"] == key


def test_stacks_leave_room_for_host_functions() -> None:
    with pytest.raises(ConfigError, match="async_stack"):
        EngineSettings(async_stack=600 * 1024)


def test_an_engine_starts_where_virtual_memory_is_limited() -> None:
    """A pool that cannot be reserved would abort the process."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))\n"
        "from trellis_host.engine import Engine, EngineSettings\n"
        "print(Engine(EngineSettings(max_in_flight=32)).stats().memory_reservation)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 1 << 32
