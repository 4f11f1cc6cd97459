"""The SQL that decides bookings, one for every engine; how an engine locks, refuses overlaps and runs statements is its own module's.

Instants are whole microseconds since 1970. Values are named `:value`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, cast

from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.hosts import CalendarName, CalendarSystem
from ingestion.scheduling.store import (
    ACTIVE,
    OPEN,
    STATES,
    Booking,
    Change,
    Decision,
    Key,
    NewBooking,
    NewTime,
    Outcome,
    SlotTaken,
    State,
    Taken,
)

# A meeting of a day with a day before and after it: what is taken at an instant began at most so much earlier.
LONGEST = timedelta(days=3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _listed(states: Sequence[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


def schema(whole: str) -> str:
    """Tables and indexes; `whole` is the engine's name of a 64-bit integer."""
    return f"""
create table if not exists bookings (
    booking_id text primary key,
    host_id text not null,
    host_email text not null,
    host_name text not null,
    host_time_zone text not null,
    meeting_type text not null,
    person_id text,
    email text,
    name text,
    time_zone text not null,
    starts_us {whole} not null,
    ends_us {whole} not null,
    busy_from_us {whole} not null,
    busy_to_us {whole} not null,
    host_day text not null,
    state text not null check (state in ({_listed(STATES)})),
    is_active {whole} not null check (is_active = case when state in ({_listed(ACTIVE)}) then 1 else 0 end),
    revision {whole} not null,
    expires_us {whole},
    title text not null,
    description text,
    location text,
    calendar_system text,
    calendar_id text,
    calendar_etag text,
    calendar_revision {whole} not null default 0,
    has_conflict {whole},
    logged_revision {whole} not null default 0,
    link_id text,
    created_us {whole} not null,
    booked_us {whole},
    changed_us {whole} not null,
    reason text,
    check (starts_us < ends_us and busy_from_us <= starts_us and ends_us <= busy_to_us),
    check (busy_to_us - busy_from_us <= {microseconds(_EPOCH + LONGEST)})
);
create index if not exists bookings_of_host on bookings (host_id, busy_from_us) where is_active = 1;
create index if not exists bookings_by_start on bookings (starts_us);
create index if not exists bookings_by_email on bookings (email);
create unique index if not exists one_open_booking_per_link on bookings (link_id) where state in ({_listed(OPEN)});
create index if not exists bookings_of_link on bookings (link_id, changed_us);
create index if not exists bookings_unconfirmed on bookings (changed_us) where {_BEHIND};
create table if not exists changes (
    booking_id text not null,
    revision {whole} not null,
    state text not null,
    changed_us {whole} not null,
    starts_us {whole} not null,
    ends_us {whole} not null,
    time_zone text not null,
    changed_by text not null,
    primary key (booking_id, revision)
);
create table if not exists answers (
    client text not null,
    key text not null,
    body_hash text not null,
    booking_id text not null,
    revision {whole} not null,
    primary key (client, key)
);
"""


