"""Registers the pinned time-zone database of `ingestion.time_zones` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `time_zone_names()` and `time_zone_offsets(name)`: of each offset from when (UTC) and from which clock time on, in seconds since
    1970, and how much it is."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        # A file that was held open since the last run has them still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function("time_zone_names", _names, [], "VARCHAR[]")
            conn.create_function(
                "time_zone_offsets", _offsets, ["VARCHAR"],
                "STRUCT(valid_from BIGINT, local_from BIGINT, seconds BIGINT)[]",
            )  # fmt: skip


def _names() -> Any:
    from ingestion import time_zones

    return sorted(time_zones.names())


def _offsets(name: str) -> Any:
    from datetime import UTC

    from ingestion import time_zones

    return [
        {
            "valid_from": int(offset.valid_from.timestamp()),
            "local_from": int(offset.local_from.replace(tzinfo=UTC).timestamp()),
            "seconds": offset.seconds,
        }
        for offset in time_zones.offsets(name)
    ]
