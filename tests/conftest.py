"""Fixtures every test may use: a home of its own, the shared data, and a warehouse driven without
Dagster."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingestion.connectors.extracted import Extracted
from ingestion.contracts import registry
from ingestion.landing import warehouse
from ingestion.landing.archive import Archive
from ingestion.landing.events import land_events
from ingestion.landing.polls import land_archive
from ingestion.log.interface import Lane
from ingestion.log.owner import open_log
from ingestion.settings import Settings

if TYPE_CHECKING:
    from orchestration.transform import Scope

ROOT = Path(__file__).parents[1]

Row = tuple[Any, ...]
# schema.table -> its rows in a fixed order, with the column names first.
Snapshot = dict[str, list[Row]]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository; tests that need it are skipped without
    it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data sets are not at {folder}")
    return folder


@pytest.fixture
def cpu_cost() -> Callable[[Callable[[], Any]], float]:
    """CPU seconds of a call, the least of three; for what must not be slow whatever comes in."""
    return cpu_seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home that nothing else uses; no outside system is configured."""
    return Settings(home=tmp_path / "home")


def cpu_seconds(work: Callable[[], Any]) -> float:
    """What `work` costs: the least CPU of three, which a machine that is busy or stands still for a
    moment does not change, and without what the collector spends on everybody else's objects."""
    gc.collect()
    gc.freeze()
    try:
        seconds = []
        for _ in range(3):
            started = time.process_time()
            work()
            seconds.append(time.process_time() - started)
        return min(seconds)
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Warehouse:
    """The whole pipeline of one home, step by step, in this process."""

    settings: Settings

    @staticmethod
    def event(
        record: str,
        data: Mapping[str, Any],
        time: datetime,
        *,
        subject_id: str | None = None,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        """One CloudEvent that carries `data` as the new state of a `record` at `time`."""
        keys = (
            # Before record_id: a receipt has both and is about its operation.
            "operation_id",
            "record_id",
            "activity_id",
            "meeting_id",
            "surviving_id",
            "contact_id",
        )
        named = next((data[key] for key in keys if data.get(key)), data.get("email", "unnamed"))
        return {
            "specversion": "1.0",
            "id": event_id or str(uuid.uuid4()),
            "source": "urn:handoff:test",
            "type": f"com.handoff.{record}",
            "subject": f"{record}/{data.get('system', 'web')}/{subject_id or named}",
            "time": time.isoformat(),
            "data": dict(data),
        }

    def append(self, events: Iterable[Mapping[str, Any]], lane: Lane = "live") -> None:
        """Append valid events to the log, as the edge does, or an import."""
        from ingestion.connectors import catalog
        from ingestion.contracts import registry

        sent = [dict(event) for event in events]
        known = catalog.known_systems(self.settings)
        for item in sent:
            assert registry.validate_event(item, known) == [], item
        log = open_log(self.settings)
        try:
            for start in range(0, len(sent), 5_000):
                log.append(sent[start : start + 5_000], lane=lane)
        finally:
            log.close()

    def poll(self, system: str, rows: Mapping[str, list[Extracted]], at: datetime) -> None:
        """Archive and land polled versions, as if polled `at`."""
        archive = Archive(self.settings.archive_dir)
        for resource, extracted in rows.items():
            archive.append(system, resource, extracted, at)
        land_archive(self.settings, system)

    def land(self, bulk_limit: int | None = None) -> None:
        """Land the log's new events, of the bulk lane so many, and the policies."""
        from orchestration.policy_rows import load_policy_rows

        land_events(self.settings, bulk_limit=bulk_limit)
        load_policy_rows(self.settings)

    def transform(
        self,
        as_of: datetime,
        *,
        full_refresh: bool = False,
        scope: Scope = "everything",
        bulk_limit: int | None = None,
    ) -> Any:
        """Land what is new and transform it."""
        from orchestration.transform import transform

        self.land(bulk_limit)
        return transform(self.settings, as_of=as_of, full_refresh=full_refresh, scope=scope)

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[Row]:
        """The rows of one query."""
        connection = warehouse.connect(self.settings)
        try:
            return connection.execute(sql, parameters or []).fetchall()
        finally:
            connection.close()

    def records(self, sql: str) -> list[dict[str, Any]]:
        """The rows of one query by column name."""
        connection = warehouse.connect(self.settings)
        try:
            found = connection.execute(sql)
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        finally:
            connection.close()

    def persons(self) -> set[frozenset[str]]:
        """Ids of the records that are one person each; addresses no record stands for left out."""
        found = defaultdict(set)
        for person, record in self.rows(
            "select person_id, record_id from marts.entity_map where is_current and record_type <> 'email'"
        ):
            found[person].add(record)
        return {frozenset(records) for records in found.values()}

    def snapshot(self, *schemas: str) -> Snapshot:
        """Every row of every table of `schemas`, comparable: in a fixed order, floats to nine
        digits."""
        connection = warehouse.connect(self.settings)
        try:
            tables = connection.execute(
                "select schema_name, table_name from duckdb_tables() "
                "where list_contains(?, schema_name) order by all",
                [list(schemas)],
            ).fetchall()
            taken: Snapshot = {}
            for schema, table in tables:
                found = connection.execute(f'select * from "{schema}"."{table}"')
                names = tuple(column[0] for column in found.description or [])
                rows = [tuple(_comparable(value) for value in row) for row in found.fetchall()]
                taken[f"{schema}.{table}"] = [names, *sorted(rows, key=repr)]
            return taken
        finally:
            connection.close()


def _comparable(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


@pytest.fixture(scope="session")
def open_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Warehouse]:
    """Makes warehouses in homes of their own; dbt's project is parsed once for all of them."""

    def make(**overrides: Any) -> Warehouse:
        return Warehouse(Settings(home=tmp_path_factory.mktemp("home"), **overrides))

    return make


# Copies of a published activity: a second one with a renamed field, its types from other words, and a field that is split.
UPCAST = """\
steps:
  - rename: {from: form_id, to: form}
  - default: {field: channel, value: web}
  - split: {field: utm_campaign, at: "/", into: [campaign_name, campaign_variant]}
  - keep_in_custom: {field: referrer}
"""
LIFECYCLE = """\
activity:
  1.0.0:
    deprecated_on: 2026-03-01
    sunset_on: {sunset_on}
    successor: 2.0.0
    migration: https://www.example.com/migrations/activity-2.0.0
"""


class ContractWorld:
    """The folder of contracts in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self, record: str, version: str, change: Callable[[dict[str, Any]], object], upcast: str = "", from_version: str = "1.0.0"
    ) -> None:  # fmt: skip
        """Add a version made of an older one, with the steps that bring events up to it."""
        document = json.loads((self.folder / record / f"{from_version}.json").read_text())
        change(document)
        (self.folder / record / f"{version}.json").write_text(json.dumps(document))
        if upcast:
            file = self.folder / record / f"upcast_{from_version}_{version}.yml"
            file.write_text(upcast)
        forget_contracts()

    def end_activity(self, sunset_on: str) -> None:
        """Give activity 1.0.0 an end."""
        (self.folder / "lifecycle.yml").write_text(LIFECYCLE.format(sunset_on=sunset_on))
        forget_contracts()

    def set_enum(self, name: str, **words: str) -> None:
        """Add values to an enumeration, each as a word that hubspot says too."""
        file = self.folder / "enums" / f"{name}.json"
        document = json.loads(file.read_text())
        for value, theirs in words.items():
            document["oneOf"].append({"const": value, "description": "."})
            document["systems"].setdefault("hubspot", {})[theirs] = value
        file.write_text(json.dumps(document))
        forget_contracts()

    def add_activity_2(self) -> None:
        """activity 2.0.0: form_id is form, utm_campaign is two fields, channel must be given, referrer is gone."""
        self.add("activity", "2.0.0", _second_activity, UPCAST)


def _second_activity(document: dict[str, Any]) -> None:
    fields = document["properties"]
    fields["form"] = fields.pop("form_id")
    campaign = fields.pop("utm_campaign")
    fields |= {"campaign_name": campaign, "campaign_variant": campaign}
    fields["channel"] = {
        "type": "string",
        "maxLength": 20,
        "x-pii": "none",
        "description": "Channel.",
    }
    del fields["referrer"]
    document["required"].append("channel")
    document["examples"] = []


@pytest.fixture
def contract_world(tmp_path: Path) -> Iterator[ContractWorld]:
    """Our contracts, copied; everything that reads contracts reads the copy until the end."""
    folder = tmp_path / "contracts"
    shutil.copytree(registry.FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    ours, registry.FOLDER = registry.FOLDER, folder
    forget_contracts()
    try:
        yield ContractWorld(folder)
    finally:
        registry.FOLDER = ours
        forget_contracts()


def forget_contracts() -> None:
    """Empty every cache of what was read from the contracts."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("ingestion.contracts", "ingestion.landing", "ingestion.edge")):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
