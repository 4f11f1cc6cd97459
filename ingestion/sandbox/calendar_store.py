"""What callers write into the simulated calendars: events made, changed and deleted, kept over restarts; HTTP shapes are in calendar.py."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import orjson

from ingestion.sandbox.cast import Rep
from ingestion.sandbox.draft import Record
from ingestion.sandbox.spelling import hubspot_time
from ingestion.sandbox.world import World

# "Events: insert": lower-case base32hex, 5 to 1,024 characters.
EVENT_ID = re.compile(r"[a-v0-9]{5,1024}", re.ASCII)
# Fields a caller may set; the rest is the calendar's.
WRITABLE = (
    "status", "summary", "description", "location", "start", "end", "attendees", "transparency", "reminders",
    "extendedProperties", "sequence", "eventType",
)  # fmt: skip


class CalendarRefused(Exception):
    """A write that is refused: the HTTP status and Google's reason for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """What the answer says."""
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class CalendarStore:
    """Writes over the calendars of a world; `state_path` None keeps them in memory."""

    def __init__(
        self, world: World, state_path: Path | None, clock: Callable[[], datetime]
    ) -> None:
        """Lay the writes of earlier runs over the seeded events."""
        self._world = world
        self._world_key = f"{world.seed}|{world.anchor.isoformat()}"
        self._clock = clock
        self._lock = threading.RLock()
        self._written = 0
        self._database = sqlite3.connect(
            ":memory:" if state_path is None else state_path,
            check_same_thread=False,
            isolation_level=None,
        )
        self._database.execute(
            "create table if not exists calendar_events (world text not null, calendar text not null, id text not null,"
            " event blob not null, primary key (world, calendar, id)) without rowid"
        )
        for calendar, event in self._database.execute(
            "select calendar, event from calendar_events where world = ?", (self._world_key,)
        ):
            self._lay(calendar, orjson.loads(event))

    def close(self) -> None:
        """Close the state file."""
        with self._lock:
            self._database.close()

    def reset(self) -> None:
        """Forget every write; the seeded events are put back by whoever seeds them."""
        with self._lock:
            self._database.execute(
                "delete from calendar_events where world = ?", (self._world_key,)
            )

    def find(self, calendar: str, event_id: str) -> Record:
        """The event, called off ones too; 404 when there is none."""
        with self._lock:
            rows = self._rows(calendar)
            found = next((row for row in rows if row["id"] == event_id), None)
        if found is None:
            raise CalendarRefused(404, "notFound", "Not Found")
        return found

    def insert(self, calendar: str, event: Mapping[str, object]) -> Record:
        """A new event, under the id it brings; 409 when that id was ever used in the calendar."""
        with self._lock:
            rows = self._rows(calendar)
            event_id = event.get("id") or f"made{len(rows):026d}"
            if not isinstance(event_id, str) or not EVENT_ID.fullmatch(event_id):
                raise CalendarRefused(400, "invalid", "Invalid resource id value.")
            if any(row["id"] == event_id for row in rows):
                raise CalendarRefused(409, "duplicate", "The requested identifier already exists.")
            rep = self._rep(calendar)
            now = hubspot_time(self._clock())
            made: Record = {
                "kind": "calendar#event",
                "id": event_id,
                "iCalUID": f"{event_id}@google.com",
                "status": "confirmed",
                "eventType": "default",
                "organizer": {"email": rep.email, "self": True},
                "creator": {"email": rep.email, "self": True},
                "sequence": 0,
                "created": now,
            }
            return self._keep(calendar, made, event)

    def patch(
        self, calendar: str, event_id: str, event: Mapping[str, object], if_match: str | None
    ) -> Record:
        """Some fields of an event anew; 412 when `if_match` is not its etag any more."""
        with self._lock:
            before = self.find(calendar, event_id)
            if if_match is not None and if_match != before["etag"]:
                raise CalendarRefused(412, "conditionNotMet", "Precondition Failed")
            return self._keep(calendar, before, event)

    def delete(self, calendar: str, event_id: str) -> None:
        """Call an event off; 410 when it was before."""
        with self._lock:
            before = self.find(calendar, event_id)
            if before["status"] == "cancelled":
                raise CalendarRefused(410, "deleted", "Resource has been deleted")
            self._keep(calendar, before, {"status": "cancelled"})

    def _keep(self, calendar: str, before: Record, told: Mapping[str, object]) -> Record:
        changed = {**before, **{name: told[name] for name in WRITABLE if name in told}}
        for side in ("start", "end"):
            if not isinstance(changed.get(side), dict):
                raise CalendarRefused(400, "required", f"Missing {side} time.")
        try:
            first, last = moment(changed["start"]), moment(changed["end"])
        except (KeyError, TypeError, ValueError):
            raise CalendarRefused(400, "badRequest", "Bad Request") from None
        if last <= first:
            raise CalendarRefused(400, "timeRangeEmpty", "The specified time range is empty.")
        rep = self._rep(calendar)
        for attendee in changed.get("attendees", ()):
            if attendee.get("email", "").lower() == rep.email:
                attendee |= {"organizer": True, "self": True}
        self._written += 1
        now = self._clock()
        changed["updated"] = hubspot_time(now)
        changed["etag"] = f'"{int(now.timestamp() * 1000)}{self._written:03d}"'
        self._database.execute(
            "insert or replace into calendar_events values (?, ?, ?, ?)",
            (self._world_key, calendar.lower(), changed["id"], orjson.dumps(changed)),
        )
        self._lay(calendar, changed)
        return changed

    def _lay(self, calendar: str, event: Record) -> None:
        rows = self._world.calendar.get(calendar.lower())
        if rows is None:
            return
        rows[:] = [row for row in rows if row["id"] != event["id"]]
        rows.append(event)
        rows.sort(key=lambda row: (str(row["updated"]), str(row["id"])))

    def _rows(self, calendar: str) -> list[Record]:
        rows = self._world.calendar.get(calendar.lower())
        if rows is None:
            raise CalendarRefused(404, "notFound", "Not Found")
        return rows

    def _rep(self, calendar: str) -> Rep:
        return next(rep for rep in self._world.reps if rep.email == calendar.lower())


def moment(told: Mapping[str, object]) -> datetime:
    """When one side of an event is: an instant, or for a whole day its midnight in UTC, which is near enough here."""
    if "dateTime" in told:
        at = datetime.fromisoformat(str(told["dateTime"]))
        if at.tzinfo is None:
            raise ValueError("no offset")
        return at
    return datetime.fromisoformat(f"{told['date']}T00:00:00+00:00")
