"""How each system writes instants, phone numbers and names; pure text, no records."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from random import Random

from ingestion.sandbox.vocabulary import Country


def hubspot_time(at: datetime) -> str:
    """ISO 8601 with milliseconds and Z, as HubSpot writes instants."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def salesforce_time(at: datetime) -> str:
    """`2026-01-05T10:00:00.000+0000`; SystemModstamp has whole seconds only."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def marketo_time(at: datetime) -> str:
    """`2026-01-05T10:00:00Z`: Marketo keeps whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def marketo_asset_time(at: datetime) -> str:
    """`2026-01-05T10:00:00Z+0000`, as Marketo's asset endpoints write instants."""
    return marketo_time(at) + "+0000"


def phone_text(country: Country, phone: tuple[str, str], style: int) -> str:
    """The same number as people type it: 0 E.164, 1 spaced, 2 national, 3 with the dial-out prefix,
    4 dashes."""
    area, number = phone
    middle = (len(number) + 1) // 2
    match style % 5:
        case 1:
            return f"+{country.calling_code} {area} {number[:middle]} {number[middle:]}"
        case 2 if country.calling_code == "1":
            return f"({area}) {number[:3]}-{number[3:]}"
        case 2:
            return f"{country.trunk}{area} {number[:middle]} {number[middle:]}"
        case 3 if country.idd == "00":
            return f"00{country.calling_code} {area} {number}"
        case 4:
            return f"+{country.calling_code}-{area}-{number[:middle]}-{number[middle:]}"
        case _:
            return f"+{country.calling_code}{area}{number}"


def ascii_slug(text: str) -> str:
    """Lower-case ASCII letters and digits of a name, German umlauts spelled out, the rest as
    hyphens."""
    for letter, plain in (
        ("ä", "ae"),
        ("ö", "oe"),
        ("ü", "ue"),
        ("ß", "ss"),
        ("ł", "l"),
        ("ø", "o"),
    ):
        text = text.lower().replace(letter, plain)
    plain_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "-".join(
        part for part in "".join(c if c.isalnum() else " " for c in plain_text).split() if part
    )


def other_case(email: str, rng: Random) -> str:
    """The same address with other capitals, as imports and typists produce it."""
    local, domain = email.split("@")
    spelled = (
        ".".join(part.capitalize() for part in local.split(".")),
        local.upper(),
        local.capitalize(),
    )
    return f"{rng.choice(spelled)}@{domain}"


def google_time(at: datetime) -> str:
    """As Google writes it in UTC: 2026-04-01T12:00:00Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
