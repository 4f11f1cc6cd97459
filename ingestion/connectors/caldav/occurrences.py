"""What an iCalendar object says takes place within a window: rules, exceptions and zones resolved to
instants (RFC 5545); nothing of HTTP is here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from ingestion import time_zones

# A rule may go on for ever, or every second: nobody meets so often.
MOST_STEPS = 20_000
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """A zone of an object: `name` is IANA's, None when its VTIMEZONE is like no zone there is."""

    name: str | None
    zone: tzinfo

    def instant(self, wall: datetime) -> datetime:
        """The instant at which it shows `wall`: the first of two, and in a gap by the offset before
        (RFC 5545, 3.3.5)."""
        return wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)

    def wall(self, instant: datetime) -> datetime:
        """What it shows at an instant."""
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a component begins: on the clock, and whether it is of whole days."""

    wall: datetime
    clock: Clock
    is_all_day: bool


def expand(
    text: str, calendar_zone: str, window: tuple[datetime, datetime]
) -> tuple[str | None, list[dict[str, Any]]]:
    """UID and occurrences of the VEVENTs of one object, by start; of what repeats, those that overlap
    the half-open `window`.

    Each occurrence is JSON: `recurrence_id` (UTC basic format, None of what does not repeat), `start`
    and `end` (UTC), `time_zone`, `is_all_day`, `status`, `transparency`, `summary`, `categories`, `organizer`,
    `attendees`, `sequence`, `created`, `last_modified`. Whole days and floating times
    are those of `calendar_zone`. What EXDATE leaves out is left out; what is called off by an
    override is there, CANCELLED. Raises ValueError for what is no iCalendar object.
    """
    import icalendar

    calendar = icalendar.Calendar.from_ical(text)
    clocks = _Clocks(calendar, calendar_zone)
    events = [event for event in calendar.walk("VEVENT") if "DTSTART" in event]
    masters = [event for event in events if "RECURRENCE-ID" not in event]
    uids = [str(event["UID"]) for event in events if "UID" in event]
    found: list[dict[str, Any]] = []
    overrides = [_Override.of(event, clocks) for event in events if "RECURRENCE-ID" in event]
    replaced = {override.replaces for override in overrides}
    lasting = sorted((one for one in overrides if one.is_lasting), key=lambda one: one.replaces)
    repeats = bool(masters) and any(name in masters[0] for name in ("RRULE", "RDATE"))
    for master in masters[:1]:
        start = clocks.start(master["DTSTART"])
        for wall in _walls(master, start, clocks, window[1]):
            at = start.clock.instant(wall)
            if at in replaced:
                continue
            shown, begins = master, _Start(wall, start.clock, start.is_all_day)
            for override in lasting:
                if override.replaces < at:
                    moved = override.start.clock.wall(at) + override.moved_by
                    shown = override.event
                    begins = _Start(moved, override.start.clock, override.start.is_all_day)
            named = at if repeats or overrides else None
            found.append(_occurrence(shown, begins, named, clocks))
    # An attendee who was asked to one occurrence has an override and nothing it overrides.
    found += (
        _occurrence(override.event, override.start, override.replaces, clocks)
        for override in overrides
    )
    first, last = window
    kept = [
        one
        for one in found
        if not repeats
        or (
            datetime.fromisoformat(one["start"]) < last
            and datetime.fromisoformat(one["end"]) > first
        )
    ]
    return (uids[0] if uids else None), sorted(kept, key=lambda one: (one["start"], str(one)))


class _Clocks:
    """Zones that an object names, each resolved once."""

    def __init__(self, calendar: Any, calendar_zone: str) -> None:
        self.default = Clock(calendar_zone, time_zones.zone(calendar_zone))
        self._defined = {str(zone.get("TZID", "")): zone for zone in calendar.walk("VTIMEZONE")}
        self._known: dict[str, Clock] = {"UTC": Clock("UTC", UTC)}

    def start(self, value: Any) -> _Start:
        """Of a property that holds a date, or an instant in some form."""
        return self.moment(value.dt, str(value.params.get("TZID", "")))

    def moment(self, value: Any, zone_id: str) -> _Start:
        """A date is its midnight, a clock time without zone is the calendar's."""
        if not isinstance(value, datetime):
            return _Start(datetime.combine(value, time()), self.default, True)
        if value.tzinfo is None and not zone_id:
            return _Start(value, self.default, False)
        clock = self._clock(zone_id, value.tzinfo) if zone_id else self._known["UTC"]
        if not zone_id:
            value = value.astimezone(UTC)
        return _Start(value.replace(tzinfo=None, fold=0), clock, False)

    def _clock(self, zone_id: str, parsed: tzinfo | None) -> Clock:
        if zone_id not in self._known:
            self._known[zone_id] = self._resolved(zone_id, parsed)
        return self._known[zone_id]

    def _resolved(self, zone_id: str, parsed: tzinfo | None) -> Clock:
        defined = self._defined.get(zone_id)
        told = [zone_id, str(defined.get("X-LIC-LOCATION", "")) if defined is not None else ""]
        for name in told:
            if (known := iana_name(name)) is not None:
                return Clock(known, time_zones.zone(known))
        # Looked up by its name it could be another object's zone of the same name.
        own = defined.to_tz(lookup_tzid=False) if defined is not None else parsed
        if own is None:
            # Named, nowhere defined: RFC 5545 has no answer; the calendar's zone is the best guess.
            return Clock(None, self.default.zone)
        alike = _like(own, self.default.name or "UTC")
        return Clock(alike, time_zones.zone(alike) if alike else own)


