"""What `handoff ingest` answers: every row of every file accounted for; no file is read here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.errors.catalog import HandoffError, catalog_entry

# A file of a million bad lines must not become a million lines of report; the quarantine has them
# all.
SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that was not accepted: where it stands, why, and what to do; the row itself is in
    quarantine."""

    line: int
    code: str
    path: str
    message: str
    remedy: str


@dataclass(slots=True)
class FileReport:
    """One file: `rows` = `accepted` + `duplicate` + `conflict` + `quarantined`; when it was
    `refused`, these are the rows before the fault, mostly none.

    A conflict (an id accepted before with other content) is kept in quarantine as well; a bad row
    that stands in the file twice is quarantined once and counts as duplicate the second time. Rows
    that make up one record (`gather:`) are one event, accepted with the first of them and duplicate
    with the others; a row with several partners in the file beside it (`beside:`) counts once each.
    `set_aside` counts, by field, the values the contract refused and the mapping moved to custom
    or left out (`invalid:`).
    """

    path: Path
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    refused: HandoffError | None = None

    def add_problem(
        self, line: int, code: str, path: str, message: str, remedy: str | None = None
    ) -> None:
        """Count one row that was not accepted, and keep the first few to show; without a `remedy`
        of its own it has its code's."""
        self.reasons[code] += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            told = remedy or catalog_entry(code).remedy
            self.problems.append(Problem(line, code, path, message, told))

    @property
    def exit_code(self) -> int:
        """0 when every row is in the log; a refused file has its error's code, a row in quarantine
        gives 1."""
        if self.refused is not None:
            return self.refused.entry.exit_code
        return 1 if self.quarantined or self.conflict else 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Every file, in the order given; with `dry_run` nothing was written and nothing is known
    about duplicates."""

    files: tuple[FileReport, ...]
    seconds: float
    dry_run: bool = False

    @property
    def rows(self) -> int:
        """Rows read from all files."""
        return sum(file.rows for file in self.files)

    @property
    def accepted(self) -> int:
        """Rows new to the log."""
        return sum(file.accepted for file in self.files)

    @property
    def duplicate(self) -> int:
        """Rows that were in the log already."""
        return sum(file.duplicate for file in self.files)

    @property
    def conflict(self) -> int:
        """Rows whose id is taken by other content; they are in quarantine."""
        return sum(file.conflict for file in self.files)

    @property
    def quarantined(self) -> int:
        """Rows kept in quarantine, with their reason."""
        return sum(file.quarantined for file in self.files)

    @property
    def exit_code(self) -> int:
        """The gravest of the files' exit codes."""
        return max((file.exit_code for file in self.files), default=0)
