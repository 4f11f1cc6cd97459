"""Several versions of a contract at once: which one counts, how old events are brought up, and when a version ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingestion.contracts.columns import record_columns
from ingestion.contracts.lifecycle import end_of, lifecycles, sunset
from ingestion.contracts.registry import Contract, newest_version, table_version, validate_event
from ingestion.contracts.upcasts import broken_examples, outdated, read_steps, steps, upcast
from ingestion.errors.catalog import HandoffError
from ingestion.landing.events import _one_by_one, to_tables
from ingestion.log.encoding import encode_event
from ingestion.log.interface import StoredEvent

FIRST = "urn:handoff:contract:activity:1.0.0"
SECOND = "urn:handoff:contract:activity:2.0.0"


def activity(number: int, schema: str | None = None, **fields: Any) -> dict[str, Any]:
    named = {} if schema is None else {"dataschema": schema}
    return {
        "specversion": "1.0",
        "id": f"a-{number}",
        "source": "urn:test",
        "type": "com.handoff.activity",
        "subject": f"activity/web/{number}",
        "time": "2026-04-01T08:30:00Z",
        **named,
        "data": {"activity_id": str(number), "system": "web", "activity_type": "form_submit"} | fields,
    }  # fmt: skip


def stored(events: list[dict[str, Any]]) -> list[StoredEvent]:
    return [
        StoredEvent(seq, 1_780_000_000_000_000 + seq, encode_event(event).payload)
        for seq, event in enumerate(events, start=1)
    ]


def landed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for _, table in to_tables(stored(events), []) for row in table.to_pylist()]


def test_no_version_of_ours_needs_a_step_and_none_ends() -> None:
    from ingestion.contracts.registry import RECORD_TABLES

    assert {record: outdated(record) for record in RECORD_TABLES if outdated(record)} == {}
    assert lifecycles() == {}


def test_the_table_has_the_newest_version_and_a_sender_who_names_none_keeps_the_first(
    contract_world: Any,
) -> None:
    contract_world.add_activity_2()
    assert (newest_version("activity"), table_version("activity")) == ("1.0.0", "2.0.0")
    names = {column.name for column in record_columns("activity")}
    assert {"form", "campaign_name", "channel"} <= names
    assert "form_id" not in names
    assert validate_event(activity(1, form_id="demo"), ["web"]) == []
    assert validate_event(activity(1, SECOND, form="demo", channel="web"), ["web"]) == []
    [violation] = validate_event(activity(1, SECOND, form="demo"), ["web"])
    assert violation.path == "/data/channel"


def test_an_old_event_lands_as_the_newest_version_and_says_what_it_was_sent_as(
    contract_world: Any,
) -> None:
    contract_world.add_activity_2()
    fields = {"form_id": "demo", "utm_campaign": "spring/b", "referrer": "https://www.example.com/"}
    old, unnamed, new = landed(
        [
            activity(1, FIRST, **fields),
            activity(2, **fields),
            activity(3, SECOND, form="demo", channel="web", campaign_name="spring", campaign_variant="b",
                     custom={"referrer": "https://www.example.com/"}),
        ]
    )  # fmt: skip
    provenance = ("contract_version", "upcast_to")
    assert [tuple(row[name] for name in provenance) for row in (old, unnamed, new)] == [
        ("1.0.0", "2.0.0"),
        ("1.0.0", "2.0.0"),
        ("2.0.0", None),
    ]
    own = {"seq", "event_id", "event_subject", "received_at", "activity_id", *provenance}
    wanted = {name: value for name, value in new.items() if name not in own}
    for row in (old, unnamed):
        assert {name: value for name, value in row.items() if name not in own} == wanted


def test_absence_and_null_stay_two_things_when_brought_up(contract_world: Any) -> None:
    contract_world.add_activity_2()
    absent, emptied = landed([activity(1), activity(2, form_id=None, utm_campaign=None)])
    assert absent["null_fields"] == "[]"
    assert sorted(eval(emptied["null_fields"])) == ["campaign_name", "campaign_variant", "form"]


def test_steps_run_through_every_version_in_between(contract_world: Any) -> None:
    contract_world.add_activity_2()
    contract_world.add(
        "activity",
        "3.0.0",
        lambda document: document["properties"].update(page=document["properties"].pop("form")),
        "steps:\n  - rename: {from: form, to: page}\n  - map: {field: channel, values: {web: site}}\n",
        from_version="2.0.0",
    )
    assert len(steps(Contract("activity", "1.0.0"))) == 6
    brought = upcast({"form_id": "demo"}, Contract("activity", "1.0.0"))
    assert brought == {"page": "demo", "channel": "site"}
    assert upcast({"form": "demo", "channel": "web"}, Contract("activity", "2.0.0")) == brought


def test_an_event_that_could_not_land_is_refused_at_the_door(contract_world: Any) -> None:
    contract_world.add_activity_2()
    contract_world.add(
        "activity",
        "3.0.0",
        lambda document: document["properties"]["form"].update(maxLength=4),
        "steps:\n  - map: {field: form, values: {demonstration: demo}}\n",
        from_version="2.0.0",
    )
    assert validate_event(activity(1, form_id="demonstration"), ["web"]) == []
    [violation] = validate_event(activity(1, form_id="newsletter"), ["web"])
    assert violation.path == "/data/form"
    assert "valid as 1.0.0, but not as 3.0.0" in violation.message


def test_examples_of_an_older_contract_show_whether_its_events_can_land(
    contract_world: Any,
) -> None:
    contract_world.add_activity_2()
    assert broken_examples() == []
    file = contract_world.folder / "activity" / "upcast_1.0.0_2.0.0.yml"
    file.write_text(file.read_text().replace("channel, value: web", "channel, value: 7"))
    contract_world.end_activity("2026-09-01")
    assert any("activity 1.0.0: example 0: /data/channel" in words for words in broken_examples())


TEXT = st.one_of(
    st.none(), st.just("a/b"), st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
)
EVENTS = st.builds(
    lambda number, schema, fields: activity(number, schema, **fields),
    st.integers(1, 9),
    st.sampled_from([None, FIRST, SECOND]),
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["form_id", "form", "utm_campaign", "referrer", "channel"], TEXT),
            # What looks like the newest version's name where it is none.
            "custom": st.sampled_from([None, {}, {"dataschema": SECOND}, {"referrer": "x"}]),
        },
    ),
)


def test_bringing_up_in_bulk_is_bringing_up_each_event(contract_world: Any) -> None:
    contract_world.add_activity_2()

    @given(st.lists(EVENTS, min_size=1, max_size=6))
    @hypothesis_settings(
        max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def check(events: list[dict[str, Any]]) -> None:
        def outcome(work: Any) -> Any:
            unrepresentable: list[str] = []
            tables = work(stored(events), unrepresentable)
            rows = [repr(row) for _, table in tables for row in table.to_pylist()]
            return sorted(rows), sorted(unrepresentable)

        assert outcome(to_tables) == outcome(_one_by_one)

    check()


def test_events_of_the_newest_version_are_not_parsed_to_be_brought_up(
    contract_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.landing import upcasting

    contract_world.add_activity_2()
    parsed: list[bytes] = []
    loads = upcasting.orjson.loads

    class Counting:
        dumps = staticmethod(upcasting.orjson.dumps)

        @staticmethod
        def loads(payload: bytes) -> Any:
            parsed.append(payload)
            return loads(payload)

    monkeypatch.setattr(upcasting, "orjson", Counting)
    landed([activity(number, SECOND, channel="web") for number in range(20)])
    assert parsed == []
    landed([activity(1, FIRST)])
    assert len(parsed) == 1


def test_a_version_is_taken_until_the_instant_its_sunset_day_begins(contract_world: Any) -> None:
    contract_world.add_activity_2()
    contract_world.end_activity("2026-09-01")
    end = end_of(activity(1))
    assert end is not None
    assert end == end_of(activity(1, FIRST))
    assert end_of(activity(1, SECOND)) is None
    night = datetime(2026, 9, 1, tzinfo=UTC)
    assert sunset(end, night - timedelta(microseconds=1)) is None
    violation = sunset(end, night)
    assert violation is not None
    assert violation.code == "VERSION_SUNSET"
    assert SECOND in violation.message


@pytest.mark.parametrize(
    "text",
    ["steps: []", "steps:\n  - forget: {field: a}", "steps:\n  - rename: {from: a}", "a: [", "x"],
)
def test_steps_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(HandoffError, match=r"activity/x\.yml") as error:
        read_steps(text, "activity/x.yml")
    assert error.value.code == "CONTRACTS_UNREADABLE"


@pytest.mark.parametrize(
    ("sunset_on", "said"),
    [("2026-02-01", "must come after"), ("soon", "must be YYYY-MM-DD")],
)
def test_an_end_that_cannot_be_is_named(contract_world: Any, sunset_on: str, said: str) -> None:
    contract_world.end_activity(sunset_on)
    with pytest.raises(HandoffError, match=said):
        lifecycles()
