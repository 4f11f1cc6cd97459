"""Runs the dbt project in this process and remembers how far the warehouse has been transformed; no SQL logic of the flow is here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ingestion import time_zones
from ingestion.errors.catalog import HandoffError
from ingestion.landing.marks import read_mark, write_mark
from ingestion.normalize.release import release as normalize_release
from ingestion.settings import Settings
from orchestration.subscribers import ATTEMPTS_DDL

if TYPE_CHECKING:
    import duckdb
    from dbt.contracts.graph.manifest import Manifest

DBT_PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"

# Where the installation leaves the parsed project: parsing takes seconds, and every new home would pay for it.
PREBUILT = DBT_PROJECT / "target"

# Parsed projects of this process, by what they were parsed from.
_manifests: dict[str, Manifest] = {}

# What a batch brings up to date: `decisions` is what somebody outside waits for (the sync models and all they are made of),
# `everything` adds what people read.
Scope = Literal["decisions", "everything"]

_REBUILD = (
    "build", "--full-refresh", "--exclude", "tag:on_demand", "--exclude-resource-type", "test", "unit_test", "exposure",
)  # fmt: skip

_STATE_DDL = """
    create schema if not exists ops;
    create table if not exists ops.transforms (
        finished_at timestamptz not null,
        as_of timestamptz not null,
        since varchar not null,
        through varchar not null,
        policy_hash varchar not null,
        code_hash varchar not null,
        is_full_refresh boolean not null,
        seconds double not null
    );
    alter table ops.transforms add column if not exists scope varchar default 'everything';
    create table if not exists ops.rebuilds_begun (started_at timestamptz not null);
    create table if not exists ops.people_touched (person_id varchar not null)
"""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What dbt said of one node: `status` is dbt's (success, pass, fail, error, skipped), `seconds` its own time."""

    unique_id: str
    schema: str
    name: str
    status: str
    seconds: float
    message: str | None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Transformed:
    """One invocation: the nodes it ran, the batch it covered (load ids above `since`, up to `through`) and whether it rebuilt everything."""

    nodes: tuple[NodeResult, ...]
    as_of: datetime
    since: str
    through: str
    is_full_refresh: bool
    reason: str
    seconds: float
    scope: Scope = "everything"
    rows: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _State:
    as_of: datetime
    through: str
    policy_hash: str
    code_hash: str


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Environment that points the dbt project at this HANDOFF_HOME; also what `handoff doctor` prints for people who run dbt by hand."""
    target = settings.artifacts_dir / "dbt"
    return {
        "HANDOFF_WAREHOUSE": str(settings.warehouse_path),
        "HANDOFF_DBT_PROJECT": str(DBT_PROJECT),
        "HANDOFF_DUCKDB_MEMORY_LIMIT": settings.duckdb_memory_limit,
        "HANDOFF_DUCKDB_THREADS": str(settings.duckdb_threads),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_PROJECT_DIR": str(DBT_PROJECT),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def manifest(settings: Settings) -> Manifest:
    """The parsed project: passed in, it saves dbt a full parse whenever a variable changes.

    Of the settings it holds only the warehouse's file name (dbt's database), so homes share it within a process.
    """
    os.environ.update(dbt_environment(settings))
    key = _project_key(settings.warehouse_path.stem)
    kept = _kept(settings, key) or _parse(settings, key)
    if key not in _manifests:
        _manifests[key] = _load(kept)
    json_path = manifest_path(settings)
    key_path = json_path.with_suffix(".key")
    if not key_path.exists() or key_path.read_text(encoding="ascii") != key:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept.with_suffix(".json"), json_path)
        key_path.write_text(key, encoding="ascii")
    return _manifests[key]


def _kept(settings: Settings, key: str) -> Path | None:
    """The project as parsed before, by the installation or by a command on this home; None when it has changed since."""
    for folder in (PREBUILT, manifest_path(settings).parent):
        path = folder / f"{key}.msgpack"
        if path.exists():
            return path
    return None


def _load(path: Path) -> Manifest:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    return Manifest.from_msgpack(path.read_bytes(), decoder=extended_mashumuro_decoder)


def _parse(settings: Settings, key: str) -> Path:
    """Parse the project and keep it in this home, for dbt as msgpack and for Dagster as JSON; returns the former's path."""
    from dbt.cli.main import dbtRunner
    from dbt.parser.manifest import extended_mashumaro_encoder

    result = dbtRunner().invoke(["--quiet", "parse"])
    if not result.success or result.result is None:
        raise HandoffError(
            "TRANSFORM_FAILED", f"the dbt project cannot be parsed: {result.exception}"
        )
    parsed: Manifest = result.result  # type: ignore[assignment]
    folder = manifest_path(settings).parent
    for stale in (*folder.glob("*.msgpack"), *folder.glob("*.json")):
        if stale.stem not in ("partial_parse", "manifest"):
            stale.unlink()
    shutil.copyfile(manifest_path(settings), folder / f"{key}.json")
    kept = folder / f"{key}.msgpack"
    # Last, and by name only when whole: whoever finds it finds the other as well.
    part = folder / f".{key}.{os.getpid()}.part"
    part.write_bytes(parsed.to_msgpack(extended_mashumaro_encoder))
    part.replace(kept)
    return kept


