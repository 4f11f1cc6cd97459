"""What Dagster shows and does: every table an asset, lineage through it all, and a broken sync row stops the push."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.log.owner import open_log
from ingestion.settings import Settings
from orchestration import push
from orchestration.assets import doors_out
from orchestration.assets.keys import WAREHOUSE_POOL
from orchestration.definitions import defs
from orchestration.jobs import DATA_DOCS, HOT_PATH, MICRO_BATCH, TEST_WAREHOUSE
from orchestration.push import SYNC_MODELS
from orchestration.sensors import watch_event_log
from orchestration.transform import manifest_path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture(scope="module")
def definitions(home: Path) -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDOFF_HOME", str(home))
        yield defs()


@pytest.fixture(scope="module")
def project(definitions: dg.Definitions, home: Path) -> dict[str, Any]:
    """dbt's own list of what there is."""
    text = manifest_path(Settings(home=home)).read_text(encoding="utf-8")
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> Any:
    return definitions.resolve_asset_graph()


def test_definitions_load_and_every_job_resolves(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    # Names of ops clash only here, which is what Dagster's own processes load.
    assert definitions.get_repository_def().get_all_jobs()
    for name in (HOT_PATH, MICRO_BATCH, TEST_WAREHOUSE, DATA_DOCS):
        assert definitions.resolve_job_def(name).nodes


def test_every_model_and_seed_is_an_asset_keyed_by_its_address(
    project: dict[str, Any], graph: Any
) -> None:
    addresses = {
        dg.AssetKey([node["schema"], node["name"]])
        for node in project["nodes"].values()
        # What a command makes when somebody asks for it, and drops, is nothing to look at.
        if node["resource_type"] in ("model", "seed") and "on_demand" not in node["tags"]
    }
    assert len(addresses) > 40
    assert addresses - graph.get_all_asset_keys() == set()


def test_every_raw_table_the_models_read_and_every_sync_is_an_asset(
    project: dict[str, Any], graph: Any
) -> None:
    raw = {
        dg.AssetKey([source["schema"], source["name"]])
        for source in project["sources"].values()
        if not source["name"].startswith("_dlt_")
    }
    assert len(raw) > 30
    assert raw - graph.materializable_asset_keys == set()
    for system, models in SYNC_MODELS.items():
        assert dg.AssetKey(["ops", f"pushes_{system}"]) in graph.materializable_asset_keys
        for model in models:
            assert dg.AssetKey(["sync", model]) in graph.materializable_asset_keys


def test_nothing_is_shown_that_cannot_be_made(graph: Any) -> None:
    assert graph.get_all_asset_keys() - graph.materializable_asset_keys == set()


def test_the_group_of_an_asset_is_its_schema_and_somebody_owns_it(graph: Any) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert len(key.path) == 2, key
        assert node.group_name == key.path[0]
        assert node.owners, key


def test_a_pushed_lead_can_be_traced_to_the_events_and_policies_it_came_from(graph: Any) -> None:
    upstream: set[dg.AssetKey] = set()
    waiting = [dg.AssetKey(["ops", "pushes_salesforce"])]
    while waiting:
        for parent in graph.get(waiting.pop()).parent_keys - upstream:
            upstream.add(parent)
            waiting.append(parent)
    for address in (
        ["raw_events", "contacts"],
        ["raw_hubspot", "contacts"],
        ["raw_salesforce", "leads"],
        ["raw_policies", "scoring_rules"],
        ["marts", "fct_mqls"],
        ["sync", "sync_salesforce__leads"],
        ["serving", "handoff"],
    ):
        assert dg.AssetKey(address) in upstream


def test_whatever_writes_the_warehouse_waits_in_one_pool(definitions: dg.Definitions) -> None:
    pools = {
        node.name: node.definition.pools for node in definitions.resolve_job_def(MICRO_BATCH).nodes
    }
    assert len(pools) > 6
    assert all(named == {WAREHOUSE_POOL} for named in pools.values())


def test_every_sync_model_has_a_check_that_blocks(graph: Any) -> None:
    for models in SYNC_MODELS.values():
        for model in models:
            check = dg.AssetCheckKey(dg.AssetKey(["sync", model]), "may_be_sent")
            assert graph.get(check).blocking


LEAD = {
    "operation_id": "6b1f0c5e-0000-4000-8000-000000000001",
    "object": "Lead",
    "action": "upsert",
    "external_id_field": "Handoff_Person_Id__c",
    "external_id": "6b1f0c5e-0000-4000-8000-00000000000a",
    "person_id": "6b1f0c5e-0000-4000-8000-00000000000a",
    "last_name": "Lovelace",
    "company": "Analytical Engines",
    "email": "ada@example.org",
    "payload": '{"LastName": "Lovelace", "Company": "Analytical Engines"}',
    "changes": '{"LastName": {"old": null, "new": "Lovelace"}}',
    "reasons": "[]",
    "is_consented": True,
}


@pytest.mark.parametrize(
    ("broken", "is_sent"),
    [
        ({}, True),
        ({"last_name": "L" * 81}, False),
        ({"email": "no address"}, False),
        ({"is_consented": False}, False),
        ({"payload": "{"}, False),
    ],
    ids=["well", "too long", "no address", "no consent", "no JSON"],
)
def test_a_broken_sync_row_stops_the_push(
    definitions: dg.Definitions,
    copied: Any,
    company: Any,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any],
    is_sent: bool,
) -> None:
    for name, value in {**company.variables, "HANDOFF_HOME": str(copied.home)}.items():
        monkeypatch.setenv(name, value)
    row = LEAD | broken
    with contextlib.closing(warehouse.connect(copied.settings)) as connection:
        connection.execute(
            f"insert into sync.sync_salesforce__leads ({', '.join(row)}) values ({', '.join('?' * len(row))})",
            list(row.values()),
        )
    seen = max(request["number"] for request in company.requests())
    sent: list[str] = []

    class Report:
        rows = ()
        halted = None

        def counts(self) -> dict[str, int]:
            return {}

    def note(settings: Settings, plan_id: str, **_: Any) -> Report:
        sent.append(plan_id)
        return Report()

    monkeypatch.setattr(doors_out, "apply", note)
    pushes = dg.AssetKey(["ops", "pushes_salesforce"])
    checks = [
        dg.AssetCheckKey(dg.AssetKey(["sync", model]), "may_be_sent")
        for model in SYNC_MODELS["salesforce"]
    ]
    job = dg.define_asset_job(
        "push_only",
        dg.AssetSelection.assets(pushes) | dg.AssetSelection.checks(*checks),
        executor_def=dg.in_process_executor,
    )
    resolved = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def(
        "push_only"
    )
    ran = resolved.execute_in_process(raise_on_error=False)
    assert ran.success is is_sent
    assert bool(sent) is is_sent
    assert company.writes(seen) == []
    assert [check.passed for check in ran.get_asset_check_evaluations()].count(False) == (
        not is_sent
    )


