"""A rebuild beside: nothing of the warehouse in use is lost by the swap, and one whole file has its name at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion.connectors.extracted import Extracted
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from models.policies.load import copy_policies
from orchestration import side_build, warehouse_copy
from orchestration.policy_rows import load_policy_rows, rebuild_reason
from orchestration.side_build import Build, rebuild_beside
from orchestration.transform import NodeResult, Transformed, manifest, transform

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=30)
LATER = AS_OF + timedelta(hours=1)

# Made by macros of the models in passing, and made anew by every rebuild.
SCRATCH = {
    "intermediate.accounts_contested",
    "intermediate.people_reassigned",
    "intermediate.records_matched",
    "intermediate.records_resolved",
    "intermediate.visitors_seen",
    # Made with fct_assignments, in its transaction.
    "intermediate.routing_clock",
    "intermediate.routing_leads",
    "intermediate.routing_loads",
    "intermediate.routing_shares",
    "intermediate.routing_waits",
}


def submits(warehouse: Any, number: int, at: datetime) -> None:
    """Somebody new agrees and asks for a demo."""
    who = {"system": "web", "contact_id": f"p{number}"}
    contact = {
        "system": "web",
        "record_id": f"p{number}",
        "email": f"p{number}@firm{number}.de",
        "last_name": f"P{number}",
    }
    agrees = {
        "channel": "email",
        "lawful_basis": "consent",
        "status": "granted",
        "consent_timestamp": at.isoformat(),
    }
    seen = {
        "activity_id": f"v{number}",
        "activity_type": "page_view",
        "url": "https://www.example.com/pricing",
    }
    asks = {"activity_id": f"f{number}", "activity_type": "form_submit", "form_id": "demo_request"}
    warehouse.append(
        [
            warehouse.event("contact", {**contact, "country": "DE", "job_title": "VP Marketing"}, at),
            warehouse.event("consent", {**who, **agrees}, at),
            warehouse.event("activity", {**who, **seen}, at),
            warehouse.event("activity", {**who, **asks}, at),
        ]
    )  # fmt: skip


def polls(warehouse: Any, number: int, at: datetime) -> None:
    user = {"Id": f"005{number:012}AAA", "Name": f"Rep {number}", "Email": f"rep{number}@example.com", "IsActive": True}  # fmt: skip
    warehouse.poll("salesforce", {"users": [Extracted(user["Id"], at, False, user)]}, at)


def pushed(warehouse: Any, plan_id: str) -> None:
    """A plan was applied: the one thing of `ops` that neither log nor archive says."""
    from orchestration.push import _PLANS_DDL

    connection = warehouse_copy.connect(warehouse.settings)
    connection.execute(_PLANS_DDL)
    connection.execute(
        "insert into ops.plans values (?, 'salesforce', ?, ?, 1, 1, 0, 0, 0, null)",
        [plan_id, AS_OF, AS_OF],
    )
    connection.close()


@pytest.fixture(scope="module")
def filled(open_warehouse: Callable[..., Any]) -> Any:
    """A small warehouse, made whole."""
    warehouse = open_warehouse()
    for number in range(6):
        submits(warehouse, number, START + timedelta(days=number))
    polls(warehouse, 1, START)
    warehouse.transform(AS_OF)
    pushed(warehouse, "before")
    return warehouse


@pytest.fixture
def warehouse(filled: Any, tmp_path: Path) -> Any:
    """A copy of it that nothing else uses, with policies of its own."""
    home, policies = tmp_path / "home", tmp_path / "policies"
    shutil.copytree(filled.settings.home, home, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    copy_policies(policies)
    return type(filled)(Settings(home=home, policies=policies))


def switch_policy(warehouse: Any, threshold: int = 190) -> None:
    """Activate a scoring version under which fewer people are ready for sales."""
    folder = warehouse.settings.policies
    version = (folder / "scoring" / "v1.yml").read_text(encoding="utf-8")
    [line] = [line for line in version.splitlines() if line.startswith("mql_threshold:")]
    changed = version.replace(line, f"mql_threshold: {threshold}")
    (folder / "scoring" / "v2.yml").write_text(changed, encoding="utf-8")
    rollout = folder / "rollout.yml"
    told = rollout.read_text(encoding="utf-8").replace("scoring: v1", "scoring: v2")
    rollout.write_text(told, encoding="utf-8")


def raw(warehouse: Any) -> Any:
    """Every raw row but the policies', load ids included."""
    schemas = [
        schema
        for (schema,) in warehouse.rows(
            "select distinct schema_name from duckdb_tables() where starts_with(schema_name, 'raw_')"
        )
        if schema != "raw_policies"
    ]
    return warehouse.snapshot(*schemas)


