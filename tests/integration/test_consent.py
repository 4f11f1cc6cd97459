"""What people said, and what the three gates make of it: writing, showing, counting; in batches as in a rebuild."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from models.policies.load import load_policies
from models.policies.rows import policy_tables
from orchestration.consents import show_consent
from orchestration.explain import explain_person
from orchestration.late_refusals import LateRefusals
from orchestration.serving import open_serving, publish

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
NO = {"denied", "withdrawn"}


def contact(name: str, system: str = "web", **data: Any) -> dict[str, Any]:
    """A buyer's record."""
    return {
        "system": system, "record_id": name, "email": f"{name}@firm-{name}.com", "first_name": name.title(),
        "last_name": "Keller", "job_title": "Head of IT", "country": "DE", **data,
    }  # fmt: skip


def consent(name: str, status: str, channel: str = "email", **data: Any) -> dict[str, Any]:
    """A statement of the record of this name."""
    said = {"channel": channel, "lawful_basis": "consent", "status": status, "source": "form"}
    return {"system": "web", "contact_id": name, **said, **data}


def did(name: str, number: int, kind: str, **data: Any) -> dict[str, Any]:
    """Something the person of this name did."""
    activity = {"activity_id": f"{name}-{number}", "activity_type": kind, "contact_id": name}
    return {"system": "web", **activity, **data}


def asked(name: str, number: int = 0) -> dict[str, Any]:
    """A form that makes a lead of a buyer."""
    return did(name, number, "form_submit", form_id="contact_sales")


