"""Brings the rows of a file together with those of the file beside it that say more of the same record; reads files, makes no events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.landing.mapping import Beside
from ingestion.landing.row_files import ReadRow, read_header, read_rows

# Key of a row -> what each of its partners says in the columns asked for.
Partners = Mapping[str, tuple[dict[str, Any], ...]]


def read_partners(path: Path, beside: Beside) -> Partners:
    """The rows of the file beside `path`, by key.

    FILE_UNREADABLE when it is missing or a row of it cannot be read: without it, what it says would be lost without a word.
    """
    file = beside.file_of(path)
    if file is None or not file.is_file():
        wanted = f"no file {file.name!r}" if file else f"no {beside.instead_of!r} in its name"
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path}: {', '.join(map(repr, beside.columns))} of its rows stands in the file of {beside.table!r} beside it, "
            f"and there is {wanted}",
            remedy=f"Export {beside.table} to the same folder under a name that differs only in the table, or add the column.",
            path=str(path),
        )
    header = read_header(file)
    missing = [name for name in (beside.key, *beside.columns) if name not in header]
    if missing:
        raise HandoffError(
            "COLUMN_UNKNOWN",
            f"{file}: line 1: no column {missing[0]!r}, by which it would complete {path.name}",
            path=str(file),
        )
    found: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
    for row in read_rows(file, header):
        if row.values is None:
            raise HandoffError(
                "FILE_UNREADABLE",
                f"{file}: line {row.line}: {row.fault}; it completes {path.name}",
                path=str(file),
            )
        said = {name: row.values[name] for name in beside.columns}
        # An association that is exported twice, once per kind, is one.
        found.setdefault(_key(row.values, beside), {})[tuple(map(str, said.values()))] = said
    return {key: tuple(partners.values()) for key, partners in found.items()}


def joined(rows: Iterable[ReadRow], beside: Beside, partners: Partners) -> Iterator[ReadRow]:
    """Each row once for each of its partners, with what that one says; once, with nothing, when it has none."""
    nothing = (dict.fromkeys(beside.columns),)
    for row in rows:
        if row.values is None:
            yield row
            continue
        for said in partners.get(_key(row.values, beside), nothing):
            yield ReadRow(row.line, {**row.values, **said})


def _key(values: Mapping[str, Any], beside: Beside) -> str:
    return str(values.get(beside.key, "")).strip()
