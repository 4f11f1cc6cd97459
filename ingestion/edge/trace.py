"""W3C trace context: one id that follows a request into the event, the answer and the log line.

Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<rest>-.*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """`traceparent` as it is stored and answered, `correlation_id` the trace id in it (32 hex
    digits).
    """

    traceparent: str
    correlation_id: str


def trace_of(header: str | None) -> Trace:
    """The sender's trace; a new one when `header` is absent or invalid, as the standard says."""
    return parse(header) or _new()


def parse(header: str | None) -> Trace | None:
    """The trace in a traceparent value, None when it is none."""
    found = _TRACEPARENT.fullmatch(header) if header and len(header) <= 512 else None
    if found is None or found["version"] == "ff":
        return None
    if set(found["trace"]) == {"0"} or set(found["span"]) == {"0"}:
        return None
    if found["version"] == "00":
        return None if found["rest"] else Trace(found.string, found["trace"])
    # A later version is continued as 00, which is what we speak.
    return Trace(f"00{found.string[2:55]}", found["trace"])


def _new() -> Trace:
    # Unique, not secret: asking the kernel for each costs more than validating an event.
    trace_id = f"{random.getrandbits(128) or 1:032x}"
    return Trace(f"00-{trace_id}-{random.getrandbits(64) or 1:016x}-01", trace_id)
