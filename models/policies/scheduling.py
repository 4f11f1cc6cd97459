"""The shape of the scheduling policy: when reps can be met, for what, and which calendars say that they are taken."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.policies.documents import Country, Email, Name, Part, PolicyDocument, Text

TITLE_FIELDS = ("meeting", "host", "invitee")
"""What a title may name in braces: the meeting type's label, the rep's name, the invitee's."""

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
EndTime = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Weekday = Annotated[int, Field(ge=1, le=7)]
Minutes = Annotated[int, Field(ge=0, le=1_440)]


class WorkingTime(Part):
    """Hours of some days of the week, by the clock on the rep's wall."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = Field(
        description="ISO weekdays: 1 is Monday, 7 is Sunday."
    )
    start: ClockTime = Field(description="HH:MM when work begins.")
    end: EndTime = Field(description="HH:MM when work ends, up to 24:00; after the start.")


class HolidayCalendar(Part):
    """Public holidays, by the library `holidays`."""

    country: Country
    subdivision: Text | None = Field(
        None, description="State or province by its ISO 3166-2 code without the country, e.g. BY."
    )


class CalendarName(Part):
    """One calendar of a rep."""

    system: Literal["calendar", "caldav"] = Field(description="calendar is Google's.")
    id: Text = Field(
        description="Google's id of the calendar; for CalDAV the owner's address, or the path of a calendar without one."
    )


class RepSchedule(Part):
    """What holds for one rep instead of the defaults."""

    rep_email: Email
    time_zone: Text | None = Field(None, description="IANA name; absent: as the CRM says.")
    working_hours: tuple[WorkingTime, ...] = Field(
        (), description="Absent: as the CRM says, and where it says nothing the default."
    )
    holidays: HolidayCalendar | None = Field(None, description="Absent: the default.")
    calendars: tuple[CalendarName, ...] = Field(
        (),
        description="Each must be free; bookings are written to the first. Absent: the one of the rep's address in each configured system.",
    )


class MeetingType(Part):
    """What can be booked."""

    name: Name = Field(description="Stable name: links, the API and the log call it so.")
    label: Text = Field(description="What the invitee reads.")
    duration_minutes: int = Field(ge=1, le=1_440)
    slot_step_minutes: int = Field(
        30, ge=1, le=1_440, description="Slots begin where the minutes since midnight divide by it."
    )
    buffer_before_minutes: Minutes = Field(0, description="Kept free before; nobody is met then.")
    buffer_after_minutes: Minutes = Field(0, description="Kept free after.")
    minimum_notice_minutes: int = Field(
        120, ge=0, le=129_600, description="Nothing begins sooner than so many minutes from now."
    )
    horizon_days: int = Field(30, ge=1, le=366, description="Nor later than so many days from now.")
    daily_cap: int | None = Field(
        None, ge=1, description="Most meetings of this type for one rep on one day; absent: any."
    )
    hold_minutes: int = Field(
        10, ge=1, le=1_440, description="How long a slot is held for who is about to book it."
    )
    title: Text = Field(
        "{meeting}: {invitee} and {host}",
        description="Of the event in the calendar; may name {meeting}, {host} and {invitee}.",
    )
    description: Text | None = Field(None, description="What the invitee and the event say of it.")
    location: Text | None = Field(None, description="Where: a place, or the address of a call.")
    reminder_minutes: tuple[Minutes, ...] = Field(
        (), description="Minutes before the beginning at which the calendar reminds."
    )


class SchedulingPolicy(PolicyDocument):
    """When reps can be met and for what. Bookings are decided by the edge, so nothing of it is a table."""

    time_zone: Text = Field(
        "UTC", description="IANA name of the zone of reps of whom nobody says one."
    )
    working_hours: Annotated[tuple[WorkingTime, ...], Field(min_length=1)] = Field(
        description="Of reps of whom nobody says any; several a day leave breaks between them."
    )
    holidays: HolidayCalendar | None = Field(
        None, description="Days on which nobody is met; absent: none."
    )
    tentative_blocks: bool = Field(
        True, description="Whether what is tentative, or not answered yet, takes a rep's time."
    )
    travel_markers: tuple[Text, ...] = Field(
        (),
        description="A whole day whose title or category has one of these words is taken even when its event is shown as free.",
    )
    offer_pool: bool = Field(
        False,
        description="true: where the owner is taken, other reps of the territory are offered; false: a lead with an owner meets the owner.",
    )
    link_days: int = Field(14, ge=1, le=366, description="How long a link to book is good for.")
    meeting_types: Annotated[tuple[MeetingType, ...], Field(min_length=1)]
    reps: tuple[RepSchedule, ...] = ()
