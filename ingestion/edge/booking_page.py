"""Draws the booking page from what booking_doors.py hands it: plain HTML that works without script; it asks nobody anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from urllib.parse import urlencode

from ingestion import time_zones
from ingestion.edge.booking_look import SCRIPT, STYLE
from ingestion.scheduling.hosts import Invitee, MeetingType
from ingestion.scheduling.store import Booking

# Names people know; Etc/GMT+5 means the reverse of what it says.
_HIDDEN = ("Etc/", "SystemV/", "US/", "Mexico/", "Chile/", "Brazil/", "Canada/")


@dataclass(frozen=True, slots=True)
class Shown:
    """What every page of a link shows: `path` is its own address without query, `zone` (IANA) the one
    times are shown in, `note` something that went wrong or right."""

    path: str
    meeting: MeetingType
    invitee: Invitee
    zone: str
    host_name: str | None
    note: str = ""
    is_bad: bool = False


def choosing_page(
    shown: Shown,
    slots: Sequence[datetime],
    first_day: date,
    today: date,
    last_day: date,
    moved: Booking | None = None,
) -> str:
    """Free times of seven days from `first_day` on; of a booking that is moved, where to."""
    days: dict[date, list[datetime]] = {}
    place = time_zones.zone(shown.zone)
    for at in slots:
        days.setdefault(at.astimezone(place).date(), []).append(at)
    keep = {"move": "1"} if moved is not None else {}
    blocks = "".join(_day(day, days[day], shown, keep) for day in sorted(days))
    if not blocks:
        blocks = '<p class="note">No free times in these seven days. Look further ahead.</p>'
    week = timedelta(days=7)
    steps = []
    if first_day > today:
        earlier = max(first_day - week, today)
        steps.append(_link(shown, "← Earlier", {"from": earlier.isoformat(), **keep}))
    if first_day + week <= last_day:
        steps.append(_link(shown, "Later →", {"from": (first_day + week).isoformat(), **keep}))
    heading = "Choose another time" if moved is not None else f"Book: {shown.meeting.label}"
    before = ""
    if moved is not None:
        before = (
            f'<p class="soft">Now: {_when(moved.starts_at, shown.zone)}.'
            f" {_link(shown, 'Leave it there', {})}</p>"
        )
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in {"from": first_day.isoformat(), **keep}.items()
    )
    return _page(
        heading,
        shown,
        f"""{_about(shown)}{before}
<form class="row" method="get" action="{escape(shown.path)}">{hidden}
<label>Time zone<select id="zone" name="zone">{_zones(shown.zone)}</select></label>
<button>Show times there</button></form>
<p class="soft">Times are in <strong>{escape(shown.zone)}</strong> ({_offset(slots[0] if slots else None, shown.zone)}).</p>
{blocks}<nav>{"".join(steps)}</nav>""",
    )


def confirming_page(shown: Shown, at: datetime, key: str, moved: Booking | None = None) -> str:
    """One time, and the button that books it; `key` makes a second press the same booking."""
    asks_name = (
        ""
        if moved is not None
        else f"""
<label>Your name<input name="name" maxlength="200" autocomplete="name" value="{escape(shown.invitee.name or "")}"></label>"""
    )
    action = "reschedule" if moved is not None else "book"
    label = "Move the meeting" if moved is not None else "Book this time"
    back = {"move": "1"} if moved is not None else {}
    return _page(
        "Is this the time?",
        shown,
        f"""{_about(shown)}
<div class="card"><p class="when">{_when(at, shown.zone)}</p>
<p class="soft">{_minutes(shown.meeting)} minutes, in {escape(shown.zone)}</p>
<form method="post" action="{escape(shown.path)}">
<input type="hidden" name="action" value="{action}"><input type="hidden" name="key" value="{escape(key)}">
<input type="hidden" name="at" value="{at.isoformat()}"><input type="hidden" name="zone" value="{escape(shown.zone)}">
<p>The invitation goes to <strong>{escape(shown.invitee.email)}</strong>.</p>{asks_name}
<div class="row"><button class="main">{label}</button></div></form></div>
<p>{_link(shown, "Choose another time", back)}</p>""",
    )


def booked_page(shown: Shown, booking: Booking) -> str:
    """The booking of a link, and what can still be done about it."""
    calendar = {
        "none": "",
        "written": f"<p>It stands in {escape(booking.host_name)}'s calendar.</p>",
        "pending": f'<p class="soft">{escape(booking.host_name)}\'s calendar will have it in a moment.</p>',
    }[booking.calendar_status]
    place = f"<dt>Where</dt><dd>{escape(booking.location)}</dd>" if booking.location else ""
    query = urlencode({"zone": shown.zone})
    return _page(
        "You are booked",
        shown,
        f"""<div class="card"><p class="when">{_when(booking.starts_at, shown.zone)}</p>