_BEHIND = (
    "state not in ('hold', 'released')"
    " and (logged_revision < revision or (calendar_system is not null and calendar_revision < revision))"
)
_COLUMNS = (
    "booking_id", "host_id", "host_email", "host_name", "host_time_zone", "meeting_type", "person_id", "email", "name",
    "time_zone", "starts_us", "ends_us", "busy_from_us", "busy_to_us", "state", "revision", "expires_us", "title",
    "description", "location", "calendar_system", "calendar_id", "calendar_etag", "calendar_revision", "has_conflict",
    "logged_revision", "link_id", "created_us", "booked_us", "changed_us", "reason",
)  # fmt: skip
_INSERTED = (*_COLUMNS[:22], "link_id", "created_us", "booked_us", "changed_us", "host_day", "is_active")  # fmt: skip
_SELECT = f"select {', '.join(_COLUMNS)} from bookings"
_INSERT = (
    f"insert into bookings ({', '.join(_INSERTED)})"
    f" values ({', '.join(':' + name for name in _INSERTED)})"
)
_CHANGE_COLUMNS = (
    "booking_id", "revision", "state", "changed_us", "starts_us", "ends_us", "time_zone", "changed_by",
)  # fmt: skip
_WRITE_CHANGE = (
    f"insert into changes ({', '.join(_CHANGE_COLUMNS)})"
    f" values ({', '.join(':' + name for name in _CHANGE_COLUMNS)})"
)
# Of one host; what begins earlier is over, see LONGEST.
_NEAR = "busy_from_us < :busy_to_us and busy_to_us > :busy_from_us and busy_from_us > :earliest_us"


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    """The instant of so many microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


class Transaction(Protocol):
    """Statements that take effect together."""

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        ...

    def run(self, sql: str, **values: Any) -> None:
        """A statement whose rows nobody wants."""
        ...


class Engine(Protocol):
    """What a database brings: transactions that come one after the other for whom they `lock`."""

    def transaction(self, *lock: str) -> AbstractContextManager[Transaction]:
        """All or nothing, on disk when the block ends; SlotTaken, LinkUsed or BOOKINGS_UNAVAILABLE
        when the database refuses."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """Statements that only read."""
        ...

    def overwrite(self) -> None:
        """Have on the disk no more what was replaced, as far as that is in this process's hands."""
        ...

    def close(self) -> None:
        """Give everything back; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class SqlStore:
    """`BookingStore` over an engine."""

    engine: Engine

    def hold(self, new: NewBooking, expires_at: datetime, now: datetime, by: str) -> Decision:
        """Keep a slot for a while."""
        with self.engine.transaction(new.host_id) as sql:
            return _insert(sql, new, "hold", now, by, expires_at)

    def book(self, new: NewBooking, key: Key, now: datetime, by: str) -> Decision:
        """Book a slot nobody holds."""
        return self._decide(
            key, (new.host_id,), lambda sql: _insert(sql, new, "booked", now, by, None)
        )

    def book_hold(
        self, hold_id: str, who: dict[str, Any], key: Key, now: datetime, by: str
    ) -> Decision:
        """Make a hold a booking."""

        def act(sql: Transaction) -> Decision:
            found = _required(sql, hold_id)
            if found.state != "hold" or (found.expires_at is not None and found.expires_at <= now):
                raise HandoffError("HOLD_EXPIRED", f"hold {hold_id!r:.80} is over or was used")
            at = microseconds(now)
            told = {**who, "booked_us": at, "expires_us": None}
            return _change(sql, found, "booked", now, by, **told)

        return self._decide(key, self._host_of(hold_id), act)

    def reschedule(
        self, booking_id: str, to: NewTime, now: datetime, by: str, key: Key | None = None
    ) -> Decision:
        """Move an open booking, or leave it where it is."""

        def act(sql: Transaction) -> Decision:
            found = _required(sql, booking_id)
            _require_open(found)
            if found.starts_at == to.starts_at and found.ends_at == to.ends_at:
                return Decision(found, _newest_change(sql, found))
            times = _times(to.starts_at, to.ends_at, to.busy_from, to.busy_to)
            _make_room(sql, found.host_id, times, to.host_day, to.daily_cap, found.meeting_type, now, found.booking_id)  # fmt: skip
            told = {**times, "host_day": to.host_day, "time_zone": to.time_zone}
            return _change(sql, found, "rescheduled", now, by, **told)

        return self._decide(key, self._host_of(booking_id), act)

    def cancel(
        self, booking_id: str, now: datetime, by: str, reason: str | None, key: Key | None = None
    ) -> Decision:
        """Call an open booking off, or release a hold."""

        def act(sql: Transaction) -> Decision:
            found = _required(sql, booking_id)
            if found.state in ("cancelled", "released"):
                return Decision(found, _newest_change(sql, found))
            if found.state == "hold":
                return _change(sql, found, "released", now, by, is_active=0)
            _require_open(found)
            return _change(sql, found, "cancelled", now, by, is_active=0, reason=reason)

        return self._decide(key, self._host_of(booking_id), act)

    def record_outcome(
        self, booking_id: str, outcome: Outcome, now: datetime, by: str, key: Key | None = None
    ) -> Decision:
        """How a meeting ended."""

        def act(sql: Transaction) -> Decision:
            found = _required(sql, booking_id)
            if found.state == outcome:
                return Decision(found, _newest_change(sql, found))
            if found.state not in (*OPEN, "held", "no_show"):
                raise _over(found)
            if found.starts_at > now:
                raise HandoffError(
                    "BOOKING_OVER",
                    f"booking {booking_id!r:.80} begins at {found.starts_at.isoformat()}: it has no outcome yet",
                    remedy="Say how it went once it has begun, or cancel it.",
                )
            return _change(sql, found, outcome, now, by)

        return self._decide(key, self._host_of(booking_id), act)

    def repeated(self, key: Key) -> Decision | None:
        """What was decided for this key before, if anything."""
        with self.engine.reading() as sql:
            return _answered(sql, key)

    def find(self, booking_id: str) -> Booking | None:
        """The booking as it is now."""
        with self.engine.reading() as sql:
            return _found(sql, "where booking_id = :booking_id", booking_id=booking_id)

    def open_of_link(self, link_id: str) -> Booking | None:
        """The open booking made with a link."""
        with self.engine.reading() as sql:
            return _found(
                sql, f"where link_id = :link_id and state in ({_listed(OPEN)})", link_id=link_id
            )

    def newest_of_link(self, link_id: str) -> Booking | None:
        """The booking made with a link last."""
        with self.engine.reading() as sql:
            return _found(
                sql, "where link_id = :link_id order by changed_us desc limit 1", link_id=link_id
            )

    def changes(self, booking_id: str) -> list[Change]:
        """Every revision, oldest first."""
        with self.engine.reading() as sql:
            return _changes(sql, "where booking_id = :booking_id", booking_id=booking_id)

    def taken(
        self, host_ids: Sequence[str], start: datetime, end: datetime, now: datetime
    ) -> list[Taken]:
        """What takes the time of these hosts within [start, end)."""
        span = _near(microseconds(start), microseconds(end))
        found: list[Taken] = []
        with self.engine.reading() as sql:
            for host_id in host_ids:
                rows = sql.rows(
                    "select booking_id, host_id, meeting_type, starts_us, busy_from_us, busy_to_us from bookings"
                    f" where is_active = 1 and host_id = :host_id and {_NEAR}"
                    " and not (state = 'hold' and expires_us <= :now_us) order by busy_from_us",
                    host_id=host_id,
                    now_us=microseconds(now),
                    **span,
                )
                found += (Taken(*row[:3], *map(instant, row[3:])) for row in rows)
        return found

    def bookings(
        self, *, start: datetime | None = None, host_email: str | None = None, limit: int = 100
    ) -> list[Booking]:
        """Bookings and holds by when they begin."""
        which = "where starts_us >= :start_us"
        values: dict[str, Any] = {"start_us": microseconds(start or _EPOCH), "limit": limit}
        if host_email is not None:
            which += " and host_email = :host_email"
            values["host_email"] = host_email
        with self.engine.reading() as sql:
            return _bookings(sql, f"{which} order by starts_us, booking_id limit :limit", **values)

    def unconfirmed(self, before: datetime, limit: int = 100) -> list[Booking]:
        """Those whose log or calendar is behind."""
        with self.engine.reading() as sql:
            return _bookings(
                sql,
                f"where {_BEHIND} and changed_us < :before_us order by changed_us limit :limit",
                before_us=microseconds(before),
                limit=limit,
            )

    def confirm_logged(self, booking_id: str, revision: int) -> None:
        """The log has every change up to `revision`."""
        with self.engine.transaction() as sql:
            sql.run(
                "update bookings set logged_revision = :revision where booking_id = :booking_id and logged_revision < :revision",
                booking_id=booking_id,
                revision=revision,
            )

    def confirm_calendar(
        self, booking_id: str, revision: int, etag: str | None, has_conflict: bool | None
    ) -> None:
        """The calendar has `revision`."""
        with self.engine.transaction() as sql:
            sql.run(
                "update bookings set calendar_revision = :revision, calendar_etag = :etag, has_conflict = :has_conflict"
                " where booking_id = :booking_id and calendar_revision <= :revision",
                booking_id=booking_id,
                revision=revision,
                etag=etag,
                has_conflict=None if has_conflict is None else int(has_conflict),
            )

    def forget(self, emails: Sequence[str], person_ids: Sequence[str] = ()) -> int:
        """Take these people out of every booking."""
        named = [("email", value.lower()) for value in emails]
        named += [("person_id", value) for value in person_ids]
        count = 0
        with self.engine.transaction() as sql:
            for column, value in named:
                count += len(
                    sql.rows(
                        "update bookings set email = null, name = null, person_id = null, reason = null, title = 'erased'"
                        f" where {column} = :value returning booking_id",
                        value=value,
                    )
                )
        self.engine.overwrite()
        return count

    def close(self) -> None:
        """Give back files and connections."""
        self.engine.close()

    def _host_of(self, booking_id: str) -> tuple[str, ...]:
        found = self.find(booking_id)
        return () if found is None else (found.host_id,)

    def _decide(
        self, key: Key | None, hosts: Sequence[str], act: Callable[[Transaction], Decision]
    ) -> Decision:
        # Who holds a key waits for a host, never the reverse: two that want both cannot wait for each other.
        lock = () if key is None else (f"key {key.client} {key.key}",)
        with self.engine.transaction(*lock, *hosts) as sql:
            if key is not None and (known := _answered(sql, key)) is not None:
                return known
            decision = act(sql)
            if key is not None:
                sql.run(
                    "insert into answers (client, key, body_hash, booking_id, revision)"
                    " values (:client, :key, :body_hash, :booking_id, :revision)",
                    client=key.client,
                    key=key.key,
                    body_hash=key.body_hash,
                    booking_id=decision.booking.booking_id,
                    revision=decision.change.revision,
                )
            return decision


def _answered(sql: Transaction, key: Key) -> Decision | None:
    rows = sql.rows(
        "select body_hash, booking_id, revision from answers where client = :client and key = :key",
        client=key.client,
        key=key.key,
    )
    if not rows:
        return None
    body_hash, booking_id, revision = rows[0]
    if body_hash != key.body_hash:
        raise HandoffError(
            "IDEMPOTENCY_CONFLICT",
            f"key {key.key!r:.80} was used for another request",
            remedy="Send the same request with a key, or a new key with another request.",
        )
    change = _changes(
        sql,
        "where booking_id = :booking_id and revision = :revision",
        booking_id=booking_id,
        revision=revision,
    )
    return Decision(_required(sql, booking_id), change[0], is_repeated=True)


def _insert(
    sql: Transaction, new: NewBooking, state: State, now: datetime, by: str, expires_at: datetime | None
) -> Decision:  # fmt: skip
    times = _times(new.starts_at, new.ends_at, new.busy_from, new.busy_to)
    _make_room(
        sql, new.host_id, times, new.host_day, new.daily_cap, new.meeting_type, now, new.booking_id
    )
    at = microseconds(now)
    values = {
        **{name: getattr(new, name) for name in _COLUMNS if hasattr(new, name)},
        **times,
        "host_day": new.host_day,
        "state": state,
        "is_active": 1,
        "revision": 1,
        "expires_us": None if expires_at is None else microseconds(expires_at),
        "calendar_system": None if new.calendar is None else new.calendar.system,
        "calendar_id": None if new.calendar is None else new.calendar.id,
        "created_us": at,
        "booked_us": at if state == "booked" else None,
        "changed_us": at,
    }
    sql.run(_INSERT, **values)
    return _recorded(sql, new.booking_id, by)


def _make_room(
    sql: Transaction,
    host_id: str,
    times: dict[str, int],
    host_day: str,
    daily_cap: int | None,
    meeting_type: str,
    now: datetime,
    own_id: str,
) -> None:
    """Release holds that are over where time is wanted; SlotTaken when the host's day is full."""
    values = {"host_id": host_id, "now_us": microseconds(now)}
    span = _near(times["busy_from_us"], times["busy_to_us"])
    over = sql.rows(
        f"select booking_id from bookings where is_active = 1 and host_id = :host_id and {_NEAR}"
        " and state = 'hold' and expires_us <= :now_us",
        **values,
        **span,
    )
    for (booking_id,) in over:
        _change(sql, _required(sql, booking_id), "released", now, "expiry", is_active=0)
    if daily_cap is None:
        return
    ((count,),) = sql.rows(
        "select count(*) from bookings where is_active = 1 and host_id = :host_id and host_day = :host_day"
        " and meeting_type = :meeting_type and booking_id <> :own_id and busy_from_us between :day_from_us and :day_to_us"
        " and not (state = 'hold' and expires_us <= :now_us)",
        **values,
        host_day=host_day,
        meeting_type=meeting_type,
        own_id=own_id,
        # The day by its index; a local day with a buffer lies well within.
        day_from_us=times["starts_us"] - microseconds(_EPOCH + LONGEST),
        day_to_us=times["starts_us"] + microseconds(_EPOCH + LONGEST),
    )
    if count >= daily_cap:
        raise SlotTaken(f"{host_day} is full: {count} of {daily_cap}")


