"""Records what DuckDB did for each statement of a dbt run: which tables it read whole, and which rows an index found."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_NODE = re.compile(r'"node_id": "[^"]*\.([^".]+)"')
_INDEX_SCAN = "Index Scan"
# DuckDB stores, skips and counts in groups of so many rows.
ROW_GROUP = 122_880


@dataclass(frozen=True, slots=True)
class Scan:
    """One read of a stored table: `rows` looked at, in `row_groups` of `total_row_groups` (an index looks at none)."""

    table: str
    by_index: bool
    rows: int
    row_groups: int
    total_row_groups: int

    @property
    def is_full(self) -> bool:
        """Whether every row group was read, of a table with more rows than one holds."""
        return (
            not self.by_index and self.rows > ROW_GROUP and self.row_groups >= self.total_row_groups
        )


@dataclass(frozen=True, slots=True)
class Query:
    """One statement of a dbt node ('' for dbt's own), the seconds it took and its scans."""

    node: str
    sql: str
    seconds: float
    scans: tuple[Scan, ...]


@contextmanager
def recorded_queries() -> Iterator[list[Query]]:
    """Every statement dbt sends to DuckDB within the block, profiled by DuckDB itself; the list fills as they run.

    Statements sent as one text are run one by one, as only the last of several has a profile.
    """
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

    recorded: list[Query] = []
    run = DuckDBCursorWrapper.execute

    def profiled(wrapper: Any, sql: str, bindings: Any = None) -> Any:
        cursor = wrapper._cursor
        statements = cursor.extract_statements(sql) if bindings is None else []
        if not statements:
            return run(wrapper, sql, bindings)
        cursor.execute("set enable_profiling = 'no_output'")
        node = _NODE.search(sql)
        answer = None
        for statement in statements:
            started = time.perf_counter()
            answer = cursor.execute(statement)
            seconds = time.perf_counter() - started
            profile = json.loads(cursor.get_profiling_information("json"))
            recorded.append(
                Query(
                    node.group(1) if node else "", statement.query, seconds, tuple(_scans(profile))
                )
            )
        return answer

    DuckDBCursorWrapper.execute = profiled
    try:
        yield recorded
    finally:
        DuckDBCursorWrapper.execute = run


def _scans(part: Any) -> Iterator[Scan]:
    if isinstance(part, list):
        for item in part:
            yield from _scans(item)
    elif isinstance(part, Mapping):
        told = part.get("extra_info")
        if part.get("type") == "TABLE_SCAN" and isinstance(told, Mapping) and "Table" in told:
            yield Scan(
                str(told["Table"]).partition(".")[2],
                told.get("Type") == _INDEX_SCAN,
                int(part.get("rows_scanned", 0)),
                int(part.get("row_groups_scanned", 0)),
                int(part.get("total_row_groups_to_scan", 0)),
            )
        for key in ("operator", "children"):
            yield from _scans(part.get(key))
