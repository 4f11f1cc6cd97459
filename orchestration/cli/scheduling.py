"""The verbs of `handoff schedule`: free slots, links to book, bookings, and telling what was left untold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion import time_zones
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli.output import EXIT_CHECKS, AsJson, instant_of, print_json

if TYPE_CHECKING:
    from ingestion.scheduling.bookings import Bookings

app = typer.Typer(
    name="schedule",
    help="Meetings with reps: free slots, links with which a lead books, and what was booked.\n\n"
    "Rules are those of the scheduling policy; `handoff serve` answers the links and repairs every minute.",
    epilog="A link: handoff schedule link ada@example.com --type intro --days 7",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MeetingTypeName = Annotated[
    str | None,
    typer.Option("--type", metavar="NAME", help="Meeting type; default: the policy's first."),
]
Zone = Annotated[
    str, typer.Option("--zone", metavar="ZONE", help="IANA zone in which times are shown.")
]


@app.command()
def slots(
    email: Annotated[
        str | None,
        typer.Argument(metavar="[EMAIL]", help="Whose host is asked; nobody's: every rep."),
    ] = None,
    meeting_type: MeetingTypeName = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="INSTANT", help="From when on; default: now.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=62, help="How many days are looked at.")] = 7,
    zone: Zone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Show when somebody can be met, and by whom.

    Working hours, holidays, calendars, bookings, buffers, notice and caps all count; a rep whose calendar does not answer is left out.
    """
    from orchestration.cli.screens import print_rows

    shown_in = _zone(zone)
    first = instant_of(start, "--from") or datetime.now(UTC)
    with _desk(Settings()) as bookings:
        name = meeting_type or next(iter(bookings.hosts.rules().meeting_types))
        meeting = bookings.meeting_type(name)
        person_id = None if email is None else bookings.hosts.invitee(email).person_id
        found = bookings.slots(meeting, person_id, first, first + timedelta(days=days))
        names = {host.rep_id: host.name for host in bookings.hosts.hosts_for(person_id)}
    if as_json:
        print_json(
            [
                {"starts_at": slot.starts_at, "ends_at": slot.ends_at, "host_ids": slot.host_ids}
                for slot in found
            ]
        )
        return
    if not found:
        print(f"No free slots of {name} within {days} days from {first.isoformat()}.")
        return
    print_rows(
        ["from", "to", "zone", "hosts"],
        [
            (
                f"{slot.starts_at.astimezone(shown_in):%a %Y-%m-%d %H:%M}",
                f"{slot.ends_at.astimezone(shown_in):%H:%M}",
                f"{slot.starts_at.astimezone(shown_in):%z}",
                ", ".join(names[host_id] for host_id in slot.host_ids),
            )
            for slot in found
        ],
        "table",
    )


@app.command()
def link(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who may book with it.")],
    meeting_type: MeetingTypeName = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=366, help="How long it is good for; default: the policy's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a link with which one lead books one meeting, moves it or cancels it.

    Whoever has the link may book: it says in encrypted form for whom and for what it is, and until when. The same lead may have several.
    """
    from ingestion.edge.booking_links import BookingLinks
    from orchestration.edge_scheduling import ServingHosts

    settings = Settings()
    with closing(ServingHosts(settings)) as hosts:
        rules = hosts.rules()
        name = meeting_type or next(iter(rules.meeting_types))
        if name not in rules.meeting_types:
            raise HandoffError(
                "BAD_REQUEST",
                f"unknown meeting type {name!r:.80}; known: {', '.join(rules.meeting_types)}",
                remedy="Give --type one of them.",
            )
        invitee = hosts.invitee(email)
    life = rules.link_life if days is None else timedelta(days=days)
    links = BookingLinks(settings.edge_dir)
    token, made = links.issue(invitee, name, datetime.now(UTC), life)
    base = settings.edge_public_url or f"http://{settings.edge_host}:{settings.edge_port}"
    url = f"{base.rstrip('/')}/book/{token}"
    if as_json:
        print_json(
            {
                "url": url,
                "link_id": made.link_id,
                "email": invitee.email,
                "person_id": invitee.person_id,
                "meeting_type": name,
                "expires_at": made.expires_at,
            }
        )
        return
    print(url)


@app.command("list")
def list_bookings(
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="That begin from then on; default: now."),
    ] = None,
    rep: Annotated[
        str | None, typer.Option("--rep", metavar="EMAIL", help="One rep's alone.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")] = 100,
    zone: Zone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Show holds and bookings, by when they begin."""
    from ingestion.scheduling.databases import open_store
    from orchestration.cli.screens import print_rows

    shown_in = _zone(zone)
    first = instant_of(start, "--from") or datetime.now(UTC)
    with closing(open_store(Settings())) as store:
        found = store.bookings(start=first, host_email=rep and rep.lower(), limit=limit)
    if as_json:
        print_json([_shown(one) for one in found])
        return
    if not found:
        print(f"Nothing is booked from {first.isoformat()} on.")
        return
    print_rows(
        ["from", "zone", "type", "rep", "invitee", "state", "calendar", "booking"],
        [
            (
                f"{one.starts_at.astimezone(shown_in):%a %Y-%m-%d %H:%M}",
                f"{one.starts_at.astimezone(shown_in):%z}",
                one.meeting_type,
                one.host_email,
                one.email or "",
                one.state,
                f"{one.calendar_status}{', conflict' if one.has_conflict else ''}",
                one.booking_id,
            )
            for one in found
        ],
        "table",
    )


@app.command()
def repair(as_json: AsJson = False) -> None:
    """Tell the event log and the calendars of bookings they do not know of yet.

    What a crash or a calendar that was away left untold; `handoff serve` does the same every minute. Nothing is told twice in effect. Exit
    code 1 when something still waits.
    """
    with _desk(Settings()) as bookings:
        # Also what was decided just now: whoever asks wants to know how it stands.
        done = bookings.repair(timedelta(seconds=-1))
    if as_json:
        print_json({"told": done.told, "waiting": done.waiting})
    else:
        print(f"{done.told} told, {done.waiting} still waiting")
    if done.waiting:
        raise typer.Exit(EXIT_CHECKS)


@contextmanager
def _desk(settings: Settings) -> Iterator[Bookings]:
    import structlog

    from ingestion.log.owner import open_log
    from ingestion.scheduling.bookings import Bookings
    from ingestion.scheduling.calendars import Calendars
    from ingestion.scheduling.databases import open_store
    from orchestration.edge_scheduling import ServingHosts

    if not structlog.is_configured():
        # What is warned of must not stand in what is printed for programs.
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    with (
        closing(ServingHosts(settings)) as hosts,
        closing(open_store(settings)) as store,
        closing(open_log(settings)) as log,
        closing(Bookings(store, log, hosts, Calendars(settings))) as bookings,
    ):
        yield bookings


def _zone(name: str) -> Any:
    try:
        return time_zones.zone(name)
    except ValueError as error:
        raise HandoffError("BAD_REQUEST", str(error), remedy="Give --zone Europe/Berlin.") from None


def _shown(one: Any) -> dict[str, Any]:
    return {
        "booking_id": one.booking_id,
        "state": one.state,
        "revision": one.revision,
        "meeting_type": one.meeting_type,
        "starts_at": one.starts_at,
        "ends_at": one.ends_at,
        "time_zone": one.time_zone,
        "rep_id": one.host_id,
        "rep_email": one.host_email,
        "email": one.email,
        "calendar_status": one.calendar_status,
        "has_conflict": one.has_conflict,
        "is_logged": one.logged_revision >= one.revision,
    }
