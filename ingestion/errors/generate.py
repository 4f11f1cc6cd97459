"""Writes docs/errors.md from the error catalog; the catalog is the source, the page is never edited."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ingestion.errors.catalog import CatalogEntry, catalog

COMMAND = "python -m ingestion.errors.generate"
PROJECT_ROOT = Path(__file__).parents[2]
PAGE = "docs/errors.md"
RUNBOOKS = "docs/runbooks"

_EXIT_CODES = {1: "checks failed", 2: "usage", 3: "an outside system", 4: "configuration"}

_HEAD = f"""\
<!-- Generated from ingestion/errors/catalog.yml by `{COMMAND}`; do not edit. -->
# Errors

Every code that an answer of the edge, a row in quarantine, a receipt or the command line can carry. Over HTTP an error is an
`application/problem+json` document (RFC 9457) with the code, the path of what broke, the remedy and the correlation id. *Again* says
whether the same thing, unchanged, may succeed later: such an answer of the edge carries `Retry-After`. *Exit* is what the command line
ends with: {", ".join(f"{number} {text}" for number, text in _EXIT_CODES.items())}.
"""


def main(arguments: Sequence[str] | None = None, root: Path = PROJECT_ROOT) -> int:
    """Write the page below `root`; with --check only say whether it is stale, and return 1 if so."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="name the stale page, write nothing")
    checking = parser.parse_args(arguments).check
    page = root / PAGE
    text = page_text(root)
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    if checking:
        print(f"stale: {PAGE}\nRun `{COMMAND}` and commit what it writes.", file=sys.stderr)
        return 1
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def page_text(root: Path = PROJECT_ROOT) -> str:
    """The page: a table of all codes, then a section per code, with the runbooks that name it."""
    entries = sorted(catalog().values(), key=lambda entry: entry.code)
    runbooks = _runbooks(root)
    rows = [
        f"| [`{entry.code}`](#{entry.code.lower()}) | {entry.title} | {entry.status} "
        f"| {'yes' if entry.retryable else 'no'} | {entry.exit_code} |"
        for entry in entries
    ]
    table = ["| Code | | HTTP | Again | Exit |", "|---|---|---|---|---|", *rows]
    sections = [_section(entry, runbooks) for entry in entries]
    return "\n".join([_HEAD, *table, "", *sections])


def _section(entry: CatalogEntry, runbooks: dict[str, str]) -> str:
    """One code; its heading alone makes the anchor that `CatalogEntry.runbook` points to."""
    again = "may succeed again later" if entry.retryable else "will not succeed unchanged"
    lines = [
        f"## {entry.code}",
        "",
        f"**{entry.title}.** {entry.meaning}",
        "",
        f"*Remedy*: {entry.remedy}",
        "",
        f"HTTP {entry.status}, exit code {entry.exit_code}, {again}.",
    ]
    named = [
        f"[{Path(name).stem.replace('-', ' ')}](runbooks/{name})"
        for name, text in runbooks.items()
        if f"`{entry.code}`" in text
    ]
    if named:
        lines += ["", f"Runbook: {', '.join(named)}."]
    return "\n".join([*lines, ""])


def _runbooks(root: Path) -> dict[str, str]:
    files = sorted((root / RUNBOOKS).glob("*.md"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


if __name__ == "__main__":
    sys.exit(main())
