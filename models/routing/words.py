"""Why a rep was passed over, and what would have to change, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def why_not(told: Mapping[str, Any]) -> str:
    """The words for one entry of `passed_over`."""
    until, leads = told.get("until"), told.get("leads")
    match told["why"]:
        case "not_in_turn":
            when = "the next lead of the pool" if not leads else f"the pool's {_nth(leads + 1)} next lead"  # fmt: skip
            return f"not in turn: theirs is {when} at the latest"
        case "away":
            return f"out of office: back {until}"
        case "full_day":
            return f"has had a day's leads: room from {until}"
        case "full_open":
            return f"has {leads} leads sales has not answered: room when it answers one"
        case "off_hours":
            return f"not at work: from {until}"
        case "had_it":
            return "had this lead and did not answer in time"
        case why:
            return str(why)


def _nth(number: int) -> str:
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