def _change(
    sql: Transaction, found: Booking, state: State, now: datetime, by: str, **told: Any
) -> Decision:
    # A clock that was set back must not put a change before the one it follows.
    at = max(now, found.changed_at + _MICROSECOND)
    values = {
        **told,
        "state": state,
        "changed_us": microseconds(at),
        "revision": found.revision + 1,
    }
    assigned = ", ".join(f"{name} = :{name}" for name in values)
    sql.run(
        f"update bookings set {assigned} where booking_id = :booking_id",
        booking_id=found.booking_id,
        **values,
    )
    return _recorded(sql, found.booking_id, by)


def _recorded(sql: Transaction, booking_id: str, by: str) -> Decision:
    booking = _required(sql, booking_id)
    change = Change(
        booking_id, booking.revision, booking.state, booking.changed_at, booking.starts_at, booking.ends_at,
        booking.time_zone, by,
    )  # fmt: skip
    sql.run(
        _WRITE_CHANGE,
        booking_id=booking_id,
        revision=change.revision,
        state=change.state,
        changed_us=microseconds(change.changed_at),
        starts_us=microseconds(change.starts_at),
        ends_us=microseconds(change.ends_at),
        time_zone=change.time_zone,
        changed_by=by,
    )
    return Decision(booking, change)


