"""What every verb of `handoff` shares with the others: exit codes, `--json`, `--dry-run`, JSON as text."""

from __future__ import annotations

from typing import Annotated, Any

import typer

EXIT_OK, EXIT_CHECKS, EXIT_USAGE, EXIT_OUTSIDE, EXIT_CONFIGURATION = range(5)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """`value` as JSON for programs."""
    from orchestration.cli.screens import as_json_text

    print(as_json_text(value))
