"""What a plan of outgoing writes is, its identity and its seal; sending it belongs to apply."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.durable_file import write_atomically
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import pyarrow as pa

PLAN_ID = re.compile(r"[a-z0-9_]+-[0-9a-f]{20}")
ACTIONS = ("upsert", "update")


@dataclass(frozen=True, slots=True)
class Operation:
    """One write to one record: the changed, warehouse-owned fields and nothing else.

    `action` upsert finds the record by `external_id_field` = `external_id`; update by its own Id,
    `target_id`.
    `changes` holds per field the value observed before (`old`) and the one wanted (`new`).
    `depends_on_external_id` names the record this one points to; its Id is put in when the row is
    sent.
    """

    operation_id: str
    object: str
    action: str
    external_id_field: str
    external_id: str
    target_id: str | None
    person_id: str | None
    payload: Mapping[str, Any]
    changes: Mapping[str, Mapping[str, Any]]
    reasons: tuple[str, ...] = ()
    trace_parent: str | None = None
    is_consented: bool = False
    depends_on_external_id: str | None = None

    @property
    def is_create(self) -> bool:
        """An upsert of which nothing was observed before; what the guard counts against
        `max_creates`.
        """
        return self.action == "upsert" and all(
            change.get("old") in (None, "") for change in self.changes.values()
        )

    @property
    def key_field(self) -> str:
        """The field the record is found by."""
        return "Id" if self.action == "update" else self.external_id_field

    @property
    def key(self) -> str:
        """The value the record is found by."""
        return self.target_id or "" if self.action == "update" else self.external_id

    def identity(self) -> dict[str, Any]:
        """What is wanted, without why: two plans that want the same have equal identities."""
        return {
            "operation_id": self.operation_id,
            "object": self.object,
            "action": self.action,
            "external_id_field": self.external_id_field,
            "external_id": self.external_id,
            "target_id": self.target_id,
            "payload": dict(self.payload),
            "is_consented": self.is_consented,
            "depends_on_external_id": self.depends_on_external_id,
        }

    def as_dict(self) -> dict[str, Any]:
        """Every field, JSON-ready."""
        return {
            **self.identity(),
            "person_id": self.person_id,
            "changes": {field: dict(change) for field, change in self.changes.items()},
            "reasons": list(self.reasons),
            "trace_parent": self.trace_parent,
        }


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """Records of one object a plan would create, update, or refuse for want of consent."""

    creates: int = 0
    updates: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations for one system, records before the records that point to them.

    `plan_id` follows from what is wanted alone: the same wanted operations give the same id at any
    time.
    """

    plan_id: str
    system: str
    as_of: datetime
    observed_marker: str
    planned_at: datetime
    operations: tuple[Operation, ...]

    def counts(self) -> dict[str, ObjectCounts]:
        """Per object, how many records the plan creates, updates and refuses."""
        found: dict[str, ObjectCounts] = {}
        for operation in self.operations:
            held = found.get(operation.object, ObjectCounts())
            if not operation.is_consented:
                held = ObjectCounts(held.creates, held.updates, held.refused + 1)
            elif operation.is_create:
                held = ObjectCounts(held.creates + 1, held.updates, held.refused)
            else:
                held = ObjectCounts(held.creates, held.updates + 1, held.refused)
            found[operation.object] = held
        return found

    def as_dict(self) -> dict[str, Any]:
        """The plan as it is sealed; instants are ISO 8601 in UTC."""
        return {
            "plan_id": self.plan_id,
            "system": self.system,
            "as_of": self.as_of.astimezone(UTC).isoformat(),
            "observed_marker": self.observed_marker,
            "planned_at": self.planned_at.astimezone(UTC).isoformat(),
            "operations": [operation.as_dict() for operation in self.operations],
        }


def operation_id(object_name: str, external_id: str, payload: Mapping[str, Any]) -> str:
    """The idempotency key of a write: 32 hex digits of SHA-256 over object, external id and
    payload.
    """
    return _digest([object_name, external_id, payload])[:32]


def build_plan(
    system: str,
    rows: pa.Table | Sequence[Mapping[str, Any]],
    *,
    as_of: datetime,
    observed_marker: str,
    planned_at: datetime,
) -> Plan:
    """The plan for the rows of a sync model (`sync_<system>__*`).

    `payload`, `changes` and `reasons` may be JSON text or values. `observed_marker` says which
    observation of the system the rows were made from, e.g. the load id. A row without operation_id
    gets one from its content.

    Raises:
        HandoffError: FIELD_MISMATCH, naming the row and the column, when a row cannot be an
            operation.
    """
    operations = _operations(rows)
    return Plan(
        plan_id=_plan_id(system, operations),
        system=system,
        as_of=as_of,
        observed_marker=observed_marker,
        planned_at=planned_at,
        operations=operations,
    )


def is_stale(plan: Plan, current_rows: pa.Table | Sequence[Mapping[str, Any]]) -> bool:
    """Whether the sync model now wants something else than `plan` does."""
    return _plan_id(plan.system, _operations(current_rows)) != plan.plan_id


