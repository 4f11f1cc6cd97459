"""A contract that ends, over real HTTP and from a file: told while it is deprecated, refused and kept after its sunset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.edge.app import create_app
from ingestion.landing import files
from ingestion.log.owner import open_reader
from ingestion.log.sqlite import SqliteLog
from ingestion.settings import Settings
from tests.serving import served

FIRST = "urn:handoff:contract:activity:1.0.0"
SECOND = "urn:handoff:contract:activity:2.0.0"
MIGRATION = "https://www.example.com/migrations/activity-2.0.0"


class Clock:
    now = datetime(2026, 4, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(contract_world: Any, settings: Settings, clock: Clock) -> Iterator[httpx.Client]:
    contract_world.add_activity_2()
    contract_world.end_activity("2026-09-01")
    with (
        closing(SqliteLog(settings.log_path)) as log,
        served(create_app(settings, log, clock=clock)) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        yield http


def activity(name: str, schema: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": name,
        "source": "urn:test",
        "type": "com.handoff.activity",
        "subject": f"activity/web/{name}",
        "time": "2026-04-01T08:30:00Z",
        "data": {"activity_id": name, "system": "web", "activity_type": "page_view"} | fields,
    } | ({} if schema is None else {"dataschema": schema})


@pytest.mark.parametrize("schema", [FIRST, None])
def test_a_deprecated_version_is_taken_and_told(client: httpx.Client, schema: str | None) -> None:
    answer = client.post("/v1/events", json=activity("1", schema))
    assert answer.status_code == 202
    # 2026-03-01T00:00:00Z as RFC 9745 writes it, and 2026-09-01 as RFC 8594 does.
    assert answer.headers["deprecation"] == "@1772323200"
    assert answer.headers["sunset"] == "Tue, 01 Sep 2026 00:00:00 GMT"
    assert answer.headers["link"] == (
        f'<{SECOND}>; rel="successor-version", <{MIGRATION}>; rel="deprecation"'
    )
    assert answer.json()["deprecation"]["successor"] == SECOND


def test_before_it_is_deprecated_nothing_is_told(client: httpx.Client, clock: Clock) -> None:
    clock.now = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
    answer = client.post("/v1/events", json=activity("1", FIRST))
    assert answer.status_code == 202
    assert "deprecation" not in answer.headers
    assert "deprecation" not in answer.json()


def test_the_successor_carries_no_such_header(client: httpx.Client) -> None:
    answer = client.post("/v1/events", json=activity("1", SECOND, channel="web"))
    assert answer.status_code == 202
    assert not {"deprecation", "sunset", "link"} & set(answer.headers)


def test_a_batch_tells_by_item_and_in_its_headers(client: httpx.Client) -> None:
    batch = [activity("1", SECOND, channel="web"), activity("2", FIRST), activity("3", FIRST, x=1)]
    answer = client.post("/v1/events", json=batch)
    assert answer.status_code == 207
    told = [result.get("deprecation", {}).get("sunset_on") for result in answer.json()["results"]]
    assert told == [None, "2026-09-01", "2026-09-01"]
    assert answer.headers["sunset"] == "Tue, 01 Sep 2026 00:00:00 GMT"


def test_after_its_sunset_a_version_is_refused_and_kept(
    client: httpx.Client, clock: Clock, settings: Settings
) -> None:
    clock.now = datetime(2026, 9, 1, tzinfo=UTC)
    answer = client.post("/v1/events", json=activity("1", FIRST))
    assert answer.status_code == 410
    problem = answer.json()
    assert (problem["code"], problem["path"]) == ("VERSION_SUNSET", "/dataschema")
    assert SECOND in problem["detail"]
    assert MIGRATION in problem["detail"]
    assert answer.headers["sunset"] == "Tue, 01 Sep 2026 00:00:00 GMT"
    reader = open_reader(settings)
    [entry] = reader.read_quarantine()
    assert entry.quarantine_id == problem["quarantine_id"]
    assert (entry.rejection.code, entry.rejection.contract_version) == ("VERSION_SUNSET", "1.0.0")
    assert reader.last_seq() == 0
    reader.close()


def test_the_file_door_refuses_an_ended_version_too(
    contract_world: Any, settings: Settings, tmp_path: Path
) -> None:
    contract_world.add_activity_2()
    contract_world.end_activity("2026-09-01")
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(activity("1", FIRST)) + "\n" + json.dumps(activity("2", SECOND, channel="web")))  # fmt: skip
    report = files.ingest(settings, [path], now=datetime(2026, 9, 1, tzinfo=UTC))
    assert (report.files[0].accepted, dict(report.files[0].reasons)) == (1, {"VERSION_SUNSET": 1})
    earlier = files.ingest(settings, [path], now=datetime(2026, 8, 31, tzinfo=UTC))
    assert earlier.files[0].accepted == 1


def test_both_versions_are_in_one_table_of_the_warehouse(
    contract_world: Any, settings: Settings, tmp_path: Path
) -> None:
    import duckdb

    from ingestion.landing.events import land_events

    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(activity("1", FIRST, form_id="demo")))
    files.ingest(settings, [path])
    land_events(settings)
    # The second version comes while the warehouse has rows of the first.
    contract_world.add_activity_2()
    path.write_text(
        json.dumps(activity("2", FIRST, form_id="demo")) + "\n" + json.dumps(activity("3", SECOND, form="demo", channel="web"))
    )  # fmt: skip
    files.ingest(settings, [path])
    landed = land_events(settings)
    assert landed.unrepresentable == ()
    columns = "activity_id, contract_version, upcast_to, form, channel"
    query = f"select {columns} from raw_events.activities order by activity_id"
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        rows = connection.execute(query).fetchall()
    assert rows[1:] == [("2", "1.0.0", "2.0.0", "demo", "web"), ("3", "2.0.0", None, "demo", "web")]
    settings.warehouse_path.unlink()
    land_events(settings)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        again = connection.execute(query).fetchall()
    # Landed anew from the log, the row from before the version is as the others.
    assert again == [("1", "1.0.0", "2.0.0", "demo", "web"), *rows[1:]]
