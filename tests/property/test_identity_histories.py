"""Whatever comes in whatever order, in whatever batches, some of them dying: who is whom ends as one build from scratch says, and as a
plain reading of the same events says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from scipy.cluster.hierarchy import DisjointSet

from tests.property.dbt_models import Models
from tests.property.erased_people import Erasures, left_at_once
from tests.property.people_split import assert_split_right

MODELS = (
    "int_contacts__versions",
    "int_identity__merges_unioned",
    "int_identity__records",
    "int_batch__changed_records",
    "int_contacts__current",
    "int_identifiers__normalized",
    "int_identity__identifiers",
    "int_identity__identifier_changes",
    "int_identity__features",
    "int_identity__people",
    "int_identity__history",
)
COMPARED = (
    "int_contacts__current",
    "int_identity__records",
    "int_identity__identifiers",
    "int_identity__identifier_changes",
    "int_identity__people",
    "int_identity__history",
)

# Tables of what is told, and one of nothing for all others; every column the models ask for.
CONTACT = {
    "record_key": "ubigint", "system": "varchar", "record_type": "varchar", "record_id": "varchar",
    **dict.fromkeys(
        (
            "email", "phone", "first_name", "last_name", "birth_date", "street_address", "city", "region", "postal_code", "country",
            "company", "job_title", "external_ids", "original_source", "latest_source", "campaign_id", "owner_id", "lifecycle_stage",
            "account_record_id", "master_record_id", "converted_contact_id", "handoff_person_id", "custom",
        ),
        "varchar",
    ),
    "is_deleted": "boolean", "is_converted": "boolean", "is_full_state": "boolean", "null_fields": "varchar[]",
    "created_at": "timestamptz", "converted_at": "timestamptz", "occurred_at": "timestamptz", "received_at": "timestamptz",
    "seq": "bigint", "load_id": "varchar",
}  # fmt: skip
MERGE = {
    "system": "varchar", "surviving_id": "varchar", "merged_id": "varchar", "is_unmerge": "boolean", "occurred_at": "timestamptz",
    "received_at": "timestamptz", "seq": "bigint", "load_id": "varchar",
}  # fmt: skip
MENTION = {
    "system": "varchar", "contact_id": "varchar", "email": "varchar", "received_at": "timestamptz", "seq": "bigint",
    "load_id": "varchar",
}  # fmt: skip
NOTHING = {**CONTACT, **MERGE, **MENTION, "who_id": "varchar", "contact_ids": "varchar", "attendee_email": "varchar"}  # fmt: skip
TOLD = {
    "stg_events__contacts": CONTACT,
    "stg_events__merges": MERGE,
    "stg_events__activities": MENTION,
}

# An address or a number that more records carry than this links nobody.
LIMITS = {"external_id": 6, "email": 4, "phone": 2}
RECORDS = [
    ("hubspot", "contact", "1"), ("hubspot", "contact", "2"), ("hubspot", "contact", "3"),
    ("salesforce", "lead", "00Q1"), ("salesforce", "contact", "0031"), ("salesforce", "contact", "0032"),
    ("web", "contact", "a"), ("web", "contact", "b"),
]  # fmt: skip
# As typed, and the mailbox it is; None where it links nobody.
EMAILS = {
    "ann@acme.example": "ann@acme.example", "Ann@Acme.example ": "ann@acme.example", "bob@acme.example": "bob@acme.example",
    "c.leo+news@gmail.com": "cleo@gmail.com", "cleo@googlemail.com": "cleo@gmail.com", "info@acme.example": None,
    "test@acme.example": None, "not an address": None,
}  # fmt: skip
PHONES = {
    "+49 30 901820": "+4930901820",
    "+4930901820": "+4930901820",
    "+44 20 7946 0958": "+442079460958",
}
POLICIES = """
    create table raw_policies.identity_identifiers as select true as is_active, * from (values
        ('external_id', 1, {external_id}, null, true), ('email', 2, {email}, {most}, true),
        ('phone', 3, {phone}, null, true)
    ) as told (identifier_type, priority, max_records, max_per_person, is_linking);
    create table raw_policies.identity_blocked_values as select true as is_active, 'email' as identifier_type, '^test@' as pattern;
    create table raw_policies.identity_shared_mailboxes as select true as is_active, 'info' as local_part;
    create table raw_policies.identity_email_rules as select true as is_active, *, 'gmail.com' as canonical_domain, true as ignores_dots,
        '+' as tag_separator, false as has_subdomains from (values ('gmail.com'), ('googlemail.com')) as told (domain);