def iana_name(zone_id: str) -> str | None:
    """IANA's name for a TZID: the name itself, behind a vendor's path (`/example.org/2026a/Europe/Berlin`),
    or Windows' name for it (Unicode CLDR); None for any other."""
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    parts = zone_id.strip().strip('"').strip("/").split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        if name in time_zones.names():
            return name
    windows = WINDOWS_TO_OLSON.get(zone_id.strip())
    return windows if windows in time_zones.names() else None


def _like(own: tzinfo, first: str) -> str | None:
    """A zone that has the offsets of `own` in every week of two years, `first` before others."""
    weeks = [datetime(2026, 1, 1, 12) + timedelta(days=7 * week) for week in range(104)]
    wanted = [week.replace(tzinfo=own).utcoffset() for week in weeks]
    for name in (first, *sorted(time_zones.names())):
        if "/" not in name and name != first:
            continue
        zone = time_zones.zone(name)
        if all(
            week.replace(tzinfo=zone).utcoffset() == offset
            for week, offset in zip(weeks, wanted, strict=True)
        ):
            return name
    return None


@dataclass(frozen=True, slots=True)
class _Override:
    """A component that says otherwise of the occurrence at `replaces`, and with RANGE=THISANDFUTURE
    of all after it, which it moves by `moved_by`."""

    event: Any
    start: _Start
    replaces: datetime
    is_lasting: bool
    moved_by: timedelta

    @staticmethod
    def of(event: Any, clocks: _Clocks) -> _Override:
        replaced = clocks.start(event["RECURRENCE-ID"])
        start = clocks.start(event["DTSTART"])
        at = replaced.clock.instant(replaced.wall)
        is_lasting = event["RECURRENCE-ID"].params.get("RANGE") == "THISANDFUTURE"
        return _Override(event, start, at, is_lasting, start.wall - start.clock.wall(at))


def _walls(event: Any, start: _Start, clocks: _Clocks, end: datetime) -> Iterator[datetime]:
    """Clock times at which a component begins, in order, until `end`.

    Rules go by the clock of the zone: nine o'clock stays nine o'clock when summer time ends.
    """
    from dateutil.rrule import rruleset, rrulestr

    if not any(name in event for name in ("RRULE", "RDATE", "EXRULE")):
        excluded = set(_listed(event, "EXDATE", start, clocks))
        if start.wall not in excluded:
            yield start.wall
        return
    rules = rruleset()
    for name in ("RRULE", "EXRULE"):
        for rule in _values(event, name):
            parsed = rrulestr(_rule_text(rule, start), dtstart=start.wall)
            rules.rrule(parsed) if name == "RRULE" else rules.exrule(parsed)
    if "RRULE" not in event:
        rules.rdate(start.wall)
    for wall in _listed(event, "RDATE", start, clocks):
        rules.rdate(wall)
    for wall in _listed(event, "EXDATE", start, clocks):
        rules.exdate(wall)
    last = start.clock.wall(end)
    for number, wall in enumerate(rules):
        if wall >= last or number >= MOST_STEPS:
            return
        yield wall