def _newest_change(sql: Transaction, found: Booking) -> Change:
    return _changes(
        sql,
        "where booking_id = :booking_id and revision = :revision",
        booking_id=found.booking_id,
        revision=found.revision,
    )[0]


def _required(sql: Transaction, booking_id: str) -> Booking:
    found = _found(sql, "where booking_id = :booking_id", booking_id=booking_id)
    if found is None:
        raise HandoffError("NOT_FOUND", f"there is no booking {booking_id!r:.80}")
    return found


def _require_open(found: Booking) -> None:
    if not found.is_open:
        raise _over(found)


def _over(found: Booking) -> HandoffError:
    return HandoffError(
        "BOOKING_OVER", f"booking {found.booking_id!r:.80} is {found.state.replace('_', ' ')}"
    )


def _found(sql: Transaction, which: str, **values: Any) -> Booking | None:
    return next(iter(_bookings(sql, which, **values)), None)


def _bookings(sql: Transaction, which: str, **values: Any) -> list[Booking]:
    return [_booking(row) for row in sql.rows(f"{_SELECT} {which}", **values)]


def _changes(sql: Transaction, which: str, **values: Any) -> list[Change]:
    rows = sql.rows(
        f"select {', '.join(_CHANGE_COLUMNS)} from changes {which} order by revision", **values
    )
    return [Change(*row[:3], *map(instant, row[3:6]), *row[6:]) for row in rows]


