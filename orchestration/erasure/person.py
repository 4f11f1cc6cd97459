"""Who is to be erased: the records, addresses, browsers and ids that stand for one person, and the turns they had; changes nothing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingestion.connectors import catalog
from ingestion.erasure.keys import Key, asking
from ingestion.erasure.named import IsErased, Kind
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from orchestration.explain import find_person
from orchestration.named_rows import named_rows

if TYPE_CHECKING:
    import duckdb

# Shorter ids stand for other things as well: a search for their characters finds those.
SEARCHED_CHARACTERS = 12
SEARCHED_DIGITS = 7

# What the person's records are reached by, in every spelling; what is no address and no number is reached by nobody ("none", "n/a").
_IDENTIFIERS = """
    with typed as (
        select record_key, 'email' as identifier_type, email as raw_value from intermediate.int_contacts__versions
        where email is not null
        union
        select record_key, 'phone', phone from intermediate.int_contacts__versions
        where phone is not null
    ),
    carried as (
        select typed.record_key, identifier_type, normal.linking_value
        from typed inner join intermediate.int_identifiers__normalized as normal using (identifier_type, raw_value)
        where normal.linking_value is not null
        union
        select record_key, identifier_type, identifier_value from intermediate.int_identity__identifiers
        where identifier_type in ('email', 'phone')
    ),
    own as (
        select distinct identifier_type, linking_value from carried
        where record_key in (select record_key from records)
    ),
    of_others as (
        select distinct identifier_type, linking_value from carried semi join own using (identifier_type, linking_value)
        where record_key not in (select record_key from records)
    ),
    spelled as (
        select identifier_type, linking_value, linking_value as spelling from own
        union
        select identifier_type, linking_value, lower(trim(normal.raw_value))
        from intermediate.int_identifiers__normalized as normal inner join own using (identifier_type, linking_value)
    )
    select
        identifier_type,
        spelling,
        (identifier_type, linking_value) in (select (identifier_type, linking_value) from of_others) as is_shared,
        spelling in (select lower(email) from marts.dim_reps where email is not null) as is_of_rep
    from spelled
    where spelling <> ''
    order by all
"""

# Their places in the order in which leads are dealt: of one instant, by person.
# A lead that somebody had a claim to took no turn, but work of a rep's day; what was done by hand in the CRM took neither.
_TURNS = """
    select mqls.reached_at, assignments.assigned_at as known_at, people.country, assignments.routing_version, assignments.rep_id,
        case when assignments.cause in ('pool', 'breach', 'confirmed') then assignments.pool end as pool
    from marts.fct_assignments as assignments
    inner join marts.fct_mqls as mqls using (mql_id)
    inner join marts.dim_people as people on assignments.person_id = people.person_id
    where assignments.person_id = $person_id and assignments.rep_id is not null and assignments.cause <> 'crm'
    order by known_at, reached_at
"""
_NEIGHBOURS = """
    select max(person_id) filter (where person_id < $person_id) as before, min(person_id) filter (where person_id > $person_id) as after
    from marts.dim_people
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom to erase. `records` are (system, record type, id), those we made and nobody polled among them; `addresses` and `phones` are theirs
    alone, in lower case; `kept` are those that others are reached by too, and stay; `person_ids` are ours of today and before; `turns` are as
    erasure events have them."""

    person_id: str
    records: tuple[tuple[str, str, str], ...]
    addresses: tuple[str, ...]
    phones: tuple[str, ...]
    kept: tuple[str, ...]
    person_ids: tuple[str, ...]
    turns: tuple[dict[str, Any], ...]

    @property
    def keys(self) -> frozenset[Key]:
        """Everything that stands for them in a record or a row."""
        return frozenset(
            {_key_of_record(*record) for record in self.records}
            | {Key("address", address) for address in self.addresses}
            | {Key("person", person_id) for person_id in self.person_ids}
        )

    @property
    def keys_to_remember(self) -> frozenset[Key]:
        """Those by which what comes in later is known as theirs; an id that is made of an address stands for them no longer than that."""
        return frozenset(
            key
            if key.kind != "record" or _is_given(str(key.system))
            else Key("made", key.value, key.system)
            for key in self.keys
        )

    @property
    def spellings(self) -> frozenset[str]:
        """Their addresses as they may stand in a text: also within the address of a page."""
        return frozenset({*self.addresses, *(quote(each).lower() for each in self.addresses)})

    @property
    def texts(self) -> frozenset[str]:
        """Every text of them that stands for nobody else, to be looked for."""
        ids = {record_id for _, _, record_id in self.records} | set(self.person_ids)
        long_ids = {each.lower() for each in ids if len(each) >= SEARCHED_CHARACTERS}
        numbers = {each for each in self.phones if len(each) >= SEARCHED_DIGITS}
        return frozenset({*self.spellings, *numbers, *long_ids} - set(self.kept))

    def asking(self, system: str | None) -> IsErased:
        """Whether a value in a row of `system` stands for them."""
        return asking(self.keys, system)


def person_to_erase(settings: Settings, who: str) -> Person:
    """The person with this address or person_id, as the warehouse has them now; the caller holds the writer's lock. Raises NOT_FOUND."""
    connection = connect(settings)
    try:
        return _person(connection, find_person(settings, connection, who)["person_id"])
    finally:
        connection.close()


