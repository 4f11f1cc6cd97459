"""What HTTP has for a contract that ends: the headers Deprecation, Sunset and Link.

Sources: RFC 9745 (Deprecation, a structured date), RFC 8594 (Sunset, an HTTP date), RFC 5829 (successor-version).
"""

from __future__ import annotations

from email.utils import format_datetime

from ingestion.contracts.lifecycle import Lifecycle


def deprecation_headers(end: Lifecycle) -> dict[str, str]:
    """The headers for a version that is deprecated, or past its sunset."""
    return {
        "deprecation": f"@{int(end.deprecated_at.timestamp())}",
        "sunset": format_datetime(end.sunset_at, usegmt=True),
        "link": f'<{end.successor_name}>; rel="successor-version", <{end.migration}>; rel="deprecation"',
    }
