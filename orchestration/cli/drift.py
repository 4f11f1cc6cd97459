"""`handoff drift`: why there are more or fewer MQLs than before."""

from __future__ import annotations

from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import EXIT_CHECKS, AsJson, instant_of, print_json


def drift(
    days: Annotated[
        int | None,
        typer.Option(
            min=7,
            help="Length of each of the two windows; default: drift_window_days of the KPI policy.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="Up to this instant (ISO 8601); default: now."),
    ] = None,
    with_replay: Annotated[
        bool,
        typer.Option(
            "--replay/--no-replay",
            help="Where a policy has changed, replay history under the former version: exact, and takes the time of a rebuild.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare the MQLs of new people with those of the window before, and split the difference by cause.

    Causes are volume, identity (how many records are of somebody known), source mix, schema (events that are refused, fields that come no more),
    rule version (exactly, by a replay) and behaviour, the rest. The parts sum up to the difference; which of them is more than chance is
    told by exact tests, with one false alarm in a hundred comparisons.

    Beside it: whether people score and meet rules as before, and whether MQLs are like the leads the lead model was learned from. Exit code 1
    when a cause is named or something has moved; a page with charts goes to artifacts/drift.html.
    """
    from orchestration.cli.screens import stages
    from orchestration.drift import find_drift
    from orchestration.drift_page import moved, verdict, write_page
    from orchestration.drift_windows import HORIZON_DAYS
    from orchestration.progress import listening

    settings = Settings()
    with stages(quiet=as_json) as say, listening(say):
        found = find_drift(
            settings, days=days, as_of=instant_of(as_of), with_replay=with_replay, progress=say
        )
    path = settings.artifacts_dir / "drift.html"
    write_page(path, found)
    told = found.diagnosis
    if as_json:
        print_json(
            {**found.as_dict(), "verdict": verdict(found), "moved": moved(found), "page": str(path)}
        )
    else:
        print(
            f"New people {found.since:%Y-%m-%d} to {found.until:%Y-%m-%d} against the {found.days} days before, "
            f"MQLs within {HORIZON_DAYS} days: {told.before:,} before, {told.now:,} now"
        )
        for part in told.parts:
            chance = "" if part.p_value is None else f"p {part.p_value:.2g}"
            marked = "*" if part.is_significant else " "
            print(f"{marked} {part.cause:<13}{part.mqls:>+8.1f}  {chance:<10}  {part.evidence}")
        print(verdict(found))
        compared = len(found.people) + len(found.model)
        print(f"Of {compared} distributions moved: {moved(found) or 'none'}.")
        print(f"page: {path}")
    if told.first is not None or found.moved:
        raise typer.Exit(EXIT_CHECKS)
