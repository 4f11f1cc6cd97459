"""What would have happened under other policies: history rebuilt on a copy of the warehouse, a policy at a time, and told apart from what was; changes
nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.contracts.picklists import picklists as in_use
from ingestion.contracts.picklists import picklists_of
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from models.policies.kinds import KINDS
from models.policies.load import Policies, copy_policies, load_policies
from models.policies.wording import known
from orchestration.named_rows import named_rows
from orchestration.policy_rows import load_policy_rows
from orchestration.side_build import only_build
from orchestration.transform import NodeResult, made_whole_as_of, rebuild_downstream, transform
from orchestration.warehouse_copy import (
    CopySettings,
    copy_settings,
    discard,
    lacking_room,
    take_copy,
)
from orchestration.writer_lock import warehouse_writer, writer_patience

if TYPE_CHECKING:
    import duckdb

# In the order in which one decides on what the one before has made; that is the order in which causes are told apart.
ORDER = ("identity", "accounts", "consent", "scoring", "routing", "sync", "kpi")

# What systems' own words mean: before all policies.
MAPPING = "mapping"

# A replay is compared by these, of leads since `since`.
MEASURES = ("mqls", "succeeded", "failed", "undecided", "assigned", "sla_breaches", "pushes")

Row = dict[str, Any]
Progress = Callable[[str], None]

_LEADS = """
    with settings as (
        select acceptance_window_days from raw_policies.kpi_settings where is_active
    ),
    successes as (
        select mqls.mql_id, min(changes.changed_at) as succeeded_at
        from marts.fct_mqls as mqls
        inner join marts.fct_stage_changes as changes
            on mqls.person_id = changes.person_id and changes.changed_at >= mqls.reached_at
        cross join settings
        where changes.to_stage in ('accepted', 'sql', 'opportunity', 'customer')
            and changes.changed_at <= mqls.reached_at + to_seconds(86400 * settings.acceptance_window_days)
        group by mqls.mql_id
    ),
    touches as (
        select assignments.assignment_id, min(activities.occurred_at) as touched_at
        from marts.fct_assignments as assignments
        inner join marts.fct_activities as activities
            on assignments.person_id = activities.person_id and activities.occurred_at >= assignments.assigned_at
        inner join raw_policies.kpi_activity_types as types
            on activities.activity_type = types.activity_type and types.role = 'first_touch' and types.is_active
        group by assignments.assignment_id
    )
    select
        mqls.person_id, mqls.reached_at, mqls.score, mqls.scoring_version,
        row_number() over (partition by mqls.person_id order by mqls.reached_at) as place,
        assignments.rep_id, reps.name as rep_name, assignments.assignment_id is not null as is_assigned,
        case when successes.succeeded_at is not null then 'succeeded'
            when mqls.reached_at + to_seconds(86400 * settings.acceptance_window_days) <= $as_of::timestamptz then 'failed'
            else 'undecided' end as outcome,
        coalesce(assignments.sla_due_at <= $as_of::timestamptz and coalesce(touches.touched_at > assignments.sla_due_at, true), false) as is_breach
    from marts.fct_mqls as mqls
    cross join settings
    left join successes on mqls.mql_id = successes.mql_id
    left join marts.fct_assignments as assignments on mqls.mql_id = assignments.mql_id and assignments.is_current
    left join touches on assignments.assignment_id = touches.assignment_id
    left join marts.dim_reps as reps on assignments.rep_id = reps.rep_id
    qualify row_number() over (partition by mqls.mql_id order by assignments.assigned_at) = 1
    order by mqls.reached_at, mqls.person_id
"""


@dataclass(frozen=True, slots=True)
class State:
    """What there was under one set of versions: all leads, measured by those since `since`, and how many operations the CRM would be sent."""

    versions: Mapping[str, str]
    since: datetime
    leads: tuple[Row, ...]
    pushes: int

    @property
    def recent(self) -> list[Row]:
        """Leads since `since`."""
        return [lead for lead in self.leads if lead["reached_at"] >= self.since]

    def measure(self, name: str) -> int:
        """One of MEASURES."""
        match name:
            case "mqls":
                return len(self.recent)
            case "assigned":
                return sum(lead["is_assigned"] for lead in self.recent)
            case "sla_breaches":
                return sum(lead["is_breach"] for lead in self.recent)
            case "pushes":
                return self.pushes
            case _:
                return sum(lead["outcome"] == name for lead in self.recent)


@dataclass(frozen=True, slots=True)
class Change:
    """One lead that is another one: `before` or `after` is None where there was none."""

    person_id: str
    kind: str
    before: datetime | None
    after: datetime | None
    outcome: str
    score_before: float | None
    score_after: float | None


@dataclass(frozen=True, slots=True)
class Cause:
    """What one policy changed, given those before it: of each measure the difference. They sum up to the whole difference."""

    kind: str
    former: str
    version: str
    differences: Mapping[str, int]
    gained: int
    lost: int
    moved: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What was and what would have been since `since`, as of `as_of`; `causes` in the order in which policies build on each other."""

    since: datetime
    as_of: datetime
    before: State
    after: State
    causes: tuple[Cause, ...]
    changes: tuple[Change, ...]

    def of_kind(self, kind: str) -> tuple[Change, ...]:
        """Leads gained, lost or moved."""
        return tuple(change for change in self.changes if change.kind == kind)

    @property
    def workload(self) -> list[tuple[str, int, int]]:
        """(rep, leads before, leads after), the busiest first."""
        counted: dict[str, list[int]] = {}
        for place, state in enumerate((self.before, self.after)):
            for lead in state.recent:
                if lead["is_assigned"]:
                    name = lead["rep_name"] or lead["rep_id"] or "nobody"
                    counted.setdefault(name, [0, 0])[place] += 1
        return sorted(
            ((name, before, after) for name, (before, after) in counted.items()),
            key=lambda row: (-max(row[1:]), row[0]),
        )

    def as_dict(self) -> Row:
        """JSON-ready."""
        return {
            "since": self.since.isoformat(),
            "as_of": self.as_of.isoformat(),
            "versions": {"before": dict(self.before.versions), "after": dict(self.after.versions)},
            "measures": {
                name: {"before": self.before.measure(name), "after": self.after.measure(name)}
                for name in MEASURES
            },
            "causes": [asdict(cause) for cause in self.causes],
            "workload": [
                {"rep": rep, "before": before, "after": after}
                for rep, before, after in self.workload
            ],
            "changes": [asdict(change) for change in self.changes],
        }