def _rule_text(rule: Any, start: _Start) -> str:
    """The rule with UNTIL on the event's own clock: it is written in UTC (RFC 5545, 3.3.10)."""
    parts = []
    for part in rule.to_ical().decode().split(";"):
        name, _, value = part.partition("=")
        if name.upper() == "UNTIL" and value.endswith("Z"):
            until = datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            value = start.clock.wall(until).strftime("%Y%m%dT%H%M%S")
        parts.append(f"{name}={value}")
    return ";".join(parts)


def _listed(event: Any, name: str, start: _Start, clocks: _Clocks) -> Iterator[datetime]:
    """Moments of RDATE and EXDATE on the clock of the event."""
    for prop in _values(event, name):
        zone_id = str(prop.params.get("TZID", ""))
        for one in prop.dts:
            value = one.dt[0] if isinstance(one.dt, tuple) else one.dt
            moment = clocks.moment(value, zone_id)
            if moment.is_all_day and not start.is_all_day:
                # A day where a moment belongs, as some clients write: the occurrence of that day.
                yield datetime.combine(moment.wall.date(), start.wall.time())
            elif moment.is_all_day:
                yield moment.wall
            else:
                yield start.clock.wall(moment.clock.instant(moment.wall))


def _values(event: Any, name: str) -> list[Any]:
    value = event.get(name)
    return [] if value is None else value if isinstance(value, list) else [value]


def _occurrence(
    event: Any, start: _Start, recurrence: datetime | None, clocks: _Clocks
) -> dict[str, Any]:
    begins = start.clock.instant(start.wall)
    attendees = [_attendee(one) for one in _values(event, "ATTENDEE")]
    return {
        "recurrence_id": recurrence.strftime("%Y%m%dT%H%M%SZ") if recurrence else None,
        "start": _rfc3339(begins),
        "end": _rfc3339(_end(event, start, begins, clocks)),
        "time_zone": start.clock.name,
        "is_all_day": start.is_all_day,
        "status": str(event.get("STATUS", "CONFIRMED")).upper(),
        "transparency": str(event.get("TRANSP", "OPAQUE")).upper(),
        "summary": str(event.get("SUMMARY", "")),
        "categories": [str(name) for value in _values(event, "CATEGORIES") for name in value.cats],
        "organizer": _address(event.get("ORGANIZER")),
        "attendees": attendees,
        "sequence": int(event.get("SEQUENCE", 0)),
        "created": _stamp(event.get("CREATED")),
        "last_modified": _stamp(event.get("LAST-MODIFIED")),
    }


def _end(event: Any, start: _Start, begins: datetime, clocks: _Clocks) -> datetime:
    """Days go by the clock, hours by time that passes."""
    own = clocks.start(event["DTSTART"])
    if "DTEND" in event:
        until = clocks.start(event["DTEND"])
        if own.is_all_day:
            return start.clock.instant(start.wall + (until.wall - own.wall))
        return begins + (until.clock.instant(until.wall) - own.clock.instant(own.wall))
    if "DURATION" in event:
        length = event["DURATION"].dt
        day = start.clock.instant(start.wall + length.days * _DAY)
        return day + timedelta(seconds=length.seconds)
    return start.clock.instant(start.wall + _DAY) if own.is_all_day else begins


def _attendee(value: Any) -> dict[str, str]:
    return {
        "email": _address(value) or "",
        "partstat": str(value.params.get("PARTSTAT", "NEEDS-ACTION")).upper(),
        "cutype": str(value.params.get("CUTYPE", "INDIVIDUAL")).upper(),
    }


def _address(value: Any) -> str | None:
    """E-mail address of a calendar user; a server that writes another URI may name it in EMAIL
    (RFC 7986, 6.2)."""
    if value is None:
        return None
    text = str(value)
    if text.lower().startswith("mailto:"):
        return text[len("mailto:") :].strip().lower() or None
    named = str(value.params.get("EMAIL", ""))
    return named.strip().lower() or None


def _stamp(value: Any) -> str | None:
    moment = getattr(value, "dt", None)
    if not isinstance(moment, datetime):
        return None
    return _rfc3339(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _rfc3339(moment: datetime | date) -> str:
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