def test_a_broken_row_is_refused_by_the_push_itself_when_no_check_ran_before(
    copied: Any, company: Any
) -> None:
    settings = Settings(home=copied.home, **_destination(company))
    row = LEAD | {"email": "no address"}
    with contextlib.closing(warehouse.connect(settings)) as connection:
        connection.execute(
            f"insert into sync.sync_salesforce__leads ({', '.join(row)}) values ({', '.join('?' * len(row))})",
            list(row.values()),
        )
    seen = max(request["number"] for request in company.requests())
    planned = push.make_plan(settings, "salesforce", as_of=datetime.now(UTC))
    assert [claim for claim in planned.unmet if "email" in claim]
    with pytest.raises(HandoffError) as refused:
        push.apply(settings, planned.plan.plan_id)
    assert refused.value.code == "EXPECTATION_FAILED"
    assert company.writes(seen) == []


def _destination(company: Any) -> dict[str, str]:
    return {
        name.removeprefix("HANDOFF_").lower(): value
        for name, value in company.variables.items()
        if name.startswith("HANDOFF_SALESFORCE_")
    }


def test_a_system_that_is_down_fails_its_check_and_not_the_run(
    definitions: dg.Definitions, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.connectors import polling

    monkeypatch.setattr(polling, "ATTEMPTS", 1)
    monkeypatch.setenv("HANDOFF_HOME", str(tmp_path))
    monkeypatch.setenv("HANDOFF_CALENDAR_URL", "http://127.0.0.1:9/calendar")
    monkeypatch.setenv("HANDOFF_CALENDAR_TOKEN", "t")
    job = dg.define_asset_job(
        "poll_only", dg.AssetSelection.groups("raw_calendar"), executor_def=dg.in_process_executor
    )
    resolved = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def(
        "poll_only"
    )
    ran = resolved.execute_in_process()
    assert ran.success
    told = {check.check_name: check for check in ran.get_asset_check_evaluations()}
    assert not told["was_polled"].passed
    assert "calendar" in str(told["was_polled"].metadata["failed"].value)


def test_the_sensor_asks_for_one_run_per_new_end_of_the_log(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    monkeypatch.setenv("HANDOFF_HOME", str(tmp_path))

    def append(number: int) -> None:
        event = {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": "urn:test",
            "type": "com.handoff.contact",
            "subject": f"contact/web/{number}",
            "time": "2026-04-01T08:30:00Z",
            "data": {"record_id": str(number), "system": "web"},
        }
        with contextlib.closing(open_log(settings)) as log:
            log.append([event])

    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance)
        assert isinstance(watch_event_log(context), dg.SkipReason)

        append(1)
        asked = watch_event_log(context)
        assert isinstance(asked, dg.RunRequest)
        assert isinstance(watch_event_log(context), dg.SkipReason)

        append(2)
        instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED)
        assert isinstance(watch_event_log(context), dg.SkipReason)
        [running] = instance.get_runs()
        instance.report_run_failed(running)

        # What came in meanwhile is the next batch.
        next_asked = watch_event_log(context)
        assert isinstance(next_asked, dg.RunRequest)
        assert next_asked.run_key != asked.run_key
        assert isinstance(watch_event_log(context), dg.SkipReason)


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None:
        pass

    @dg.job(name=MICRO_BATCH)
    def job() -> None:
        nothing()

    return job
