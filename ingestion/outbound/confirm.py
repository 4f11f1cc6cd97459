"""Compares what a system holds with what was written or is wanted; reads and sends nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)")


class Standing(StrEnum):
    """How a record stands to a wanted write."""

    ABSENT = "absent"
    AS_BEFORE = "as_before"  # none of the changes is there
    PARTLY = "partly"  # some of the changes are there, the other fields are as before
    AS_WANTED = "as_wanted"  # nothing left to do
    MOVED = "moved"  # a field holds a third value: somebody else wrote it


@dataclass(frozen=True, slots=True)
class Verdict:
    """The final state of a written row: confirmed, superseded or failed, with the catalog code if
    failed.
    """

    status: str
    code: str | None = None
    message: str | None = None


def is_same(left: Any, right: Any) -> bool:
    """Whether two values are the same to a CRM that echoes them its own way.

    Empty text is null, surrounding space does not count, 85.0 is 85, instants count by the second
    in any zone.
    """
    left, right = _plain(left), _plain(right)
    if left is None or right is None:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return str(left).lower() == str(right).lower()
    if isinstance(left, (int, float, Decimal)) or isinstance(right, (int, float, Decimal)):
        try:
            return Decimal(str(left)) == Decimal(str(right))
        except InvalidOperation:
            return False
    if isinstance(left, str) and isinstance(right, str):
        first, second = _instant(left), _instant(right)
        if first is not None and second is not None:
            return abs((first - second).total_seconds()) < 1
    return bool(left == right)


def standing(
    payload: Mapping[str, Any],
    changes: Mapping[str, Mapping[str, Any]],
    current: Mapping[str, Any] | None,
) -> Standing:
    """How `current` (None: no such record) stands to writing `payload`; `changes` gives the values
    before.

    A field without a recorded value before cannot have moved.
    """
    if current is None:
        return Standing.ABSENT
    there = 0
    for field, wanted in payload.items():
        value = current.get(field)
        if is_same(value, wanted):
            # A value that already was as wanted says nothing about whether our write arrived.
            there += field not in changes or not is_same(changes[field].get("old"), wanted)
        elif field in changes and not is_same(value, changes[field].get("old")):
            return Standing.MOVED
    if all(is_same(current.get(field), wanted) for field, wanted in payload.items()):
        return Standing.AS_WANTED
    return Standing.PARTLY if there else Standing.AS_BEFORE


def moved_fields(
    payload: Mapping[str, Any],
    changes: Mapping[str, Mapping[str, Any]],
    current: Mapping[str, Any],
) -> list[str]:
    """Fields that hold neither the value before nor the wanted one."""
    return [
        field
        for field, wanted in payload.items()
        if field in changes
        and not is_same(current.get(field), wanted)
        and not is_same(current.get(field), changes[field].get("old"))
    ]


def judge(
    payload: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    current: Mapping[str, Any] | None,
) -> Verdict:
    """What became of a write the system accepted: `before` is the record just before, `current`
    read back.

    A third value is somebody's edit after ours and stands (superseded). The value before, or no
    record at all, means that the yes was empty (failed, SILENT_NOOP).
    """
    if current is None:
        return Verdict("failed", "SILENT_NOOP", "accepted, but no such record can be read back")
    differing = [name for name, wanted in payload.items() if not is_same(current.get(name), wanted)]
    if not differing:
        return Verdict("confirmed")
    # Field names only: values may be personal data and messages end in logs.
    edited = [
        name for name in differing if not is_same(current.get(name), (before or {}).get(name))
    ]
    if edited:
        return Verdict(
            "superseded", None, f"another value stands in {', '.join(edited)}; it was kept"
        )
    return Verdict("failed", "SILENT_NOOP", f"accepted, but {', '.join(differing)} did not change")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        value = value.replace("\r\n", "\n").strip()
        return value or None
    return value


def _instant(text: str) -> datetime | None:
    if not INSTANT.fullmatch(text):
        return None
    zone = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00"))
    try:
        return datetime.fromisoformat(zone).astimezone(UTC)
    except ValueError:
        return None