def _booking(row: tuple[Any, ...]) -> Booking:
    told = dict(zip(_COLUMNS, row, strict=True))
    system = told.pop("calendar_system")
    calendar_id = told.pop("calendar_id")
    for name in [name for name in told if name.endswith("_us")]:
        value = told.pop(name)
        kind: Literal["", "_at"] = "" if name.startswith("busy_") else "_at"
        told[name.removesuffix("_us") + kind] = None if value is None else instant(value)
    if told["has_conflict"] is not None:
        told["has_conflict"] = bool(told["has_conflict"])
    calendar = (
        None if system is None else CalendarName(cast(CalendarSystem, system), str(calendar_id))
    )
    return Booking(**told, calendar=calendar)


def _times(
    starts_at: datetime, ends_at: datetime, busy_from: datetime, busy_to: datetime
) -> dict[str, int]:
    return {
        "starts_us": microseconds(starts_at),
        "ends_us": microseconds(ends_at),
        "busy_from_us": microseconds(busy_from),
        "busy_to_us": microseconds(busy_to),
    }


def _near(start_us: int, end_us: int) -> dict[str, int]:
    return {
        "busy_from_us": start_us,
        "busy_to_us": end_us,
        "earliest_us": start_us - microseconds(_EPOCH + LONGEST),
    }
