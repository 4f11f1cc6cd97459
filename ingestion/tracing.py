"""OpenTelemetry spans of the edge and of batches; nothing is made, and nothing imported, unless a collector is configured.

The standard variables say where spans go: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER. Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

# Attributes and links of one span; a batch of thousands names the first.
MOST_LINKS = 64

_provider: Any = None


def is_configured() -> bool:
    """Whether the environment names a collector."""
    return any(
        os.environ.get(name)
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def tracer(service: str) -> Tracer | None:
    """The process's tracer, None when no collector is configured; `service` unless OTEL_SERVICE_NAME."""
    global _provider
    if not is_configured():
        return None
    if _provider is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME") or service
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        # Spans are sent by a thread of its own, and dropped when its queue is full: never waited for.
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        _provider = provider
    found: Tracer = _provider.get_tracer("handoff")
    return found


def shut_down() -> None:
    """Send what waits, for at most some seconds; spans made later are lost."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


@contextmanager
def span(
    made_by: Tracer | None,
    name: str,
    *,
    parent: str | None = None,
    links: Sequence[str] = (),
    is_server: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span | None]:
    """A span around the block, failed when it raises; `parent` and `links` are traceparent values."""
    if made_by is None:
        yield None
        return
    from opentelemetry.trace import Link, SpanKind

    contexts = [context for link in links[:MOST_LINKS] if (context := _context(link)) is not None]
    with made_by.start_as_current_span(
        name,
        context=_carried(parent),
        kind=SpanKind.SERVER if is_server else SpanKind.INTERNAL,
        attributes=dict(attributes or {}),
        links=[Link(context) for context in contexts],
    ) as made:
        yield made


def _carried(traceparent: str | None) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if traceparent is None:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _context(traceparent: str) -> Any:
    from opentelemetry.trace import get_current_span

    context = get_current_span(_carried(traceparent)).get_span_context()
    return context if context.is_valid else None


def link_current_span(traceparents: Sequence[str]) -> None:
    """Link the span around the caller, if there is one, to what caused it."""
    if _provider is None:
        return
    from opentelemetry.trace import get_current_span

    around = get_current_span()
    for context in map(_context, traceparents[:MOST_LINKS]):
        if context is not None:
            around.add_link(context)
