"""Builds the `Tracing` of a host from the standard `OTEL_*` variables.

Nothing is exported unless an OTLP endpoint is configured; the exporter is imported only then.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider

from trellis_lattice.errors import ConfigError
from trellis_lattice.tracing.facade import Tracing
from trellis_lattice.tracing.recent import RecentSpans
from trellis_lattice.tracing.sampling import TraceBudget

__all__ = ["start_tracing"]

_log = logging.getLogger("trellis.tracing")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def start_tracing(
    host: str,
    *,
    service_name: str = "trellis-host",
    keep_recent: bool = True,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tracing:
    """The tracing of one host; end it with `aclose`. Raises `ConfigError` for an OTLP protocol other than HTTP.

    `OTEL_TRACES_SAMPLER` replaces the default budget (50 new traces a second, then 1 %).
    """
    environ = os.environ if environ is None else environ
    resource = Resource.create(_attributes(host, service_name, environ))
    budget = None if environ.get("OTEL_TRACES_SAMPLER") else TraceBudget(clock, random.random)
    # The SDK's own default, or what the variable says: a trace from elsewhere is as its origin decided.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=SpanLimits())
    recent = RecentSpans(host) if keep_recent else None
    if recent is not None:
        provider.add_span_processor(recent)
    exporter = _exporter(environ)
    if exporter is not None:
        provider.add_span_processor(exporter)
    return Tracing(provider.get_tracer("trellis"), recent=recent, provider=provider, budget=budget)


def _attributes(host: str, service_name: str, environ: Mapping[str, str]) -> dict[str, str]:
    attributes = {"service.instance.id": host, "trellis.host.id": host}
    if "OTEL_SERVICE_NAME" not in environ and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = service_name
    return attributes


def _exporter(environ: Mapping[str, str]) -> SpanProcessor | None:
    """The batch processor in front of an OTLP exporter, if an endpoint is configured."""
    if not any(environ.get(name) for name in _ENDPOINTS) or environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigError(
            f"Traces cannot be exported by OTLP protocol {protocol!r}.",
            remedy="Set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf (port 4318 of most collectors).",
            key="OTEL_EXPORTER_OTLP_PROTOCOL",
            value=protocol,
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _log.info("Traces are exported by OTLP to %s", next(environ[name] for name in _ENDPOINTS if environ.get(name)))
    return BatchSpanProcessor(OTLPSpanExporter())
