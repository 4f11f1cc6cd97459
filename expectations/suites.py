"""Finds and reads expectation suites by name; *.generated.json are written from the contracts, the
others by hand."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from ingestion.errors.catalog import HandoffError

SUITE_FOLDER = Path(__file__).with_name("suites")
Severity = Literal["critical", "warning", "info"]
"""critical: the batch may not pass; warning and info: it is shown and goes on."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One claim about a frame: the type and arguments are Great Expectations' own."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def column(self) -> str | None:
        """The column the claim is about; None for claims about the table or several columns."""
        column = self.kwargs.get("column")
        return column if isinstance(column, str) else None


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of claims, as in the file of that name."""

    name: str
    file: Path
    expectations: tuple[Expectation, ...]


def load_suite(name: str, folder: Path = SUITE_FOLDER) -> Suite:
    """The suite of that name.

    Raises HandoffError NOT_FOUND if there is none, SUITE_INVALID if its file is no suite.
    """
    files = _files(folder)
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        raise HandoffError(
            "NOT_FOUND",
            f"unknown expectation suite '{name}'{meant} (known: "
            f"{', '.join(sorted(files)) or 'none'})",
            remedy="Use a known name; generated suites are written by "
            "`python -m ingestion.contracts.generate`.",
        )
    file = files[name]
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = content["expectations"] if isinstance(content, dict) else content
        return Suite(name=name, file=file, expectations=tuple(_expectation(row) for row in rows))
    except (ValueError, KeyError, TypeError) as error:
        raise HandoffError(
            "SUITE_INVALID", f"{file.name} is no expectation suite: {error}", path=str(file)
        ) from error


def _files(folder: Path) -> dict[str, Path]:
    return {
        file.name.removesuffix(".json").removesuffix(".generated"): file
        for file in folder.glob("*.json")
    }


def _expectation(row: Mapping[str, Any]) -> Expectation:
    meta = dict(row.get("meta") or {})
    severity = row.get("severity") or meta.pop("severity", "critical")
    if severity not in get_args(Severity):
        raise ValueError(f"severity '{severity}' is none of {', '.join(get_args(Severity))}")
    return Expectation(
        type=row["type"],
        kwargs=MappingProxyType(dict(row["kwargs"])),
        severity=severity,
        meta=MappingProxyType(meta),
    )
