"""Looks for what stood for a person in every file of the home: in the text of tables and segments, and in the bytes of everything else."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ingestion.erasure.named import any_of
from ingestion.settings import Settings
from orchestration.erasure.journal import FOLDER

# The simulated company and the demonstration are homes of their own: what they hold is not ours to erase.
_OTHERS = frozenset({"sandbox", "demo"})
_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True)
class Remnant:
    """Where something was found: a file, the table in it or None, and in how many rows or places; `problem` is why a file was not searched."""

    path: str
    table: str | None
    count: int
    problem: str | None = None


def remnants(settings: Settings, texts: Collection[str]) -> list[Remnant]:
    """Where any of `texts` stands, whole and in any spelling of case; the caller holds the writer's lock."""
    if not texts:
        return []
    found: list[Remnant] = []
    search = _Search(frozenset(texts))
    for path in _files(settings.root):
        name = str(path.relative_to(settings.root))
        try:
            found += [Remnant(name, table, count) for table, count in search.counts(path)]
        except FileNotFoundError:
            # Gone meanwhile, as write-ahead logs go.
            continue
        except (OSError, ValueError, duckdb.Error) as error:
            found.append(Remnant(name, None, 0, f"not searched: {error}"))
    return found


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        is_journal = parts[:2] == ("log", FOLDER)
        if parts[0] not in _OTHERS and not is_journal and path.is_file():
            yield path


class _Search:
    """The texts as patterns: of Python for what is whole, of DuckDB for what may be."""

    def __init__(self, texts: frozenset[str]) -> None:
        self._whole = any_of(set(texts))
        self._in_bytes = re.compile(
            b"|".join(re.escape(text.encode()) for text in sorted(texts)), re.IGNORECASE
        )
        self._may_be = "|".join(re.escape(text.lower()) for text in sorted(texts))

    def counts(self, path: Path) -> Iterator[tuple[str | None, int]]:
        """Tables (None: the file) in which something was found, and how often."""
        if path.suffix == ".duckdb":
            with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
                for schema, table in connection.execute(
                    "select schema_name, table_name from duckdb_tables() order by all"
                ).fetchall():
                    if count := self._in_rows(connection, f'"{schema}"."{table}"'):
                        yield f"{schema}.{table}", count
        if _is_parquet(path):
            with contextlib.closing(duckdb.connect()) as connection:
                source = str(path).replace("'", "''")
                if count := self._in_rows(connection, f"read_parquet('{source}')"):
                    yield None, count
        # Freed pages too: nothing says of which table they were.
        elif count := self._in_file(path):
            yield None, count

    def _in_rows(self, connection: duckdb.DuckDBPyConnection, source: str) -> int:
        cursor = connection.execute(
            f"select to_json(searched)::varchar from {source} as searched where regexp_matches(lower(to_json(searched)::varchar), ?)",
            [self._may_be],
        )
        count = 0
        while rows := cursor.fetchmany(1_000):
            count += sum(1 for (text,) in rows if self._whole.search(text))
        return count

    def _in_file(self, path: Path) -> int:
        if not path.stat().st_size:
            return 0
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return sum(
                1
                for match in self._in_bytes.finditer(content)
                if self._whole.search(
                    content[max(match.start() - 4, 0) : match.end() + 4].decode("utf-8", "replace")
                )
            )


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == _PARQUET
