"""Takes the sync models through plan, guard, apply and confirm; the engine is `ingestion.outbound`, the decisions are the models'."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect
from ingestion.outbound.apply import ApplyReport, apply_plan
from ingestion.outbound.guard import Guard, GuardViolation, check_guard, require_guard
from ingestion.outbound.plan import Plan, build_plan, load_plan, require_fresh, seal
from ingestion.settings import Settings
from orchestration.late_refusals import LateRefusals
from orchestration.named_rows import named_rows

if TYPE_CHECKING:
    import duckdb

    from expectations.validate import SuiteResult

# Sync models of a destination, records before the records that point to them.
SYNC_MODELS = {"salesforce": ("sync_salesforce__leads", "sync_salesforce__tasks")}

_OPERATION_COLUMNS = (
    "operation_id, object, action, external_id_field, external_id, target_id, person_id, payload, changes, reasons, "
    "trace_parent, is_consented, depends_on_external_id"
)

_PLANS_DDL = """
    create schema if not exists ops;
    create table if not exists ops.plans (
        plan_id varchar not null, system varchar not null, planned_at timestamptz not null, applied_at timestamptz not null,
        operation_count bigint not null, confirmed_count bigint not null, failed_count bigint not null, superseded_count bigint not null,
        refused_count bigint not null, halted_code varchar
    )
"""


# Newest outcome of each sync model with the content it was told of: one batch asks twice, as a check and at sending.
_judged: dict[str, tuple[str, SuiteResult]] = {}


@dataclass(frozen=True, slots=True)
class Planned:
    """A sealed plan, what its guard says of it, and which expectations of the outgoing door its rows break."""

    plan: Plan
    violations: tuple[GuardViolation, ...]
    unmet: tuple[str, ...] = ()


def destinations() -> tuple[str, ...]:
    """Systems that can be written to."""
    return tuple(SYNC_MODELS)


def require_destination(system: str) -> None:
    """Raise SYSTEM_UNKNOWN, naming the known destinations."""
    if system not in SYNC_MODELS:
        raise HandoffError(
            "SYSTEM_UNKNOWN",
            f"unknown destination '{system}'; known: {', '.join(SYNC_MODELS)}",
            remedy="Name one of the known destinations.",
        )


def is_configured(settings: Settings, system: str) -> bool:
    """Whether the destination has an address; without one a run stops after publishing."""
    return bool(getattr(settings, f"{system}_url", None))


def judge(settings: Settings, system: str) -> dict[str, SuiteResult | None]:
    """The outgoing door's expectations on what each sync model of a destination holds now; None for one without rows."""
    import pandas as pd

    with contextlib.closing(connect(settings)) as connection:
        frames = {
            model: connection.execute(f"select * from sync.{model}").fetch_df()
            for model in SYNC_MODELS[system]
        }
    results: dict[str, SuiteResult | None] = {}
    for model, frame in frames.items():
        if frame.empty:
            results[model] = None
            continue
        content = sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        known, result = _judged.get(model, ("", None))
        if result is None or known != content.hexdigest():
            from expectations.validate import validate_frame

            result = validate_frame(frame, model, f"sync.{model}")
            _judged[model] = (content.hexdigest(), result)
        results[model] = result
    return results


def _unmet(settings: Settings, system: str) -> tuple[str, ...]:
    return tuple(
        f"{model}: {failure.message}"
        for model, result in judge(settings, system).items()
        if result is not None
        for failure in result.failures
    )


def make_plan(settings: Settings, system: str, *, as_of: datetime) -> Planned:
    """Seal a plan of what the sync models want now and judge it; nothing is sent."""
    require_destination(system)
    if not settings.warehouse_path.exists():
        # Connecting would leave an empty warehouse behind.
        raise HandoffError("SERVING_MISSING", f"there is no warehouse at {settings.warehouse_path}")
    with contextlib.closing(connect(settings)) as connection:
        _require_sync_models(connection, system)
        rows = _wanted(connection, system)
        guards, known = _guards(connection, system)
        marker = _observed_marker(connection, system)
    plan = build_plan(
        system, rows, as_of=as_of, observed_marker=marker, planned_at=datetime.now(UTC)
    )
    seal(plan, settings.plans_dir)
    return Planned(plan, tuple(check_guard(plan, guards, known)), _unmet(settings, system))


