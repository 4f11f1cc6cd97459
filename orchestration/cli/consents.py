"""`handoff consent`: what somebody agreed to, now or at any instant."""

from __future__ import annotations

from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import AsJson, instant_of, print_json

app = typer.Typer(
    name="consent",
    help="What people agreed to, by channel and purpose, and what counts of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _consent() -> None:
    # A group even while it has one verb.
    ...


@app.command()
def show(
    who: Annotated[str, typer.Argument(metavar="EMAIL|PERSON_ID", help="Whom to ask about.")],
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="INSTANT",
            help="What counted at this instant (ISO 8601, e.g. 2026-11-01T00:00Z); default: now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what one person allows: what counts by channel and purpose, and every statement it comes from.

    By the newest published file, so by who is whom as known now. What is not listed is unknown, and unknown means no wherever the policy says
    so (models/policies/consent). The same answer for everybody in SQL: `handoff query "from consent_as_of('2026-11-01')"`.
    """
    from orchestration.consents import show_consent

    shown = show_consent(Settings(), who, as_of=instant_of(as_of))
    if as_json:
        print_json(shown.as_dict())
    else:
        from orchestration.cli.screens import print_consent

        print_consent(shown)
