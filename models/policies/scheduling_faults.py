"""What a well-formed scheduling policy may still not say: hours that never come, zones and holidays nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from models.policies.problems import Fault, Location
from models.policies.scheduling import (
    TITLE_FIELDS,
    HolidayCalendar,
    MeetingType,
    SchedulingPolicy,
    WorkingTime,
)
from models.policies.wording import known, repeated

DAY_MINUTES = 1_440


def scheduling_faults(policy: SchedulingPolicy) -> Iterator[Fault]:
    """Every fault of one scheduling policy."""
    yield from _zone(("time_zone",), policy.time_zone)
    yield from _hours(("working_hours",), policy.working_hours)
    yield from _holidays(("holidays",), policy.holidays)
    for index, _, name in repeated(one.name for one in policy.meeting_types):
        yield Fault(
            ("meeting_types", index, "name"),
            f"meeting type '{name}' occurs twice",
            "Give each a name of its own: links and bookings go by it.",
        )
    for index, meeting in enumerate(policy.meeting_types):
        yield from _meeting_type(("meeting_types", index), meeting)
    for index, _, email in repeated(one.rep_email.lower() for one in policy.reps):
        yield Fault(
            ("reps", index, "rep_email"), f"'{email}' occurs twice", "Put it into one entry."
        )
    for index, rep in enumerate(policy.reps):
        if rep.time_zone is not None:
            yield from _zone(("reps", index, "time_zone"), rep.time_zone)
        yield from _hours(("reps", index, "working_hours"), rep.working_hours)
        yield from _holidays(("reps", index, "holidays"), rep.holidays)
        for place, _, calendar in repeated((one.system, one.id.lower()) for one in rep.calendars):
            yield Fault(
                ("reps", index, "calendars", place),
                f"calendar '{calendar[1]}' occurs twice",
                "Remove one of the two.",
            )


def _meeting_type(at: Location, meeting: MeetingType) -> Iterator[Fault]:
    if DAY_MINUTES % meeting.slot_step_minutes:
        yield Fault(
            (*at, "slot_step_minutes"),
            f"slot_step_minutes {meeting.slot_step_minutes} does not divide a day",
            "Slots begin at the same times every day: give 5, 10, 15, 20, 30, 60, …",
        )
    if meeting.minimum_notice_minutes >= meeting.horizon_days * DAY_MINUTES:
        yield Fault(
            (*at, "minimum_notice_minutes"),
            "nothing can be booked: the notice is as long as the horizon",
            "Shorten minimum_notice_minutes, or lengthen horizon_days.",
        )
    try:
        named = [name for _, name, _, _ in Formatter().parse(meeting.title) if name is not None]
    except ValueError as error:
        yield Fault((*at, "title"), f"title '{meeting.title}': {error}", "Close every brace.")
        return
    for name in named:
        if name not in TITLE_FIELDS:
            yield Fault(
                (*at, "title"),
                f"title names '{{{name}}}'{known(name, TITLE_FIELDS)}",
                "Name one of the known ones in braces.",
            )


def _zone(at: Location, name: str) -> Iterator[Fault]:
    from ingestion import time_zones

    if name not in time_zones.names():
        yield Fault(
            at,
            f"unknown time zone '{name}'{known(name, sorted(time_zones.names()))[:80]}",
            "Give an IANA name, for example Europe/Berlin.",
        )


def _hours(at: Location, hours: tuple[WorkingTime, ...]) -> Iterator[Fault]:
    taken: dict[int, list[tuple[str, str]]] = {}
    for index, one in enumerate(hours):
        if one.end <= one.start:
            yield Fault(
                (*at, index, "end"),
                f"work ends at {one.end}, not after {one.start} when it begins",
                "Hours past midnight are two entries: one to 24:00, and from 00:00 on the next day.",
            )
            continue
        for day in one.days:
            if any(one.start < end and start < one.end for start, end in taken.get(day, [])):
                yield Fault(
                    (*at, index),
                    f"{one.start} to {one.end} overlaps other hours of day {day}",
                    "Join the two, or move one.",
                )
                break
            taken.setdefault(day, []).append((one.start, one.end))


def _holidays(at: Location, calendar: HolidayCalendar | None) -> Iterator[Fault]:
    import holidays

    if calendar is None:
        return
    supported = holidays.list_supported_countries()
    if calendar.country not in supported:
        yield Fault(
            (*at, "country"),
            f"no holidays are known of '{calendar.country}'",
            "Leave holidays out, or name a country the library `holidays` knows.",
        )
    elif calendar.subdivision is not None and calendar.subdivision not in (
        subdivisions := supported[calendar.country]
    ):
        yield Fault(
            (*at, "subdivision"),
            f"unknown subdivision '{calendar.subdivision}' of {calendar.country}{known(calendar.subdivision, subdivisions)}",
            "Correct the code, or leave it out for the holidays of the whole country.",
        )
