"""Stored events of older contracts rewritten as ones of the raw table's version, so that they land as fast; the log is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from ingestion.contracts import registry
from ingestion.contracts.registry import Contract
from ingestion.contracts.upcasts import outdated, upcast_event
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import StoredEvent

if TYPE_CHECKING:
    import pyarrow as pa


def brought_up(
    record: str, rows: Sequence[StoredEvent]
) -> tuple[list[StoredEvent], dict[int, str]]:
    """The rows with those of older contracts rewritten, and the version these were sent as by `seq`.

    A row that names the newest version is not parsed; one that only seems to is found out by `columnar.parse`.
    """
    newest = registry.schema_name(Contract(record, registry.table_version(record)))
    mark = b'"dataschema":"%s"' % newest.encode()
    old = outdated(record)
    brought: list[StoredEvent] = []
    sent: dict[int, str] = {}
    for row in rows:
        if mark not in row.payload:
            try:
                event = orjson.loads(row.payload)
                contract = registry.contract_of(event)
            except (ValueError, HandoffError):
                # Whatever is wrong with it is said where rows are looked at one by one.
                brought.append(row)
                continue
            if contract.record == record and contract.version in old:
                sent[row.seq] = contract.version
                row = row._replace(payload=orjson.dumps(upcast_event(event, contract)))
        brought.append(row)
    return brought, sent


def with_provenance(table: pa.Table, record: str, sent: Mapping[int, str]) -> pa.Table:
    """The table with the version each row was sent as, and the one it was brought up to."""
    import pyarrow as pa

    target = registry.table_version(record)
    sequence = table["seq"].to_pylist()
    held = table["contract_version"].to_pylist()
    columns = {
        "contract_version": [
            sent.get(seq, version) for seq, version in zip(sequence, held, strict=True)
        ],
        "upcast_to": [target if seq in sent else None for seq in sequence],
    }
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))
    return table
