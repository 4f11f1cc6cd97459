"""The verbs of `handoff route`: why somebody got a lead, who would get one, and how leads are spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli.output import AsJson, instant_of, print_json

app = typer.Typer(
    name="route",
    help="Whose leads are whose: why, what would have to change, and what other leads or rules would come to.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def explain(
    who: Annotated[str, typer.Argument(metavar="EMAIL|PERSON_ID", help="Whose owner.")],
    as_json: AsJson = False,
) -> None:
    """Show every decision about somebody's leads, rule by rule, and of each rep who was passed over what would have to change."""
    import contextlib
    import json

    from models.routing.words import why_not
    from orchestration.explain import find_person
    from orchestration.named_rows import named_rows
    from orchestration.serving import open_serving

    settings = Settings()
    with contextlib.closing(open_serving(settings)) as connection:
        person = find_person(settings, connection, who)
        decisions: list[dict[str, Any]] = named_rows(
            connection.execute(
                "select assignments.*, reps.name as rep_name, reps.email as rep_email, reps.time_zone, clocks.outcome, clocks.first_touch_at, "
                "mqls.reached_at, mqls.score, mqls.grade from marts.fct_assignments as assignments "
                "inner join marts.fct_mqls as mqls using (mql_id) left join marts.dim_reps as reps on assignments.rep_id = reps.rep_id "
                "left join marts.fct_sla_clocks as clocks using (assignment_id) "
                "where assignments.person_id = $person_id order by assignments.assigned_at, assignments.assignment_number",
                {"person_id": person["person_id"]},
            )
        )
        names = dict(connection.execute("select rep_id, name from marts.dim_reps").fetchall())
    for row in decisions:
        row["reason_path"] = json.loads(row["reason_path"])
        row["passed_over"] = [
            {**told, "name": names.get(told["rep_id"]), "words": why_not(told)}
            for told in json.loads(row["passed_over"])
        ]
    if as_json:
        print_json({"person_id": person["person_id"], "decisions": decisions})
        return
    if not decisions:
        print(f"{who} is no lead: `handoff explain {who}` says what is missing.")
        return
    for row in decisions:
        _print_decision(row)


def _print_decision(row: dict[str, Any]) -> None:
    held = "" if row["superseded_at"] is None else f" until {row['superseded_at']:%Y-%m-%d %H:%MZ}"
    owner = f"{row['rep_name']} <{row['rep_email'] or ''}>" if row["rep_id"] else "nobody"
    print(
        f"{row['assigned_at']:%Y-%m-%d %H:%MZ}{held}  {owner}  ({row['cause']}, routing {row['routing_version']})"
    )
    _print_path(row["reason_path"])
    if row["rep_id"]:
        touch = row["first_touch_at"]
        said = f"first touch {touch:%Y-%m-%d %H:%MZ}" if touch else "no first touch"
        print(
            f"  first touch due {row['sla_due_at']:%Y-%m-%d %H:%MZ} ({row['sla_minutes']} minutes, grade {row['grade']}): "
            f"{said}, {row['outcome']}"
        )
    _print_others([(told["name"] or told["rep_id"], told["words"]) for told in row["passed_over"]])


def _print_path(steps: Iterable[str]) -> None:
    for place, step in enumerate(steps, start=1):
        print(f"  {place}. {step}")


def _print_others(others: Sequence[tuple[str, str]]) -> None:
    if others:
        print("  the others of the pool:")
    for name, words in others:
        print(f"    {name}: {words}")


@app.command()
def simulate(
    country: Annotated[
        str | None, typer.Option(metavar="CODE", help="ISO 3166-1 alpha-2, e.g. DE.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="State or province.")] = None,
    postal_code: Annotated[str | None, typer.Option(help="Postal code.")] = None,
    industry: Annotated[str | None, typer.Option(help="Of the account.")] = None,
    employees: Annotated[int | None, typer.Option(min=0, help="Of the account.")] = None,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN", help="A company that is known: its owner has the first claim."
        ),
    ] = None,
    product_line: Annotated[str | None, typer.Option(help="What the lead asks for.")] = None,
    language: Annotated[str | None, typer.Option(help="ISO 639 code, e.g. de.")] = None,
    grade: Annotated[str | None, typer.Option(metavar="A-D", help="Decides on the SLA.")] = None,
    count: Annotated[
        int, typer.Option(min=1, max=100_000, help="So many such leads, one after the other.")
    ] = 1,
    policy: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Another version of the routing policy, e.g. v2."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="When they come; default: now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who would get leads like this, from where the pools stand now. Nothing is written.

    For leads there have been use `handoff replay --policy routing=v2`: it rebuilds history under another version.
    """
    from collections import Counter
    from dataclasses import asdict

    from models.routing.rules import Facts
    from models.routing.words import why_not
    from orchestration.routing_simulation import simulate as run

    if grade is not None and grade not in ("A", "B", "C", "D"):
        raise HandoffError(
            "BAD_REQUEST", f"'{grade}' is no grade", remedy="Give --grade A, B, C or D."
        )
    found = run(
        Settings(),
        Facts(country, region, postal_code, industry, employees, product_line, language),
        grade=grade,
        account=account,
        version=policy,
        at=instant_of(at, "--at"),
        count=count,
    )
    if as_json:
        print_json(
            {
                "routing_version": found.version,
                "at": found.at.isoformat(),
                "decisions": [asdict(each) for each in found.decisions],
            }
        )
        return
    import json

    first = found.decisions[0]
    name = "nobody" if first.rep_id is None else found.names[first.rep_id]
    print(f"{name}  ({first.cause}, routing {found.version}; nothing is written)")
    _print_path(first.path)
    due = datetime.fromtimestamp(first.due_at / 1_000_000, UTC)
    print(f"  first touch due {due:%Y-%m-%d %H:%MZ} ({first.sla_minutes} minutes)")
    _print_others(
        [
            (found.names.get(each["rep_id"], each["rep_id"]), why_not(each))
            for each in json.loads(first.passed_over)
        ]
    )
    if count > 1:
        had = Counter(each.rep_id for each in found.decisions if each.rep_id is not None)
        print(f"Of {count:,} leads:")
        for rep_id, leads in had.most_common():
            print(f"  {found.names[rep_id]:<28}{leads:>8,}")
        if waiting := sum(each.rep_id is None for each in found.decisions):
            print(f"  {'nobody yet':<28}{waiting:>8,}")


@app.command()
def dashboard(
    days: Annotated[int, typer.Option(min=1, help="Leads of so many days.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Load, fairness, deadlines and time to first touch, rep by rep; a page with charts goes to artifacts/routing.html."""
    from orchestration.routing_figures import routing_figures
    from orchestration.routing_page import write_page

    settings = Settings()
    figures = routing_figures(settings, datetime.now(UTC) - timedelta(days=days))
    path = settings.artifacts_dir / "routing.html"
    write_page(path, figures)
    if as_json:
        print_json({**figures.as_dict(), "page": str(path)})
        return
    from orchestration.cli.screens import print_rows

    print_rows(
        ["rep", "leads", "by claim", "dealt", "unanswered", "in time", "missed", "first touch"],
        [
            (
                row["name"], row["leads"], row["claimed"], row["dealt"], row["open_leads"], f"{row['met']} of {row['due']}", row["missed"],
                None if row["first_touch_minutes"] is None else f"{row['first_touch_minutes']:.0f} min",
            )
            for row in figures.reps
        ],
        "table",
    )  # fmt: skip
    print(f"Nobody is more than {figures.furthest_off:.2f} turns off their share; {len(figures.waiting)} leads wait.")  # fmt: skip
    print(f"page: {path}")
