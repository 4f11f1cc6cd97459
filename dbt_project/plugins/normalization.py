"""Registers the normalisation functions of `ingestion.normalize` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `normalize_email(text)` and `normalize_phone(text, region)`, both null for what links nobody, `registrable_domain(text)` and
    `domain_kind(text)`, both null for what is no domain. All but the telephone's take columns whole."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        from ingestion.normalize.phones import normalize_phone

        columns = {
            "normalize_email": _normalize_emails,
            "registrable_domain": _registrable_domains,
            "domain_kind": _domain_kinds,
        }
        # A file that was held open since the last run has them still.
        with contextlib.suppress(duckdb.CatalogException):
            for name, function in columns.items():
                conn.create_function(
                    name, function, ["VARCHAR"], "VARCHAR", type="arrow", null_handling="special"
                )
            conn.create_function(
                "normalize_phone", normalize_phone, ["VARCHAR", "VARCHAR"], "VARCHAR",
                null_handling="special",
            )  # fmt: skip


# Functions of this module: DuckDB evaluates the annotations of what it registers, and keeps them no longer than its connection.
def _normalize_emails(values: Any) -> Any:
    from ingestion.normalize.emails import normalize_emails

    return normalize_emails(values)


def _registrable_domains(values: Any) -> Any:
    from ingestion.normalize.domains import registrable_domains

    return registrable_domains(values)


def _domain_kinds(values: Any) -> Any:
    from ingestion.normalize.domains import domain_kinds

    return domain_kinds(values)