def require_fresh(plan: Plan, current_rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
    """Raises HandoffError PLAN_STALE, with the number of differing operations, when the plan
    `is_stale`.
    """
    current = _operations(current_rows)
    if _plan_id(plan.system, current) == plan.plan_id:
        return
    planned = {_digest(operation.identity()) for operation in plan.operations}
    wanted = {_digest(operation.identity()) for operation in current}
    raise HandoffError(
        "PLAN_STALE",
        f"plan {plan.plan_id} has {len(planned - wanted)} operations that are no longer wanted"
        f" and lacks {len(wanted - planned)} that are",
        remedy=f"Run `handoff plan {plan.system}` and apply the new plan.",
    )


def seal(plan: Plan, folder: Path) -> Path:
    """Writes `<folder>/<plan_id>.json`, readable by its owner only, whole or not at all; returns
    its path.

    The seal is a SHA-256 over the plan: it catches edits and torn copies, it is no signature.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plan.plan_id}.json"
    content = plan.as_dict()
    write_atomically(path, json.dumps({"seal": _digest(content), "plan": content}, indent=1))
    return path


def load_plan(folder: Path, plan_id: str) -> Plan:
    """Reads a sealed plan back.

    Raises:
        HandoffError: PLAN_UNKNOWN when no such file exists, PLAN_TAMPERED when it does not match
            its seal.
    """
    path = folder / f"{plan_id}.json"
    if not PLAN_ID.fullmatch(plan_id) or not path.is_file():
        known = (
            sorted(found.stem for found in folder.glob("*-*.json"))[-5:] if folder.is_dir() else []
        )
        raise HandoffError(
            "PLAN_UNKNOWN",
            f"no sealed plan {plan_id!r}; known: {', '.join(known) or 'none'}",
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        content = document["plan"]
        operations = tuple(_operation(row) for row in content["operations"])
        plan = Plan(
            plan_id=content["plan_id"],
            system=content["system"],
            as_of=datetime.fromisoformat(content["as_of"]),
            observed_marker=content["observed_marker"],
            planned_at=datetime.fromisoformat(content["planned_at"]),
            operations=operations,
        )
        is_whole = (
            document["seal"] == _digest(content)
            and plan.plan_id == plan_id
            and _plan_id(plan.system, operations) == plan_id
        )
    except (ValueError, KeyError, TypeError, AttributeError, HandoffError) as error:
        raise HandoffError("PLAN_TAMPERED", f"{path} is no sealed plan: {error}") from error
    if not is_whole:
        raise HandoffError("PLAN_TAMPERED", f"{path} does not match its seal")
    return plan


def _operations(rows: pa.Table | Sequence[Mapping[str, Any]]) -> tuple[Operation, ...]:
    listed: Iterable[Mapping[str, Any]] = (
        rows if isinstance(rows, (list, tuple)) else rows.to_pylist()  # type: ignore[union-attr]
    )
    found: dict[str, Operation] = {}
    for row in listed:
        operation = _operation(row)
        held = found.setdefault(operation.operation_id, operation)
        if held.identity() != operation.identity():
            raise HandoffError(
                "FIELD_MISMATCH",
                f"operation_id {operation.operation_id!r} stands for two different writes",
                remedy="Hash object, external id and payload into operation_id.",
            )
    # What others point to goes first: a task needs the Id of its lead.
    return tuple(
        sorted(
            found.values(),
            key=lambda op: (
                op.depends_on_external_id is not None,
                op.object,
                op.action,
                op.external_id,
                op.operation_id,
            ),
        )
    )


def _operation(row: Mapping[str, Any]) -> Operation:
    name = f"{row.get('object')} {row.get('external_id') or row.get('target_id')}"
    payload = _json(row, "payload", dict, name)
    action = row.get("action")
    if action not in ACTIONS:
        raise HandoffError(
            "FIELD_MISMATCH", f"{name}: unknown action {action!r}; known: {', '.join(ACTIONS)}"
        )
    required = ("object", "external_id_field", "external_id") + (
        ("target_id",) if action == "update" else ()
    )
    for column in required:
        if not isinstance(row.get(column), str) or not row[column]:
            raise HandoffError("FIELD_MISMATCH", f"{name}: column {column!r} is empty")
    if not payload:
        raise HandoffError("FIELD_MISMATCH", f"{name}: column 'payload' has no field to write")
    if "Id" in payload:
        raise HandoffError("FIELD_MISMATCH", f"{name}: payload may not contain Id")
    return Operation(
        operation_id=row.get("operation_id")
        or operation_id(row["object"], row["external_id"], payload),
        object=row["object"],
        action=action,
        external_id_field=row["external_id_field"],
        external_id=row["external_id"],
        target_id=row.get("target_id") or None,
        person_id=row.get("person_id") or None,
        payload=payload,
        changes=_json(row, "changes", dict, name),
        reasons=tuple(str(reason) for reason in _json(row, "reasons", list, name)),
        trace_parent=row.get("trace_parent") or None,
        # Anything but a clear yes is a no.
        is_consented=row.get("is_consented") is True,
        depends_on_external_id=row.get("depends_on_external_id") or None,
    )


def _json(row: Mapping[str, Any], column: str, kind: type, name: str) -> Any:
    value = row.get(column)
    if value is None:
        return kind()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise HandoffError(
                "FIELD_MISMATCH", f"{name}: column {column!r} is no JSON: {error}"
            ) from error
    if not isinstance(value, kind):
        raise HandoffError(
            "FIELD_MISMATCH",
            f"{name}: column {column!r} is {type(value).__name__}, expected {kind.__name__}",
        )
    return value


def _plan_id(system: str, operations: Iterable[Operation]) -> str:
    wanted = [operation.identity() for operation in operations]
    return f"{system}-{_digest([system, wanted])[:20]}"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
