"""Reads CSV and Parquet row by row without losing a byte of what cannot be read; what rows mean is
the mapping's."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError

DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One row: `values` by column, or None with `fault`, its `remedy` and the `raw` bytes when it
    cannot be read."""

    line: int
    values: dict[str, Any] | None
    raw: bytes = b""
    fault: str = ""
    remedy: str = ""


_CLOSE_QUOTES = 'Close the quote, or write a quote within a field twice (""), and ingest it again.'
_COUNT_FIELDS = (
    "Give the line a field for each column; put a field that holds the delimiter in quotes."
)
_SAVE_AS_UTF8 = "Save the file as UTF-8 and ingest it again; what was taken counts once."


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def read_header(path: Path, delimiter: str | None = None) -> list[str]:
    """Column names of a CSV or Parquet file; FILE_UNREADABLE when there are none or one occurs
    twice."""
    header = _parquet_header(path) if is_parquet(path) else _csv_header(path, delimiter)
    twice = sorted(name for name, times in Counter(header).items() if times > 1)
    if twice:
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path}: line 1: column {twice[0]!r} occurs twice",
            remedy="Rename one of the two columns; which one counts cannot be guessed.",
            path=str(path),
        )
    return header


def read_rows(path: Path, header: list[str], delimiter: str | None = None) -> Iterator[ReadRow]:
    """Every row in order; a malformed one is yielded with its raw bytes and reading goes on after
    it."""
    if is_parquet(path):
        return _parquet_rows(path)
    return _csv_rows(path, header, delimiter or _sniff(path))


def _parquet_header(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [str(name) for name in pq.read_schema(path).names]
    except (pa.ArrowException, OSError) as error:
        raise HandoffError(
            "FILE_UNREADABLE", f"{path} is no Parquet file: {error}", path=str(path)
        ) from error


def _parquet_rows(path: Path) -> Iterator[ReadRow]:
    """Row by row; FILE_UNREADABLE naming the last row before a damaged page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=10_000):
            for row in batch.to_pylist():
                number += 1
                yield ReadRow(number, row)
    # ValueError: a text that is no UTF-8, or an instant Python has no word for.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path} cannot be read after row {number}: {str(error).splitlines()[0]}",
            remedy="Export the file anew and ingest it again; rows taken before count once.",
            path=str(path),
        ) from error


def _csv_header(path: Path, delimiter: str | None) -> list[str]:
    # A byte further down that is no UTF-8 is that row's matter, not the header's.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            header = next(csv.reader(file, delimiter=delimiter or _sniff(path)), [])
            "".join(header).encode()
        except (csv.Error, UnicodeEncodeError) as error:
            raise HandoffError(
                "FILE_UNREADABLE",
                f"{path}: line 1: the header cannot be read: {error}",
                remedy="Save the file as CSV in UTF-8.",
                path=str(path),
            ) from error
    if not any(name.strip() for name in header):
        raise HandoffError(
            "FILE_UNREADABLE", f"{path}: line 1: no column names; the file is empty", path=str(path)
        )
    return [name.strip() for name in header]


def _sniff(path: Path) -> str:
    """The delimiter that splits the header into most parts; exports of some locales use a
    semicolon."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
    return max(DELIMITERS, key=first.count)


class _Lines:
    """Physical lines with a memory of those the CSV reader took, so that a bad record can be given
    back."""

    def __init__(self, file: Iterator[str]) -> None:
        self.file = file
        self.returned: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.returned.popleft() if self.returned else next(self.file)
        self.taken.append(line)
        return line


def _csv_rows(path: Path, header: list[str], delimiter: str) -> Iterator[ReadRow]:
    # surrogateescape keeps bytes that are no UTF-8, so that the row can go to quarantine as it is.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(iter(file))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        next(reader)
        number = len(lines.taken) + 1
        while True:
            lines.taken = []
            fault = remedy = ""
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields, fault, remedy = [], f"malformed CSV: {error}", _CLOSE_QUOTES
            if not fault and not fields:
                number += len(lines.taken)
                continue
            if not fault and len(fields) != len(header):
                fault = f"{len(fields)} fields, the header has {len(header)}"
                remedy = _COUNT_FIELDS
            if not fault and any(
                "\udc80" <= character <= "\udcff" for character in "".join(fields)
            ):
                fault, remedy = "not UTF-8", _SAVE_AS_UTF8
            if not fault:
                yield ReadRow(number, dict(zip(header, fields, strict=True)))
                number += len(lines.taken)
                continue
            # An unclosed quote swallows the lines after it: only the first line is given up, the
            # rest is read anew.
            first, rest = lines.taken[0], lines.taken[1:]
            lines.returned.extendleft(reversed(rest))
            if rest:
                reader = csv.reader(lines, delimiter=delimiter, strict=True)
            raw = first.rstrip("\r\n").encode("utf-8", "surrogateescape")
            yield ReadRow(number, None, raw, fault, remedy)
            number += 1
