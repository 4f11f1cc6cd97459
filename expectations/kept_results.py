"""Keeps the newest outcome of each table and suite as JSON, for the pages to show; counts and messages, never values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from expectations.validate import ExpectationResult, SuiteResult


def keep_result(result: SuiteResult, folder: Path) -> Path:
    """Write `<folder>/<table>.<suite>.json` over the former outcome of the two; returns its path.

    One suite guards every polled table: under its name alone, the next table's success would hide a failure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = _plain(result)
    content["results"] = [{**_plain(row), "kwargs": dict(row.kwargs)} for row in result.results]
    path = folder / f"{result.name}.json"
    path.write_text(json.dumps(content, default=str, indent=1), encoding="utf-8")
    return path


def kept_results(folder: Path) -> list[SuiteResult]:
    """The newest outcome of every table and suite that has run, by name; empty when none has."""
    found: list[SuiteResult] = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = [ExpectationResult(**row) for row in content.pop("results")]
        found.append(SuiteResult(results=rows, **content))
    return found


def _plain(value: ExpectationResult | SuiteResult) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
