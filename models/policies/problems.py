"""One fault of a policy file and how faults become an error; finding them is load.py's and
contradictions.py's work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.errors.catalog import HandoffError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at `location` (keys and list positions from the top of the file), and what to
    do."""

    location: Location
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault with its place: `file` relative to the policy folder, `line` counted from 1 (None:
    the whole file)."""

    file: str
    line: int | None
    message: str
    remedy: str

    @property
    def place(self) -> str:
        """`scoring/v1.yml:19`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        """The place and what is wrong there."""
        return f"{self.place}: {self.message}"


def policy_error(problems: Sequence[Problem]) -> HandoffError:
    """All problems as one POLICY_INVALID, so that a file is put right in one round; exit code 4."""
    ordered = sorted(set(problems), key=lambda problem: (problem.file, problem.line or 0))
    first = ordered[0]
    if len(ordered) == 1:
        return HandoffError("POLICY_INVALID", str(first), remedy=first.remedy, path=first.place)
    lines = [f"{len(ordered)} problems"]
    lines += [f"{problem}. {problem.remedy}" for problem in ordered]
    remedy = "Correct each line named; all problems found are listed."
    return HandoffError("POLICY_INVALID", "\n".join(lines), remedy=remedy, path=first.place)
