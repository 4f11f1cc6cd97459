"""Looks at the set-up and the state and says what is wrong and what to do; mends nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.settings import Settings
from orchestration.reconciliation import Count, IngestedFile, ingested_files, reconcile

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: `state` ok, warning or wrong; `remedy` says what to do unless it is ok."""

    name: str
    state: str
    told: str
    remedy: str | None = None
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """All looks and the reconciliation."""

    findings: tuple[Finding, ...]
    counts: tuple[Count, ...]
    files: tuple[IngestedFile, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong; 4 for set-up, 1 for rows that are missing."""
        wrong = [finding.exit_code or 4 for finding in self.findings if finding.state == WRONG]
        if wrong:
            return max(wrong)
        return 1 if any(count.missing for count in self.counts) else 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "reconciliation": [
                {**asdict(count), "missing": count.missing} for count in self.counts
            ],
            "files": [asdict(file) for file in self.files],
        }


# What is verified of the event log unless all of it is asked for: about a second's worth.
_VERIFIED_EVENTS = 100_000


def examine(
    settings: Settings,
    *,
    whole_log: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Findings:
    """Run every look; a look that raises is a finding, not a crash.

    With `whole_log` every event of the log is verified and not only the newest; `say` hears what is
    being done.
    """
    looks: list[tuple[str, Callable[[Settings], str]]] = [
        ("versions", _versions),
        ("home", _home),
        ("policies", _policies),
        ("lead model", _lead_model),
        ("event log", partial(_event_log, whole=whole_log, say=say)),
        ("warehouse", _warehouse),
        ("serving file", _serving),
        ("rebuild", _rebuild),
        ("time zones", _time_zones),
        ("systems", _systems),
        ("ad spend", _ad_spend),
        ("subscribers", _subscribers),
    ]
    findings = [_look(name, look, settings) for name, look in looks]
    counts: list[Count] = []
    files: list[IngestedFile] = []
    if all(finding.state != WRONG for finding in findings) and settings.warehouse_path.exists():
        try:
            counts = reconcile(settings)
            files = ingested_files(settings)
        except HandoffError as error:
            findings.append(_finding_of("reconciliation", error))
        else:
            missing = sum(count.missing for count in counts)
            findings.append(
                Finding(
                    "reconciliation",
                    WRONG if missing else OK,
                    f"{missing} rows are nowhere"
                    if missing
                    else "every row received is accounted for",
                    "Run `handoff run`; if it stays, `handoff run --full-refresh`."
                    if missing
                    else None,
                    1,
                )
            )
    return Findings(tuple(findings), tuple(counts), tuple(files))


class _Unwell(Exception):
    """A look that found something short of wrong."""

    def __init__(self, told: str, remedy: str) -> None:
        super().__init__(told)
        self.remedy = remedy


def _look(name: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, OK, look(settings))
    except _Unwell as warning:
        return Finding(name, WARNING, str(warning), warning.remedy)
    except HandoffError as error:
        return _finding_of(name, error)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return Finding(name, WRONG, told, "Mend what the message names, then look again.", 4)


def _finding_of(name: str, error: HandoffError) -> Finding:
    return Finding(
        name, WRONG, f"{error.code}: {error.message}", error.remedy, error.entry.exit_code
    )


def _versions(_: Settings) -> str:
    names = ("duckdb", "dbt-core", "dbt-duckdb", "dlt", "dagster", "great-expectations")
    return f"python {sys.version.split()[0]}, " + ", ".join(
        f"{name} {version(name)}" for name in names
    )


def _home(settings: Settings) -> str:
    import shutil

    require_home(settings, create=False)
    if not settings.root.exists():
        return f"{settings.root} (will be created)"
    free = shutil.disk_usage(settings.root).free / 1e9
    if free < 1:
        raise _Unwell(
            f"{free:.1f} GB left for {settings.root}",
            "Free some space: the log refuses events on a full disk.",
        )
    return f"{settings.root} ({free:.0f} GB free)"


def _policies(settings: Settings) -> str:
    from models.policies.load import load_policies

    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    return ", ".join(f"{kind} {name}" for kind, name in sorted(policies.active.items()))


def _lead_model(settings: Settings) -> str:
    from orchestration.lead_model_versions import lead_policies, model_versions, retraining_due

    policies = lead_policies(settings)
    versions = model_versions(settings, policies)
    [counting] = [version for version in versions if version.is_champion]
    if counting.model_id is None:
        return f"{counting.version} is not trained: the rules decide alone (`handoff train`)"
    if due := retraining_due(settings, policies):
        raise _Unwell(
            f"{counting.version}, {counting.estimator}, AUC {counting.auc:.3f}: {due}",
            "Learn it anew beside it: `handoff train --as next`, and compare: `handoff models`.",
        )
    return f"{counting.version}, {counting.estimator}, AUC {counting.auc:.3f} on the newest of {counting.cases:,} leads"


def _event_log(settings: Settings, *, whole: bool, say: Callable[[str], None]) -> str:
    if not settings.log_path.exists():
        return "empty (made with the first event)"
    from ingestion.log.owner import open_reader

    with contextlib.closing(open_reader(settings)) as log:
        events = log.last_seq()
        say(f"reading the event log's file: {settings.log_path.stat().st_size / 1e6:,.0f} MB")
        if damage := log.find_damage():
            raise HandoffError("LOG_CORRUPT", f"{settings.log_path}: {damage}")
        chain = log.verify(
            None if whole else _VERIFIED_EVENTS,
            lambda done, total: say(f"verifying events: {done:,} of {total:,}"),
        )
    if chain.broken_seq is not None:
        raise HandoffError(
            "LOG_CORRUPT", f"{settings.log_path}: event {chain.broken_seq}: {chain.reason}"
        )
    if chain.checked < events:
        return (
            f"{events:,} events; the newest {chain.checked:,} verified, all of them by "
            "`handoff doctor --whole-log`"
        )
    erased = f"; {chain.erased:,} erased since, as the log itself says" if chain.erased else ""
    return f"{events:,} events, each verified{erased}"


def _warehouse(settings: Settings) -> str:
    if not settings.warehouse_path.exists():
        raise _Unwell(
            "nothing has landed yet",
            "`handoff ingest FILE` or `handoff sandbox`, then `handoff run`.",
        )
    from ingestion.landing.warehouse import connect

    with contextlib.closing(connect(settings)) as connection:
        row = connection.execute("select count(*) from duckdb_tables()").fetchone()
    size = settings.warehouse_path.stat().st_size / 1e6
    return f"{row[0] if row else 0} tables, {size:.1f} MB"


def _serving(settings: Settings) -> str:
    from orchestration.serving import open_serving

    if not settings.serving_path.exists():
        raise _Unwell("nothing is published yet", "`handoff run` publishes it.")
    with contextlib.closing(open_serving(settings)) as connection:
        row = connection.execute(
            "select count(*) from duckdb_tables() where schema_name = 'marts'"
        ).fetchone()
    header = settings.serving_path.read_bytes()[:16]
    return f"{settings.serving_path} ({row[0] if row else 0} marts, storage version {header[12]})"


def _rebuild(settings: Settings) -> str:
    from orchestration.side_build import build_under_way, newest_build

    if (build := build_under_way(settings)) is not None:
        since = (datetime.now(UTC) - build.started_at).total_seconds()
        return f"process {build.pid} is at it for {since:.0f} s, now {build.stage}: {build.reason}"
    build = newest_build(settings)
    if build is None:
        return "none beside the warehouse in use yet"
    at = f"{build.started_at:%Y-%m-%d %H:%M} UTC"
    if build.error is not None:
        raise _Unwell(
            f"the one of {at} failed: {build.error['code']}: {build.error['message']}",
            build.error["remedy"] or "The worker tries it again.",
        )
    if not build.is_finished:
        raise _Unwell(
            f"the one of {at} was ended while {build.stage}",
            "Nothing is broken; `handoff work` deletes what it left, and starts it again.",
        )
    return f"the one of {at} took {build.seconds:.0f} s: {build.reason or build.stage}"


def _time_zones(settings: Settings) -> str:
    """Python asks the pinned release; the warehouse holds the one it was made with."""
    from ingestion import time_zones
    from orchestration.serving import open_serving

    told = f"IANA release {time_zones.release()}, {len(time_zones.names())} zones"
    if not settings.serving_path.exists():
        return told
    with contextlib.closing(open_serving(settings)) as connection:
        if not connection.execute(
            "from duckdb_tables() where table_name = 'time_zone_offsets'"
        ).fetchone():
            raise _Unwell(f"{told}, none in the warehouse", "`handoff run` puts it there.")
        apart = [
            zone
            for zone, offsets in connection.execute(
                "select time_zone, list((epoch(valid_from_at)::bigint, offset_seconds) order by valid_from_at) "
                "from reference.time_zone_offsets where time_zone in "
                "(select time_zone from reference.time_zone_offsets using sample 40 rows (reservoir, 1)) "
                "group by time_zone order by time_zone"
            ).fetchall()
            if offsets
            != [(int(one.valid_from.timestamp()), one.seconds) for one in time_zones.offsets(zone)]
        ]
    if apart:
        raise _Unwell(
            f"{told}; the warehouse has another of {', '.join(apart)}",
            "It was made with another release; the next `handoff run` rebuilds it.",
        )
    return f"{told}, the same in the warehouse"


def _systems(settings: Settings) -> str:
    from ingestion.connectors import catalog
    from ingestion.landing.denied import denied
    from ingestion.landing.polls import configured_systems

    configured = configured_systems(settings)
    told = f"polled: {', '.join(configured) or 'none'}; known: {', '.join(catalog.known_systems(settings))}"
    if not configured:
        raise _Unwell(
            told, "Set HANDOFF_<SYSTEM>_URL and its credentials, or try `handoff sandbox`."
        )
    refused = {
        f"{system}'s {resource}": message
        for system in configured
        for resource, message in denied(settings, system).items()
    }
    if refused:
        raise _Unwell(
            f"{told}; may not read {', '.join(refused)}: {next(iter(refused.values()))}",
            "Give the credentials the scope that the connector's README names, or go without: "
            "everything else is read.",
        )
    return told


def _ad_spend(settings: Settings) -> str:
    """What is missing from the cost of campaigns, as of the last run."""
    from ingestion.connectors import catalog
    from orchestration.serving import open_serving

    if not catalog.source("ad_spend").configured(settings) or not settings.serving_path.exists():
        return "none read"
    with contextlib.closing(open_serving(settings)) as connection:
        refused = connection.execute(
            "select count(*), arg_min(concat_ws(': ', file || ', line ' || line, message), (file is null, line))"
            " from ops.ad_spend_refusals"
        ).fetchone()
        days = connection.execute("select count(*), max(cost_date) from marts.fct_campaign_costs")
        count, newest = days.fetchone() or (0, None)
    if refused and refused[0]:
        raise _Unwell(
            f"{refused[0]} rows are in no cost, such as {refused[1]}",
            '`handoff query "from ops.ad_spend_refusals"` has a remedy for each.',
        )
    return f"{count} campaign days, the newest {newest}"


def _subscribers(settings: Settings) -> str:
    """Who of our own webhooks' subscribers is not told, and what was given up."""
    from ingestion.subscribers.desk import standings
    from ingestion.subscribers.outbox import Outbox
    from orchestration.subscribers import outbox_path, subscribers_of

    subscribers = subscribers_of(settings)
    # Looking must not make the file.
    if not outbox_path(settings).exists():
        count = len(subscribers.by_name)
        return f"{count} configured, nothing told yet" if count else "none"
    with contextlib.closing(Outbox(outbox_path(settings))) as outbox:
        rows = standings(outbox, subscribers, datetime.now(UTC))
    told = "; ".join(
        f"{row.subscriber} {row.state}, {row.pending} waiting, {row.dead} given up" for row in rows
    )
    if any(row.dead or row.state != "enabled" for row in rows):
        raise _Unwell(
            told, "`handoff webhooks list` says why; `handoff webhooks replay` sends again."
        )
    return told or "none"