def apply(
    settings: Settings,
    plan_id: str,
    *,
    dry_run: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> ApplyReport:
    """Send a sealed plan if the world has not moved and its guard allows it; every row ends in a receipt in the log.

    Raises PLAN_UNKNOWN, PLAN_TAMPERED, PLAN_STALE, EXPECTATION_FAILED, GUARD_REFUSED, SYSTEM_NOT_CONFIGURED, and the destination's own codes.
    """
    from ingestion.connectors.catalog import destination as load_destination
    from ingestion.log.owner import open_log

    plan = load_plan(settings.plans_dir, plan_id)
    with contextlib.closing(connect(settings)) as connection:
        rows = _wanted(connection, plan.system)
        guards, known = _guards(connection, plan.system)
        consented = _consented(connection, plan.system)
    require_fresh(plan, rows)
    # Here and not only as a check before: a plan may be applied by hand, or the asset launched alone.
    if unmet := _unmet(settings, plan.system):
        raise HandoffError("EXPECTATION_FAILED", f"{plan.plan_id}: {'; '.join(unmet[:3])}")
    require_guard(plan, guards, known)
    target = load_destination(plan.system).open_destination(settings)
    late = LateRefusals(settings, plan.system)
    log = open_log(settings)
    try:
        report = apply_plan(
            plan,
            target,
            log,
            clock=lambda: datetime.now(UTC),
            consent_allows=lambda person_id: person_id in consented and not late.refuse(person_id),
            plans_dir=settings.plans_dir,
            progress=progress,
            dry_run=dry_run,
        )
    finally:
        log.close()
    if not dry_run:
        _record(settings, plan, report)
    return report


def _wanted(connection: duckdb.DuckDBPyConnection, system: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for model in SYNC_MODELS[system]:
        rows += named_rows(
            connection.execute(
                f"select {_OPERATION_COLUMNS} from sync.{model} order by external_id"
            )
        )
    return rows


def _guards(
    connection: duckdb.DuckDBPyConnection, system: str
) -> tuple[dict[str, Guard], dict[str, int]]:
    guards = {
        name: Guard(creates, updates, share, floor)
        for name, creates, updates, share, floor in connection.execute(
            "select object, max_creates, max_updates, max_update_share, share_floor from raw_policies.sync_guards "
            "where is_active and destination = ?",
            [system],
        ).fetchall()
    }
    known = dict(
        connection.execute(
            "select 'Lead', count(*) from marts.entity_map where system = ? and record_type = 'lead' and not is_deleted and is_current "
            "union all select 'Task', count(distinct external_id) from marts.fct_pushes where system = ? and object = 'Task'",
            [system, system],
        ).fetchall()
    )
    return guards, known


def _consented(connection: duckdb.DuckDBPyConnection, system: str) -> set[str]:
    """People who may be pushed to the system now; whoever is not in it may not."""
    return {
        person_id
        for (person_id,) in connection.execute(
            "select person_id from intermediate.int_consents__destinations where destination = ? and is_consented",
            [system],
        ).fetchall()
    }


def _observed_marker(connection: duckdb.DuckDBPyConnection, system: str) -> str:
    row = connection.execute(
        f"select coalesce(max(load_id), 'never') from raw_{system}._dlt_loads where status = 0"
    ).fetchone()
    return str(row[0]) if row else "never"


def _require_sync_models(connection: duckdb.DuckDBPyConnection, system: str) -> None:
    present = {
        name
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'sync'"
        ).fetchall()
    }
    missing = [model for model in SYNC_MODELS[system] if model not in present]
    if missing:
        raise HandoffError(
            "SERVING_MISSING",
            f"the warehouse has no {missing[0]} yet",
            remedy="Run `handoff run` first.",
        )


def _record(settings: Settings, plan: Plan, report: ApplyReport) -> None:
    counts = report.counts()
    with contextlib.closing(connect(settings)) as connection:
        connection.execute(_PLANS_DDL)
        connection.execute(
            "insert into ops.plans values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                plan.plan_id,
                plan.system,
                plan.planned_at,
                datetime.now(UTC),
                len(plan.operations),
                counts.get("confirmed", 0),
                counts.get("failed", 0),
                counts.get("superseded", 0),
                counts.get("refused", 0),
                report.halted,
            ],
        )