def _project_key(database: str) -> str:
    """Hash of everything a parse depends on: the project's files, its place, dbt's versions and the database's name."""
    from importlib.metadata import version

    digest = hashlib.sha256(
        f"{DBT_PROJECT}|{database}|{version('dbt-core')}|{version('dbt-duckdb')}".encode()
    )
    for file in sorted(DBT_PROJECT.rglob("*")):
        if file.suffix in (".sql", ".yml", ".md", ".csv") and PREBUILT not in file.parents:
            digest.update(str(file.relative_to(DBT_PROJECT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def manifest_path(settings: Settings) -> Path:
    """Path of the manifest dbt writes while parsing."""
    return settings.artifacts_dir / "dbt" / "manifest.json"


def transform(
    settings: Settings,
    *,
    as_of: datetime,
    full_refresh: bool = False,
    scope: Scope = "everything",
    as_made: bool = False,
    on_node: Callable[[NodeResult], None] | None = None,
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> Transformed:
    """Bring the models of `scope` up to what has landed, touching only what changed; raises TRANSFORM_FAILED with dbt's own words.

    A full refresh, always of everything, is taken when asked for, on a new warehouse, when the active policies or the models changed, and
    when `as_of` lies before the last one: in each case rows outside the batch would come out differently. With `as_made` changed models
    wait for the rebuild beside (`orchestration.side_build`): the ones the warehouse was made with go on, as far as they are still known.
    `variables` are further ones of dbt, for a copy: they are not noted.
    """
    started = time.monotonic()
    with _connect(settings) as connection:
        connection.execute(_STATE_DDL)
        # A warehouse that nobody copied any into has the table too: a model reads it.
        connection.execute(ATTEMPTS_DDL)
        last = _last_state(connection)
    parsed, code_hash = _models(settings, last if as_made else None)
    # Asked first: what lands from here on waits for the next one.
    landed = read_mark(settings, "landed")
    with _connect(settings) as connection:
        through = _newest_load(connection)
        policy_hash = _policy_hash(connection)
        reason = _full_refresh_reason(full_refresh, last, as_of, policy_hash, code_hash)
        # What a rebuild that dies leaves behind is of two ages: no batch can be added to that.
        if reason is None and connection.execute("from ops.rebuilds_begun").fetchone():
            reason = "the last rebuild died"
        since, since_as_of = ("", "")
        news: list[str] = []
        if reason:
            scope = "everything"
            connection.execute("insert into ops.rebuilds_begun values (?)", [datetime.now(UTC)])
        elif last is not None:
            since, since_as_of = last.through, last.as_of.isoformat()
            # A batch of decisions is no news to them any more, but to all the others it still is.
            told = last if scope == "decisions" else _last_state(connection, "everything")
            news = _tables_with_news(connection, told or last, as_of)
    if reason:
        command = list(_REBUILD)
    else:
        is_whole = scope == "everything"
        models = table_models(parsed) if is_whole else decision_models(parsed)
        command = ["run", "--select", *_stale(parsed, models, news, is_whole=is_whole)]
    told_dbt = _variables(as_of, since, since_as_of, **variables)
    nodes = _invoke(settings, [*command, "--vars", told_dbt], on_node, parsed)
    _require_made(nodes)
    seconds = time.monotonic() - started
    keep_models(settings, code_hash, parsed)
    with _connect(settings) as connection:
        connection.execute("begin")
        connection.execute("delete from ops.rebuilds_begun")
        if scope == "everything":
            connection.execute("delete from ops.people_touched")
        else:
            # Models outside the scope that follow people catch up with them at the next pass over everything.
            connection.execute(
                "insert into ops.people_touched select person_id from intermediate.int_batch__touched_people"
            )
        connection.execute(
            "insert into ops.transforms values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                datetime.now(UTC),
                as_of,
                since,
                through,
                policy_hash,
                code_hash,
                reason is not None,
                seconds,
                scope,
            ],
        )
        connection.execute("commit")
        write_mark(settings, "transformed", landed)
        rows = {
            (schema, name): count
            for schema, name, count in connection.execute(
                "select schema_name, table_name, estimated_size from duckdb_tables()"
            ).fetchall()
        }
    return Transformed(
        nodes, as_of, since, through, reason is not None, reason or "batch", seconds, scope, rows
    )


@dataclass(frozen=True, slots=True)
class MadeWith:
    """Hashes of the active policies and of the models that a warehouse was made with."""

    policy_hash: str
    code_hash: str


def made_with(settings: Settings) -> MadeWith | None:
    """What every row of the warehouse was made with; None while it was never made whole, or a rebuild of it died."""
    with _connect(settings) as connection:
        connection.execute(_STATE_DDL)
        last = _last_state(connection)
        if last is None or connection.execute("from ops.rebuilds_begun").fetchone():
            return None
    return MadeWith(last.policy_hash, last.code_hash)


def code_hash_now(settings: Settings) -> str:
    """Hash of the models as they stand in the project."""
    return _code_hash(manifest(settings))


def keep_models(settings: Settings, code_hash: str, parsed: Manifest) -> None:
    """Keep the models a warehouse was made with until it is made with others: only they can add a batch to it."""
    from dbt.parser.manifest import extended_mashumaro_encoder

    path = _kept_models(settings, code_hash)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(parsed.to_msgpack(extended_mashumaro_encoder))
    part.replace(path)


def forget_models(settings: Settings, code_hash: str) -> None:
    """Delete all kept models but these."""
    for path in _kept_models(settings, code_hash).parent.glob("*"):
        if path.stem != code_hash:
            path.unlink(missing_ok=True)


def _kept_models(settings: Settings, code_hash: str) -> Path:
    return settings.artifacts_dir / "dbt" / "made_with" / f"{code_hash}.msgpack"


def _models(settings: Settings, last: _State | None) -> tuple[Manifest, str]:
    """The parsed project and its hash: the one `last` was made with where that is asked for and known, otherwise as it stands."""
    if last is not None:
        if last.code_hash not in _manifests:
            path = _kept_models(settings, last.code_hash)
            # Whatever another version of dbt wrote and this one cannot read.
            with contextlib.suppress(Exception):
                _manifests[last.code_hash] = _load(path)
        if last.code_hash in _manifests:
            return _manifests[last.code_hash], last.code_hash
    parsed = manifest(settings)
    return parsed, _code_hash(parsed)


def latency_figures(settings: Settings, as_of: datetime) -> dict[str, float]:
    """Seconds from form submit to confirmed lead over the day before `as_of`, as p50, p95 and p99; empty when there were none."""
    with _connect(settings) as connection:
        row = connection.execute(
            "select quantile_cont(lead_seconds, [0.5, 0.95, 0.99]) from marts.fct_handoff_latency "
            "where received_at > ?::timestamptz - interval 1 day",
            [as_of],
        ).fetchone()
    if row is None or row[0] is None:
        return {}
    return dict(
        zip(("lead_seconds_p50", "lead_seconds_p95", "lead_seconds_p99"), row[0], strict=True)
    )


def table_models(parsed: Manifest) -> dict[str, frozenset[str]]:
    """Models a batch may have to make anew, by dbt's unique id, each with the ids of all it is made of.

    Views hold no data: once made they follow their tables by themselves. The rows of the time-zone database are its release's.
    """
    made_of = _made_of(parsed)
    return {
        node.unique_id: made_of[node.unique_id]
        for node in parsed.nodes.values()
        if str(node.resource_type) == "model"
        and node.config.materialized != "view"
        and not {"made_by_rebuilds", "on_demand"}.intersection(node.tags)
    }


def decision_models(parsed: Manifest) -> dict[str, frozenset[str]]:
    """Of the table models those the sync models are made of, themselves included."""
    tables = table_models(parsed)
    # Not what is a view: it is read when something is told, and what it is made of need not be made for it.
    synced = {unique_id for unique_id in tables if parsed.nodes[unique_id].schema == "sync"}
    wanted = synced.union(*(tables[unique_id] for unique_id in synced))
    return {unique_id: parents for unique_id, parents in tables.items() if unique_id in wanted}


def _made_of(parsed: Manifest) -> dict[str, frozenset[str]]:
    parents = {
        node.unique_id: list(node.depends_on_nodes)
        for node in parsed.nodes.values()
        if node.resource_type in ("model", "seed")
    }
    made_of: dict[str, frozenset[str]] = {}

    def gather(unique_id: str) -> frozenset[str]:
        if unique_id not in made_of:
            direct = parents.get(unique_id, ())
            made_of[unique_id] = frozenset(direct).union(*(gather(parent) for parent in direct))
        return made_of[unique_id]

    for unique_id in parents:
        gather(unique_id)
    return made_of


def _stale(
    parsed: Manifest,
    models: Mapping[str, frozenset[str]],
    news: Sequence[str],
    *,
    is_whole: bool,
) -> list[str]:
    """Names of the models a batch can change: all that follow the batch, and of the others those whose sources have news.

    Of a batch over everything the marts are made in any case: what Dagster does behind them waits for each, and they are to be fresh.
    """
    fresh = {
        source.unique_id
        for source in parsed.sources.values()
        if f"{source.schema}.{source.name}" in news
    }
    return [
        parsed.nodes[unique_id].name
        for unique_id, made_of in models.items()
        if not made_of.isdisjoint(fresh)
        or (is_whole and parsed.nodes[unique_id].schema == "marts")
        or ".int_batch__" in unique_id
        or any(".int_batch__" in parent for parent in made_of)
    ]


def make_on_demand(
    settings: Settings, model: str, *, as_of: datetime, variables: Mapping[str, Any]
) -> None:
    """Make one model that no batch makes; raises TRANSFORM_FAILED with dbt's own words. No connection to the warehouse may be open."""
    told = _variables(as_of, **variables)
    nodes = _invoke(settings, ["run", "--select", model, "--vars", told], None, manifest(settings))
    _require_made(nodes)


def _variables(as_of: datetime, since: str = "", since_as_of: str = "", **more: Any) -> str:
    """dbt's variables; without `since` all there is counts as new."""
    told = {"as_of": as_of.isoformat(), "since": since, "since_as_of": since_as_of}
    return json.dumps({**told, **more})


def _require_made(nodes: Iterable[NodeResult]) -> None:
    for node in nodes:
        if node.status in ("error", "fail"):
            raise HandoffError(
                "TRANSFORM_FAILED", f"{node.schema}.{node.name}: {(node.message or '').strip()}"
            )


def made_whole_as_of(settings: Settings) -> datetime | None:
    """The instant for which everything was last made; None where something has been decided, or changed, since."""
    made = made_with(settings)
    with _connect(settings) as connection:
        last, whole = _last_state(connection), _last_state(connection, "everything")
        if (
            made is None
            or whole is None
            or last != whole
            or whole.through != _newest_load(connection)
        ):
            return None
        is_same = made.policy_hash == _policy_hash(connection)
    return whole.as_of if is_same and made.code_hash == code_hash_now(settings) else None


def rebuild_downstream(
    settings: Settings,
    sources: Sequence[str],
    *,
    as_of: datetime,
    on_node: Callable[[NodeResult], None] | None = None,
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Rebuild what is made of these sources (dbt selectors, `source:raw_policies.scoring_*`) from what stands, all of which must be of `as_of`;
    raises TRANSFORM_FAILED with dbt's own words. Nothing is noted: meant for a copy."""
    selected = [f"{source}+" for source in sources]
    nodes = _invoke(
        settings,
        [*_REBUILD, "--select", *selected, "--vars", _variables(as_of, **variables)],
        on_node,
        manifest(settings),
    )
    _require_made(nodes)


def run_tests(
    settings: Settings, on_node: Callable[[NodeResult], None] | None = None
) -> tuple[NodeResult, ...]:
    """Run every data test on the warehouse as it stands."""
    arguments = ["test", "--exclude-resource-type", "unit_test"]
    return _invoke(settings, arguments, on_node, manifest(settings))


def _invoke(
    settings: Settings,
    arguments: Sequence[str],
    on_node: Callable[[NodeResult], None] | None,
    parsed: Manifest,
) -> tuple[NodeResult, ...]:
    from dbt.cli.main import dbtRunner

    os.environ.update(dbt_environment(settings))

    def report(event: Any) -> None:
        if on_node is None or event.info.name not in (
            "LogModelResult",
            "LogTestResult",
            "LogSeedResult",
        ):
            return
        node = event.data.node_info
        on_node(
            NodeResult(
                node.unique_id,
                node.node_relation.schema,
                node.node_name,
                node.node_status,
                float(event.data.execution_time),
                None,
            )
        )

    # No JSON artefacts and no log file on the way: together they cost as much as a small model.
    try:
        result = dbtRunner(manifest=parsed, callbacks=[report]).invoke(
            ["--quiet", "--no-write-json", "--log-level-file", "none", *arguments]
        )
    finally:
        _let_go_of_the_file()
    if (stopped := _interruption(result.exception)) is not None:
        raise stopped
    if result.result is None:
        raise HandoffError("TRANSFORM_FAILED", str(result.exception or "dbt gave no result"))
    return tuple(
        NodeResult(
            item.node.unique_id,
            item.node.schema,
            item.node.name,
            str(item.status),
            float(item.execution_time),
            item.message,
            item.failures,
        )
        for item in result.result.results  # type: ignore[union-attr]
    )


def _interruption(error: BaseException | None) -> BaseException | None:
    """Ctrl-C among what led to `error`: dbt catches even that, and its cleaning up then fails with something else."""
    while error is not None and isinstance(error, Exception):
        error = error.__cause__ or error.__context__
    return error


def _let_go_of_the_file() -> None:
    """Close the connection dbt-duckdb keeps for the process: publishing and landing open the file next.

    The profile keeps it open because closing it after every node checkpoints the file every time, which costs more than most models do.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


def _connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    from ingestion.landing.warehouse import connect

    return connect(settings)


def _last_state(connection: duckdb.DuckDBPyConnection, scope: Scope | None = None) -> _State | None:
    """The last completed transform, of any scope or of this one."""
    row = connection.execute(
        "select as_of, through, policy_hash, code_hash from ops.transforms "
        "where $scope is null or scope = $scope order by finished_at desc limit 1",
        {"scope": scope},
    ).fetchone()
    return _State(*row) if row else None


def _newest_load(connection: duckdb.DuckDBPyConnection) -> str:
    """Largest id of a completed load over all raw schemas; '' when nothing has landed."""
    schemas = [
        name
        for (name,) in connection.execute(
            "select schema_name from duckdb_tables() where table_name = '_dlt_loads'"
        ).fetchall()
    ]
    newest = ""
    for schema in schemas:
        row = connection.execute(
            f"select coalesce(max(load_id), '') from \"{schema}\"._dlt_loads where status = 0"
        ).fetchone()
        newest = max(newest, row[0] if row else "")
    return newest


def _tables_with_news(
    connection: duckdb.DuckDBPyConnection, last: _State, as_of: datetime
) -> list[str]:
    """Raw tables, as `schema.table`, with rows of loads completed since the transform `last`, or with rows whose own date has come since
    then; and those of which it is not known. Policies have none: what decides has changed only where everything is rebuilt."""
    tables = connection.execute(
        "select schema_name, table_name, max(column_name) filter (where column_name in ('occurred_at', 'updated_at')), "
        "bool_or(column_name = '_dlt_load_id') from duckdb_columns() "
        "where starts_with(schema_name, 'raw_') and schema_name <> 'raw_policies' and not starts_with(table_name, '_dlt') "
        "group by all order by all"
    ).fetchall()
    news = []
    for schema, table, instant, is_loaded in tables:
        if not is_loaded:
            news.append(f"{schema}.{table}")
            continue
        completed = f'select load_id from "{schema}"._dlt_loads where status = 0'
        asked = (
            f'select 1 from "{schema}"."{table}" where _dlt_load_id > $since '
            f"and _dlt_load_id in ({completed} and load_id > $since)"
        )
        bound: dict[str, object] = {"since": last.through}
        if instant:
            # Of each row group DuckDB knows the newest date: only those with something still ahead are read.
            asked += (
                f' union all select 1 from "{schema}"."{table}" '
                f"where {instant} > $since_as_of and {instant} <= $as_of"
            )
            bound.update(since_as_of=last.as_of.isoformat(), as_of=as_of)
        if connection.execute(f"select 1 from ({asked}) limit 1", bound).fetchone():
            news.append(f"{schema}.{table}")
    return news


def _policy_hash(connection: duckdb.DuckDBPyConnection) -> str:
    return hash_policies(
        connection.execute(
            "select kind, version, content_hash from raw_policies.policy_versions where is_active"
        ).fetchall()
    )


def hash_policies(active: Iterable[tuple[str, str, str]]) -> str:
    """One hash of (kind, version, content hash) of the policies that decide what is kept from batch to batch. What a lead model says is made
    anew by each."""
    told = ",".join("".join(policy) for policy in sorted(active) if policy[0] != "model")
    return hashlib.sha256(told.encode()).hexdigest()


def _code_hash(parsed: Manifest) -> str:
    """Hash of everything that decides what the models compute: their SQL, the macros, the seeds, the time-zone database and what normalises."""
    digest = hashlib.sha256(f"{time_zones.release()}{normalize_release()}".encode())
    for node in sorted(parsed.nodes.values(), key=lambda item: item.unique_id):
        if node.resource_type in ("model", "seed"):
            digest.update(f"{node.unique_id}{node.checksum.checksum}".encode())
    for macro in sorted(parsed.macros.values(), key=lambda item: item.unique_id):
        if macro.package_name == "handoff":
            digest.update(f"{macro.unique_id}{macro.macro_sql}".encode())
    return digest.hexdigest()


def _full_refresh_reason(
    asked: bool, last: _State | None, as_of: datetime, policy_hash: str, code_hash: str
) -> str | None:
    if asked:
        return "asked for"
    if last is None:
        return "new warehouse"
    if last.policy_hash != policy_hash:
        return "active policies changed"
    if last.code_hash != code_hash:
        return "models changed"
    if as_of < last.as_of:
        return "as_of lies before the last run's"
    return None