def replay(
    settings: Settings,
    chosen: Mapping[str, str],
    *,
    since: datetime,
    as_of: datetime | None = None,
    mapping: Path | None = None,
    progress: Progress = lambda _: None,
) -> Replay:
    """Rebuild history with `chosen` (version by kind) in place of the versions that decide, one kind after the other, on a copy; of each what
    is made of it, as the rest stays the same. `mapping` is a folder of enumerations whose words of systems mean something else; it comes
    first, as all else is decided on what they mean. `as_of`: default that of the warehouse where it is whole, otherwise now.

    The warehouse in use is locked for the time of the copy alone. Raises NOT_FOUND for a kind or version there is not, BAD_REQUEST where
    nothing would change, REPLAY_IMPOSSIBLE where there is no warehouse or no room for a copy.
    """
    if not chosen and mapping is None:
        raise HandoffError(
            "BAD_REQUEST",
            "nothing to try",
            remedy="Name a version (--policy scoring=v2) or a folder with other meanings of systems' words (--mapping enums).",
        )
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    _require_known(policies, chosen)
    steps = [
        kind for kind in ORDER if chosen.get(kind, policies.active[kind]) != policies.active[kind]
    ]
    picklists = None if mapping is None else picklists_of(mapping)
    if picklists == in_use():
        raise HandoffError(
            "BAD_REQUEST",
            f"nothing would be different: the words in {mapping} mean what they mean now",
            remedy="Change what a word of a system means in one of its files.",
        )
    if not steps and picklists is None:
        raise HandoffError(
            "BAD_REQUEST",
            "nothing would be different: "
            + ", ".join(f"{kind}={version}" for kind, version in chosen.items())
            + " decides now",
            remedy="Name a version that is not in rollout.yml, e.g. --policy scoring=v2.",
        )
    copy = copy_settings(settings, "replay")
    with _copied(settings, copy, progress):
        versions = dict(policies.active)
        made = made_whole_as_of(copy)
        instant = as_of or made or datetime.now(UTC)
        if made != instant:
            _load(copy, policies, versions)
            transform(copy, as_of=instant, full_refresh=True, on_node=_told("as it was", progress))
        words, further = "in use", Row()
        states = [_state(copy, {**versions, MAPPING: words}, since, instant)]
        if mapping is not None:
            words, further = mapping.name, {"picklists": picklists}
            on_node = _told(f"with the words of {words}", progress)
            transform(copy, as_of=instant, full_refresh=True, on_node=on_node, variables=further)
            states.append(_state(copy, {**versions, MAPPING: words}, since, instant))
        for kind in steps:
            versions = {**versions, kind: chosen[kind]}
            _load(copy, policies, versions)
            rebuild_downstream(
                copy,
                [f"source:raw_policies.{kind}_*"],
                as_of=instant,
                on_node=_told(f"with {kind} {chosen[kind]}", progress),
                # What the CRM was told stands, except where the question is what it would have been told.
                variables={**further, "routes_anew": True} if kind == "routing" else further,
            )
            states.append(_state(copy, {**versions, MAPPING: words}, since, instant))
    return Replay(
        since=since,
        as_of=instant,
        before=states[0],
        after=states[-1],
        causes=tuple(
            _cause(kind, former, latter)
            for kind, (former, latter) in zip(
                [*([MAPPING] if mapping else []), *steps], pairwise(states), strict=True
            )
        ),
        changes=tuple(changes(states[0], states[-1])),
    )


