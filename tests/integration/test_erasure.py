"""A person is erased: nothing of them is left in any store, nobody else's rows change, and what is told of them later stays out."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from typer.testing import CliRunner

from ingestion.connectors import catalog
from ingestion.connectors.extracted import Extracted
from ingestion.erasure.late import erased_keys, rows_left
from ingestion.landing.archive import Archive
from ingestion.landing.polls import land_archive, poll
from ingestion.log.interface import ERASURE_TYPE, Rejection
from ingestion.log.owner import open_log, open_reader
from ingestion.settings import Settings
from ingestion.subscribers.outbox import Message, Outbox
from ingestion.subscribers.subscription import Subscriber, Subscribers
from orchestration.cli.app import app
from orchestration.erasure import erase as erasing
from orchestration.erasure.absence import remnants
from orchestration.erasure.erase import erase_person
from orchestration.erasure.journal import FOLDER
from orchestration.policy_rows import load_policy_rows
from orchestration.reconciliation import reconcile
from orchestration.serving import publish
from orchestration.subscribers import outbox_path
from orchestration.transform import transform
from tests.conftest import Warehouse

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2026, 6, 1, 12, tzinfo=UTC)
SYSTEMS = "crm,other"
ANN = "Ann.Wagner@Acme.example"
# Everything that stands for her and for nobody else.
HERS = ["ann.wagner@acme.example", "ann@home.example", "+49897654321", "89 7654321", "wagner", "ann-browser-1", "00q0000000ann01"]  # fmt: skip
# What says when a row reached this file, and not what it says.
OF_THE_FILE = ("loaded_at", "load_id")


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


@pytest.fixture(scope="module")
def world(open_warehouse: Callable[..., Any]) -> Warehouse:
    """Ann in three systems, a browser of hers, Bob, and thirty more who are dealt to reps; what names both of them; what was refused."""
    warehouse: Warehouse = open_warehouse(systems=SYSTEMS)
    event = warehouse.event

    def contact(system: str, record_id: str, hour: int, **told: Any) -> dict[str, Any]:
        return event("contact", {"system": system, "record_id": record_id, **told}, at(hour))

    def activity(number: int, hour: int, **told: Any) -> dict[str, Any]:
        said = {"system": "web", "activity_id": f"act-{number}", "activity_type": "form_submit", "form_id": "demo_request"}  # fmt: skip
        return event("activity", {**said, **told}, at(hour))

    warehouse.append(
        [
            event(
                "rep",
                {"system": "salesforce", "record_id": f"005{name}", "email": f"{name}@us.example", "name": name, "territories": ["dach"], "weight": weight},
                at(0),
            )
            for name, weight in (("dora", 2), ("sven", 1), ("tom", 1))
        ]
    )  # fmt: skip
    leads = []
    for number in range(30):
        who = {"contact_id": f"lead-{number}", "system": "hubspot"}
        leads += [
            contact("hubspot", f"lead-{number}", 1, email=f"lead{number}@firm{number}.example", country="DE", job_title="VP Marketing"),
            activity(1_000 + number, 2, form_id="contact_sales", **who),
            activity(2_000 + number, 3, form_id="demo_request", **who),
        ]  # fmt: skip
    hers = [
        contact("web", "ann-web", 1, email=ANN, last_name="Wagner", country="DE", phone="+49 89 7654321", job_title="VP Marketing"),
        activity(1, 2, contact_id="ann-web", form_id="contact_sales"),
        activity(2, 3, email=" ANN.wagner@acme.example", form_id="demo_request"),
        activity(3, 1, anonymous_id="ann-browser-1", activity_type="page_view", url="https://us.example/pricing"),
        activity(4, 4, anonymous_id="ann-browser-1", contact_id="ann-web"),
        event("consent", {"system": "web", "email": ANN, "channel": "email", "lawful_basis": "consent", "status": "granted"}, at(4)),
    ]  # fmt: skip
    warehouse.append(leads[:45])
    warehouse.append(hers, lane="bulk")
    warehouse.append(leads[45:])
    warehouse.append(
        [
            contact("hubspot", "bob", 1, email="bob@acme.example", custom={"colleague": ANN}),
            contact("crm", "ann-crm", 5, email="ann@home.example", last_name="Wagner"),
            event("merge", {"system": "handoff", "surviving_id": "web:ann-web", "merged_ids": ["crm:ann-crm"]}, at(6)),
            event("merge", {"system": "handoff", "surviving_id": "hubspot:bob", "merged_ids": ["crm:ann-crm"], "unmerge": True}, at(6)),
            event(
                "opportunity",
                {"system": "crm", "record_id": "deal-1", "contact_ids": ["ann-crm", "bob-crm"], "stage": "proposal", "amount_usd": 900},
                at(7),
            ),
            contact("crm", "bob-crm", 6, email="bob@acme.example"),
        ]
    )  # fmt: skip
    warehouse.poll(
        "salesforce",
        {
            "leads": [
                _salesforce("00Q0000000ann01", 8, Email=ANN.upper(), LastName="Wagner", Name="Ann Wagner", Company="Acme"),
                _salesforce("00Q0000000cleo1", 8, Email="cleo@other.example", LastName="Cleo", Name="Cleo", Company="Other"),
            ],
            "tasks": [
                _salesforce("00T00000000ann1", 9, WhoId="00Q0000000ann01", Subject="Call Ann Wagner", Status="Completed"),
                _salesforce("00T0000000cleo1", 9, WhoId="00Q0000000cleo1", Subject="Call Cleo, not ann.wagner@acme.example", Status="Completed"),
            ],
        },
        at(10),
    )  # fmt: skip
    warehouse.poll(
        "hubspot",
        {"calls": [_call("c-both", "bob", "ann-hs"), _call("c-ann", "ann-hs"), _call("c-bob", "bob")]},
        at(10),
    )  # fmt: skip
    warehouse.append([contact("hubspot", "ann-hs", 9, email=ANN.lower())])
    with contextlib.closing(open_log(warehouse.settings)) as log:
        log.quarantine(
            [
                Rejection("events", "FIELD_MISMATCH", "/data/email", "no", f'{{"who": "{ANN}"}}'.encode(), "c1", "urn:a", "e1"),
                Rejection("events", "FIELD_MISMATCH", "/data/email", "no", b'{"who": "bob"}', "c2", "urn:a", "e2"),
            ]
        )  # fmt: skip
    warehouse.transform(AS_OF)
    land_archive(warehouse.settings, "hubspot")
    warehouse.transform(AS_OF + timedelta(hours=1))
    publish(warehouse.settings)
    [(person,)] = warehouse.rows("select person_id from marts.entity_map where is_current and record_id = 'ann-web'")  # fmt: skip
    told = _subscribers()
    with contextlib.closing(Outbox(outbox_path(warehouse.settings))) as outbox:
        outbox.subscribe(told, at(0))
        for subject in (person, "somebody"):
            outbox.tell(
                [Message(f"m-{subject}", f"d-{subject}", "mql.reached", subject, at(20), {"score": 1}, personal={"email": ANN if subject == person else "x@y.example"})],
                told,
                at(21),
            )  # fmt: skip
    plans = warehouse.settings.plans_dir
    plans.mkdir(parents=True, exist_ok=True)
    (plans / "salesforce-00000000000000000001.json").write_text(json.dumps({"Email": ANN}))
    (plans / "salesforce-00000000000000000002.json").write_text(json.dumps({"Email": "other"}))
    assert {
        "ann-web",
        "ann-crm",
        "ann-hs",
        "ann-browser-1",
        "00Q0000000ann01",
    } in warehouse.persons()
    return warehouse


def _salesforce(record_id: str, hour: int, **told: Any) -> Extracted:
    stamp = at(hour).isoformat()
    return Extracted(
        record_id, at(hour), False, {"Id": record_id, "CreatedDate": stamp, "SystemModstamp": stamp, "LastModifiedDate": stamp, "IsDeleted": False, **told}
    )  # fmt: skip


def _call(record_id: str, *contacts: str) -> Extracted:
    stamp = at(9).isoformat()
    return Extracted(
        record_id,
        at(9),
        False,
        {
            "id": record_id, "createdAt": stamp, "updatedAt": stamp,
            "properties": {"hs_timestamp": stamp, "hs_call_title": "A call"},
            "associations": {"contacts": {"results": [{"id": contact, "type": "x"} for contact in contacts]}},
        },
    )  # fmt: skip


def _subscribers() -> Subscribers:
    return Subscribers({"crm": Subscriber("crm", "https://crm.example/in", ("mql.reached",))})


@pytest.fixture
def home(world: Warehouse, tmp_path: Path) -> Warehouse:
    """A copy that nobody else uses."""
    folder = tmp_path / "home"
    shutil.copytree(world.settings.home, folder, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    return Warehouse(Settings(home=folder, systems=SYSTEMS))


@pytest.fixture(scope="module")
def erased(world: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, Any]:
    """The home after the erasure, and what it said."""
    folder = tmp_path_factory.mktemp("erased") / "home"
    shutil.copytree(world.settings.home, folder, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    warehouse = Warehouse(Settings(home=folder, systems=SYSTEMS))
    # A page of a replay that has her among the leads that would be lost.
    [(person_id,)] = warehouse.rows(
        "select person_id from marts.entity_map where record_id = 'ann-web' and is_current"
    )
    page = warehouse.settings.artifacts_dir / "replays" / "scoring-v2.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<td>lost</td><td>{person_id}</td>")
    said = erase_person(warehouse.settings, ANN, as_of=AS_OF + timedelta(hours=2))
    return warehouse, said


def contents(warehouse: Warehouse) -> dict[str, set[Any]]:
    """Rows of the marts, without what is of the file."""
    snapshot = warehouse.snapshot("marts")
    found: dict[str, set[Any]] = {}
    for table, (names, *rows) in snapshot.items():
        kept = [place for place, name in enumerate(names) if name not in OF_THE_FILE]
        found[table] = {tuple(repr(row[place]) for place in kept) for row in rows}
    return found


def test_nothing_of_the_person_is_left_anywhere(erased: tuple[Warehouse, Any]) -> None:
    warehouse, said = erased
    assert said.remnants == []
    assert remnants(warehouse.settings, HERS) == []
    assert said.events == {"activity": 4, "consent": 1, "contact": 4, "merge": 2, "opportunity": 1}
    assert said.rows == {"hubspot.calls": 2, "salesforce.leads": 1, "salesforce.tasks": 2}
    assert (said.rejections, said.plans) == (1, 1)
    assert said.held_elsewhere == {
        "crm": ["ann-crm"], "hubspot": ["ann-hs"], "salesforce": ["00Q0000000ann01"]
    }  # fmt: skip
    plans = [path.stem for path in warehouse.settings.plans_dir.glob("*.json")]
    assert "salesforce-00000000000000000001" not in plans
    assert "salesforce-00000000000000000002" in plans
    with contextlib.closing(Outbox(outbox_path(warehouse.settings))) as outbox:
        assert outbox.rows("select subject from messages") == [("somebody",)]


def test_the_search_finds_what_is_there(home: Warehouse) -> None:
    # The control: before, every store holds something of her.
    found = {each.path for each in remnants(home.settings, HERS)}
    assert {
        "log/events.sqlite", "log/deliveries.sqlite", "warehouse.duckdb", "serving/handoff.duckdb",
        "log/archive/salesforce/leads/00000001.parquet", "artifacts/plans/salesforce-00000000000000000001.json",
    } <= found  # fmt: skip


def test_everybody_else_keeps_every_row_and_every_owner(
    world: Warehouse, erased: tuple[Warehouse, Any]
) -> None:
    warehouse, said = erased
    transform(warehouse.settings, as_of=AS_OF + timedelta(hours=1), full_refresh=True)
    before, after = contents(world), contents(warehouse)
    assert before["marts.fct_assignments"], "somebody was dealt"
    for table in ("fct_assignments", "fct_mqls", "fct_scores", "dim_people", "entity_map", "fct_activities", "fct_consents"):  # fmt: skip
        came = after[f"marts.{table}"] - before[f"marts.{table}"]
        gone = before[f"marts.{table}"] - after[f"marts.{table}"]
        if table == "entity_map":
            # That Bob was held apart from her is no evidence of his any more.
            assert all("'bob'" in row for row in came)
            assert all("crm:ann-crm" in repr(row) for row in gone if "'bob'" in row)
            # Her records were several people's before they were known to be hers.
            gone = {row for row in gone if "'bob'" not in row and "ann" not in repr(row)}
            assert not gone
            continue
        assert not came, table
        assert gone, table
        assert all(said.person_id in repr(row) for row in gone), table
    # Hours of what came in keep their counts, apart from the erasure's own events.
    accepted = "marts.fct_event_acceptance"
    assert before[accepted] <= after[accepted]
    assert {row[0] for row in after[accepted] - before[accepted]} == {repr(ERASURE_TYPE)}
    assert warehouse.rows("select amount_usd from marts.fct_opportunities") == world.rows(
        "select amount_usd from marts.fct_opportunities"
    )


def test_log_and_archive_alone_give_the_same(erased: tuple[Warehouse, Any], tmp_path: Path) -> None:
    warehouse, _ = erased
    transform(warehouse.settings, as_of=AS_OF + timedelta(hours=3), full_refresh=True)
    rebuilt = Warehouse(Settings(home=tmp_path / "rebuilt", systems=SYSTEMS))
    rebuilt.settings.root.mkdir(parents=True)
    shutil.copytree(
        warehouse.settings.log_dir,
        rebuilt.settings.log_dir,
        ignore=shutil.ignore_patterns("*.sock", "*.lock"),
    )
    rebuilt.land()
    for system in ("hubspot", "salesforce"):
        land_archive(rebuilt.settings, system)
    load_policy_rows(rebuilt.settings)
    transform(rebuilt.settings, as_of=AS_OF + timedelta(hours=3))
    found, wanted = contents(rebuilt), contents(warehouse)
    # Attempts are of the outbox, which is copied when there are subscribers.
    assert {table for table in wanted if found[table] != wanted[table]} == set()
    assert [count.missing for count in reconcile(rebuilt.settings) if count.missing] == []


def test_the_log_still_verifies_and_says_what_went(erased: tuple[Warehouse, Any]) -> None:
    warehouse, _ = erased
    with contextlib.closing(open_reader(warehouse.settings)) as reader:
        chain = reader.verify()
        assert (chain.broken_seq, chain.erased) == (None, 12)
        evidence = [
            entry.event for entry in reader.read(0, 10_000) if entry.event["type"] == ERASURE_TYPE
        ]
    named = {each["seq"] for event in evidence for each in event["data"].get("events", ())}
    assert len(named) == 12
    assert len([turn for event in evidence for turn in event["data"].get("turns", ())]) == 1


@pytest.mark.parametrize("payload", [b"", b"{}"])
def test_what_no_erasure_names_counts_as_damage(home: Warehouse, payload: bytes) -> None:
    # Whoever can write the file can also write that something was erased.
    with contextlib.closing(apsw.Connection(str(home.settings.log_path))) as connection:
        connection.execute("update events set payload = ? where seq = 5", (payload,))
        connection.execute("insert into erased_events values (5)")
    with contextlib.closing(open_reader(home.settings)) as reader:
        chain = reader.verify()
    assert chain.broken_seq == 5
    assert "no erasure in the log names it" in str(chain.reason)


def test_what_is_told_of_them_later_stays_out(
    erased: tuple[Warehouse, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    shutil.copytree(
        erased[0].settings.home, folder, ignore=shutil.ignore_patterns("*.sock", "*.lock")
    )
    warehouse = Warehouse(Settings(home=folder, systems=SYSTEMS))
    before = warehouse.persons()
    now = datetime.now(UTC)
    event = warehouse.event
    submit = {"system": "web", "activity_type": "form_submit", "form_id": "demo_request"}
    warehouse.append(
        [
            # Of a record that was erased, whenever.
            event("contact", {"system": "crm", "record_id": "ann-crm", "email": "other@home.example"}, now),
            event("stage_change", {"system": "crm", "contact_id": "ann-crm", "from": None, "to": "mql"}, now),
            # By an address or in a browser that was hers, before.
            event("activity", {**submit, "activity_id": "late-1", "email": ANN}, at(50)),
            event("activity", {**submit, "activity_id": "late-2", "anonymous_id": "ann-browser-1"}, at(50)),
            event("contact", {"system": "other", "record_id": "o1", "email": "ANN@home.example"}, at(50)),
            event("merge", {"system": "handoff", "surviving_id": "hubspot:bob", "merged_ids": ["hubspot:ann-hs"]}, now),
            # Of somebody else, who was only seen with her.
            event("contact", {"system": "hubspot", "record_id": "bob", "external_ids": [{"system": "crm", "record_id": "ann-crm"}, {"system": "crm", "record_id": "bob-crm"}]}, now),
        ]
    )  # fmt: skip
    warehouse.transform(AS_OF + timedelta(hours=4))
    assert warehouse.persons() == before
    assert remnants(warehouse.settings, ["ann-crm", "ann-browser-1", "home.example", "ann.wagner"]) == []  # fmt: skip
    with contextlib.closing(open_reader(warehouse.settings)) as reader:
        assert reader.verify().broken_seq is None
        late = [entry.event["data"] for entry in reader.read(0, 10_000) if entry.event["type"] == ERASURE_TYPE][-1]  # fmt: skip
    assert late["cause"] == "late"
    assert [each["is_kept"] for each in late["events"]] == [False] * 6 + [True]
    # Who writes anew is somebody new; and a lead more takes the turn behind that of whom was erased, in a batch as in a rebuild.
    lead = {"contact_id": "lead-new", "system": "hubspot"}
    warehouse.append(
        [
            event("activity", {**submit, "activity_id": "new-1", "email": ANN}, now + timedelta(minutes=1)),
            event("contact", {"system": "hubspot", "record_id": "lead-new", "email": "new@firm.example", "country": "DE", "job_title": "VP Marketing"}, now),
            event("activity", {**submit, **lead, "activity_id": "new-2", "form_id": "contact_sales"}, now),
            event("activity", {**submit, **lead, "activity_id": "new-3"}, now),
        ]
    )  # fmt: skip
    assert not warehouse.transform(now + timedelta(hours=1)).is_full_refresh
    assert warehouse.rows("select count(*) from marts.entity_map where is_current and record_type = 'email' and record_id = 'ann.wagner@acme.example'") == [(1,)]  # fmt: skip
    dealt = "select * from marts.fct_assignments order by all"
    in_batch = warehouse.rows(dealt)
    assert len(in_batch) == 31
    assert warehouse.transform(now + timedelta(hours=1), full_refresh=True).is_full_refresh
    assert warehouse.rows(dealt) == in_batch


class Died(BaseException):
    """As a kill would."""


STEPS = ["take_from_log", "take_from_outbox", "take_from_archive", "take_from_raw_events", "forget_in_flight", "swap_in", "publish", "remnants"]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "is_after"),
    [
        ("take_from_log", True),
        *[
            pytest.param(step, is_after, marks=pytest.mark.prove)
            for step in STEPS
            for is_after in (False, True)
            if (step, is_after) != ("take_from_log", True)
        ],
    ],
)
def test_one_that_died_anywhere_is_finished_by_the_next(
    home: Warehouse, erased: tuple[Warehouse, Any], monkeypatch: pytest.MonkeyPatch, step: str, is_after: bool
) -> None:  # fmt: skip
    done = getattr(erasing, step)

    def dies(*arguments: Any, **named: Any) -> None:
        if is_after:
            done(*arguments, **named)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(erasing, step, dies)
        with pytest.raises(Died):
            erase_person(home.settings, ANN, as_of=AS_OF + timedelta(hours=2))
    assert list((home.settings.log_dir / FOLDER).iterdir())
    assert erase_person(home.settings, ANN, as_of=AS_OF + timedelta(hours=2)).remnants == []
    assert list((home.settings.log_dir / FOLDER).iterdir()) == []
    assert remnants(home.settings, HERS) == []
    with contextlib.closing(open_reader(home.settings)) as reader:
        assert reader.verify().broken_seq is None
        told = [entry.event["data"] for entry in reader.read(0, 10_000) if entry.event["type"] == ERASURE_TYPE]  # fmt: skip
    assert sum(len(data.get("turns", ())) for data in told) == 1
    warehouse, _ = erased
    dealt = "select * from marts.fct_assignments order by all"
    assert home.rows(dealt) == warehouse.rows(dealt)
    assert home.persons() == warehouse.persons()


def test_the_command_asks_first_and_says_what_is_left_elsewhere(home: Warehouse) -> None:
    environment = {"HANDOFF_HOME": str(home.settings.home), "HANDOFF_SYSTEMS": SYSTEMS}
    refused = CliRunner().invoke(app, ["erase", ANN], env=environment)
    assert refused.exit_code != 0
    assert "cannot be undone" in str(refused.exception)
    tried = CliRunner().invoke(app, ["erase", ANN, "--dry-run"], env=environment)
    assert tried.exit_code == 0, tried.output
    assert "would erase person" in tried.stdout
    assert "delete there too  hubspot: ann-hs" in tried.stdout
    assert home.rows("select count(*) from marts.entity_map where record_id = 'ann-web'") == [(1,)]
    # A file of somebody's own within the home is no store of ours: it is found, and said.
    (home.settings.root / "notes.txt").write_text(f"call {ANN}")
    done = CliRunner().invoke(app, ["erase", ANN, "--yes", "--json"], env=environment)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["remnants"] == [
        {"path": "notes.txt", "table": None, "count": 1, "problem": None}
    ]


def test_a_poll_does_not_bring_them_back(
    ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = ran.company
    folder = tmp_path / "home"
    shutil.copytree(company.home, folder, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    for name, value in {**company.variables, "HANDOFF_HOME": str(folder)}.items():
        monkeypatch.setenv(name, value)
    warehouse = Warehouse(Settings())
    for system in ("hubspot", "salesforce"):
        # What the run itself has written there.
        poll(warehouse.settings, system)
    # Whoever has most to be erased in both systems.
    [(address, person)] = warehouse.rows(
        "select people.email, people.person_id from marts.dim_people as people join marts.entity_map as records using (person_id) "
        "join marts.fct_activities as activities using (person_id) where records.is_current and people.email is not null "
        "group by all having count(distinct records.system) > 1 and bool_or(records.system = 'salesforce') order by count(*) desc, 2 limit 1"
    )
    said = erase_person(warehouse.settings, address)
    assert said.remnants == []
    assert {"hubspot", "salesforce"} <= set(said.held_elsewhere)
    segments = {path: path.read_bytes() for path in folder.glob("log/archive/*/*/*.parquet")}
    dropped = 0
    for system in ("hubspot", "salesforce"):
        # From the start: everything the system shows is fetched again.
        archive = Archive(warehouse.settings.archive_dir)
        for resource in catalog.source(system).RESOURCES:
            rows = [row for page in catalog.source(system).extract(resource, None, warehouse.settings) for row in page]  # fmt: skip
            kept = rows_left(system, resource, catalog.source(system).NAMED[resource], erased_keys(warehouse.settings), rows)  # fmt: skip
            dropped += len(rows) - len(kept)
            assert archive.append(system, resource, kept, datetime.now(UTC)) is None, resource
        assert poll(warehouse.settings, system).rows == {}
    assert dropped >= sum(said.rows.values()) // 2, "the systems still show the person"
    assert {path: path.read_bytes() for path in folder.glob("log/archive/*/*/*.parquet")} == segments  # fmt: skip
    assert warehouse.rows("select count(*) from marts.dim_people where person_id = ?", [person]) == [(0,)]  # fmt: skip
