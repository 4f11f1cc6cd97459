"""Assets behind the marts: the outgoing door's blocking checks, the serving file, and the pushes to each destination."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ingestion.settings import Settings
from orchestration.assets.expectation_checks import check_result, remember_result
from orchestration.assets.keys import FRESHNESS, WAREHOUSE_POOL, owners_of, table_key
from orchestration.progress import report
from orchestration.push import SYNC_MODELS, apply, is_configured, judge, make_plan
from orchestration.serving import publish
from orchestration.subscribers import tell_or_say_why
from orchestration.writer_lock import WRITER_WAIT_SECONDS, warehouse_writer


def sync_keys(system: str) -> list[dg.AssetKey]:
    """Keys of a destination's sync models."""
    return [table_key("sync", model) for model in SYNC_MODELS[system]]


@dg.multi_asset_check(
    name="validate_sync",
    specs=[
        dg.AssetCheckSpec(
            "may_be_sent",
            asset=table_key("sync", model),
            blocking=True,
            description="Every planned operation meets the outgoing door's expectations; otherwise nothing is sent.",
        )
        for models in SYNC_MODELS.values()
        for model in models
    ],
    pool=WAREHOUSE_POOL,
)
def validate_sync(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Great Expectations on what is about to be sent."""
    yield from judge_sync(Settings())


def judge_sync(settings: Settings) -> Iterator[dg.AssetCheckResult]:
    """Judge every sync model as it stands."""
    report("validating what is about to be sent")
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        results = {
            model: result
            for system in SYNC_MODELS
            for model, result in judge(settings, system).items()
        }
    for model, result in results.items():
        key = table_key("sync", model)
        if result is None:
            yield dg.AssetCheckResult(
                check_name="may_be_sent", asset_key=key, passed=True, metadata={"rows": 0}
            )
            continue
        remember_result(settings, result)
        yield check_result("may_be_sent", key, result)


def serving_asset(published: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """The read-only file analysts open."""

    @dg.asset(
        key=dg.AssetKey(["serving", "handoff"]),
        group_name="serving",
        owners=owners_of("serving"),
        kinds={"duckdb", "file"},
        deps=list(published),
        pool=WAREHOUSE_POOL,
        description="One read-only file with marts, sync and ops, replaced atomically after each run.",
        freshness_policy=FRESHNESS,
    )
    def publish_serving() -> dg.MaterializeResult[Any]:
        settings = Settings()
        report("publishing the serving file")
        with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
            done = publish(settings)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(done.path)),
                "tables": len(done.rows),
                "rows": sum(done.rows.values()),
                "size_bytes": done.size_bytes,
                "seconds": round(done.seconds, 3),
            }
        )

    return publish_serving


def push_assets() -> list[dg.AssetsDefinition]:
    """One asset per destination: the receipts its newest plan came back with."""
    return [_push_asset(system) for system in SYNC_MODELS]


def _push_asset(system: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(["ops", f"pushes_{system}"]),
        group_name="ops",
        owners=owners_of("sync"),
        kinds={system, "python"},
        # After the serving file: analysts see what was decided even while a destination is down.
        deps=[*sync_keys(system), dg.AssetKey(["serving", "handoff"])],
        pool=WAREHOUSE_POOL,
        description=f"Plan, guard, apply and confirm against {system}; one receipt per row returns through the log.",
        freshness_policy=FRESHNESS,
    )
    def push(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        return push_to(Settings(), system)

    return push


MESSAGES_KEY = dg.AssetKey(["ops", "webhook_messages"])


def messages_asset(decided: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """What subscribers are told; delivering it is the worker's, or `handoff webhooks deliver`'s."""

    @dg.asset(
        key=MESSAGES_KEY,
        group_name="ops",
        owners=owners_of("sync"),
        kinds={"python", "webhook"},
        deps=list(decided),
        pool=WAREHOUSE_POOL,
        description="Puts what was decided and nobody was told into the outbox of our own webhooks.",
        freshness_policy=FRESHNESS,
    )
    def tell_subscribers(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        told = list(tell_subscribers_of(Settings()))
        return told[0] if told else dg.MaterializeResult(metadata={"configured": False})

    return tell_subscribers


def tell_subscribers_of(settings: Settings) -> Iterator[dg.MaterializeResult[Any]]:
    """Tell what the newest transform decided; nothing while nobody subscribes."""
    started = time.monotonic()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        telling, fault = tell_or_say_why(settings)
    if telling is None and not fault:
        return
    yield dg.MaterializeResult(
        asset_key=MESSAGES_KEY,
        metadata={
            "configured": True,
            "messages_told": telling.told.messages if telling else 0,
            "deliveries_due": telling.told.deliveries if telling else 0,
            "looked_through_everything": telling.is_whole if telling else False,
            "fault": fault,
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def push_to(settings: Settings, system: str) -> dg.MaterializeResult[Any]:
    """Plan and apply what a destination lacks; without its address nothing is pushed."""
    key = dg.AssetKey(["ops", f"pushes_{system}"])
    if not is_configured(settings, system):
        return dg.MaterializeResult(asset_key=key, metadata={"configured": False})
    report(f"planning what {system} is told")
    started = time.monotonic()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        planned = make_plan(settings, system, as_of=datetime.now(UTC))
        applied = apply(
            settings,
            planned.plan.plan_id,
            progress=lambda name, done, total: report(f"{system}: {name} {done:,} of {total:,}"),
        )
    seconds = time.monotonic() - started
    rejected = [row for row in applied.rows if row.status in ("failed", "refused")]
    table = "\n".join(
        ["| object | external id | code | message |", "|---|---|---|---|"]
        + [
            f"| {row.object} | {row.external_id} | {row.code} | {row.message} |"
            for row in rejected[:50]
        ]
    )
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "configured": True,
            "plan_id": planned.plan.plan_id,
            "rows_planned": len(planned.plan.operations),
            **{f"rows_{name}": count for name, count in applied.counts().items()},
            "halted": applied.halted or "",
            "seconds": round(seconds, 3),
            "rejected": dg.MetadataValue.md(table if rejected else "none"),
        },
    )