def changes(before: State, after: State) -> Iterator[Change]:
    """Leads since `since` that are gained, lost or moved in time; who moves across `since` is gained or lost for the time after it.

    Of one person the first is compared with the first, the second with the second: what a version calls its own is another one by name.
    """
    former = {(lead["person_id"], lead["place"]): lead for lead in before.leads}
    latter = {(lead["person_id"], lead["place"]): lead for lead in after.leads}
    for key in sorted(former.keys() | latter.keys()):
        old, new = former.get(key), latter.get(key)
        was = old is not None and old["reached_at"] >= before.since
        is_there = new is not None and new["reached_at"] >= after.since
        if not was and not is_there:
            continue
        if old is not None and new is not None and old["reached_at"] == new["reached_at"]:
            continue
        told = new if is_there else old
        assert told is not None
        yield Change(
            person_id=key[0],
            kind="moved" if was and is_there else "gained" if is_there else "lost",
            before=None if old is None else old["reached_at"],
            after=None if new is None else new["reached_at"],
            outcome=told["outcome"],
            score_before=None if old is None else old["score"],
            score_after=None if new is None else new["score"],
        )


def _cause(kind: str, before: State, after: State) -> Cause:
    kinds = [change.kind for change in changes(before, after)]
    return Cause(
        kind=kind,
        former=before.versions[kind],
        version=after.versions[kind],
        differences={name: after.measure(name) - before.measure(name) for name in MEASURES},
        gained=kinds.count("gained"),
        lost=kinds.count("lost"),
        moved=kinds.count("moved"),
    )


def _require_known(policies: Policies, chosen: Mapping[str, str]) -> None:
    for kind, version in chosen.items():
        if kind not in ORDER:
            replayed = [name for name in KINDS if name in ORDER]
            raise HandoffError(
                "NOT_FOUND",
                f"no policy '{kind}' can be replayed{known(kind, replayed)}",
                remedy=f"Name one of {', '.join(replayed)}. A lead model decides nothing; `handoff models` compares versions.",
            )
        if version not in policies.versions[kind]:
            raise HandoffError(
                "NOT_FOUND",
                f"{kind} has no version '{version}'{known(version, policies.versions[kind])}",
                remedy=f"Write {policies.folder / kind / version}.yml first.",
            )


@contextlib.contextmanager
def _copied(settings: Settings, copy: CopySettings, progress: Progress) -> Iterator[None]:
    """The copy for as long as the block goes on, however it ends."""
    if not settings.warehouse_path.exists():
        raise HandoffError(
            "REPLAY_IMPOSSIBLE", "there is no warehouse yet", remedy="Run `handoff run` first."
        )
    # One at a time, and not beside an erasure: what it compares would name whoever is erased meanwhile.
    with only_build(settings):
        discard(copy)
        try:
            progress("copying the warehouse")
            with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
                if (lack := lacking_room(settings)) is not None:
                    raise HandoffError("REPLAY_IMPOSSIBLE", lack, remedy="Free some space.")
                take_copy(settings, copy)
            yield
        finally:
            discard(copy)


def pages_folder(settings: Settings) -> Path:
    """Where pages of replays stand; they name people by their id."""
    return settings.artifacts_dir / "replays"


def _told(what: str, progress: Progress) -> Callable[[NodeResult], None]:
    return lambda node: progress(f"history {what}: {node.name}")


def _load(copy: CopySettings, policies: Policies, versions: Mapping[str, str]) -> None:
    """The policies as rows, with these versions in use."""
    folder = _rolled_out(copy.folder / "policies", policies, versions)
    load_policy_rows(copy.model_copy(update={"policies": folder}))


def _state(
    copy: CopySettings, versions: Mapping[str, str], since: datetime, as_of: datetime
) -> State:
    with contextlib.closing(connect(copy)) as connection:
        connection.execute("set timezone = 'UTC'")
        leads = named_rows(connection.execute(_LEADS, {"as_of": as_of}))
        return State(dict(versions), since, tuple(leads), _pushes(connection))


def _pushes(connection: duckdb.DuckDBPyConnection) -> int:
    """Operations the CRM would be sent now."""
    tables = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'sync' and table_name like 'sync_salesforce%'"
    ).fetchall()
    return sum(
        connection.execute(f'select count(*) from sync."{table}"').fetchall()[0][0]
        for (table,) in tables
    )


def _rolled_out(folder: Path, policies: Policies, versions: Mapping[str, str]) -> Path:
    """The policy folder with another rollout."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_policies(folder, policies.folder)
    # A version that is replayed decides for everybody; what else is tried goes on.
    trials = {
        kind: trial.model_dump(mode="json")
        for kind, trial in policies.trials.items()
        if versions[kind] == policies.active[kind]
    }
    # JSON is YAML.
    (folder / "rollout.yml").write_text(
        json.dumps({"active": dict(versions), "trials": trials}), encoding="utf-8"
    )
    return folder


def parsed_choices(told: Sequence[str]) -> dict[str, str]:
    """`scoring=v2` and the like; BAD_REQUEST names what is none."""
    chosen: dict[str, str] = {}
    for each in told:
        kind, _, version = each.partition("=")
        if not kind or not version:
            raise HandoffError(
                "BAD_REQUEST", f"'{each}' names no version", remedy="Write --policy scoring=v2."
            )
        chosen[kind.strip()] = version.strip()
    return chosen
