"""Looks for what stood for a person in every file of the home: in the text of tables and segments, and in the bytes of everything else."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion.settings import Settings

# The simulated company and the demonstration are homes of their own: what they hold is not ours to erase.
_OTHERS = frozenset({"sandbox", "demo"})


@dataclass(frozen=True, slots=True)
class Remnant:
    """Where something was found: a file, the table in it or None, and how many rows or places."""

    path: str
    table: str | None
    count: int


def remnants(settings: Settings, texts: Collection[str]) -> list[Remnant]:
    """Where any of `texts` stands, in any spelling of case; the caller holds the writer's lock."""
    if not texts:
        return []
    return list(_remnants(settings, sorted(texts)))


def _remnants(settings: Settings, texts: list[str]) -> Iterator[Remnant]:
    in_bytes = re.compile(b"|".join(re.escape(text.encode()) for text in texts), re.IGNORECASE)
    in_text = "|".join(re.escape(text.lower()) for text in texts)
    for path in _files(settings.root):
        name = str(path.relative_to(settings.root))
        if path.suffix == ".duckdb":
            for table, count in _in_tables(path, in_text):
                yield Remnant(name, table, count)
        if path.suffix == ".parquet":
            count = _in_segment(path, in_text)
        else:
            # Freed pages too: nothing says of which table they were.
            count = _in_bytes(path, in_bytes)
        if count:
            yield Remnant(name, None, count)


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).parts[0] not in _OTHERS and path.is_file():
            yield path


def _in_tables(path: Path, pattern: str) -> Iterator[tuple[str, int]]:
    import duckdb

    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        for schema, table in connection.execute(
            "select schema_name, table_name from duckdb_tables() order by all"
        ).fetchall():
            [[count]] = connection.execute(
                f'select count(*) from "{schema}"."{table}" as searched where regexp_matches(lower(searched::varchar), ?)',
                [pattern],
            ).fetchall()
            if count:
                yield f"{schema}.{table}", int(count)


def _in_segment(path: Path, pattern: str) -> int:
    import duckdb

    with contextlib.closing(duckdb.connect()) as connection:
        [[count]] = connection.execute(
            "select count(*) from read_parquet(?) as searched where regexp_matches(lower(searched::varchar), ?)",
            [str(path), pattern],
        ).fetchall()
    return int(count)


def _in_bytes(path: Path, pattern: re.Pattern[bytes]) -> int:
    if not path.stat().st_size:
        return 0
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return sum(1 for _ in pattern.finditer(content))
