"""Answers the booking desk's questions, who can be met and by which rules, from the serving file and the active policy, in a process of its own."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ingestion import time_zones
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.calendars import default_calendar
from ingestion.scheduling.hosts import (
    CalendarName,
    HolidayCalendar,
    Host,
    Invitee,
    MeetingType,
    Rules,
    WorkingTime,
)
from ingestion.settings import Settings
from orchestration.named_rows import named_rows
from orchestration.serving_process import ServingProcess

if TYPE_CHECKING:
    from models.policies import scheduling as policy

Kept = TypeVar("Kept")

# How long an answer is believed: a policy or a publication is noticed within.
RULES_SECONDS, HOSTS_SECONDS = 15.0, 5.0
REMEMBERED = 4_096
# Meetings of so long before count when they are shared out.
COUNTED_DAYS = 28
_HOURS = re.compile(r"(\d{2}):(\d{2})\s*-\s*(\d{2}):(\d{2})")
_REPS = "select * from marts.dim_reps where is_active and email is not null"
_ASSIGNMENT = """
    select rep_id, territory from marts.fct_assignments where person_id = $person_id
    order by assigned_at desc, assignment_number desc, assignment_id limit 1
"""
_ABSENCES = """
    select rep_id, starts_at, ends_at from marts.fct_rep_absences
    where is_known and ends_at > $now::timestamptz
    order by rep_id, starts_at, ends_at
"""
_MEETINGS = """
    select rep_id, count(*) as meeting_count from marts.fct_meetings
    where status in ('booked', 'rescheduled', 'held') and starts_at >= $since and rep_id is not null
    group by rep_id
"""


class ServingHosts(ServingProcess):
    """`ingestion.scheduling.hosts.Hosts` from what was published last."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing yet; `clock` says which meetings count."""
        super().__init__(settings)
        self._clock = clock
        self._monotonic = monotonic
        self._kept: dict[Hashable, tuple[float, Any]] = {}
        self._guard = threading.Lock()

    def rules(self) -> Rules:
        """The rules in force."""
        return self._remembered(("rules",), RULES_SECONDS, lambda: self._ask_now(active_rules))

    def hosts_for(self, person_id: str | None) -> Sequence[Host]:
        """Whom the person should meet, first who should get the meeting."""
        return self._remembered(
            ("hosts", person_id),
            HOSTS_SECONDS,
            lambda: self._ask_now(hosts_for, person_id, self._clock()),
        )

    def host(self, rep_id: str) -> Host | None:
        """One rep, None for somebody who cannot be met any more."""
        return self._remembered(
            ("host", rep_id), HOSTS_SECONDS, lambda: self._ask_now(host_of, rep_id, self._clock())
        )

    def invitee(self, email: str) -> Invitee:
        """The person with this address."""
        return self._ask_now(invitee_of, email)

    def _remembered(self, key: Hashable, seconds: float, ask: Callable[[], Kept]) -> Kept:
        now = self._monotonic()
        with self._guard:
            until, kept = self._kept.get(key, (0.0, None))
        if now < until:
            return cast(Kept, kept)
        found = ask()
        with self._guard:
            if len(self._kept) >= REMEMBERED:
                self._kept.clear()
            self._kept[key] = (now + seconds, found)
        return found


def active_rules(settings: Settings) -> Rules:
    """The active scheduling policy as the booking desk takes it; POLICY_INVALID."""
    version, document = _policy(settings)
    return Rules(
        version=version,
        meeting_types={one.name: _meeting_type(one) for one in document.meeting_types},
        tentative_blocks=document.tentative_blocks,
        travel_markers=document.travel_markers,
        link_life=timedelta(days=document.link_days),
    )


def hosts_for(settings: Settings, person_id: str | None, now: datetime) -> list[Host]:
    """The owner of a person; without one, and after one where the policy offers the pool, the active
    reps of the territory, by fewest meetings since COUNTED_DAYS ago. Before routing has placed
    somebody every active rep is of the pool. SERVING_MISSING before anything was published.
    """
    _, document = _policy(settings)
    with _serving(settings) as connection:
        reps = {row["rep_id"]: row for row in named_rows(connection.execute(_REPS))}
        placed = named_rows(connection.execute(_ASSIGNMENT, {"person_id": person_id}))
        since = now - timedelta(days=COUNTED_DAYS)
        counted = named_rows(connection.execute(_MEETINGS, {"since": since}))
        away = _absences(connection, now)
    owner = reps.get(placed[0]["rep_id"]) if placed else None
    territory = placed[0]["territory"] if placed else None
    counts = {row["rep_id"]: row["meeting_count"] for row in counted}
    if owner is not None and not document.offer_pool:
        chosen = [owner]
    else:
        pool = [
            rep
            for rep in reps.values()
            if rep is not owner and (territory is None or territory in _texts(rep["territories"]))
        ]
        # A hash, so that of two with as many meetings not always the same is first for everybody.
        pool.sort(key=lambda rep: (counts.get(rep["rep_id"], 0), _tie(rep["rep_id"], person_id)))
        chosen = [*([] if owner is None else [owner]), *pool]
    return [_host(settings, document, rep, away) for rep in chosen]


