"""Ids shaped as each vendor issues them: Salesforce 18-character ids with their case checksum,
Google event ids."""

from __future__ import annotations

from random import Random

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_BASE32HEX = "0123456789abcdefghijklmnopqrstuv"

KEY_PREFIXES: dict[str, str] = {
    "Lead": "00Q",
    "Contact": "003",
    "Account": "001",
    "Opportunity": "006",
    "User": "005",
    "Task": "00T",
    "OpportunityContactRole": "00K",
    "OpportunityHistory": "008",
    "Event": "00U",
    "Campaign": "701",
    "CampaignMember": "00v",
}
# Records of the seeded world and records created at run time come from two "pods", so they never
# collide.
WORLD_POD = "5g00000"
RUNTIME_POD = "9h00000"


def salesforce_id(sobject: str, number: int, pod: str = WORLD_POD) -> str:
    """18-character id: key prefix (3), pod (7), base-62 counter (5), case checksum (3)."""
    digits = ""
    for _ in range(5):
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return extended_id(KEY_PREFIXES[sobject] + pod + digits)


def extended_id(short: str) -> str:
    """The 18-character form of a 15-character id.

    Three characters are appended, each telling which of five letters are upper case (Salesforce
    Help, "What are the differences between 15-character and 18-character IDs"). Other lengths come
    back unchanged.
    """
    if len(short) != 15:
        return short
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << i for i, char in enumerate(short[start : start + 5]) if char.isupper())
        suffix += _CHECKSUM[bits]
    return short + suffix


def google_event_id(rng: Random) -> str:
    """26 characters of base32hex, the alphabet of Google event ids (Events: insert, `id`)."""
    return "".join(rng.choice(_BASE32HEX) for _ in range(26))
