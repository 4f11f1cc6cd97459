"""`handoff replay`: what would have happened under other policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import EXIT_CHECKS, AsJson, instant_of, print_json

if TYPE_CHECKING:
    from orchestration.policy_replay import Replay


def replay(
    since: Annotated[
        str, typer.Option(metavar="INSTANT", help="Compare leads since this instant (ISO 8601).")
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="KIND=VERSION",
            help="Version to try, e.g. scoring=v2; may be given several times: scoring, routing, identity, accounts, consent, sync, kpi.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder of enumerations (as in ingestion/contracts/enums) in which words of systems mean something else.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT",
            help="Up to this instant (ISO 8601); default: that of the newest run.",
        ),
    ] = None,
    max_lost: Annotated[
        int | None,
        typer.Option(min=0, help="Exit code 1 when more leads than this would be lost."),
    ] = None,
    max_gained: Annotated[
        int | None,
        typer.Option(min=0, help="Exit code 1 when more leads than this would be gained."),
    ] = None,
    max_moved: Annotated[
        int | None,
        typer.Option(
            min=0, help="Exit code 1 when more leads than this would come at another time."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild history as it would have been under other versions, or with other meanings of systems' words, and show what is different: leads gained, lost and moved, what became of them,
    owners' workload, late first touches, and what the CRM would be sent.

    Works on a copy of the warehouse; nothing is changed, and nothing is sent. Every difference is split by policy, in the order in which they
    build on each other, and the parts sum up to the whole. A page with plots goes to artifacts/replays/. For a pipeline: --max-lost 0
    --max-gained 5 end with exit code 1 beyond that.
    """
    from orchestration.cli.screens import stages
    from orchestration.policy_replay import pages_folder, parsed_choices
    from orchestration.policy_replay import replay as replayed
    from orchestration.progress import listening
    from orchestration.replay_page import write_page

    settings = Settings()
    chosen = parsed_choices(policy or [])
    instant = instant_of(since, "--since")
    assert instant is not None
    with stages(quiet=as_json) as say, listening(say):
        told = replayed(
            settings,
            chosen,
            since=instant,
            as_of=instant_of(as_of),
            mapping=mapping,
            progress=say,
        )
    named = "-".join(f"{cause.kind}-{cause.version}" for cause in told.causes)
    path = pages_folder(settings) / f"{named}-{told.as_of:%Y%m%dT%H%M%S}.html"
    write_page(path, told)
    limits = {"lost": max_lost, "gained": max_gained, "moved": max_moved}
    beyond = [
        f"{len(told.of_kind(kind))} leads {kind}, {most} allowed"
        for kind, most in limits.items()
        if most is not None and len(told.of_kind(kind)) > most
    ]
    if as_json:
        print_json({**told.as_dict(), "page": str(path), "beyond": beyond})
    else:
        _print(told)
        print(f"page: {path}")
        for line in beyond:
            print(f"beyond the limit: {line}")
    if beyond:
        raise typer.Exit(EXIT_CHECKS)


def _print(told: Replay) -> None:
    from orchestration.policy_replay import MEASURES
    from orchestration.replay_page import NAMES, precision

    heads = [f"{cause.kind} {cause.version}" for cause in told.causes]
    width = max(10, *(len(head) for head in heads))
    print(f"Leads since {told.since:%Y-%m-%d %H:%M}, as of {told.as_of:%Y-%m-%d %H:%M}")
    print(
        f"{'':<28}{'before':>10}"
        + "".join(f"{head:>{width + 2}}" for head in heads)
        + f"{'after':>10}"
    )
    for name in MEASURES:
        by_cause = "".join(f"{cause.differences[name]:>+{width + 2},}" for cause in told.causes)
        print(
            f"{NAMES[name]:<28}{told.before.measure(name):>10,}{by_cause}{told.after.measure(name):>10,}"
        )
    for kind in ("gained", "lost", "moved"):
        by_cause = "".join(f"{getattr(cause, kind):>{width + 2},}" for cause in told.causes)
        print(f"{kind:<28}{'':>10}{by_cause}{len(told.of_kind(kind)):>10,}")
    for name, state in (("before", told.before), ("after", told.after)):
        succeeded, known = precision(state)
        share = f"{succeeded / known:.1%}" if known else "nothing known yet"
        print(f"taken up by sales, {name}: {share} ({succeeded:,} of {known:,} decided)")
    for rep, before, after in told.workload[:15]:
        print(f"  {rep:<30}{before:>8,} → {after:<8,}")
