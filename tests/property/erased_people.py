"""Erasing as the product does it, on events as the property tests tell them: what is left of each by the product's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ingestion.erasure.keys import ErasedKeys, Key, asking, whom
from ingestion.erasure.named import RECORDS, what_is_left
from ingestion.log.interface import ErasedWhom

Told = tuple[str, dict[str, Any]]
RECORD_OF = {
    "stg_events__contacts": "contact",
    "stg_events__activities": "activity",
    "stg_events__merges": "merge",
}


class Erasures:
    """Whom one history has erased: asks of each event what is left of it, at once and for those told later."""

    def __init__(self) -> None:
        self.known: ErasedWhom | None = None
        self.gone: set[tuple[str, str]] = set()

    def erase(
        self, group: Iterable[tuple[str, str, str]], events: Iterable[Told], until: datetime, mailboxes: Mapping[str, str | None]
    ) -> frozenset[Key]:  # fmt: skip
        """The keys of `group`, remembered: their ids for ever, addresses that are theirs alone for what happened before `until`."""
        keys = _keys(set(group), list(events), mailboxes)
        self.gone.update((str(key.system), key.value) for key in keys if key.kind == "record")
        came = whom(keys, until, self.known)
        self.known = ErasedWhom(came.salt, {**(self.known.keys if self.known else {}), **came.keys})
        return keys

    def left_later(self, told: Told, at: datetime) -> dict[str, Any] | None:
        """What is left of an event that is told now."""
        if self.known is None:
            return told[1]
        return left_of(told, ErasedKeys(self.known).asking(told[1]["system"], at))


def left_at_once(told: Told, keys: frozenset[Key]) -> dict[str, Any] | None:
    """What is left of an event that had been told before the erasure."""
    return left_of(told, asking(keys, told[1]["system"]))


def left_of(told: Told, is_erased: Any) -> dict[str, Any] | None:
    table, event = told
    data = {**event, "merged_ids": [event["merged_id"]]} if "merged_id" in event else dict(event)
    if event.get("external_ids") is not None:
        data["external_ids"] = json.loads(event["external_ids"])
    left = what_is_left(data, RECORDS[RECORD_OF[table]], is_erased)
    if left is None or event.get("external_ids") is None:
        return None if left is None else event
    return {**event, "external_ids": json.dumps(left["external_ids"])}


def _keys(
    group: set[tuple[str, str, str]], events: list[Told], mailboxes: Mapping[str, str | None]
) -> frozenset[Key]:
    of_group: set[str] = set()
    of_others: set[str] = set()
    for table, event in events:
        if table == "stg_events__merges" or not event.get("email"):
            continue
        spelling = event["email"].strip().lower()
        if table == "stg_events__contacts":
            record = (event["system"], event["record_type"], event["record_id"])
        else:
            record = (event["system"], "email", spelling)
        (of_group if record in group else of_others).add(spelling)
    by_spelling = {typed.strip().lower(): mailbox or typed for typed, mailbox in mailboxes.items()}
    shared = {by_spelling[spelling] for spelling in of_others}
    alone = {spelling for spelling in of_group if by_spelling[spelling] not in shared}
    return frozenset(
        {
            Key("mailbox" if kind == "email" else "record", name, system)
            for system, kind, name in group
        }
        | {Key("address", spelling) for spelling in alone}
    )