class World:
    """A warehouse and what it is told."""

    def __init__(self, warehouse: Any) -> None:
        self.warehouse = warehouse

    def tell(self, at: datetime, *said: tuple[str, dict[str, Any]]) -> None:
        """Put records into the log."""
        self.warehouse.append(self.warehouse.event(kind, data, at) for kind, data in said)

    def decide(self, as_of: datetime, **options: Any) -> None:
        """Transform and publish."""
        self.warehouse.transform(as_of, **options)
        publish(self.warehouse.settings)

    def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the published file."""
        with contextlib.closing(open_serving(self.warehouse.settings)) as connection:
            return connection.execute(sql, list(values)).fetchall()

    def person(self, name: str, system: str = "web") -> str:
        """Who the record is."""
        [(person_id,)] = self.warehouse.rows(
            "select person_id from marts.entity_map where system = ? and record_id = ? and is_current",
            [system, name],
        )
        return str(person_id)

    def points(self, name: str) -> dict[str, float]:
        """What is counted now, by activity or attribute."""
        return dict(
            self.warehouse.rows(
                "select coalesce(system_activity_id, attribute), sum(points) from marts.fct_score_ledger "
                "left join marts.fct_activities using (activity_id) "
                "where fct_score_ledger.person_id = ? and withheld_at is null group by all",
                [self.person(name)],
            )
        )


@pytest.fixture(scope="module")
def world(open_warehouse: Callable[..., Any]) -> World:
    """Eight people who said this and that on the first days, decided on the tenth."""
    made = World(open_warehouse())
    names = ("buyer", "second", "objects", "gone", "private", "twice", "expiring", "silent")
    rep = {"system": "salesforce", "record_id": "005A", "email": "rep@firm.com", "name": "Rep"}
    made.tell(START, ("rep", rep | {"territories": ["dach", "emea"], "weight": 1.0}))
    made.tell(START, *(("contact", contact(name)) for name in names))
    # One person, another record with another address: known to be one since the fifth day.
    made.tell(START, ("contact", contact("other", "hubspot", email="twice@home.net")))
    made.tell(START, ("contact", contact("twice", "hubspot")))
    for name in names:
        made.tell(START + DAY, ("activity", asked(name)))
        view = did(name, 1, "page_view", url="/pricing")
        made.tell(START + DAY, ("activity", view))
        if name != "silent":
            made.tell(START + DAY, ("consent", consent(name, "granted")))
    made.tell(START + 2 * DAY, ("consent", consent("gone", "withdrawn", "all")))
    made.tell(START + 2 * DAY, ("consent", consent("private", "granted", gpc=True)))
    made.tell(START + 3 * DAY, ("activity", did("private", 2, "page_view", url="/demo")))
    no = {"system": "hubspot", "contact_id": "other"}
    made.tell(START + 2 * DAY, ("consent", consent("twice", "denied") | no))
    made.tell(START + 3 * DAY, ("consent", consent("twice", "granted")))
    merge = {"system": "hubspot", "surviving_id": "twice", "merged_ids": ["other"]}
    made.tell(START + 5 * DAY, ("merge", merge))
    short = {"lawful_basis": "legitimate_interest"}
    made.tell(START + DAY, ("consent", consent("expiring", "granted", "phone") | short))
    made.decide(START + 10 * DAY)
    return made


def gates(world: World, as_of: datetime) -> set[str]:
    """Who may be written to Salesforce by the shipped policy, from consent_as_of alone."""
    tables = policy_tables(load_policies())
    rules = [row for row in tables["consent_rules"].to_pylist() if row["is_active"]]
    stands: dict[str, list[tuple[str, str, str, str]]] = {}
    for person, *said in world.read(
        "select person_id, channel, purpose, purpose_kind, status from consent_as_of(?)", as_of
    ):
        stands.setdefault(person, []).append(tuple(said))
    allowed = set()
    for (person,) in world.read("select person_id from marts.dim_people"):
        passes = []
        for rule in rules:
            heard = {
                status
                for channel, purpose, kind, status in stands.get(person, [])
                if rule["channel"] in (None, channel)
                and (rule["purpose"] == purpose if rule["purpose"] else kind == "contact")
            }
            blocked = heard & set(json.loads(rule["blocking_statuses"]))
            passes.append(not blocked if heard else rule["when_unknown"] == "allow")
        if all(passes):
            allowed.add(person)
    return allowed


def written(world: World) -> set[str]:
    """Who may be written, by the gate that is asked at planning and at sending."""
    return {
        person
        for (person,) in world.warehouse.rows(
            "select person_id from intermediate.int_consents__destinations where destination = 'salesforce' and is_consented"
        )
    }


def test_consent_as_of_says_what_the_gate_goes_by(world: World) -> None:
    as_of = START + 10 * DAY
    current = world.read(
        "select person_id, channel, purpose, effective_status, occurred_at from marts.fct_consents where is_current order by all"
    )
    answered = world.read(
        "select person_id, channel, purpose, status, occurred_at from consent_as_of(?) order by all",
        as_of,
    )
    assert current == answered != []
    assert gates(world, as_of) == written(world) != set()
    names = ("buyer", "second", "private", "expiring", "objects")
    assert written(world) == {world.person(name) for name in names}


def test_at_an_earlier_instant_what_counted_then_is_answered(world: World) -> None:
    gone = world.person("gone")
    told = "select channel, status from consent_as_of(?) where person_id = ? order by all"
    assert world.read(told, START, gone) == []
    assert world.read(told, START + DAY, gone) == [("email", "granted")]
    assert world.read(told, START + 2 * DAY, gone) == [("all", "withdrawn"), ("email", "granted")]
    in_years = START + 3 * 365 * DAY
    assert world.read(told, in_years, gone) == [("all", "withdrawn")], "a no never expires"
    shown = show_consent(world.warehouse.settings, gone, as_of=START + DAY)
    assert [row["status"] for row in shown.in_force] == ["granted"]
    assert len(shown.statements) == 1


def test_of_two_records_of_one_person_the_no_counts_until_a_yes_after_they_were_one(
    world: World,
) -> None:
    twice = world.person("twice")
    assert twice == world.person("other", "hubspot")
    told = "select status from consent_as_of(?) where person_id = ? and channel = 'email'"
    assert world.read(told, START + 10 * DAY, twice) == [("denied",)]


def test_whom_consent_hides_is_named_nowhere_in_the_published_file(world: World) -> None:
    gone = world.person("gone")
    assert world.read("select person_id, rule_id, effect from ops.hidden_people") == [
        (gone, "no_to_everything", "mask")
    ]
    [row] = world.read(
        "select email, phone, first_name, last_name, job_title from marts.dim_people where person_id = ?",
        gone,
    )
    assert row == (None, None, None, None, "Head of IT")
    tables = world.read(
        "select schema_name, table_name from duckdb_tables() where database_name = current_database()"
    )
    assert len(tables) > 30
    for schema, table in tables:
        for text in ("firm-gone.com", "Gone"):
            found = world.read(
                f'select count(*) from "{schema}"."{table}" as rows where contains(cast(to_json(rows) as varchar), ?)',
                text,
            )
            assert found == [(0,)], (schema, table, text)
    # The others are there, and figures are right.
    assert world.read("select email from marts.dim_people where first_name = 'Buyer'") == [
        ("buyer@firm-buyer.com",)
    ]
    [(people,)] = world.warehouse.rows("select count(*) from marts.dim_people")
    assert world.read("select count(*) from marts.dim_people") == [(people,)]
    # The warehouse itself forgets nothing: consent is no erasure.
    assert world.warehouse.rows(
        "select email from marts.dim_people where person_id = ?", [gone]
    ) == [("gone@firm-gone.com",)]


def test_nobody_finds_the_hidden_by_address_but_the_one_who_asks_for_their_consent(
    world: World,
) -> None:
    settings = world.warehouse.settings
    with pytest.raises(HandoffError, match="nobody is known"):
        explain_person(settings, "gone@firm-gone.com")
    shown = show_consent(settings, world.person("gone"), as_of=START + 10 * DAY)
    assert [row["rule_id"] for row in shown.hidden_by] == ["no_to_everything"]


def test_a_rule_that_leaves_out_publishes_no_row(world: World, tmp_path: Path) -> None:
    gone = world.person("gone")
    try:
        world.warehouse.rows("update ops.hidden_people set effect = 'leave_out'")
        publish(world.warehouse.settings)
        for table in ("dim_people", "entity_map", "fct_activities", "fct_consents", "fct_scores"):
            found = world.read(f"select count(*) from marts.{table} where person_id = ?", gone)
            assert found == [(0,)], table
        assert world.read("select person_id from ops.hidden_people") == [(gone,)]
    finally:
        world.warehouse.rows("update ops.hidden_people set effect = 'mask'")
        publish(world.warehouse.settings)


def test_what_was_known_before_of_the_hidden_is_hidden_too(world: World) -> None:
    """Under whichever person it was then, and also in a row of somebody who was one with them."""
    gone, other, second = world.person("gone"), world.person("buyer"), world.person("second")
    was = (
        "insert into marts.entity_map select * replace ('{then}' as person_id, false as is_current, known_from as known_to, "
        "known_from - interval 1 day as known_from, '[\"gone@firm-gone.com\"]' as link_path) "
        "from marts.entity_map where person_id = ? and is_current"
    )
    try:
        for person, then in ((gone, "once"), (other, "once"), (second, "another")):
            world.warehouse.rows(was.format(then=then), [person])
        publish(world.warehouse.settings)
        told = "select count(*), count(link_path) from marts.entity_map where not is_current and person_id = ?"
        [(rows, shown)] = world.read(told, "once")
        assert rows >= 2
        assert shown == 0
        [(rows, shown)] = world.read(told, "another")
        assert rows == shown > 0
    finally:
        world.warehouse.rows("delete from marts.entity_map where not is_current")
        publish(world.warehouse.settings)


def test_without_knowing_what_names_people_nothing_is_published(world: World) -> None:
    settings = world.warehouse.settings
    before = settings.serving_path.read_bytes()
    world.warehouse.rows("alter table ops.personal_columns rename to personal_columns_gone")
    try:
        with pytest.raises(HandoffError) as refused:
            publish(settings)
        assert refused.value.code == "SERVING_INCOMPLETE"
        assert settings.serving_path.read_bytes() == before
    finally:
        world.warehouse.rows("alter table ops.personal_columns_gone rename to personal_columns")


def test_global_privacy_control_stops_tracking_and_no_mail(world: World) -> None:
    private = world.person("private")
    told = "select channel, purpose, status from consent_as_of(?) where person_id = ? order by all"
    assert world.read(told, START + 10 * DAY, private) == [
        ("all", "sale_sharing", "denied"),
        ("all", "tracking", "denied"),
        ("email", "marketing", "granted"),
    ]
    counted = world.points("private")
    assert "private-1" in counted, "seen before they said no"
    assert "private-2" not in counted
    [row] = explain_person(world.warehouse.settings, private, as_of=START + 10 * DAY).withheld
    assert (row["rule_id"], row["withheld_by"]) == ("page_demo", "tracking_refused")


def test_a_no_in_the_log_counts_at_sending_before_it_is_in_the_warehouse(world: World) -> None:
    late = LateRefusals(world.warehouse.settings, "salesforce")
    second, buyer = world.person("second"), world.person("buyer")
    assert not late.refuse(second)
    # Of other things: a channel and a purpose that no rule of the destination looks at, and a yes.
    at = START + 10 * DAY
    world.tell(
        at,
        ("consent", consent("second", "denied", "sms")),
        ("consent", consent("second", "denied", purpose="tracking")),
        ("consent", consent("second", "granted")),
    )
    assert not late.refuse(second)
    by_address = {"contact_id": None, "email": " Second@firm-second.com"}
    world.tell(at, ("consent", consent("second", "withdrawn") | by_address))
    assert late.refuse(second)
    assert not late.refuse(buyer)
    world.tell(at, ("consent", consent("buyer", "denied", "all", purpose="profiling")))
    assert late.refuse(buyer)
    world.tell(at, ("consent", consent("buyer", "granted", "all", purpose="profiling")))
    assert late.refuse(buyer), "a yes waits for the next batch"
    assert LateRefusals(world.warehouse.settings, "salesforce").refuse(second)
    world.warehouse.transform(START + 10 * DAY)
    assert not LateRefusals(world.warehouse.settings, "salesforce").refuse(second)
    assert second not in written(world)
    assert buyer in written(world)


def test_a_no_in_the_log_counts_in_every_spelling_of_a_mailbox(world: World) -> None:
    world.tell(
        START + 10 * DAY, ("contact", contact("dotted") | {"email": "d.o.tted+work@gmail.com"})
    )
    world.warehouse.transform(START + 10 * DAY)
    dotted = world.person("dotted")
    for spelled in ("d.o.tted+work@gmail.com", "Dotted@googlemail.com"):
        late = LateRefusals(world.warehouse.settings, "salesforce")
        assert not late.refuse(dotted)
        world.tell(
            START + 10 * DAY,
            ("consent", consent("dotted", "withdrawn") | {"contact_id": None, "email": spelled}),
        )
        assert late.refuse(dotted), spelled
        world.warehouse.transform(START + 10 * DAY)


def test_what_is_said_later_changes_the_gates_and_comes_out_as_in_a_rebuild(world: World) -> None:
    """Last, as it goes on from where the others looked."""
    warehouse = world.warehouse
    dealt = "select mql_id, rep_id, territory, assigned_at from marts.fct_assignments order by all"
    before = warehouse.rows(dealt)
    objects, buyer = world.person("objects"), world.person("buyer")
    assert {row[0] for row in warehouse.rows("select person_id from marts.fct_mqls")} >= {objects}
    score = "select total_score from marts.fct_scores where person_id = ?"
    assert warehouse.rows(score, [objects])[0][0] > 50
    planned = "select count(*) from sync.sync_salesforce__leads where person_id = ?"
    assert warehouse.rows(planned, [objects]) == [(1,)]

    later = START + 11 * DAY
    objection = consent("objects", "denied", "all", purpose="profiling")
    world.tell(later, ("consent", objection), ("consent", consent("buyer", "withdrawn")))
    world.tell(later + DAY, ("consent", consent("twice", "granted")))
    as_of = START + 13 * DAY
    assert not warehouse.transform(as_of).is_full_refresh
    publish(warehouse.settings)
    assert warehouse.rows(score, [objects]) == [(0.0,)]
    assert world.points("objects") == {}
    assert warehouse.rows(planned, [objects]) == [(0,)]
    assert warehouse.rows(planned, [buyer]) == [(0,)]
    assert warehouse.rows(planned, [world.person("twice")]) == [(1,)], "a yes after the merge"
    # The call was made before: it stands, and nobody else's lead is dealt anew.
    assert warehouse.rows(dealt) == before
    scored = explain_person(warehouse.settings, objects, as_of=START + 10 * DAY)
    assert scored.score > 50, "then it did count"
    assert explain_person(warehouse.settings, objects, as_of=as_of).score == 0
    assert gates(world, as_of) == written(world)

    # A year on: what rested on our interest has expired, and nobody said anything.
    in_a_year = START + 368 * DAY
    assert not warehouse.transform(in_a_year).is_full_refresh
    phone = "select is_in_force, is_current from marts.fct_consents where channel = 'phone'"
    assert warehouse.rows(phone) == [(False, False)]
    # Taken back and separate again: each record has its own consents.
    undone = {
        "system": "hubspot",
        "surviving_id": "twice",
        "merged_ids": ["other"],
        "unmerge": True,
    }
    world.tell(in_a_year, ("merge", undone))
    assert not warehouse.transform(in_a_year + DAY).is_full_refresh
    assert world.person("twice") != world.person("other", "hubspot")
    stands = "select effective_status from marts.fct_consents where person_id = ? and channel = 'email' and is_current"
    assert warehouse.rows(stands, [world.person("twice")]) == [("granted",)]
    assert warehouse.rows(stands, [world.person("other", "hubspot")]) == [("denied",)]

    batches = warehouse.snapshot("marts", "sync", "ops")
    warehouse.transform(in_a_year + DAY, full_refresh=True)
    rebuilt = warehouse.snapshot("marts", "sync", "ops")
    kept = [name for name in rebuilt if name.startswith(("marts.", "sync.", "ops.hidden"))]
    assert {name for name in kept if batches[name] != rebuilt[name]} == set()
    in_two_years = START + 800 * DAY
    warehouse.transform(in_two_years)
    assert written(world) == set(), "every yes has expired"