<dl><dt>What</dt><dd>{escape(shown.meeting.label)}, {_minutes(shown.meeting)} minutes</dd>
<dt>With</dt><dd>{escape(booking.host_name)}</dd>
<dt>Zone</dt><dd>{escape(shown.zone)} ({_offset(booking.starts_at, shown.zone)})</dd>{place}
<dt>Invited</dt><dd>{escape(booking.email or "")}</dd></dl>{calendar}
<div class="row"><a class="button" href="{escape(shown.path)}/meeting.ics">Add to my calendar</a>
<a class="button" href="{escape(shown.path)}?{escape(query)}&amp;move=1">Choose another time</a></div>
<form method="post" action="{escape(shown.path)}"><input type="hidden" name="action" value="cancel">
<input type="hidden" name="zone" value="{escape(shown.zone)}"><button class="bad">Cancel the meeting</button></form></div>""",
    )


def over_page(shown: Shown, booking: Booking) -> str:
    """A booking that was called off or has taken place; booking anew is one step away."""
    state = {
        "cancelled": "This meeting is cancelled",
        "held": "This meeting took place",
        "no_show": "This meeting is over",
    }.get(booking.state, "This meeting is over")
    return _page(
        state,
        shown,
        f"""<div class="card"><p class="when">{_when(booking.starts_at, shown.zone)}</p>
<p class="soft">{escape(shown.meeting.label)} with {escape(booking.host_name)}</p></div>
<p>{_link(shown, "Book another time", {"again": "1"})}</p>""",
    )


def refused_page(heading: str, text: str, reference: str) -> str:
    """A page for somebody whose link, or whose wish, cannot be taken; `reference` is to ask with."""
    return _document(
        heading,
        f"""<h1>{escape(heading)}</h1><div class="card"><p>{escape(text)}</p></div>
<footer>Reference {escape(reference)}</footer>""",
    )


def _page(heading: str, shown: Shown, content: str) -> str:
    note = ""
    if shown.note:
        tone, role = ("bad", "alert") if shown.is_bad else ("good", "status")
        note = f'<p class="note {tone}" role="{role}">{escape(shown.note)}</p>'
    return _document(heading, f"<h1>{escape(heading)}</h1>{note}{content}")


def _document(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><main>{content}</main>
<script>{SCRIPT}</script></body></html>"""


def _about(shown: Shown) -> str:
    who = f" with {escape(shown.host_name)}" if shown.host_name else ""
    text = f"<p>{escape(shown.meeting.description)}</p>" if shown.meeting.description else ""
    place = f" · {escape(shown.meeting.location)}" if shown.meeting.location else ""
    return (
        f'<p class="soft">{escape(shown.meeting.label)}{who} · {_minutes(shown.meeting)} minutes{place}</p>'
        f"{text}"
    )


def _day(day: date, slots: Sequence[datetime], shown: Shown, keep: dict[str, str]) -> str:
    place = time_zones.zone(shown.zone)
    clocks = [f"{at.astimezone(place):%H:%M}" for at in slots]
    items = []
    for at, clock in zip(slots, clocks, strict=True):
        # The hour that comes twice: which of the two says the offset.
        which = f" {_offset(at, shown.zone)}" if clocks.count(clock) > 1 else ""
        query = urlencode({"at": at.isoformat(), "zone": shown.zone, **keep})
        items.append(
            f'<li><a href="{escape(shown.path)}?{escape(query)}" rel="nofollow">{clock}{which}</a></li>'
        )
    return f'<h2>{day:%A}, {day.day} {day:%B %Y}</h2><ul class="times">{"".join(items)}</ul>'


def _when(at: datetime, zone: str) -> str:
    local = at.astimezone(time_zones.zone(zone))
    return f"{local:%A}, {local.day} {local:%B %Y}, {local:%H:%M} ({_offset(at, zone)})"


def _offset(at: datetime | None, zone: str) -> str:
    """The offset as people write it: UTC+5:45."""
    place = time_zones.zone(zone)
    local = (at or datetime.now(place)).astimezone(place)
    offset = local.utcoffset() or timedelta(0)
    minutes = int(offset.total_seconds() // 60)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    rest = f":{minutes % 60:02}" if minutes % 60 else ""
    return f"UTC{sign}{minutes // 60}{rest}"


def _zones(chosen: str) -> str:
    names = sorted(
        name
        for name in time_zones.names()
        if name in (chosen, "UTC") or ("/" in name and not name.startswith(_HIDDEN))
    )
    return "".join(
        f'<option{" selected" if name == chosen else ""} value="{escape(name)}">{escape(name.replace("_", " "))}</option>'
        for name in names
    )


def _link(shown: Shown, text: str, query: dict[str, str]) -> str:
    where = f"{shown.path}?{urlencode({'zone': shown.zone, **query})}"
    return f'<a href="{escape(where)}">{escape(text)}</a>'


def _minutes(meeting: MeetingType) -> int:
    return int(meeting.duration.total_seconds() // 60)
