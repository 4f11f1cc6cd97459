"""Seeded worlds of any size as rows of the raw tables, made piece by piece; no measuring here."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ingestion.settings import Settings

    Numbers = NDArray[np.int64]
    Shares = NDArray[np.float64]
    Columns = dict[str, Any]

ENDS_AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAYS = 365
# A day after the last event: nothing of the world lies ahead of it.
AS_OF = ENDS_AT + timedelta(days=1)

# Rows of a piece: what is in memory at once, and what the landing door puts into one load.
PIECE = 200_000
# People who arrive one after the other and are about equally busy at a time.
COHORT = 1_024
REPS = 12
CAMPAIGNS = 60

# Where a kept world is looked for, and which shape is made; set by the runner.
FOLDER_VARIABLE = "HANDOFF_BENCHMARK_WORLDS"
SHAPE_VARIABLE = "HANDOFF_BENCHMARK_WORLD"

# Part of a kept world's name: raise it whenever the same World would give other rows.
_GENERATION = 1
_MICROSECONDS = DAYS * 86_400 * 1_000_000
_START = int((ENDS_AT - timedelta(days=DAYS)).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """What a world is like. All shares lie in 0..1.

    `events` counts the rows of every raw table together, repeated ones included; there is one
    person for each `events_per_person`. `activity_skew` is the sigma of the lognormal that
    activities per person follow: at 1.2 the busiest hundredth does 13 % of everything, at 2.0 37 %.
    """

    events: int
    seed: int = 7
    events_per_person: int = 10
    activity_skew: float = 1.2
    people_per_company: int = 25
    # Of the activities: sent a second time under another id, as a sender does that lost our answer.
    duplicate_sends: float = 0.05
    # Of the activities: received a day to a month after they happened.
    late_events: float = 0.03
    # Of the activities: the sender knew an address or a cookie, but no record.
    by_email_only: float = 0.08
    anonymous: float = 0.10
    # Of the people: written down with info@ of their company, or with its switchboard's number.
    shared_mailboxes: float = 0.02
    switchboards: float = 0.05
    # Of the people: a second record in another system, linked by address, number or stated id.
    second_records: float = 0.20
    # Of the people: a later version of their record.
    updates: float = 0.30
    free_mail: float = 0.10
    opportunities: float = 0.03
    meetings: float = 0.01
    merges: float = 0.0005

    @property
    def people(self) -> int:
        """Persons, before any of them turns out to be another."""
        return max(self.events // self.events_per_person, 10)

    @property
    def companies(self) -> int:
        """Companies they work for; a few large ones, many small."""
        return max(self.people // self.people_per_company, 5)

    @property
    def key(self) -> str:
        """Name of the folder it is kept in: other figures, other name."""
        told = f"{_GENERATION}|{PIECE}|{sorted(asdict(self).items())}"
        return f"{self.events}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


# A further world is one more line; `--world NAME` measures every kernel of worlds on it.
SHAPES: dict[str, dict[str, Any]] = {
    "standard": {},
    # A hundredth of the people does nearly half of everything.
    "heavy_tail": {"activity_skew": 2.2},
    # Everything that makes identity hard, and no more of it than an old CRM has.
    "tangled": {
        "second_records": 0.5,
        "shared_mailboxes": 0.1,
        "switchboards": 0.2,
        "merges": 0.02,
        "by_email_only": 0.2,
    },
    # A sender that repeats itself and lies behind.
    "unreliable": {"duplicate_sends": 0.3, "late_events": 0.25},
}


def world_of(events: int) -> World:
    """The world of that size in the shape the runner was asked for; "standard" if it was not."""
    return World(events, **SHAPES[os.environ.get(SHAPE_VARIABLE, "standard")])


def keep(world: World, folder: Path) -> Path:
    """Folder with the world as Parquet, `<table>/<piece>.parquet`: made in `folder`, or made once in
    the runner's `--worlds` and found there ever after."""
    import pyarrow.parquet as pq

    kept = Path(os.environ.get(FOLDER_VARIABLE) or folder) / world.key
    if kept.exists():
        return kept
    # Under another name until it is whole: a run that dies must not leave half a world behind.
    part = kept.with_name(f".{world.key}.{os.getpid()}.part")
    try:
        for number, tables in enumerate(pieces(world)):
            for name, table in tables.items():
                (part / name).mkdir(parents=True, exist_ok=True)
                pq.write_table(table, part / name / f"{number:05}.parquet", compression="zstd")
        part.rename(kept)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return kept


