"""`handoff quarantine`: what was not accepted, why, and taking it again once the cause is mended."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import EXIT_CHECKS, EXIT_OK, AsJson, instant_of, print_json

app = typer.Typer(
    name="quarantine",
    help="What was not accepted, with its reason; take it again after a fix or a mapping change.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class StatusChoice(StrEnum):
    """Which entries `list` shows."""

    OPEN = "open"
    REFUSED = "refused"
    REPLAYED = "replayed"
    ALL = "all"


Code = Annotated[str | None, typer.Option(help="Only this code, e.g. ENUM_UNKNOWN.")]
Door = Annotated[
    str | None, typer.Option(help="Only this door: events, webhook, webhook:hubspot, file.")
]
Since = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="Only what was refused from then on.")
]


@app.command(name="list")
def list_entries(
    code: Code = None,
    door: Door = None,
    since: Since = None,
    status: Annotated[
        StatusChoice | None,
        typer.Option(help="Default: what is not replayed yet, open and still refused."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Name what was not accepted: number, when, door, code, place, reason and whether it was replayed. Shows no payload."""
    from ingestion.quarantine import STATUSES, Selection, counts, list_kept

    statuses = {
        None: STATUSES[:2],
        StatusChoice.ALL: STATUSES,
    }.get(status) or tuple(name for name in STATUSES if name == str(status))
    selection = Selection((), code, door, instant_of(since, "--since"), statuses)
    found = list_kept(Settings(), selection)
    shown = found[-limit:]
    if as_json:
        print_json({"count": len(found), "entries": [kept.as_dict() for kept in shown]})
        return
    for kept in shown:
        rejection = kept.entry.rejection
        last = kept.last.outcome if kept.last else None
        code_now = last.code if last and last.code else rejection.code
        message = last.message if last and last.message else rejection.message
        print(
            f"{kept.entry.quarantine_id:>6}  {kept.entry.received_at:%Y-%m-%d %H:%M}  {kept.status:<8}  {rejection.door:<16}"
            f"  {code_now:<20}  {rejection.path or '-'}  {message[:120]}"
        )
    summary = ", ".join(f"{count} {name}" for name, count in counts(found).items() if count)
    print(summary or "nothing")


@app.command()
def show(
    quarantine_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the entry.")],
    as_json: AsJson = False,
) -> None:
    """Show one entry whole, with what was sent; that may be personal data."""
    from ingestion.quarantine import find_kept

    kept = find_kept(Settings(), quarantine_id)
    payload = kept.entry.rejection.payload.decode("utf-8", errors="backslashreplace")
    row = kept.as_dict()
    if as_json:
        print_json({**row, "payload": payload})
        return
    for name, value in row.items():
        if value is not None:
            print(f"{name:<17} {value}")
    print(f"\n{payload}")


@app.command()
def replay(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID…", help="Entries; without any, all that fit.")
    ] = None,
    code: Code = None,
    door: Door = None,
    since: Since = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be accepted; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take refused entries through their door again, by the contracts and mappings of today; a second time changes nothing.

    What is accepted is in the log at once and in the warehouse with the next `handoff run` or worker's batch. Exit code 1 when anything is still
    refused.
    """
    from ingestion.quarantine import Selection
    from ingestion.replay import replay as take_again

    selection = Selection(tuple(ids or ()), code, door, instant_of(since, "--since"))
    report = take_again(Settings(), selection, dry_run=dry_run)
    if as_json:
        print_json(report.as_dict())
    else:
        for entry in report.entries:
            if entry.outcome == "refused":
                print(
                    f"{entry.quarantine_id:>6}  still refused  {entry.code}  {entry.path or '-'}  {entry.message}"
                )
        would = "would be " if dry_run else ""
        print(
            f"{report.count('accepted')} {would}accepted, {report.count('duplicate')} there already,"
            f" {report.count('refused')} still refused, {report.already_replayed} replayed before"
        )
        if report.not_allowed:
            print(
                f"{report.not_allowed} left out: their senders lack the scope. Name them by id, or with --code SCOPE_DENIED, to let them in all the same"
            )
    raise typer.Exit(EXIT_CHECKS if report.count("refused") else EXIT_OK)