"""

Record = tuple[str, str, str]


def instant(hour: float) -> str:
    """An hour of 2026 as DuckDB reads it."""
    return f"2026-01-{1 + int(hour) // 24:02}T{int(hour) % 24:02}:00:00Z"


def received(seq: int) -> str:
    """Events are received a second apart, after everything they tell of."""
    return f"2026-02-01T{seq // 3600:02}:{seq // 60 % 60:02}:{seq % 60:02}Z"


class Histories(RuleBasedStateMachine):
    """Events, batches and deaths; who is whom is compared after every batch."""

    models: Models

    # Nobody has more different addresses than so many.
    @initialize(most=st.sampled_from([1, None]))
    def start(self, most: int | None) -> None:
        self.most = {"email": most} if most else {}
        connection = duckdb.connect(config={"threads": 1, "preserve_insertion_order": True})
        self.models = _models(connection)
        connection.execute(POLICIES.format(**LIMITS, most=most or "null"))
        columns = ", ".join(f"{name} {kind}" for name, kind in NOTHING.items())
        connection.execute(f"create table staging.nothing ({columns})")
        for table, told in TOLD.items():
            columns = ", ".join(f"{name} {kind}" for name, kind in told.items())
            connection.execute(f"create table staging.{table} ({columns})")
        self.seq, self.load, self.hour = 0, 0, 0
        self.since: str = ""
        self.since_hour: int | None = None
        self.waiting: list[tuple[str, dict[str, Any]]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.is_settled = False
        self.erasures = Erasures()
        self._make([*MODELS[:2], "int_identity__references", *MODELS[2:]])

    @rule(
        record=st.sampled_from(RECORDS),
        said=st.fixed_dictionaries(
            {},
            optional={
                "email": st.sampled_from([None, *EMAILS]),
                "phone": st.sampled_from([None, *PHONES]),
                "external_ids": st.none()
                | st.lists(st.sampled_from(RECORDS), max_size=2, unique=True),
            },
        ),
        hour=st.integers(0, 60),
        is_full_state=st.booleans(),
        is_deleted=st.booleans(),
    )
    def tell_contact(
        self, record: Record, said: dict[str, Any], hour: int, is_full_state: bool, is_deleted: bool
    ) -> None:
        values = dict(said)
        if values.get("external_ids") is not None:
            values["external_ids"] = json.dumps(
                [{"system": system, "record_id": name} for system, _, name in said["external_ids"]]
            )
        self._tell(
            "stg_events__contacts",
            hour,
            {
                "system": record[0], "record_type": record[1], "record_id": record[2], **values,
                "null_fields": [name for name, value in values.items() if value is None],
                "is_full_state": is_full_state, "is_deleted": is_deleted,
            },
        )  # fmt: skip

    @rule(
        record=st.sampled_from(RECORDS) | st.none(), email=st.sampled_from(sorted(EMAILS)), system=st.sampled_from(["web", "hubspot"])
    )  # fmt: skip
    def mention(self, record: Record | None, email: str, system: str) -> None:
        who = (
            {"system": record[0], "contact_id": record[2]}
            if record
            else {"system": system, "email": email}
        )
        self._tell("stg_events__activities", 0, who)

    @rule(
        by=st.sampled_from(["handoff", "handoff", "system"]),
        one=st.sampled_from(RECORDS),
        other=st.sampled_from(RECORDS),
        is_unmerge=st.booleans(),
        hour=st.integers(0, 60),
    )
    def direct(self, by: str, one: Record, other: Record, is_unmerge: bool, hour: int) -> None:
        if by == "system" and one[0] != other[0]:
            by = "handoff"
        names = [
            f"{record[0]}:{record[2]}" if by == "handoff" else record[2] for record in (one, other)
        ]
        self._tell(
            "stg_events__merges",
            hour,
            {
                "system": "handoff" if by == "handoff" else one[0],
                "surviving_id": names[0], "merged_id": names[1], "is_unmerge": is_unmerge,
            },
        )  # fmt: skip

    @rule(hours=st.integers(0, 30))
    def batch(self, hours: int) -> None:
        self._land(hours)
        self._make(MODELS)
        self.since, self.since_hour = f"{self.load:06}", self.hour
        self.is_settled = True

    @rule(hours=st.integers(0, 30), models=st.integers(1, len(MODELS)))
    def batch_that_dies(self, hours: int, models: int) -> None:
        """As far as some model; what it left is there when the next one comes."""
        self._land(hours)
        self._make(MODELS[:models])
        self.is_settled = False
        self._died()

    @rule(record=st.sampled_from(RECORDS), hour=st.integers(0, 60))
    def erase(self, record: Record, hour: int) -> None:
        """Whoever the record is of now goes, with all that was told of them, and the rest is built anew."""
        self.batch(0)
        group = self._group_of(record)
        if not group:
            return
        until = datetime.fromisoformat(instant(hour))
        keys = self.erasures.erase(group, self.events, until, EMAILS)
        kept = []
        for table, event in self.events:
            left = left_at_once((table, event), keys)
            if left is not None:
                kept.append((table, left))
            if left is None:
                self.models.connection.execute(
                    f"delete from staging.{table} where seq = ?", [event["seq"]]
                )
            elif left is not event:
                self.models.connection.execute(
                    f"update staging.{table} set external_ids = ? where seq = ?",
                    [left["external_ids"], event["seq"]],
                )
        self.events = kept
        self.since, self.since_hour = "", None
        self._make(MODELS, full_refresh=True)
        self.since, self.since_hour = f"{self.load:06}", self.hour
        assert not self._group_of(record)

    @invariant()
    def nobody_comes_back(self) -> None:
        if self.is_settled and self.erasures.known is not None:
            found = self.models.connection.execute(
                "select system, record_id from intermediate.int_identity__people where record_type <> 'email'"
            ).fetchall()
            assert self.erasures.gone.isdisjoint(found)

    @invariant()
    def it_is_as_the_events_read(self) -> None:
        if not self.is_settled:
            return
        rows = self.models.connection.execute(
            "select system, record_type, record_id, person_id from intermediate.int_identity__people"
        ).fetchall()
        found: dict[str, set[Record]] = defaultdict(set)
        for system, record_type, record_id, person in rows:
            found[person].add((system, record_type, record_id))
        assert_read_right(
            {frozenset(group) for group in found.values()}, *self._read(self.seq), self.most
        )

    @invariant()
    def what_was_known_is_what_had_been_received(self) -> None:
        if not self.is_settled:
            return
        rows = self.models.connection.execute(
            "select {'system': people.system, 'record_type': people.record_type, 'record_id': people.record_id}, history.person_id, "
            "history.link_path, epoch(history.known_from - timestamptz '2026-02-01T00:00:00Z'), "
            "epoch(history.known_to - timestamptz '2026-02-01T00:00:00Z') "
            "from intermediate.int_identity__history as history join intermediate.int_identity__people as people using (record_key)"
        ).fetchall()
        for seq in range(1, self.seq + 1):
            groups: dict[str, set[Record]] = defaultdict(set)
            carried, apart = self._read(seq)
            for told, person, path, known_from, known_to in rows:
                if known_from <= seq and (known_to is None or known_to > seq):
                    record: Record = tuple(told.values())
                    groups[person].add(record)
                    assert_path_leads(json.loads(path), record, carried)
            assert_read_right(
                {frozenset(group) for group in groups.values()}, carried, apart, self.most
            )

    def teardown(self) -> None:
        if not hasattr(self, "events"):
            return
        self.batch(0)
        self.it_is_as_the_events_read()
        self.what_was_known_is_what_had_been_received()
        in_batches = self._contents()
        self.since, self.since_hour = "", None
        self._make(MODELS, full_refresh=True)
        rebuilt = self._contents()
        for table in COMPARED:
            assert in_batches[table] == rebuilt[table], table
        self.models.connection.close()

    def _died(self) -> None:
        """Nothing moves: the next batch takes the same events in again."""

    def _tell(self, table: str, hour: int, told: dict[str, Any]) -> None:
        self.seq += 1
        self.is_settled = False
        event = {
            **told,
            "received_at": received(self.seq),
            "occurred_at": instant(hour),
            "seq": self.seq,
        }
        left = self.erasures.left_later((table, event), datetime.fromisoformat(instant(hour)))
        if left is not None:
            self.waiting.append((table, left))
            self.events.append((table, {**left, "hour": hour}))

    def _land(self, hours: int) -> None:
        self.hour += hours
        self.load += 1
        for table, event in self.waiting:
            row = {**event, "load_id": f"{self.load:06}"}
            columns = [name for name in TOLD[table] if name in row]
            values = ", ".join("?" for _ in columns)
            self.models.connection.execute(
                f"insert into staging.{table} ({', '.join(columns)}) values ({values})",
                [row[name] for name in columns],
            )
        self.models.connection.execute(
            "update staging.stg_events__contacts set record_key = md5_number_lower(concat_ws('|', system, record_type, record_id)) "
            "where record_key is null"
        )
        self.waiting.clear()

    def _make(self, models: Iterable[str], *, full_refresh: bool = False) -> None:
        self.models.variables.update(
            since=self.since,
            since_as_of="" if self.since_hour is None else instant(self.since_hour),
            as_of=instant(self.hour),
        )
        self.models.run(models, full_refresh=full_refresh)

    def _group_of(self, record: Record) -> set[Record]:
        """All records of whoever this one is of."""
        rows = self.models.connection.execute(
            "select system, record_type, record_id from intermediate.int_identity__people where person_id in "
            "(select person_id from intermediate.int_identity__people where (system, record_type, record_id) = ($1, $2, $3))",
            record,
        ).fetchall()
        return set(rows)

    def _contents(self) -> dict[str, list[Any]]:
        return {
            table: self.models.connection.execute(
                f"select * from intermediate.{table} order by all"
            ).fetchall()
            for table in COMPARED
        }

    def _read(
        self, until: int
    ) -> tuple[dict[Record, set[tuple[str, str]]], set[frozenset[Record]]]:
        """Of each record the identifiers that link, and the pairs held apart, straight from the events received by then."""
        known = {(system, name): (system, kind, name) for system, kind, name in RECORDS}
        carried: dict[Record, set[tuple[str, str]]] = {}
        stated: dict[Record, dict[str, Any]] = defaultdict(dict)
        words: dict[frozenset[Record], list[tuple[bool, str, Record, Record]]] = defaultdict(list)

        def exists(record: Record) -> None:
            own = ("external_id", f"{record[0]}:{record[2]}")
            if record[1] == "email":
                mailbox = EMAILS.get(record[2]) or EMAILS.get(record[2].title())
                carried.setdefault(record, {("email", mailbox)} if mailbox else set())
            else:
                carried.setdefault(record, {own})

        told = sorted(self.events, key=lambda event: (event[1]["hour"], event[1]["seq"]))
        for table, event in told:
            if event["seq"] > until:
                continue
            if table == "stg_events__contacts":
                record = (event["system"], event["record_type"], event["record_id"])
                exists(record)
                if event["hour"] <= self.hour:
                    for name in ("email", "phone", "external_ids"):
                        if event["is_full_state"] or name in event:
                            stated[record][name] = event.get(name)
            elif table == "stg_events__activities":
                if "contact_id" in event:
                    exists(known[event["system"], event["contact_id"]])
                else:
                    exists((event["system"], "email", event["email"].lower().strip()))
            else:
                pair = []
                for name in (event["surviving_id"], event["merged_id"]):
                    system, _, rest = (
                        name.partition(":")
                        if event["system"] == "handoff"
                        else (event["system"], "", name)
                    )
                    pair.append(known[system, rest])
                    exists(pair[-1])
                words[frozenset(pair)].append(
                    (event["is_unmerge"], event["system"], pair[0], pair[1])
                )
        for record, values in stated.items():
            if mailbox := EMAILS.get(values.get("email") or ""):
                carried[record].add(("email", mailbox))
            if number := PHONES.get(values.get("phone") or ""):
                carried[record].add(("phone", number))
            for other in json.loads(values.get("external_ids") or "[]"):
                carried[record].add(("external_id", f"{other['system']}:{other['record_id']}"))
        apart = set()
        for both, said in words.items():
            if len(both) < 2:
                continue
            merges = [place for place, word in enumerate(said) if not word[0]]
            unmerges = [place for place, word in enumerate(said) if word[0]]
            splits = [place for place in unmerges if said[place][1] == "handoff"]
            last = max(merges, default=-1)
            if merges and last > max(unmerges, default=-1):
                _, _, survivor, merged = said[last]
                carried[survivor].add(("external_id", f"{merged[0]}:{merged[2]}"))
            if splits and max(splits) > last:
                apart.add(both)
        return carried, apart


def assert_read_right(
    found: set[frozenset[Record]],
    carried: dict[Record, set[tuple[str, str]]],
    apart: set[frozenset[Record]],
    most: dict[str, int],
) -> None:
    """The components of what links, split where a person has said so, and of all records that were told of."""
    holders: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record, identifiers in carried.items():
        for identifier in identifiers:
            holders[identifier].append(record)
    linking = [held for (kind, _), held in holders.items() if len(held) <= LIMITS[kind]]
    components = DisjointSet(carried)
    for held in linking:
        for record in held[1:]:
            components.merge(held[0], record)
    assert frozenset().union(*found) == carried.keys()

    def is_too_much(members: frozenset[Record]) -> bool:
        """Only what links counts."""
        links = {
            identifier
            for identifier in set().union(*(carried[record] for record in members))
            if len(holders[identifier]) <= LIMITS[identifier[0]]
        }
        return any(
            sum(kind == limited for kind, _ in links) > limit for limited, limit in most.items()
        )

    assert_split_right(found, map(frozenset, components.subsets()), linking, apart, is_too_much)


def assert_path_leads(
    path: list[dict[str, str]], record: Record, carried: dict[Record, set[tuple[str, str]]]
) -> None:
    """Each step is something both records carry."""
    named = {(system, name): (system, kind, name) for system, kind, name in carried}
    for step in path:
        system, _, name = step["record"].partition(":")
        above = named[system, name]
        shared = (step["identifier_type"], step["identifier_value"])
        assert shared in carried[record] & carried[above]
        record = above


class Forgetting(Histories):
    """The control: a batch that died counts as done."""

    def _died(self) -> None:
        self.since, self.since_hour = f"{self.load:06}", self.hour


class LettingIn(Histories):
    """The control of erasures: what is told later of whom was erased comes in."""

    def _tell(self, table: str, hour: int, told: dict[str, Any]) -> None:
        known, self.erasures.known = self.erasures.known, None
        super()._tell(table, hour, told)
        self.erasures.known = known


class KnowingNow(Histories):
    """The control of what was known: only what records say now is remembered."""

    def _make(self, models: Iterable[str], *, full_refresh: bool = False) -> None:
        for model in models:
            super()._make([model], full_refresh=full_refresh)
            if model == "int_identity__identifier_changes":
                self.models.connection.execute(f"delete from intermediate.{model}")


_kept: list[Models] = []


def _models(connection: duckdb.DuckDBPyConnection) -> Models:
    """The models on this connection; their templates are parsed once."""
    if _kept:
        _kept[0].connect(connection)
    else:
        _kept.append(Models(connection))
    return _kept[0]


def _told(machine: type[Histories], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=machine is not Histories,
            database=None,
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # What fails is short enough to be read, and shrinking it takes longer than finding it.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_history_ends_as_one_build_from_scratch() -> None:
    _told(Histories, 6, 30)


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(Forgetting, marks=pytest.mark.prove),
        pytest.param(KnowingNow, marks=pytest.mark.prove),
        LettingIn,
    ],
)
def test_what_is_forgotten_is_found(machine: type[Histories]) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)):
        _told(machine, 30, 30)


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_five_hundred_histories_end_as_one_build_from_scratch() -> None:
    _told(Histories, 500, 40)
