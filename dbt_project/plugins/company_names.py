"""Registers `company_key(name)` of `ingestion.normalize` as a DuckDB function; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `company_key(name)`, null for what is no name."""

    def configure_connection(self, conn: Any) -> None:
        """Register the function on a connection dbt has just opened."""
        # A file that was held open since the last run has it still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function(
                "company_key",
                _company_keys,
                ["VARCHAR"],
                "VARCHAR",
                type="arrow",
                null_handling="special",
            )


def _company_keys(names: Any) -> Any:
    """A function of this module: DuckDB evaluates the annotations of what it registers, and keeps it no longer than its connection."""
    from ingestion.normalize.company_names import company_keys

    return company_keys(names)