def _person(connection: duckdb.DuckDBPyConnection, person_id: str) -> Person:
    connection.execute(
        "create or replace temp table records as select record_key, system, record_type, record_id from marts.entity_map "
        "where is_current and record_type <> 'account' and person_id = ?",
        [person_id],
    )
    records = connection.execute(
        "select system, record_type, record_id from records order by all"
    ).fetchall()
    # Leads that we have made in a CRM and not polled since are known by their receipts alone.
    made = connection.execute(
        "select distinct system, lower(object), record_id from marts.fct_pushes where person_id = ? and object <> 'Task' "
        "and record_id is not null and (system, record_id) not in (select (system, record_id) from records) order by all",
        [person_id],
    ).fetchall()
    found = named_rows(connection.execute(_IDENTIFIERS))
    ours = connection.execute(
        "select distinct person_id from marts.entity_map where record_key in (select record_key from records) and person_id not in "
        "(select person_id from marts.entity_map where is_current and person_id is not null and record_key not in "
        "(select record_key from records)) order by all"
    ).fetchall()
    kept = tuple(row["spelling"] for row in found if row["is_shared"] or row["is_of_rep"])
    alone = [row for row in found if row["spelling"] not in kept]
    return Person(
        person_id,
        tuple(sorted({*records, *made})),
        tuple(row["spelling"] for row in alone if row["identifier_type"] == "email"),
        tuple(row["spelling"] for row in alone if row["identifier_type"] == "phone"),
        kept,
        tuple(each for (each,) in ours),
        _turns(connection, person_id),
    )


def _turns(connection: duckdb.DuckDBPyConnection, person_id: str) -> tuple[dict[str, Any], ...]:
    values = {"person_id": person_id}
    rows = named_rows(connection.execute(_TURNS, values))
    if not rows:
        return ()
    [near] = named_rows(connection.execute(_NEIGHBOURS, values))
    lead_id = _between(near["before"], near["after"])
    return tuple(
        {
            "lead_id": lead_id,
            "country": row["country"],
            "routing_version": row["routing_version"],
            "pool": row["pool"],
            "rep_id": row["rep_id"],
            "reached_at": row["reached_at"].isoformat(),
            "known_at": row["known_at"].isoformat(),
        }
        for row in rows
    )


def _between(before: str | None, after: str | None) -> str:
    """A random id that stands in the order of ids where the person's did."""
    low = uuid.UUID(before).int if before else -1
    high = uuid.UUID(after).int if after else 1 << 128
    room = high - low - 1
    if room <= 0:
        raise HandoffError("INTERNAL", f"no id stands between {before} and {after}")
    return str(uuid.UUID(int=low + 1 + uuid.uuid4().int % room))


def _key_of_record(system: str, record_type: str, record_id: str) -> Key:
    kinds: dict[str, Kind] = {"email": "mailbox", "visitor": "visitor"}
    return Key(kinds.get(record_type, "record"), record_id, system)


def _is_given(system: str) -> bool:
    """Whether the ids of people in `system` are its own, and not made of their addresses."""
    if system not in catalog.systems("source"):
        return system not in catalog.systems()
    return any(
        path == "@" for named in catalog.source(system).NAMED.values() for _, path in named.places
    )