def kept_pieces(kept: Path) -> Iterator[dict[str, pa.Table]]:
    """The pieces of a kept world, in the order they came in."""
    import pyarrow.parquet as pq

    from ingestion.landing.raw_tables import event_tables

    schemas, _ = event_tables()
    for name in sorted({file.name for file in kept.glob("*/*.parquet")}):
        yield {
            table: pq.read_table(kept / table / name).cast(schemas[table])
            for table in schemas
            if (kept / table / name).exists()
        }


def land(kept: Path, settings: Settings) -> float:
    """Land a kept world by the door every event comes in by, one load a piece, with the policies;
    returns the seconds the loads took, reading the Parquet not among them."""
    from ingestion.landing.raw_tables import EVENTS, create_system_tables, event_tables
    from ingestion.landing.warehouse import open_raw
    from orchestration.policy_rows import load_policy_rows

    schemas, hints = event_tables()
    seconds = 0.0
    with open_raw(settings, EVENTS, schemas, hints) as raw:
        create_system_tables(settings, raw.connection)
        for tables in kept_pieces(kept):
            seconds += raw.append(tables).seconds
    load_policy_rows(settings)
    return seconds


def pieces(world: World) -> Iterator[dict[str, pa.Table]]:
    """The world's rows by raw table, `PIECE` at a time, in the order they were received.

    The same for the same world, on every machine: whatever is drawn is a hash of the seed, of what
    is drawn, and of whom for. Sender and receiver are a year apart from beginning to end, the last
    event comes in at ENDS_AT.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        count = -(-world.events // PIECE)
        for number in range(count):
            begin, end = number * PIECE, min((number + 1) * PIECE, world.events)
            yield _piece(connection, world, begin, end)


def _piece(connection: Any, world: World, begin: int, end: int) -> dict[str, pa.Table]:
    """Rows `begin` to `end`: whoever and whatever arrives in that part of the year, and as many
    activities as complete the number."""
    import numpy as np

    draw = _Draw(world.seed)
    since, until = begin / world.events, end / world.events

    def arriving(number: int, after: float = 0.0) -> Numbers:
        """Which of `number` things, spread over the year, come `after` it in this part of it."""
        first, last = (int(np.ceil((part - after) * number)) for part in (since, until))
        return np.arange(max(first, 0), max(min(last, number), 0), dtype=np.int64)

    def some(name: str, share: float, things: Numbers) -> Numbers:
        return things[draw.share(name, things) < share]

    def received(things: Numbers, number: int, after: float = 0.0) -> Numbers:
        """When: at their turn, so that everything of a piece lies within it."""
        return _START + ((things / number + after) * _MICROSECONDS).astype(np.int64)

    people = world.people
    made: dict[str, list[Columns]] = {}

    def add(table: str, received_at: Numbers, **columns: Any) -> None:
        made.setdefault(table, []).append({"received_us": received_at, **columns})

    if begin == 0:
        numbers = np.arange(REPS)
        add("reps", np.full(REPS, _START), rep=numbers)
        numbers = np.arange(CAMPAIGNS)
        add("campaigns", np.full(CAMPAIGNS, _START), campaign=numbers)
    companies = arriving(world.companies)
    add("accounts", received(companies, world.companies), company=companies)

    new = arriving(people)
    add("contacts", received(new, people), person=new, version=0)
    add("consents", received(new, people) + 1, person=new, version=0)
    second = some("second_record", world.second_records, arriving(people, 0.05))
    add("contacts", received(second, people, 0.05), person=second, version=1)
    updated = some("update", world.updates, arriving(people, 0.10))
    add("contacts", received(updated, people, 0.10), person=updated, version=2)
    withdrawn = some("withdrawal", 0.03, arriving(people, 0.15))
    add("consents", received(withdrawn, people, 0.15), person=withdrawn, version=1)
    for version, after in enumerate((0.08, 0.16)):
        dealing = some("opportunity", world.opportunities, arriving(people, after))
        add("opportunities", received(dealing, people, after), person=dealing, version=version)
        add("stage_changes", received(dealing, people, after) + 1, person=dealing, version=version)
    for version, after in enumerate((0.06, 0.07)):
        meeting = some("meeting", world.meetings, arriving(people, after))
        add("meetings", received(meeting, people, after), person=meeting, version=version)
    merged = some("merge", world.merges, arriving(people, 0.12))
    merged = merged[merged > 0]
    add("merges", received(merged, people, 0.12), person=merged)

    wanted = end - begin - sum(len(part["received_us"]) for of in made.values() for part in of)
    if wanted > 0:
        _add_activities(world, draw, begin, wanted, since, until, add)

    received_at = np.concatenate([part["received_us"] for of in made.values() for part in of])
    # Cut where a tiny world has fewer rows left than people to arrive.
    order = np.argsort(received_at, kind="stable")[: end - begin]
    seq = np.full(len(received_at), -1, dtype=np.int64)
    seq[order] = begin + 1 + np.arange(len(order))
    tables = {}
    used = 0
    for name, parts in made.items():
        length = sum(len(part["received_us"]) for part in parts)
        columns = {
            column: np.concatenate(
                [np.broadcast_to(part[column], len(part["received_us"])) for part in parts]
            )
            for column in parts[0]
        }
        columns["seq"] = seq[used : used + length]
        used += length
        if kept := int((columns["seq"] >= 0).sum()):
            tables[name] = _shaped(connection, world, name, columns)
            assert tables[name].num_rows == kept
    return tables


def _add_activities(
    world: World,
    draw: _Draw,
    begin: int,
    count: int,
    since: float,
    until: float,
    add: Callable[..., None],
) -> None:
    import numpy as np

    once = count - int(count * world.duplicate_sends)
    # Activities are numbered by the row they begin at: unique over the pieces.
    number = begin + np.arange(once, dtype=np.int64)
    position = since + (until - since) * (np.arange(once) + draw.share("when", number)) / once
    # People are busiest when they have just come: an exponential of a month.
    lag = -np.log1p(-draw.share("lag", number)) * 30 / DAYS
    at = np.where(lag < position, position - lag, position * draw.share("early", number))
    cohort = (at * world.people).astype(np.int64) // COHORT
    size = np.minimum(world.people - cohort * COHORT, COHORT)
    member = np.searchsorted(_cohort_weights(world), draw.share("member", number))
    # Which of a cohort is its busiest is another one in each.
    person = cohort * COHORT + (member * 389 + draw.bits("busiest", cohort) % 1_024) % size
    received_at = _START + (position * _MICROSECONDS).astype(np.int64)
    # Late by a day to a month; everything else within two minutes.
    is_late = draw.share("late", number) < world.late_events
    wait = draw.share("wait", number)
    day = 86_400_000_000
    delay = np.where(is_late, day + wait * 29 * day, 1 + wait * 120e6).astype(np.int64)

    again = (draw.bits("again", np.arange(count - once) + begin) % once).astype(np.int64)
    whole = np.concatenate([np.arange(once), again])
    repeated = np.arange(count) >= once
    # The second one comes a little later, but within this piece.
    last = _START + int(until * _MICROSECONDS) - 1
    arrival = np.minimum(received_at[whole] + np.where(repeated, 90_000_000, 0), last)
    add(
        "activities",
        arrival,
        number=number[whole],
        person=person[whole],
        occurred_us=(received_at - delay)[whole],
        repeat=np.where(repeated, np.arange(count), 0),
    )


def _cohort_weights(world: World) -> Shares:
    """Cumulative share of a cohort's activities by member: quantiles of the lognormal."""
    from statistics import NormalDist

    import numpy as np

    normal = NormalDist()
    quantiles = [normal.inv_cdf((member + 0.5) / COHORT) for member in range(COHORT)]
    weights = np.cumsum(np.exp(world.activity_skew * np.array(quantiles)))
    shares: Shares = weights / weights[-1]
    return shares


