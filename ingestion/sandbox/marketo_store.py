"""The simulated Marketo's leads and activity log, as they are and as callers change them; how it is
said over HTTP is marketo.py's."""

from __future__ import annotations

import base64
import binascii
import copy
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from ingestion.sandbox.marketo_records import (
    DELETE_LEAD,
    MERGE_LEADS,
    NEW_LEAD,
    activity,
    changed_value,
)
from ingestion.sandbox.spelling import marketo_time
from ingestion.sandbox.world import World

Record = dict[str, Any]


class Skipped(Exception):
    """One record of a request that could not be taken; `code` is Marketo's."""

    def __init__(self, code: str, message: str) -> None:
        """As in `reasons`."""
        super().__init__(message)
        self.code = code
        self.message = message


class MarketoStore:
    """Kept in memory: a sandbox that starts anew has the Marketo its world was built with."""

    def __init__(self, world: World, clock: Callable[[], datetime]) -> None:
        """`clock` stamps what is written."""
        self._built = world.marketo
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """All as it was built."""
        self.leads: dict[int, Record] = {row["id"]: dict(row) for row in self._built["leads"]}
        self.log: list[Record] = list(self._built["log"])
        self.programs: list[Record] = copy.deepcopy(self._built["programs"])
        self.campaigns: list[Record] = list(self._built["campaigns"])
        # Ids of leads that are gone are not given again.
        self._last_lead = max((row["leadId"] for row in self.log), default=0)
        self._last_lead = max([self._last_lead, *self.leads])

    def page(
        self, token: str, kinds: Collection[int], most: int
    ) -> tuple[list[Record], str, bool] | None:
        """Activities of `kinds` among the next `most` of the log, the next token, and whether more
        follow; None for a token we did not give.

        Every kind counts towards `most`, so a page may be empty though more follow, as Marketo's are
        ("Get Lead Activities REST API Is Not Returning Any Activities").
        """
        place = place_of(token)
        if place is None:
            return None
        ahead = [row for row in self.log if (row["activityDate"], row["id"]) > place]
        looked = ahead[:most]
        found = [row for row in looked if row["activityTypeId"] in kinds]
        if looked:
            place = (looked[-1]["activityDate"], looked[-1]["id"])
        return found, token_at(*place), len(ahead) > most

    def save(self, fields: Mapping[str, Any], action: str, lookup: str) -> tuple[int, str]:
        """The lead's id, and whether it was `created` or `updated` ("Sync Leads")."""
        with self._lock:
            given = fields.get(lookup)
            if given in (None, ""):
                raise Skipped("1002", f"Missing value for the required parameter '{lookup}'")
            same = [
                row for row in self.leads.values()
                if str(row.get(lookup) or "").casefold() == str(given).casefold()
            ]  # fmt: skip
            if len(same) > 1:
                raise Skipped("1007", "Multiple leads match the lookup criteria")
            if same and action == "createOnly":
                raise Skipped("1005", "Lead already exists")
            if not same and (action == "updateOnly" or lookup == "id"):
                raise Skipped("1004", "Lead not found")
            now = self._clock()
            values = {name: value for name, value in fields.items() if name != "id"}
            if same:
                self._change(same[0], values, now)
                return int(same[0]["id"]), "updated"
            self._last_lead += 1
            stamp = marketo_time(now)
            self.leads[self._last_lead] = {
                "id": self._last_lead, "createdAt": stamp, "updatedAt": stamp, **values,
            }  # fmt: skip
            self._note(activity(NEW_LEAD, self._last_lead, now, {"Source Type": "Web service API"}))
            return self._last_lead, "created"

    def delete(self, lead_id: int) -> None:
        """ "Delete Leads"."""
        with self._lock:
            lead = self.leads.pop(lead_id, None)
            if lead is None:
                raise Skipped("1004", "Lead not found")
            name = f"{lead.get('firstName') or ''} {lead.get('lastName') or ''}".strip()
            self._note(activity(DELETE_LEAD, lead_id, self._clock(), {}, None, name, lead_id))

    def merge(self, lead_id: int, others: Collection[int]) -> None:
        """The winner keeps what it says and takes over what it does not ("Merge Leads")."""
        with self._lock:
            gone = [each for each in (lead_id, *others) if each not in self.leads]
            if gone or lead_id in others:
                raise Skipped("1004", f"Lead not found: {gone[0] if gone else lead_id}")
            winner, now = self.leads[lead_id], self._clock()
            for other in others:
                lost = self.leads.pop(other)
                blank = {
                    name: value for name, value in lost.items()
                    if value is not None and winner.get(name) is None
                }  # fmt: skip
                self._change(winner, blank, now)
            told = {"Master Updated": True, "Merge IDs": list(others), "Merge Source": "API"}
            self._note(activity(MERGE_LEADS, lead_id, now, told, None, None, lead_id))

    def _change(self, lead: Record, values: Mapping[str, Any], now: datetime) -> None:
        changed = {name: value for name, value in values.items() if lead.get(name) != value}
        for name, value in changed.items():
            before, after = (
                None if each is None else str(each) for each in (lead.get(name), value)
            )
            self._note(changed_value(lead["id"], now, name, before, after, "Web service API"))
        if changed:
            lead.update(changed, updatedAt=marketo_time(now))

    def _note(self, row: Record) -> None:
        number = max((each["id"] for each in self.log), default=58_000_000) + 1
        self.log.append({**row, "id": number, "marketoGUID": str(number)})
        # Readers page by time: a clock set back must not leave an entry behind them unsorted.
        self.log.sort(key=lambda each: (each["activityDate"], each["id"]))


def token_at(instant: str, activity_id: int = 0) -> str:
    """Paging token of the place after an activity, or before the first of an instant."""
    return base64.b32encode(f"{instant}|{activity_id}".encode()).decode()


def place_of(token: str) -> tuple[str, int] | None:
    """What a token stands for: an instant and an id; None for one that is not ours."""
    try:
        instant, _, number = base64.b32decode(token.encode()).decode().partition("|")
        return instant, int(number)
    except (binascii.Error, ValueError):
        return None
