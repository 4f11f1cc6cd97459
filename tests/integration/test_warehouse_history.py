"""A random history, landed in batches: it comes out as if rebuilt at once, and its decisions hold
against their oracles."""

from __future__ import annotations

import hashlib
import random
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ingestion.connectors.extracted import Extracted
from ingestion.errors.catalog import HandoffError
from ingestion.landing.polls import land_archive
from models.policies.load import copy_policies
from orchestration import transform as transforming
from tests.integration.random_history import (
    START,
    STEP,
    History,
    instant,
)

BATCHES = 4


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policies, with limits so low that a small history crosses them both ways."""
    folder = tmp_path_factory.mktemp("policies") / "policies"
    copy_policies(folder)
    identity = folder / "identity" / "v1.yml"
    text = identity.read_text()
    for kind, limit, lower in (("email", 50, 6), ("phone", 8, 4)):
        before = text
        text = text.replace(f"{{type: {kind}, priority: {2 if kind == 'email' else 3}, max_records: {limit}",
                            f"{{type: {kind}, priority: {2 if kind == 'email' else 3}, max_records: {lower}")  # fmt: skip
        assert text != before
    identity.write_text(text)
    scoring = folder / "scoring" / "v1.yml"
    text = scoring.read_text()
    for shipped, other in (
        ("groups: []", "groups: [{id: looking, cap: 12}]"),
        ("    cap: 30\n", "    cap: 30\n    group: looking\n    cooldown_hours: 200\n"),
        ("    cap: 16\n", "    cap: 16\n    group: looking\n"),
        ("after_days: 30", "after_days: 6"),
        ("value: [leadhopper-demoworld.com]", "value: [globex.com]"),
    ):
        assert shipped in text
        text = text.replace(shipped, other, 1)
    scoring.write_text(text)
    consent = folder / "consent" / "v1.yml"
    text = consent.read_text()
    for shipped, shorter in (
        ("days: 730", "days: 45"),
        ("double_opt_in: []", "double_opt_in: [{channel: phone, within_days: 30}]"),
    ):
        assert shipped in text
        text = text.replace(shipped, shorter)
    consent.write_text(text)
    return folder


def land_batch(warehouse: Any, history: History, batch: int, count: int = 30) -> None:
    """Bring the batch into the log and the archive; nothing is transformed."""
    # Much is known before little is new: what a batch fails to touch has to show.
    warehouse.append(history.events(warehouse.event, batch, count if batch else 350))
    for system, rows in history.polled(batch).items():
        warehouse.poll(system, rows, instant(batch))
    if batch:
        warehouse.append(receipts(warehouse, history, batch))


def receipts(warehouse: Any, history: History, batch: int) -> list[dict[str, Any]]:
    """Salesforce's answers to what is planned: leads come to exist there."""
    made = []
    for number, row in enumerate(
        warehouse.records("select * from sync.sync_salesforce__leads order by operation_id")
    ):
        if history.rng.random() < 0.8:
            data = {
                "plan_id": f"p{batch}", "operation_id": row["operation_id"], "status": "confirmed", "system": "salesforce",
                "object": "Lead", "action": row["action"], "external_id": row["external_id"], "person_id": row["person_id"],
                "record_id": row["target_id"] or f"00Q0000000{batch}{number:04}AAA", "confirmed_at": instant(batch).isoformat(),
                "written": {"Email": row["email"]}, "reasons": [],
            }  # fmt: skip
            made.append(
                warehouse.event(
                    "receipt", data, instant(batch), event_id=f"{history.seed}-r{batch}-{number}"
                )
            )
    return made


