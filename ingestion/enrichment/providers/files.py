"""Firmographics from CSV files in a folder: HANDOFF_ENRICHMENT_FILES; nobody outside is asked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingestion.enrichment.answers import Company
from ingestion.enrichment.catalog import Lookup
from ingestion.enrichment.firmographics import NAMES, company_of
from ingestion.errors.catalog import HandoffError
from ingestion.normalize.domains import registrable_domain
from ingestion.settings import Settings


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_ENRICHMENT_FILES is set."""
    return settings.enrichment_files is not None


@contextmanager
def opened(settings: Settings, timeout_seconds: float) -> Iterator[Lookup]:
    """A lookup in the files as they are now; of two rows of a domain the later one counts, files in the order of their names.

    Raises FILE_UNREADABLE and FIELD_MISMATCH, naming file and line.
    """
    known: dict[str, Company | None] = {}
    for path in _files(settings):
        known.update(_read(path))
    yield known.get


def _files(settings: Settings) -> list[Path]:
    folder = settings.enrichment_files
    assert folder is not None
    if not folder.is_dir():
        raise HandoffError(
            "FILE_UNREADABLE",
            f"enrichment files: {folder} is no folder",
            remedy="Set HANDOFF_ENRICHMENT_FILES to a folder of CSV files.",
        )
    return sorted(folder.glob("*.csv"))


def _read(path: Path) -> Iterator[tuple[str, Company | None]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if "domain" not in (rows.fieldnames or ()):
                raise HandoffError(
                    "FIELD_MISMATCH",
                    f"{path}: no column 'domain' (there are: {', '.join(rows.fieldnames or ()) or 'none'})",
                    remedy=f"Name the columns domain, {', '.join(NAMES)}; all but domain may be left out.",
                )
            for row in rows:
                domain = registrable_domain(row["domain"])
                if domain is None:
                    raise _bad(path, rows.line_num, f"domain {row['domain']!r} is no domain")
                try:
                    yield domain, company_of(row)
                except ValueError as error:
                    raise _bad(path, rows.line_num, str(error)) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HandoffError("FILE_UNREADABLE", f"{path}: {error}") from error


def _bad(path: Path, line: int, message: str) -> HandoffError:
    return HandoffError(
        "FIELD_MISMATCH", f"{path}, line {line}: {message}", remedy="Correct the row in the file."
    )
