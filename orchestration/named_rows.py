"""Rows of a query by the names of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb


def named_rows(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Everything that is left of a query that was executed, a dictionary for each row."""
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
