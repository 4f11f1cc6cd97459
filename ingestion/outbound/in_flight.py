"""Learns what became of operations a dead run had sent; sending them again belongs to apply."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.outbound.confirm import Standing, moved_fields, standing
from ingestion.outbound.destination import Destination
from ingestion.outbound.plan import Operation, load_plan
from ingestion.outbound.receipts import OpenSend, final_id, receipt
from ingestion.outbound.retry import RetryPolicy, call


def look_up(
    opens: list[OpenSend],
    log: EventLog,
    destination: Destination,
    *,
    clock: Callable[[], datetime],
    plans_dir: Path | None,
    retry: RetryPolicy,
    sleep: Callable[[float], None],
) -> dict[str, int]:
    """Ends the given open operations by what the system holds now, and counts them by final status;
    raises DestinationFault if it cannot be read.

    Those that are not there end as failed (OPERATION_INTERRUPTED): nothing wants them any more.
    """
    plans: dict[str, dict[str, Operation]] = {}
    groups: dict[tuple[str, str], list[tuple[OpenSend, Operation]]] = defaultdict(list)
    events: list[dict[str, Any]] = []

    def end(send: OpenSend, operation: Operation, status: str, **fields: Any) -> None:
        events.append(
            receipt(
                operation,
                system=destination.system,
                plan_id=send.data["plan_id"],
                planned_at=send.data["planned_at"],
                event_id=final_id(send.operation_id, send.attempt, status),
                status=status,
                at=clock(),
                attempt=send.attempt,
                sent_at=send.data.get("sent_at"),
                **fields,
            )
        )

    for send in opens:
        operation = _planned(send, plans, plans_dir)
        if operation is not None and operation.key:
            groups[operation.object, operation.key_field].append((send, operation))
        else:
            message = "its sealed plan is gone, so it cannot be looked up"
            end(send, _from_receipt(send), "failed", code="UNKNOWN_OUTCOME", message=message)

    for (object_name, key_field), members in groups.items():
        for start in range(0, len(members), destination.batch_size):
            batch = members[start : start + destination.batch_size]
            fields = {name for send, _ in batch for name in send.data.get("written", {})}
            keys = [operation.key for _, operation in batch]
            current = call(
                retry, sleep, partial(destination.read, object_name, fields, key_field, keys)
            )
            for send, operation in batch:
                wanted = send.data.get("written", {})
                held = current.get(operation.key)
                found = standing(wanted, operation.changes, held)
                if found in (Standing.ABSENT, Standing.AS_BEFORE) or held is None:
                    message = "its run stopped before it was written, and it is no longer planned"
                    end(send, operation, "failed", code="OPERATION_INTERRUPTED", message=message)
                    continue
                seen: dict[str, Any] = {
                    "record_id": held.get("Id"),
                    "confirmed_at": clock(),
                    "written": {name: held.get(name) for name in wanted},
                }
                if found is Standing.AS_WANTED:
                    end(send, operation, "confirmed", **seen)
                else:
                    names = ", ".join(moved_fields(wanted, operation.changes, held))
                    message = f"another value stands in {names or 'a field'}; it was kept"
                    end(send, operation, "superseded", message=message, **seen)

    finals: dict[str, int] = {}
    if events:
        log.append(events)
        for event in events:
            status = event["data"]["status"]
            finals[status] = finals.get(status, 0) + 1
    return finals


def _planned(
    send: OpenSend, plans: dict[str, dict[str, Operation]], plans_dir: Path | None
) -> Operation | None:
    """The operation as its sealed plan has it: the receipt names neither its key field nor the
    values before.
    """
    plan_id = str(send.data["plan_id"])
    if plan_id not in plans:
        plans[plan_id] = {}
        if plans_dir is not None:
            with contextlib.suppress(HandoffError):
                plan = load_plan(plans_dir, plan_id)
                plans[plan_id] = {op.operation_id: op for op in plan.operations}
    return plans[plan_id].get(send.operation_id)


def _from_receipt(send: OpenSend) -> Operation:
    data = send.data
    return Operation(
        operation_id=send.operation_id,
        object=data["object"],
        action=data["action"],
        external_id_field="",
        external_id=data["external_id"],
        target_id=data.get("record_id"),
        person_id=data.get("person_id"),
        payload=data.get("written", {}),
        changes={},
        reasons=tuple(data.get("reasons", ())),
        trace_parent=send.trace_parent,
    )
