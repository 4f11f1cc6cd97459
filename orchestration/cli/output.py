"""What every verb of `handoff` shares with the others: exit codes, `--json`, instants, JSON as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ingestion.errors.catalog import HandoffError

EXIT_OK, EXIT_CHECKS, EXIT_USAGE, EXIT_OUTSIDE, EXIT_CONFIGURATION = range(5)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """`value` as JSON for programs."""
    from orchestration.cli.screens import as_json_text

    print(as_json_text(value))


def instant_of(text: str | None, option: str = "--as-of") -> datetime | None:
    """The instant a person wrote, in UTC when it names no zone; BAD_REQUEST when it is none."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise HandoffError(
            "BAD_REQUEST",
            f"'{text}' is no instant",
            remedy=f"Give ISO 8601, e.g. {option} 2026-11-01T00:00Z.",
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