class _Draw:
    """Random numbers that need no order: a hash (splitmix64) of seed, name and index."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def bits(self, name: str, index: Any) -> Numbers:
        """63 random bits for each index."""
        import numpy as np

        told = hashlib.blake2b(f"{self._seed}|{name}".encode(), digest_size=8).digest()
        state = np.asarray(index, dtype=np.int64).astype(np.uint64)
        with np.errstate(over="ignore"):
            state = (state + np.uint64(int.from_bytes(told, "little"))) * np.uint64(
                0x9E3779B97F4A7C15
            )
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((state ^ (state >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)

    def share(self, name: str, index: Any) -> Shares:
        """Uniform in [0, 1) for each index."""
        return self.bits(name, index) / float(1 << 63)


def _shaped(connection: Any, world: World, table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Rows with every column of the raw table, in the order of `seq`: what is drawn for a row is
    drawn here, what it reads like is said by the SQL of its table."""
    import pyarrow as pa

    from ingestion.landing.raw_tables import event_tables

    drawn = dict(columns)
    draw = _Draw(world.seed)
    for name, kinds in _DRAWN.get(table, {}).items():
        for kind in kinds:
            drawn[f"{kind}_draw"] = draw.share(f"{name}_{kind}", columns[name])
    if "person" in columns:
        drawn |= _person(world, draw, columns["person"], "")
    if table in ("opportunities", "merges"):
        neighbour = (columns["person"] - 1).clip(0)
        drawn |= _person(world, draw, neighbour, "other_")
    connection.register("drawn", pa.table(drawn))
    schema = event_tables()[0][table]
    told = {**_ENVELOPE, **_TABLES[table](world)}
    unknown = set(told) - set(schema.names)
    assert not unknown, f"{table}: no columns {sorted(unknown)}"
    chosen = ", ".join(
        f"{told.get(name, 'null')} as {_quoted(name)}" for name in schema.names if name != "seq"
    )
    query = f"select seq, {chosen} from drawn where seq >= 0 order by seq"
    found = connection.sql(query).to_arrow_table()
    connection.unregister("drawn")
    arrays = [found.column(field.name).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _person(world: World, draw: _Draw, person: Any, prefix: str) -> Columns:
    """What is so of a person in every row that mentions them."""
    import numpy as np

    # A few companies employ most: the share of the first n goes with n to the power of 0.4.
    company = (draw.share("company", person) ** 2.5 * world.companies).astype(np.int64)
    return {
        f"{prefix}company_of": company,
        f"{prefix}name_draw": draw.bits("name", person) % (len(_FIRST) * len(_LAST)),
        f"{prefix}has_free_mail": draw.share("free_mail", person) < world.free_mail,
        f"{prefix}has_shared_mailbox": draw.share("mailbox", person) < world.shared_mailboxes,
        f"{prefix}has_switchboard": draw.share("switchboard", person) < world.switchboards,
        f"{prefix}has_phone": draw.share("phone", person) < 0.6,
        f"{prefix}has_second": draw.share("second_record", person) < world.second_records,
    }


_FIRST = ("anna", "ben", "carla", "david", "eva", "farid", "grace", "hugo", "ines", "jonas", "kira")
_LAST = ("abel", "berg", "costa", "dahl", "engel", "fischer", "garcia", "hansen", "ito", "jung")
_PAGES = ("/", "/blog/one", "/blog/two", "/blog/three", "/docs", "/product", "/pricing", "/demo")
_FORMS = ("newsletter", "ebook_download", "demo_request", "contact_sales")
_TITLES = (
    "Engineer", "Analyst", "Marketing Manager", "Head of Sales", "VP Marketing", "Student", "Buyer",
    "Team Lead", "Founder", "Assistant",
)  # fmt: skip
_COUNTRIES = ("DE", "AT", "CH", "GB", "FR", "US", "CA", "JP", "AU", "BR")
_INDUSTRIES = ("Technology", "Manufacturing", "Finance", "Retail", "Education", "Logistics")

# What is drawn for the rows of a table, and what each draw depends on.
_DRAWN: dict[str, dict[str, tuple[str, ...]]] = {
    "activities": {"number": ("type", "page", "source", "known", "system", "form", "campaign")},
    "contacts": {"person": ("country", "title", "link", "source")},
    "consents": {"person": ("consent",)},
    "accounts": {"company": ("industry", "size", "country")},
    "opportunities": {"person": ("amount", "outcome", "rep")},
    "stage_changes": {"person": ("outcome", "rep")},
    "meetings": {"person": ("outcome", "rep")},
}  # fmt: skip


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _one_of(values: tuple[str, ...], draw: str, power: float = 1.0) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    drawn = draw if power == 1.0 else f"pow({draw}, {power})"
    return f"([{listed}])[1 + cast(floor({drawn} * {len(values)}) as integer)]"


def _instant(microseconds: str) -> str:
    return f"cast(make_timestamp({microseconds}) as timestamptz)"


def _email(prefix: str = "", person: str = "person") -> str:
    """Somebody's own address: the number keeps it apart from everybody else's."""
    first = f"([{', '.join(repr(name) for name in _FIRST)}])[1 + {prefix}name_draw % {len(_FIRST)}]"
    last = f"([{', '.join(repr(name) for name in _LAST)}])[1 + {prefix}name_draw // {len(_FIRST)}]"
    domain = (
        f"case when {prefix}has_free_mail then 'gmail.com'"
        f" else 'company-' || {prefix}company_of || '.example' end"
    )
    return f"{first} || '.' || {last} || '.' || {person} || '@' || {domain}"


_ENVELOPE = {
    "event_source": "'urn:handoff:benchmark'",
    "contract_version": "'1.0.0'",
    "received_at": _instant("received_us"),
    "occurred_at": _instant("received_us - 2000000"),
    "null_fields": "'[]'",
}


def _named(record: str, system: str, key: str, event: str) -> dict[str, str]:
    """Columns that name an event and what it is about; the arguments are SQL."""
    return {
        "event_id": f"'{record}-' || {event}",
        "event_subject": f"'{record}/' || {system} || '/' || {key}",
    }


def _activities(world: World) -> dict[str, str]:
    by_email = f"(known_draw < {world.by_email_only})"
    unknown = f"(not {by_email} and known_draw < {world.by_email_only + world.anonymous})"
    # E-mail goes to people with a record; what is not known happened on the site.
    kind = (
        f"(case when {by_email} then 'form_submit' when {unknown} then 'page_view'"
        " when type_draw < 0.64 then 'page_view' when type_draw < 0.82 then 'email_open'"
        " when type_draw < 0.89 then 'email_click' when type_draw < 0.93 then 'form_submit'"
        " when type_draw < 0.95 then 'webinar_attend' when type_draw < 0.98 then 'email_sent'"
        " when type_draw < 0.99 then 'call' else 'reply' end)"
    )
    on_site = f"({by_email} or {unknown} or (has_second and system_draw < 0.5))"
    system = f"(case when {on_site} then 'web' else 'hubspot' end)"
    contact = f"(case when {by_email} or {unknown} then null when has_second and system_draw < 0.5 then 'w' || person else 'h' || person end)"
    typed = f"(case when has_shared_mailbox then 'info@company-' || company_of || '.example' else {_email()} end)"
    page = _one_of(_PAGES, "page_draw", 2.2)
    paid = "source_draw < 0.2"
    return {
        **_named("activity", system, "('activity-' || number)", "number || case when repeat > 0 then '-' || repeat else '' end"),
        "occurred_at": _instant("occurred_us"),
        "activity_id": "'activity-' || number",
        "system": system,
        "activity_type": kind,
        "contact_id": contact,
        # As people type: some in capitals.
        "email": f"case when {by_email} then case when page_draw < 0.2 then upper({typed}) else {typed} end end",
        "anonymous_id": f"case when {kind} = 'page_view' then 'visitor-' || person end",
        # Every twentieth visit carries a click id that no other has.
        "url": f"case when {kind} in ('page_view', 'form_submit') then 'https://www.example.com' || {page}"
        " || case when form_draw < 0.05 then '?gclid=' || number else '' end end",
        "referrer": f"case when {kind} = 'page_view' then case when source_draw < 0.35 then 'https://www.google.com/'"
        " when source_draw < 0.45 then 'https://www.linkedin.com/' when source_draw < 0.5 then 'https://partner.example.org/' end end",
        "utm_source": f"case when {paid} then case when source_draw < 0.15 then 'google' else 'linkedin' end end",
        "utm_medium": f"case when {paid} then case when source_draw < 0.15 then 'cpc' else 'paid_social' end end",
        "utm_campaign": f"case when {paid} then 'campaign-' || cast(floor(campaign_draw * {CAMPAIGNS}) as integer) end",
        "campaign_id": f"case when campaign_draw < 0.3 then 'campaign-' || cast(floor(campaign_draw * {CAMPAIGNS}) as integer) end",
        "form_id": f"case when {kind} = 'form_submit' then {_one_of(_FORMS, 'form_draw', 2.5)} end",
        "trace_parent": f"case when {kind} = 'form_submit' then '00-' || md5(cast(number as varchar)) || '-00f067aa0ba902b7-01' end",
    }  # fmt: skip


def _contacts(world: World) -> dict[str, str]:
    system = "(case version when 1 then 'web' else 'hubspot' end)"
    record = "(case version when 1 then 'w' else 'h' end || person)"
    # A second record is linked by address (70 %), by number (20 %) or because it names the first.
    own = _email()
    shared = "'info@company-' || company_of || '.example'"
    elsewhere = f"'second.' || {own}"
    phone = (
        "case when has_switchboard then '+49 89 2' || lpad(cast(company_of as varchar), 7, '0')"
        " when has_phone or version = 1 and link_draw between 0.7 and 0.9"
        " then case when name_draw % 2 = 0 then '+49 30 1' else '+49-30-1' end || lpad(cast(person as varchar), 7, '0') end"
    )
    return {
        **_named("contact", system, record, "person || '-' || version"),
        "record_id": record,
        "system": system,
        "email": "case when version = 2 then null"
        f" when version = 0 and has_shared_mailbox then {shared}"
        f" when version = 1 and link_draw >= 0.7 then {elsewhere}"
        f" when version = 1 and link_draw < 0.2 then upper({own}) else {own} end",
        "phone": f"case when version < 2 then {phone} end",
        "external_ids": "case when version = 1 and link_draw >= 0.9 then"
        """ '[{"system":"hubspot","record_id":"h' || person || '"}]' end""",
        "first_name": f"case when version < 2 then {_one_of(_FIRST, f'(name_draw % {len(_FIRST)}) / {len(_FIRST)}')} end",
        "last_name": f"case when version < 2 then {_one_of(_LAST, f'(name_draw // {len(_FIRST)}) / {len(_LAST)}')} end",
        "company": "case when version = 0 then 'Company ' || company_of end",
        "country": f"case when version < 2 then {_one_of(_COUNTRIES, 'country_draw', 1.5)} end",
        "job_title": f"case version when 0 then {_one_of(_TITLES, 'title_draw')} when 2 then {_one_of(_TITLES, '(1 - title_draw) * 0.999')} end",
        "original_source": "case when version = 0 and source_draw < 0.5 then"
        f" {_one_of(('organic_search', 'paid_search', 'referral', 'event'), 'source_draw * 2')} end",
        "latest_source": f"case when version = 2 then {_one_of(('webinar', 'direct'), 'source_draw')} end",
        "lifecycle_stage": "case version when 0 then 'inquiry' end",
    }  # fmt: skip


def _consents(_: World) -> dict[str, str]:
    return {
        **_named("consent", "'hubspot'", "('h' || person)", "person || '-' || version"),
        "contact_id": "'h' || person",
        "system": "'hubspot'",
        "channel": "'email'",
        "lawful_basis": "'consent'",
        "status": "case when version = 1 then 'withdrawn' when consent_draw < 0.8 then 'granted'"
        " when consent_draw < 0.9 then 'denied' else 'pending' end",
        "consent_timestamp": _instant("received_us - 3000000"),
    }


def _accounts(_: World) -> dict[str, str]:
    return {
        **_named("account", "'hubspot'", "('a' || company)", "company"),
        "record_id": "'a' || company",
        "system": "'hubspot'",
        "name": "'Company ' || company",
        "domain": "'company-' || company || '.example'",
        "industry": _one_of(_INDUSTRIES, "industry_draw"),
        "employee_count": "cast(pow(10, 1 + size_draw * 3) as bigint)",
        "annual_revenue_usd": "cast(pow(10, 5 + size_draw * 3) as decimal(18, 2))",
        "country": _one_of(_COUNTRIES, "country_draw", 1.5),
    }


def _opportunities(_: World) -> dict[str, str]:
    return {
        **_named("opportunity", "'hubspot'", "('o' || person)", "person || '-' || version"),
        "record_id": "'o' || person",
        "system": "'hubspot'",
        "account_id": "case when version = 0 then 'a' || company_of end",
        "contact_ids": "case when version = 0 then '[\"h' || person || '\",\"h' || greatest(person - 1, 0) || '\"]' end",
        "stage": "case when version = 0 then 'qualification' when outcome_draw < 0.35 then 'closed_won'"
        " when outcome_draw < 0.8 then 'closed_lost' else 'negotiation' end",
        "amount_usd": "case when version = 0 then cast(1000 + amount_draw * amount_draw * 200000 as decimal(18, 2)) end",
        "created_at": f"case when version = 0 then {_instant('received_us - 2000000')} end",
        "closed_at": f"case when version = 1 and outcome_draw < 0.8 then {_instant('received_us - 2000000')} end",
        "is_won": "case when version = 1 and outcome_draw < 0.8 then outcome_draw < 0.35 end",
        "owner_id": f"'rep-' || cast(floor(rep_draw * {REPS}) as integer)",
    }  # fmt: skip


def _stage_changes(_: World) -> dict[str, str]:
    return {
        **_named("stage_change", "'hubspot'", "('h' || person)", "person || '-' || version"),
        "contact_id": "'h' || person",
        "system": "'hubspot'",
        "from_stage": "case version when 0 then 'mql' else 'accepted' end",
        "to_stage": "case when version = 0 then case when outcome_draw < 0.8 then 'accepted' else 'rejected' end else 'sql' end",
        "reason": "case when version = 0 and outcome_draw >= 0.8 then 'no budget' end",
        "owner_id": f"'rep-' || cast(floor(rep_draw * {REPS}) as integer)",
    }  # fmt: skip


def _meetings(_: World) -> dict[str, str]:
    starts = "received_us + 864000000000"
    return {
        **_named("meeting", "'hubspot'", "('meeting-' || person)", "person || '-' || version"),
        "meeting_id": "'meeting-' || person",
        "system": "'hubspot'",
        "contact_id": "'h' || person",
        "rep_id": f"'rep-' || cast(floor(rep_draw * {REPS}) as integer)",
        "starts_at": f"case when version = 0 then {_instant(starts)} end",
        "ends_at": f"case when version = 0 then {_instant(f'{starts} + 1800000000')} end",
        "time_zone": "'Europe/Berlin'",
        "status": "case when version = 0 then 'booked' when outcome_draw < 0.8 then 'held' else 'no_show' end",
    }


def _merges(_: World) -> dict[str, str]:
    return {
        **_named("merge", "'hubspot'", "('h' || person)", "person"),
        "system": "'hubspot'",
        "surviving_id": "'h' || person",
        "merged_ids": "'[\"h' || (person - 1) || '\"]'",
        "unmerge": "false",
    }


def _reps(_: World) -> dict[str, str]:
    return {
        **_named("rep", "'hubspot'", "('rep-' || rep)", "rep"),
        "record_id": "'rep-' || rep",
        "system": "'hubspot'",
        "email": "'rep' || rep || '@handoff.example.com'",
        "name": "'Rep ' || rep",
        "time_zone": "'UTC'",
        "territories": "'[\"' || (['dach', 'emea', 'americas', 'apac'])[1 + rep % 4] || '\"]'",
        "capacity": "100000",
        "weight": "1.0 + rep % 3",
    }


def _campaigns(_: World) -> dict[str, str]:
    return {
        **_named("campaign", "'hubspot'", "('campaign-' || campaign)", "campaign"),
        "record_id": "'campaign-' || campaign",
        "system": "'hubspot'",
        "name": "'Campaign ' || campaign",
        "channel": "(['webinar', 'event', 'display'])[1 + campaign % 3]",
    }


# Columns of the raw table as SQL over what was drawn; those left out are null.
_TABLES: dict[str, Callable[[World], dict[str, str]]] = {
    "accounts": _accounts,
    "activities": _activities,
    "campaigns": _campaigns,
    "consents": _consents,
    "contacts": _contacts,
    "meetings": _meetings,
    "merges": _merges,
    "opportunities": _opportunities,
    "reps": _reps,
    "stage_changes": _stage_changes,
}
