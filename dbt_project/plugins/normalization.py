"""Registers the normalisation functions of `ingestion.normalize` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `normalize_email(text)` and `normalize_phone(text, region)`; both give null for what links nobody."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        from ingestion.normalize.emails import normalize_email
        from ingestion.normalize.phones import normalize_phone

        for name, function, arity in (
            ("normalize_email", normalize_email, 1),
            ("normalize_phone", normalize_phone, 2),
        ):
            # A file that was held open since the last run has them still.
            with contextlib.suppress(duckdb.CatalogException):
                conn.create_function(
                    name, function, ["VARCHAR"] * arity, "VARCHAR", null_handling="special"
                )