def test_what_landed_and_was_decided_meanwhile_is_there_after_the_swap(warehouse: Any) -> None:
    switch_policy(warehouse)
    assert rebuild_reason(warehouse.settings) == "active policies changed"
    landed: list[Any] = []
    decided: list[Any] = []

    def meanwhile(build: Build) -> None:
        if build.stage != "testing":
            return
        # The batches of a worker while the copy is being rebuilt, one of them unfinished by a crash.
        submits(warehouse, 10, AS_OF)
        polls(warehouse, 2, AS_OF)
        pushed(warehouse, "meanwhile")
        side_build_lands(warehouse)
        done = transform(warehouse.settings, as_of=LATER, scope="decisions", as_made=True)
        assert not done.is_full_refresh
        decided.extend(warehouse.rows("select distinct scoring_version from marts.fct_mqls"))
        landed.append(raw(warehouse))

    done = rebuild_beside(warehouse.settings, as_of=AS_OF, tell=meanwhile)
    assert done is not None
    assert done.reason == "active policies changed"
    assert decided == [("v1",)], "until the swap the policy in use decides"
    # Five events and versions, and the landing that says up to where the log was taken.
    assert done.carried_rows == 6
    assert raw(warehouse) == landed[0], "with the load ids, and so the times, they landed with"
    assert warehouse.rows("select plan_id from ops.plans order by all") == [("before",), ("meanwhile",)]  # fmt: skip
    assert not (warehouse.settings.root / "copies" / "rebuild").exists()
    assert rebuild_reason(warehouse.settings) is None

    # An ordinary batch decides on what was carried over, and all is as if rebuilt.
    after = transform(warehouse.settings, as_of=LATER, scope="decisions", as_made=True)
    assert (after.is_full_refresh, after.since < after.through) == (False, True)
    assert not warehouse.transform(LATER).is_full_refresh
    swapped_in = warehouse.snapshot("marts", "sync")
    warehouse.transform(LATER, full_refresh=True)
    assert warehouse.snapshot("marts", "sync") == swapped_in
    assert warehouse.rows("select count(*) from ops.transforms where scope = 'decisions'") == [(2,)]


def side_build_lands(warehouse: Any) -> None:
    """As a worker's batch does: the log, and no policies."""
    from ingestion.landing.events import land_events

    land_events(warehouse.settings)


def test_every_table_that_no_model_makes_is_known_to_be_carried_over_or_not(warehouse: Any) -> None:
    nodes = manifest(warehouse.settings).nodes.values()
    made = {f"{node.schema}.{node.name}" for node in nodes}
    others = {
        f"{schema}.{table}"
        for schema, table in warehouse.rows("select schema_name, table_name from duckdb_tables()")
        if not schema.startswith("raw_")
    } - made
    known = {f"ops.{table}" for table in (*side_build.CARRIED, *side_build.OF_THE_FILE)}
    assert others - known - SCRATCH == set()
    assert known <= others


def test_without_a_reason_nothing_is_built(warehouse: Any) -> None:
    told: list[str] = []
    assert rebuild_beside(warehouse.settings, tell=lambda build: told.append(build.stage)) is None
    assert told == ["not needed"]


def test_without_room_for_a_copy_it_is_refused_and_said(
    warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_policy(warehouse)
    usage = shutil.disk_usage(warehouse.settings.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=900_000_000))
    with pytest.raises(
        HandoffError, match=r"0\.9 GB are free and a copy .* takes 1\.\d GB"
    ) as refused:
        rebuild_beside(warehouse.settings)
    assert refused.value.code == "REBUILD_ABANDONED"