def differences(left: dict[str, list[Any]], right: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Rows of each table that only one of the two has, at most six."""
    assert left.keys() == right.keys()
    found = {}
    for table in left:
        ours, theirs = set(map(repr, left[table])), set(map(repr, right[table]))
        if left[table] != right[table]:
            found[table] = [
                *(f"only in batches: {row}" for row in sorted(ours - theirs)[:3]),
                *(f"only in rebuild: {row}" for row in sorted(theirs - ours)[:3]),
            ] or ["the same rows, another number of times"]
    return found


def taken(warehouse: Any) -> dict[str, list[Any]]:
    """Everything people and machines read, and who is whom."""
    snapshot: dict[str, list[Any]] = warehouse.snapshot("marts", "sync")
    snapshot["people"] = warehouse.rows(
        "select record_key, person_id from intermediate.int_identity__people order by all"
    )
    return snapshot


def run_in_batches(warehouse: Any, history: History, batches: int) -> list[dict[str, list[Any]]]:
    """Land and transform batch after batch; what was there after each."""
    after = []
    for batch in range(batches):
        land_batch(warehouse, history, batch)
        done = warehouse.transform(instant(batch))
        assert done.is_full_refresh == (batch == 0), done.reason
        after.append(taken(warehouse))
    return after


def in_full(warehouse: Any, as_of: datetime) -> dict[str, list[Any]]:
    """The tables after a rebuild."""
    assert warehouse.transform(as_of, full_refresh=True).is_full_refresh
    return taken(warehouse)


def assert_same_as_rebuilt(warehouse: Any, as_of: datetime) -> dict[str, list[Any]]:
    """Rebuild everything and compare; answers the tables."""
    from_batches = taken(warehouse)
    rebuilt = in_full(warehouse, as_of)
    assert differences(from_batches, rebuilt) == {}
    return rebuilt


def causes_set_up(warehouse: Any) -> None:
    """One person for each way in which something elsewhere changes what is said of them."""
    day = START + timedelta(days=1)
    ahead = instant(BATCHES) - timedelta(days=1)

    def contact(number: int, time: datetime = day, **data: Any) -> dict[str, Any]:
        person = {
            "system": "web",
            "record_id": f"x{number}",
            "email": f"x{number}@hooli{number}.com",
        }
        return dict(warehouse.event("contact", person | data, time))

    def activity(name: str, time: datetime = day, **data: Any) -> dict[str, Any]:
        form = {"activity_type": "form_submit", "form_id": "contact_sales"}
        return dict(
            warehouse.event(
                "activity", {"system": "web", "activity_id": name, **form, **data}, time
            )
        )

    consent = {"system": "web", "contact_id": "x4", "channel": "email", "lawful_basis": "consent"}
    merge = {"system": "web", "surviving_id": "x11", "merged_ids": ["x12"]}
    alone = {"record_id": "acc-alone", "system": "hubspot"}
    stated = {"record_id": "acc-stated", "system": "salesforce"}
    warehouse.append(
        [
            *(contact(number) for number in (1, 2, 3, 4, 6, 7, 8, 10, 11, 12)),
            activity("moves-away", contact_id="x1"),
            activity("stays", START + timedelta(days=5), contact_id="x3"),
            warehouse.event("consent", consent | {"status": "granted"}, day),
            warehouse.event("consent", consent | {"status": "withdrawn"}, ahead),
            contact(5, ahead, job_title="Head of IT"),
            # Said already, not true yet: a number that makes two of them one, a company, a channel.
            contact(17, phone="+442079460126"),
            contact(18),
            contact(18, ahead, phone="+442079460126", job_title="Head of IT"),
            contact(19),
            warehouse.event(
                "account",
                {"record_id": "acc-ahead", "system": "hubspot", "domain": "hooli19.com"},
                ahead,
            ),
            contact(26),
            activity("of-campaign-ahead", contact_id="x26", campaign_id="c8"),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c8", "channel": "event"}, ahead
            ),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c9", "channel": "event"}, day
            ),
            activity("of-campaign", contact_id="x6", campaign_id="c9"),
            warehouse.event(
                "account", alone | {"domain": "hooli7.com", "industry": "Technology"}, day
            ),
            activity("by-address", email="somebody@hooli9.com"),
            activity("ahead", ahead, contact_id="x10"),
            warehouse.event("merge", merge, day),
            contact(13, phone="+442079460123"),
            contact(14, phone="+442079460123"),
            # One more and one less than may share a number (the limit is four).
            *(contact(number, phone="+442079460124") for number in range(20, 25)),
            *(contact(number, phone="+442079460125") for number in range(30, 34)),
            warehouse.event("account", stated | {"domain": "hooli15.com"}, day),
        ]
    )
    people = [
        Extracted(
            "003000000000015AAA",
            day,
            False,
            {"Email": "x15@elsewhere.com", "AccountId": "acc-stated"},
        ),
        Extracted("003000000000016AAA", day, False, {"Email": "x16@hooli16.com"}),
    ]
    warehouse.poll("salesforce", {"contacts": people}, day)


def causes_come_about(warehouse: Any) -> None:
    """What happens to the people of `causes_set_up`; some of it only by the passing of time."""
    later = START + timedelta(days=9)
    form = {"system": "web", "activity_type": "form_submit", "form_id": "demo_request"}
    warehouse.append(
        [
            warehouse.event(
                "activity", form | {"activity_id": "moves-away", "contact_id": "x2"}, later
            ),
            warehouse.event(
                "activity",
                form | {"activity_id": "stays", "contact_id": "x3"},
                START + timedelta(days=2),
            ),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c9", "channel": "webinar"}, later
            ),
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "acc-alone", "domain": "hooli8.com"},
                later,
            ),
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "acc-new", "domain": "hooli9.com"},
                later,
            ),
            warehouse.event(
                "account",
                {"system": "salesforce", "record_id": "acc-stated", "employee_count": 900},
                later,
            ),
            warehouse.event(
                "merge",
                {"system": "web", "surviving_id": "x11", "merged_ids": ["x12"], "unmerge": True},
                later,
            ),
            warehouse.event("contact", {"system": "web", "record_id": "x14", "phone": None}, later),
            warehouse.event("contact", {"system": "web", "record_id": "x24", "phone": None}, later),
            warehouse.event(
                "contact", {"system": "web", "record_id": "x34", "phone": "+442079460125"}, later
            ),
        ]
    )
    task = {
        "WhoId": "003000000000016AAA",
        "Subject": "Call him",
        "CompletedDateTime": (START + STEP / 4).isoformat(),
    }
    warehouse.poll("salesforce", {"tasks": [Extracted("t-late", later, False, task)]}, later)


@dataclass(frozen=True)
class Run:
    """A history in batches, what was there after each, and what a rebuild of it all gave."""

    warehouse: Any
    history: History
    after: list[dict[str, list[Any]]]
    rebuilt: dict[str, list[Any]]

    def table(self, name: str, at: int | None = None) -> list[dict[str, Any]]:
        """Rows of a mart after a batch, or of the rebuild."""
        names, *rows = (self.rebuilt if at is None else self.after[at])[f"marts.{name}"]
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def run(open_warehouse: Callable[..., Any], policies: Path) -> Run:
    warehouse, history = open_warehouse(policies=policies), History(seed=1)
    causes_set_up(warehouse)
    after = run_in_batches(warehouse, history, BATCHES)
    assert warehouse.transform(instant(BATCHES - 1), full_refresh=True).is_full_refresh
    return Run(warehouse, history, after, taken(warehouse))


def copied(run: Run, tmp_path: Path) -> tuple[Any, History]:
    """The run's home as it stands, to go on from."""
    home = tmp_path / "copy"
    shutil.copytree(run.warehouse.settings.home, home)
    settings = run.warehouse.settings.model_copy(update={"home": home})
    return type(run.warehouse)(settings), continued(run.history)


def continued(history: History) -> History:
    """The history's continuation, apart from the one it goes on from."""
    other = History(history.seed)
    other.rng.setstate(history.rng.getstate())
    other.sent, other.activities, other.merged = (
        list(history.sent),
        list(history.activities),
        list(history.merged),
    )
    return other


def die_after(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transforms stop once `node` is made, as if the process had been killed there."""
    invoke = transforming._invoke

    def dying(settings: Any, arguments: Any, on_node: Any, parsed: Any) -> Any:
        with monkeypatch.context() as unlimited:
            unlimited.setattr(transforming, "_invoke", invoke)
            invoke(settings, [*arguments, "--select", f"+{node}"], on_node, parsed)
        raise HandoffError("TRANSFORM_FAILED", f"killed after {node}")

    monkeypatch.setattr(transforming, "_invoke", dying)


def test_batches_come_out_as_one_rebuild(run: Run) -> None:
    assert differences(run.after[-1], run.rebuilt) == {}


def test_the_history_holds_what_the_comparison_is_about(run: Run) -> None:
    """Merges and splits, several scores over the threshold, leads to write; otherwise nothing was
    compared."""
    people = [{row["person_id"] for row in run.table("dim_people", at)} for at in range(BATCHES)]
    assert people[0] - people[-1], "nobody was merged away"
    owners = [
        {
            row["record_key"]: row["person_id"]
            for row in run.table("entity_map", at)
            if row["is_current"] and row["record_type"] != "visitor"
        }
        for at in range(BATCHES)
    ]
    together = defaultdict(set)
    for record, person in owners[0].items():
        together[person].add(owners[-1][record])
    assert any(len(later) > 1 for person, later in together.items() if person), "nobody was split"
    browsers = [
        {row["record_id"] for row in run.table("entity_map", at) if row["record_type"] == "visitor"}
        for at in range(BATCHES)
    ]
    assert browsers[0] - browsers[-1], "no browser turned out to be shared"
    assert len(run.table("fct_mqls")) >= 3
    assert len(run.rebuilt["sync.sync_salesforce__leads"]) > 1
    # Received today, which lies after every instant the history speaks for.
    assert run.warehouse.rows("from staging.stg_events__receipts where status = 'confirmed'")
    limits = run.warehouse.rows(
        "select identifier_type from intermediate.int_identity__identifiers where is_linking "
        "group by identifier_type, identifier_value having count(*) > any_value(max_records)"
    )
    assert limits, "no identifier is over its limit"


def decision_tables(warehouse: Any) -> set[str]:
    """Tables of people and machines that a batch of decisions brings up to date."""
    parsed = transforming.manifest(warehouse.settings)
    nodes = [parsed.nodes[unique_id] for unique_id in transforming.decision_models(parsed)]
    return {f"{node.schema}.{node.name}" for node in nodes if node.schema in ("marts", "sync")}


def test_batches_of_decisions_decide_as_a_rebuild_does_and_the_rest_catches_up(
    run: Run, tmp_path: Path
) -> None:
    warehouse, history = copied(run, tmp_path)
    for batch in (BATCHES, BATCHES + 1):
        land_batch(warehouse, history, batch, 40)
        done = warehouse.transform(instant(batch), scope="decisions")
        assert (done.scope, done.is_full_refresh) == ("decisions", False)
    decided = taken(warehouse)
    last = warehouse.transform(instant(BATCHES + 1))
    assert last.scope == "everything"
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES + 1))
    found = differences(decided, rebuilt)
    assert not found.keys() & (decision_tables(warehouse) | {"people"}), found
    assert found, "the control: what only people read had not followed yet"


def test_what_only_a_date_brings_is_decided_without_a_new_row(run: Run, tmp_path: Path) -> None:
    warehouse, _ = copied(run, tmp_path)
    assert warehouse.transform(instant(BATCHES), scope="decisions").scope == "decisions"
    decided = taken(warehouse)
    rebuilt = in_full(warehouse, instant(BATCHES))
    found = differences(decided, rebuilt)
    assert not found.keys() & (decision_tables(warehouse) | {"people"}), found
    # The control: dates had come, of a company among others.
    assert "marts.entity_map" in differences(taken(run.warehouse), rebuilt)


@pytest.mark.prove
def test_lanes_that_overtake_each_other_come_out_as_one_rebuild_also_of_a_lost_warehouse(
    run: Run, tmp_path: Path
) -> None:
    """What is decided on the way differs from one order of landing to another; where it ends does not."""
    warehouse, history = copied(run, tmp_path)
    chance = random.Random(4)
    for batch in (BATCHES, BATCHES + 1, BATCHES + 2):
        sent = history.events(warehouse.event, batch, 60)
        for start in range(0, len(sent), 8):
            warehouse.append(sent[start : start + 8], chance.choice(["live", "bulk"]))
            if start % 24 == 0:
                warehouse.transform(instant(batch), bulk_limit=chance.randrange(10))
        warehouse.append(receipts(warehouse, history, batch))
    [(overtaken,)] = warehouse.rows(
        "select count(*) from raw_events.landings where bulk_events > 0"
    )
    assert overtaken > 3
    warehouse.transform(instant(BATCHES + 2))
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES + 2))
    warehouse.settings.warehouse_path.unlink()
    for system in ("hubspot", "marketo", "salesforce", "calendar"):
        land_archive(warehouse.settings, system)
    warehouse.transform(instant(BATCHES + 2), bulk_limit=0)
    found = differences(taken(warehouse), rebuilt)
    # When an activity was loaded is no fact of the log.
    assert found.keys() <= {"marts.fct_activities"}, found


@pytest.mark.parametrize("scope", ["everything", "decisions"])
def test_each_cause_reaches_the_people_it_concerns(
    scope: transforming.Scope, run: Run, tmp_path: Path
) -> None:
    """A change elsewhere, on its own, and nothing else that would have touched the person."""
    warehouse, _ = copied(run, tmp_path)
    causes_come_about(warehouse)
    before = {row["record_id"]: row for row in run.table("entity_map") if row["is_current"]}
    assert not warehouse.transform(instant(BATCHES), scope=scope).is_full_refresh
    if scope == "decisions":
        warehouse.transform(instant(BATCHES))
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES))
    names, *rows = rebuilt["marts.entity_map"]
    after = {
        row["record_id"]: row
        for row in (dict(zip(names, values, strict=True)) for values in rows)
        if row["is_current"]
    }
    assert before["x11"]["person_id"] == before["x12"]["person_id"]
    assert after["x11"]["person_id"] != after["x12"]["person_id"]
    assert after["x13"]["person_id"] != after["x14"]["person_id"]

    def people(rows: dict[str, dict[str, Any]], numbers: range) -> int:
        return len({rows[f"x{number}"]["person_id"] for number in numbers})

    assert (people(before, range(17, 19)), people(after, range(17, 19))) == (2, 1)
    assert before["x19"]["account_id"] is None
    assert after["x19"]["account_id"]
    assert (people(before, range(20, 24)), people(after, range(20, 24))) == (4, 1)
    assert (people(before, range(30, 34)), people(after, range(30, 34))) == (1, 4)
    assert (before["x7"]["account_id"], after["x7"]["account_id"]) == (
        after["x8"]["account_id"],
        None,
    )
    assert before["somebody@hooli9.com"]["account_id"] is None
    assert after["somebody@hooli9.com"]["account_id"]


def test_an_instant_in_the_past_knows_nothing_of_what_came_after(run: Run, tmp_path: Path) -> None:
    """Later statements about what was known by then change nothing that is said of it."""
    warehouse, _ = copied(run, tmp_path)
    as_of = instant(1)
    warehouse.transform(as_of, full_refresh=True)
    before = taken(warehouse)

    def known(table: str, *columns: str) -> list[tuple[Any, ...]]:
        return list(warehouse.rows(f"select {', '.join(columns)} from marts.{table} order by all"))

    said: list[tuple[str, dict[str, Any]]] = []
    for record_type, system, record_id in known("entity_map", "record_type", "system", "record_id"):
        key = {"system": system, "record_id": record_id}
        if record_type in ("contact", "lead"):
            new = {"email": "later@acme.de", "job_title": "Head of IT", "is_deleted": True}
            said.append(("contact", key | new))
        elif record_type == "account":
            said.append(("account", key | {"domain": "later.com", "employee_count": 9000}))
    opportunities = known("fct_opportunities", "system", "system_opportunity_id")
    meetings = known("fct_meetings", "system", "system_meeting_id")
    campaigns = known("dim_campaigns", "system", "campaign_id")
    assert opportunities
    assert meetings
    assert campaigns
    for system, record_id in opportunities:
        key = {"system": system, "record_id": record_id}
        said.append(("opportunity", key | {"stage": "later", "amount_usd": 7, "is_won": True}))
    for system, meeting_id in meetings:
        key = {"system": system, "meeting_id": meeting_id}
        said.append(("meeting", key | {"status": "held", "starts_at": as_of.isoformat()}))
    for system, record_id in campaigns:
        said.append(("campaign", {"system": system, "record_id": record_id, "channel": "later"}))
    for number in range(1, 6):
        rep = {"system": "salesforce", "record_id": f"r{number}", "email": "later@acme.de"}
        said.append(("rep", rep | {"weight": 9.0, "territories": ["dach"]}))
    later = as_of + timedelta(seconds=1)
    warehouse.append(warehouse.event(record, data, later) for record, data in said)
    warehouse.transform(as_of, full_refresh=True)
    found = differences(before, taken(warehouse))
    # How the door fared is no matter of the instant the models speak for.
    assert found.keys() <= {"marts.fct_event_acceptance", "marts.fct_kpis_daily"}, found


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(
            (("int_batch__changed_records", "int_identity__people"), ("entity_map", "fct_score_ledger")),
            marks=pytest.mark.prove,
        ),
        pytest.param(
            (("int_identity__identifiers", "int_batch__touched_people"), ("fct_activities", "fct_consents")),
            marks=pytest.mark.prove,
        ),
        pytest.param(
            (("int_contacts__current", "int_activities__unioned"), ("dim_people", "fct_mqls")),
            marks=pytest.mark.prove,
        ),
    ],
)  # fmt: skip
def test_a_batch_that_died_is_made_good_by_the_next_run(
    deaths: tuple[tuple[str, ...], ...],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse, history = copied(run, tmp_path)
    for batch, nodes in enumerate(deaths, start=BATCHES):
        for node in nodes:
            land_batch(warehouse, history, batch, 40)
            with monkeypatch.context() as dying:
                die_after(node, dying)
                with pytest.raises(HandoffError, match=f"killed after {node}"):
                    warehouse.transform(instant(batch))
        assert not warehouse.transform(instant(batch)).is_full_refresh
    assert_same_as_rebuilt(warehouse, instant(batch))


def test_after_a_rebuild_that_died_everything_is_rebuilt(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, _ = copied(run, tmp_path)
    as_of = instant(BATCHES - 1)
    with monkeypatch.context() as dying:
        die_after("int_identity__people", dying)
        with pytest.raises(HandoffError, match="killed after"):
            warehouse.transform(as_of, full_refresh=True)
    assert warehouse.transform(as_of).reason == "the last rebuild died"
    assert differences(taken(warehouse), run.rebuilt) == {}


def test_tables_of_models_that_fail_keep_their_rows(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a contract, which is dropped first, and one without."""
    warehouse, _ = copied(run, tmp_path)
    parsed = transforming.manifest(warehouse.settings)
    tables = {"dim_reps": "marts.dim_reps", "int_accounts__keys": "intermediate.int_accounts__keys"}
    before = {name: warehouse.rows(f"from {table} order by all") for name, table in tables.items()}
    for name in tables:
        node = parsed.nodes[f"model.handoff.{name}"]
        failing = (
            f"select * from (\n{node.raw_code}\n) as told where error('injected' || told) is null"
        )
        monkeypatch.setattr(node, "raw_code", failing)
    nodes = transforming._invoke(warehouse.settings, ["run", "--select", *tables], None, parsed)
    assert {node.name: node.status for node in nodes} == dict.fromkeys(tables, "error")
    assert all("injected" in (node.message or "") for node in nodes)
    for name, table in tables.items():
        assert before[name], "nothing would be lost"
        assert warehouse.rows(f"from {table} order by all") == before[name]


def test_a_batch_that_is_overlooked_shows_in_the_comparison(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with nothing counted as new, the comparison must fail."""
    warehouse, history = copied(run, tmp_path)
    land_batch(warehouse, history, BATCHES, 60)
    last_state = transforming._last_state
    with monkeypatch.context() as overlooking:
        overlooking.setattr(
            transforming,
            "_last_state",
            lambda *asked: replace(last_state(*asked), through="9"),  # type: ignore[type-var]
        )
        assert not warehouse.transform(instant(BATCHES)).is_full_refresh
    overlooked = taken(warehouse)
    warehouse.transform(instant(BATCHES), full_refresh=True)
    found = differences(overlooked, taken(warehouse))
    assert {
        "people",
        "marts.dim_people",
        "marts.fct_activities",
        "marts.fct_consents",
    } <= found.keys()


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(2, 12))
def test_any_history_comes_out_as_one_rebuild(
    seed: int, open_warehouse: Callable[..., Any], policies: Path
) -> None:
    warehouse = open_warehouse(policies=policies)
    run_in_batches(warehouse, History(seed), 5)
    assert_same_as_rebuilt(warehouse, instant(4))


def guid(*parts: str) -> str:
    """The deterministic id of the parts, computed apart from the warehouse."""
    return str(uuid.UUID(hashlib.md5("|".join(parts).encode()).hexdigest()))


def test_a_person_is_named_by_the_record_received_first(run: Run) -> None:
    for at in [*range(BATCHES), None]:
        members = defaultdict(list)
        for row in run.table("entity_map", at):
            if row["person_id"] and row["is_current"] and row["record_type"] != "visitor":
                members[row["person_id"]].append(row)
        for person_id, rows in members.items():
            first = min(rows, key=lambda row: (row["first_received_at"], row["record_key"]))
            assert person_id == guid(first["system"], first["record_type"], first["record_id"])


def test_people_are_the_connected_components_of_records_and_identifiers(run: Run) -> None:
    carried = run.warehouse.rows(
        "select record_key, identifier_type || ':' || identifier_value, max_records "
        "from intermediate.int_identity__identifiers where is_linking"
    )
    owner = dict(
        run.warehouse.rows(
            "select record_key, component_key from intermediate.int_identity__people"
        )
    )
    records = {key: number for number, key in enumerate(sorted(owner))}
    holders: dict[str, list[int]] = defaultdict(list)
    limits = {}
    for key, identifier, limit in carried:
        holders[identifier].append(records[key])
        limits[identifier] = limit
    pairs = [
        (one, other)
        for identifier, held in holders.items()
        if len(held) <= limits[identifier]
        for one, other in pairwise(held)
    ]
    rows, columns = zip(*pairs, strict=True)
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(records), len(records)))
    labels = connected_components(graph, directed=False)[1]
    expected = {
        frozenset(key for key, number in records.items() if labels[number] == label)
        for label in set(labels)
    }
    found: dict[int, set[int]] = defaultdict(set)
    for key, component in owner.items():
        found[component].add(key)
    assert {frozenset(keys) for keys in found.values()} == expected
    # Of a component several people are made only where one would have too many addresses or numbers.
    too_many = run.warehouse.rows(
        "with shared as (select identifier_key from intermediate.int_identity__identifiers where is_linking "
        "group by identifier_key having count(*) <= any_value(max_records)) "
        "select people.component_key, count(distinct people.person_id), count(distinct carried.identifier_key) "
        "from intermediate.int_identity__people as people "
        "left join intermediate.int_identity__identifiers as carried on carried.record_key = people.record_key "
        "and carried.is_linking and carried.identifier_type = 'email' and carried.identifier_key in (from shared) group by all"
    )
    assert all(people == 1 or addresses > 10 for _, people, addresses in too_many)
    assert any(people > 1 for _, people, _ in too_many)


def scores_at(run: Run, person_id: str, at: datetime) -> tuple[float, float]:
    """Engagement and fit of a person at an instant, from the ledger alone."""
    by_rule: dict[tuple[str, str], float] = defaultdict(float)
    caps = {}
    groups = {}
    for entry in run.table("fct_score_ledger"):
        withheld_at = entry["withheld_at"]
        if (
            entry["person_id"] == person_id
            and entry["entry_kind"] != "exclusion"
            and entry["occurred_at"] <= at
            and (withheld_at is None or withheld_at > at)
        ):
            age_days = (at - entry["occurred_at"]) / timedelta(days=1)
            half_life = entry["half_life_days"]
            share = 1.0 if half_life is None else 0.5 ** (age_days / half_life)
            by_rule[entry["entry_kind"], entry["rule_id"]] += entry["points"] * share
            rule = entry["entry_kind"], entry["rule_id"]
            caps[rule] = entry["cap"]
            groups[rule] = (entry["entry_kind"], entry["group_id"] or f"rule {entry['rule_id']}")
            caps[groups[rule]] = entry["group_cap"]

    def within(key: tuple[str, str], points: float) -> float:
        return points if caps[key] is None else max(-caps[key], min(caps[key], points))

    by_group: dict[tuple[str, str], float] = defaultdict(float)
    for rule, points in by_rule.items():
        by_group[groups[rule]] += within(rule, points)
    totals = {"engagement": 0.0, "fit": 0.0}
    for group, points in by_group.items():
        totals[group[0]] += within(group, points)
    return totals["engagement"], totals["fit"]


def test_the_ledger_adds_up_to_the_score_now_and_at_every_crossing(run: Run) -> None:
    scores = run.table("fct_scores")
    assert scores
    for row in scores:
        engagement, fit = scores_at(run, row["person_id"], instant(BATCHES - 1))
        assert row["engagement_score"] == pytest.approx(engagement, abs=1e-5)
        assert row["fit_score"] == pytest.approx(fit, abs=1e-5)
        assert row["total_score"] == pytest.approx(min(engagement + fit, 200), abs=1e-5)
    mqls = run.table("fct_mqls")
    for row in mqls:
        total = sum(scores_at(run, row["person_id"], row["reached_at"]))
        assert row["score"] == pytest.approx(min(total, 200), abs=1e-5)
        assert row["score"] >= 60


def test_each_crossing_of_the_threshold_counts_once(run: Run) -> None:
    """Armed below 40, or six days after sales sent the lead back, an MQL at 60: walked through entry
    by entry."""
    expected = set()
    ledger = run.table("fct_score_ledger")
    excluded = {row["person_id"] for row in ledger if row["entry_kind"] == "exclusion"}
    sent_back = defaultdict(list)
    for row in run.table("fct_stage_changes"):
        if row["to_stage"] == "recycled":
            sent_back[row["person_id"]].append(row["changed_at"])
    for person_id in {row["person_id"] for row in ledger} - excluded:
        instants = sorted(
            {
                row["occurred_at"]
                for row in run.table("fct_score_ledger")
                if row["person_id"] == person_id
                and (row["withheld_at"] is None or row["withheld_at"] > row["occurred_at"])
            }
        )
        is_armed = True
        reached_at: datetime | None = None
        for at in instants:
            just_before = at - timedelta(microseconds=1)
            is_armed = is_armed or min(sum(scores_at(run, person_id, just_before)), 200) < 40
            after = min(sum(scores_at(run, person_id, at)), 200)
            is_back = any(
                reached_at is not None and back >= reached_at and at >= back + timedelta(days=6)
                for back in sent_back[person_id]
            )
            if (is_armed or is_back) and after >= 60 - 1e-6:
                expected.add((person_id, at, is_back and not is_armed))
                is_armed, reached_at = False, at
            # Negative points can make a score fall at an entry.
            is_armed = is_armed or after < 40
    found = {
        (row["person_id"], row["reached_at"], row["recycled_at"] is not None)
        for row in run.table("fct_mqls")
    }
    assert found == expected
    assert excluded and any(is_back for _, _, is_back in expected)


def test_a_task_counts_as_an_activity_for_as_long_as_it_stands_completed(
    open_warehouse: Callable[..., Any],
) -> None:
    warehouse = open_warehouse()
    done = {"Subject": "Call her", "CompletedDateTime": START.isoformat()}
    ann, ben = {"WhoId": "003000000000001AAA"}, {"WhoId": "003000000000002AAA"}
    opened = {"Subject": "Call her", "CompletedDateTime": None}
    # What becomes of two tasks, day by day: (payload, is it deleted), and the activities there are then.
    days: list[tuple[dict[str, tuple[dict[str, Any], bool]], set[str]]] = [
        ({"kept": (done | ann, False), "undone": (done | ben, False)}, {"kept", "undone"}),
        # A deletion may come without whom it was about.
        ({"undone": (done, True)}, {"kept"}),
        ({"undone": (done | ben, False), "kept": (opened | ann, False)}, {"undone"}),
        ({"kept": (done | ann, False)}, {"kept", "undone"}),
    ]
    for number, (versions, expected) in enumerate(days):
        at = START + number * STEP
        tasks = [
            Extracted(record_id, at, is_deleted, payload)
            for record_id, (payload, is_deleted) in versions.items()
        ]
        warehouse.poll("salesforce", {"tasks": tasks}, at)
        assert warehouse.transform(at).is_full_refresh == (number == 0)
        standing = warehouse.rows("select system_activity_id from marts.fct_activities")
        assert {record_id for (record_id,) in standing} == expected
    assert_same_as_rebuilt(warehouse, START + (len(days) - 1) * STEP)


def test_a_late_event_re_deals_no_lead(run: Run, tmp_path: Path) -> None:
    """It may move the crossing; the lead keeps its turn, its rep and its deadline, and so do the
    others."""
    warehouse, _ = copied(run, tmp_path)
    dealt = "select mql_id, rep_id, territory, assigned_at from marts.fct_assignments order by all"
    before = warehouse.rows(dealt)
    crossings = dict(warehouse.rows("select mql_id, reached_at from marts.fct_mqls"))
    owner = {
        row["record_id"]: row["person_id"]
        for row in run.table("entity_map")
        if row["system"] == "web" and row["is_current"] and row["record_type"] != "visitor"
    }
    late = [row for row in run.table("fct_mqls") if row["crossing_number"] == 1]
    sent = []
    for number, row in enumerate(late):
        record_id = next((key for key, person in owner.items() if person == row["person_id"]), None)
        if record_id:
            view = {"system": "web", "activity_id": f"late{number}", "activity_type": "page_view"}
            view |= {"url": "/pricing", "contact_id": record_id}
            sent.append(warehouse.event("activity", view, row["reached_at"] - timedelta(hours=1)))
            form = view | {
                "activity_id": f"form{number}",
                "activity_type": "form_submit",
                "form_id": "demo_request",
            }
            sent.append(warehouse.event("activity", form, row["reached_at"] - timedelta(hours=1)))
    warehouse.append(sent)
    warehouse.transform(instant(BATCHES - 1))
    after = dict(warehouse.rows("select mql_id, reached_at from marts.fct_mqls"))
    assert {key for key in crossings if after[key] != crossings[key]}, "no crossing was moved"
    assert warehouse.rows(dealt) == before


def test_attribution_gives_each_opportunity_away_once_to_the_cent(run: Run) -> None:
    credits = run.table("fct_attribution")
    models = {row["attribution_model"] for row in credits}
    opportunities = [row for row in run.table("fct_opportunities") if not row["is_deleted"]]
    assert any(row["is_won"] and row["amount_usd"] for row in opportunities)
    for opportunity in opportunities:
        won = (opportunity["amount_usd"] or Decimal(0)) if opportunity["is_won"] else Decimal(0)
        for model in models:
            shares = [
                row
                for row in credits
                if row["opportunity_id"] == opportunity["opportunity_id"]
                and row["attribution_model"] == model
            ]
            assert sum(row["credit_weight"] for row in shares) == pytest.approx(1, abs=1e-6)
            assert sum(row["attributed_revenue_usd"] for row in shares) == won
            assert all(row["attributed_revenue_usd"] >= 0 for row in shares)


def test_nobody_whose_newest_consent_is_a_no_or_unknown_is_written(run: Run) -> None:
    as_of = instant(BATCHES - 1)
    newest: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in run.table("fct_consents"):
        assert row["occurred_at"] <= as_of
        if row["purpose"] in ("tracking", "sale_sharing"):
            # No matter of whom sales may write to.
            continue
        by_purpose = newest[row["person_id"], row["channel"]]
        known = by_purpose.get(row["purpose"])
        if known is None or (row["occurred_at"], row["received_at"]) > (
            known["occurred_at"],
            known["received_at"],
        ):
            by_purpose[row["purpose"]] = row

    # A no stated for an address counts for everybody who has it; info@ and test@ link nobody.
    stated_for = {
        guid("consent", f"{event['source']}/{event['id']}"): event["data"]["email"].strip().lower()
        for event in run.history.sent
        if event["type"].endswith(".consent") and "email" in event["data"]
    }
    having = defaultdict(set)
    for address, person_id in run.warehouse.rows(
        "select identifier_value, person_id from intermediate.int_identity__identifiers "
        "inner join intermediate.int_identity__people using (record_key) where identifier_type = 'email'"
    ):
        having[address].add(person_id)
    heard = defaultdict(set)
    for (speaker, channel), rows in newest.items():
        for row in rows.values():
            if row["status"] != "granted" and row["consent_id"] in stated_for:
                for person_id in having[stated_for[row["consent_id"]]] - {speaker}:
                    heard[person_id, channel].add(row["status"])
    assert heard

    def said(person_id: str, channel: str) -> set[str]:
        own = {row["status"] for row in newest[person_id, channel].values()}
        return own | heard[person_id, channel]

    def may_be_written(person_id: str) -> bool:
        return said(person_id, "email") == {"granted"} and not any(
            said(person_id, channel) & {"denied", "withdrawn"} for channel in ("crm", "all")
        )

    assigned = {row["person_id"] for row in run.table("fct_assignments")}
    written = set()
    for table in ("sync.sync_salesforce__leads", "sync.sync_salesforce__tasks"):
        names, *rows = run.rebuilt[table]
        written |= {row[names.index("person_id")] for row in rows}
    assert written
    assert {person for person in written if not may_be_written(person)} == set()
    assert {person for person in assigned if not may_be_written(person)}, "nobody was held back"
