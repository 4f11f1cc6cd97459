"""Published record sets with known duplicates, as contact events and truth; no measuring here."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

POLICIES = Path(__file__).with_name("matching")
_TOLD_AT = datetime(2026, 1, 1, tzinfo=UTC).isoformat()

Row = dict[str, Any]


def _fake_1000(folder: Path) -> Iterator[tuple[str, str, Row]]:
    for row in _rows(folder / "fake_1000.csv"):
        yield (
            row["unique_id"],
            row["cluster"],
            {
                "first_name": row["first_name"],
                "last_name": row["surname"],
                "birth_date": _valid_date(row["dob"]),
                "city": row["city"],
                "email": row["email"],
            },
        )


def _febrl3(folder: Path) -> Iterator[tuple[str, str, Row]]:
    for row in _rows(folder / "febrl3.csv"):
        yield (
            row["rec_id"],
            "-".join(row["rec_id"].split("-")[:2]),
            {
                "first_name": row["given_name"],
                "last_name": row["surname"],
                "street_address": " ".join(filter(None, (row["street_number"], row["address_1"]))),
                "city": row["suburb"],
                "postal_code": row["postcode"],
                "region": row["state"],
                # Dates with typing errors are no dates, and the contract takes only dates.
                "custom": {
                    "soc_sec_id": row["soc_sec_id"],
                    "date_of_birth": row["date_of_birth"],
                },
            },
        )


def _csv_example(folder: Path) -> Iterator[tuple[str, str, Row]]:
    for row in _rows(folder / "csv_example_input_with_true_ids.csv"):
        yield (
            row["Id"],
            row["True Id"],
            {
                "company": " ".join(row["Site name"].split()),
                "street_address": " ".join(row["Address"].split()),
                "postal_code": row["Zip"],
                "phone": row["Phone"],
            },
        )


SETS: dict[str, Callable[[Path], Iterator[tuple[str, str, Row]]]] = {
    "fake_1000": _fake_1000,
    "febrl3": _febrl3,
    "csv_example": _csv_example,
}
"""Reader of each set: id, true cluster and contact of every record in a folder of the published files."""


def write_events(name: str, folder: Path, path: Path) -> dict[str, str]:
    """Write a set as CloudEvents, one a line, and return the true cluster of every record id."""
    truth: dict[str, str] = {}
    with path.open("w", encoding="utf-8") as file:
        for record_id, cluster, contact in SETS[name](folder):
            truth[record_id] = cluster
            data = {field: value for field, value in contact.items() if value}
            event = {
                "specversion": "1.0",
                "id": f"{name}-{record_id}",
                "source": "urn:handoff:benchmark:matching",
                "type": "com.handoff.contact",
                "subject": f"contact/hubspot/{record_id}",
                "time": _TOLD_AT,
                "data": {"record_id": record_id, "system": "hubspot", **data},
            }
            file.write(json.dumps(event) + "\n")
    return truth


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name.strip(): (value or "").strip() for name, value in row.items() if name}


def _valid_date(text: str) -> str | None:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return None
