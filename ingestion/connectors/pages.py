"""Rows in the order and in the pages in which sources hand them over; no system is known here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from ingestion.connectors.extracted import Extracted

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def by_time(rows: Iterable[Extracted]) -> list[Extracted]:
    """Oldest change first."""
    return sorted(rows, key=lambda row: row.updated_at)