def test_a_copy_whose_data_tests_fail_is_not_swapped_in(
    warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    failing = NodeResult("test.x", "marts", "scores_add_up", "fail", 0.0, None, 3)
    monkeypatch.setattr(side_build, "run_tests", lambda settings: (failing,))
    before = warehouse.settings.warehouse_path.stat().st_ino
    with pytest.raises(HandoffError, match="scores_add_up"):
        rebuild_beside(warehouse.settings, asked=True)
    assert warehouse.settings.warehouse_path.stat().st_ino == before
    newest = side_build.newest_build(warehouse.settings)
    assert newest is not None
    assert newest.error is not None
    assert newest.error["code"] == "REBUILD_ABANDONED"


def test_a_warehouse_that_was_replaced_meanwhile_is_not_overwritten(
    warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)

    def replace(build: Build) -> None:
        if build.stage == "testing":
            warehouse.settings.warehouse_path.unlink()
            warehouse.land()

    with pytest.raises(HandoffError, match="was replaced during the rebuild"):
        rebuild_beside(warehouse.settings, asked=True, tell=replace)
    assert warehouse.rows("select count(*) from duckdb_tables() where table_name = 'marker'") == [(0,)]  # fmt: skip


# -- deaths ----------------------------------------------------------------------------------------------------------------------------

STAGES = ("copying", "rebuilding", "testing", "swapping in", "catching up", "done")
WITHIN = ("half copied", "carried over", "on disk", "renamed")


def stand_in(patches: Any) -> None:
    """A rebuild that only leaves a mark: what happens to files does not depend on what is in them."""

    def mark(settings: Settings, **_: Any) -> Transformed:
        connection = duckdb.connect(str(settings.warehouse_path))
        connection.execute("create or replace table marker as select 'new' as age")
        connection.close()
        return Transformed((), AS_OF, "", "", True, "", 0.0)

    patches.setattr(side_build, "transform", mark)
    patches.setattr(side_build, "run_tests", lambda settings: ())
    # The project is parsed anew for each home.
    patches.setattr(side_build, "manifest", lambda settings: None)
    patches.setattr(side_build, "code_hash_now", lambda settings: "models")
    patches.setattr(side_build, "keep_models", lambda *_: None)


def die_at(settings: Settings, moment: str, patches: Any) -> None:
    """Rebuild, and be killed at this moment."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(name: str, has_come: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(side_build, name)

        def replaced(*arguments: Any) -> Any:
            done = real(*arguments)
            if has_come(*arguments):
                die()
            return done

        patches.setattr(side_build, name, replaced)

    if moment == "half copied":
        copy_piece = os.copy_file_range

        def one_piece(source: int, target: int, _: int) -> int:
            copy_piece(source, target, settings.warehouse_path.stat().st_size // 2)
            die()
            return 0

        patches.setattr(os, "copy_file_range", one_piece)
    elif moment == "carried over":
        dying("carry_over")
    elif moment == "on disk":
        dying("sync_to_disk")
    elif moment == "renamed":
        dying("sync_to_disk", lambda path: path == settings.root)
    rebuild_beside(
        settings, asked=True, tell=lambda build: die() if build.stage == moment else None
    )


def killed(settings: Settings, run: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Run in a process of its own, which does not live to see the end."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException), pytest.MonkeyPatch.context() as patches:
            stand_in(patches)
            run(patches)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it was not killed at this moment"


def age(settings: Settings) -> str:
    """Which of the two whole files has the name; anything else is an error."""
    connection = duckdb.connect(str(settings.warehouse_path))
    try:
        connection.execute("select count(*) from marts.dim_people").fetchall()
        for schema, table in connection.execute(
            "select schema_name, table_name from duckdb_tables()"
        ).fetchall():
            connection.execute(f'select * from "{schema}"."{table}"').fetchall()
        marked = connection.execute(
            "select count(*) from duckdb_tables() where table_name = 'marker'"
        ).fetchone()
        return "new" if marked == (1,) else "old"
    finally:
        connection.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """As little of a warehouse as a swap takes: a load, a state, a mart."""
    settings = Settings(home=tmp_path_factory.mktemp("small"))
    connection = warehouse_copy.connect(settings)
    connection.execute(
        """
        create schema raw_events; create schema marts; create schema ops;
        create table raw_events._dlt_loads (load_id varchar, schema_name varchar, status bigint, inserted_at timestamptz, schema_version_hash varchar);
        create table raw_events.contacts as select range as seq, '1.0' as _dlt_load_id from range(20000);
        insert into raw_events._dlt_loads values ('1.0', 'raw_events', 0, now(), '');
        create table marts.dim_people as select range as person_id, repeat('x', 100) as name from range(20000);
        create table ops.rebuilds_begun (started_at timestamptz);
        create table ops.transforms as select now() as finished_at, now() as as_of, '' as since, '1.0' as through, '' as policy_hash,
            '' as code_hash, true as is_full_refresh, 1.0::double as seconds, 'everything' as scope;
        """
    )
    connection.close()
    load_policy_rows(settings)
    return settings


@pytest.fixture
def home(small: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(small.home, tmp_path / "home")
    return Settings(home=tmp_path / "home")


@pytest.mark.parametrize("moment", [*STAGES, *WITHIN])
def test_killed_at_any_moment_one_whole_file_is_the_warehouse(
    home: Settings, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if moment == "catching up":
        monkeypatch.setattr(side_build, "FEW_ROWS", -1)
    killed(home, lambda patches: die_at(home, moment, patches))
    assert age(home) == ("new" if moment in ("renamed", "done") else "old")
    assert side_build.build_under_way(home) is None
    side_build.clear_away(home)
    assert not any((home.root / "copies").glob("*"))
    # The next one finds nothing in its way.
    stand_in(monkeypatch)
    monkeypatch.setattr(side_build, "FEW_ROWS", 2_000)
    assert rebuild_beside(home, asked=True) is not None
    assert age(home) == "new"


def test_a_swap_that_writes_over_the_warehouse_would_be_noticed(home: Settings) -> None:
    def half_written(settings: Settings, copy: Any) -> None:
        written = copy.warehouse_path.read_bytes()
        with settings.warehouse_path.open("r+b") as file:
            file.write(b"\0" * (len(written) // 2))
        os.kill(os.getpid(), signal.SIGKILL)

    def swap(patches: pytest.MonkeyPatch) -> None:
        patches.setattr(side_build, "swap_in", half_written)
        rebuild_beside(home, asked=True)

    killed(home, swap)
    with pytest.raises(duckdb.Error):
        age(home)


def test_rows_that_landed_meanwhile_and_are_not_carried_over_would_be_noticed(
    home: Settings,
) -> None:
    def land(build: Build) -> None:
        if build.stage == "testing":
            with contextlib.closing(warehouse_copy.connect(home)) as connection:
                connection.execute("insert into raw_events.contacts values (20001, '2.0')")
                connection.execute(
                    "insert into raw_events._dlt_loads values ('2.0', 'raw_events', 0, now(), '')"
                )

    def rows() -> Any:
        with contextlib.closing(warehouse_copy.connect(home)) as connection:
            return connection.execute(
                "select count(*), max(seq) from raw_events.contacts"
            ).fetchone()

    with pytest.MonkeyPatch.context() as patches:
        stand_in(patches)
        patches.setattr(side_build, "carry_over", lambda settings, copy: 0)
        rebuild_beside(home, asked=True, tell=land)
    assert rows() == (20_000, 19_999)
    with pytest.MonkeyPatch.context() as patches:
        stand_in(patches)
        rebuild_beside(home, asked=True, tell=land)
    assert rows() == (20_001, 20_001)


def test_data_tests_run_on_a_copy_and_nobody_waits(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.assets import transform as assets
    from orchestration.writer_lock import warehouse_writer

    tested: list[Path] = []

    def test(settings: Settings) -> tuple[NodeResult, ...]:
        tested.append(settings.warehouse_path)
        assert age(settings) == "old"
        pid = os.fork()
        if pid == 0:
            # Another process is not held up.
            with contextlib.suppress(HandoffError), warehouse_writer(home):
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return ()

    monkeypatch.setattr(assets, "run_tests", test)
    warned: list[str] = []
    assets._test(home, warned.append)
    assert tested == [home.root / "copies" / "tests" / "warehouse.duckdb"]
    assert not tested[0].parent.exists()
    assert warned == []

    monkeypatch.setattr(assets, "lacking_room", lambda settings: "no room")
    monkeypatch.setattr(
        assets, "run_tests", lambda settings: tested.append(settings.warehouse_path)
    )
    assets._test(home, warned.append)
    assert tested[1] == home.warehouse_path
    assert warned == ["tested in place, and batches wait: no room"]