def host_of(settings: Settings, rep_id: str, now: datetime) -> Host | None:
    """One active rep."""
    _, document = _policy(settings)
    with _serving(settings) as connection:
        found = named_rows(connection.execute(f"{_REPS} and rep_id = $rep_id", {"rep_id": rep_id}))
        away = _absences(connection, now)
    return _host(settings, document, found[0], away) if found else None


def _absences(connection: Any, now: datetime) -> dict[str, list[tuple[datetime, datetime]]]:
    """When reps are away from now on, as routing knows it: a directory says it of whom no calendar does."""
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    for rep_id, starts_at, ends_at in connection.execute(_ABSENCES, {"now": now}).fetchall():
        found.setdefault(rep_id, []).append((starts_at.astimezone(UTC), ends_at.astimezone(UTC)))
    return found


def invitee_of(settings: Settings, email: str) -> Invitee:
    """Who is known under an address; of a mailbox of several, and before anything was published, the
    address alone."""
    from orchestration.explain import find_person

    try:
        with _serving(settings) as connection:
            person = find_person(settings, connection, email)
    except HandoffError as error:
        if error.code not in ("NOT_FOUND", "SERVING_MISSING"):
            raise
        return Invitee(email.strip().lower())
    names = (person.get("first_name"), person.get("last_name"))
    name = " ".join(part for part in names if part) or None
    return Invitee(email.strip().lower(), name, str(person["person_id"]))


def _policy(settings: Settings) -> tuple[str, policy.SchedulingPolicy]:
    """The active version; read again when a file of the folder changed, as reading takes longer than
    everything else that is asked here."""
    from models.policies.load import POLICY_FOLDER

    folder = settings.policies or POLICY_FOLDER
    stamps = sorted((str(file), file.stat().st_mtime_ns) for file in folder.glob("**/*.yml"))
    return _read_policy(settings, tuple(stamps))


@lru_cache(maxsize=2)
def _read_policy(
    settings: Settings, stamps: tuple[tuple[str, int], ...]
) -> tuple[str, policy.SchedulingPolicy]:
    from models.policies.load import load_policies
    from models.policies.scheduling import SchedulingPolicy

    del stamps
    found = load_policies(settings.policies, further_systems=settings.extra_systems)
    version = found.deciding("scheduling")
    assert isinstance(version.document, SchedulingPolicy)
    return version.version, version.document


def _serving(settings: Settings) -> Any:
    import contextlib

    from orchestration.serving import open_serving

    return contextlib.closing(open_serving(settings))


def _meeting_type(one: policy.MeetingType) -> MeetingType:
    def minutes(count: int) -> timedelta:
        return timedelta(minutes=count)

    return MeetingType(
        name=one.name,
        label=one.label,
        duration=minutes(one.duration_minutes),
        step=minutes(one.slot_step_minutes),
        buffer_before=minutes(one.buffer_before_minutes),
        buffer_after=minutes(one.buffer_after_minutes),
        notice=minutes(one.minimum_notice_minutes),
        horizon=timedelta(days=one.horizon_days),
        daily_cap=one.daily_cap,
        hold=minutes(one.hold_minutes),
        title=one.title,
        description=one.description,
        location=one.location,
        reminders=tuple(minutes(before) for before in one.reminder_minutes),
    )


def _host(
    settings: Settings,
    document: policy.SchedulingPolicy,
    rep: dict[str, Any],
    away: dict[str, list[tuple[datetime, datetime]]],
) -> Host:
    email = str(rep["email"])
    own = next((one for one in document.reps if one.rep_email.lower() == email), None)
    zone = own.time_zone if own and own.time_zone else rep["time_zone"]
    told = own.working_hours if own else ()
    calendars = own.calendars if own else ()
    hours = _hours(told) or _crm_hours(rep) or _hours(document.working_hours)
    holidays = own.holidays if own and own.holidays else document.holidays
    return Host(
        rep_id=str(rep["rep_id"]),
        email=email,
        name=str(rep["name"]),
        # A CRM's zone may be of its own making.
        time_zone=zone if zone in time_zones.names() else document.time_zone,
        working_hours=hours,
        holidays=HolidayCalendar(holidays.country, holidays.subdivision) if holidays else None,
        calendars=tuple(CalendarName(one.system, one.id) for one in calendars)
        or default_calendar(settings, email),
        absences=tuple(away.get(str(rep["rep_id"]), ())),
    )


def _hours(told: Sequence[policy.WorkingTime]) -> tuple[WorkingTime, ...]:
    return tuple(
        WorkingTime(day, _minutes(one.start), _minutes(one.end)) for one in told for day in one.days
    )


def _crm_hours(rep: dict[str, Any]) -> tuple[WorkingTime, ...]:
    """Hours as `09:00-17:00` in dim_reps, on working days where it says none; nothing for what is
    written otherwise."""
    found = _HOURS.fullmatch(str(rep.get("working_hours") or "").strip())
    if found is None:
        return ()
    start, end = f"{found[1]}:{found[2]}", f"{found[3]}:{found[4]}"
    days = json.loads(rep.get("working_days") or "[1, 2, 3, 4, 5]")
    if _minutes(start) >= _minutes(end):
        return ()
    return tuple(WorkingTime(int(day), _minutes(start), _minutes(end)) for day in days)


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _texts(told: str | None) -> list[str]:
    return [str(one) for one in json.loads(told or "[]")]


def _tie(rep_id: str, person_id: str | None) -> str:
    return sha256(f"{rep_id}|{person_id}".encode()).hexdigest()
