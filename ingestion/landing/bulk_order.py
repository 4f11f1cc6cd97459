"""Remembers, beside the log, where the bulk lane came into the order of decisions; reads and lands no event.

Live events overtake bulk ones, and the models decide by `received_at`: whoever was received first names the person and takes
the turn. So an overtaken event is landed as received no earlier than what was decided before it, and the rebuild of a lost
warehouse has to find the same again (docs/decisions/0010).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ingestion.durable_file import write_atomically
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings


@dataclass(frozen=True, slots=True)
class Slice:
    """Bulk events with `after < seq <= through`, taken up when live events up to `live` had been landed."""

    after: int
    through: int
    live: int


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """How far the bulk lane was ever taken up, and the slices of it that live events had overtaken, in order."""

    taken_through: int = 0
    slices: tuple[Slice, ...] = ()

    def with_slice(self, first: int, through: int, live: int) -> BulkOrder:
        """The order once bulk events from `first`, beyond all taken up so far, to `through` come after the live one at `live`."""
        taken = replace(self, taken_through=through)
        # Where nothing live came in between, the log's own order is the order of decisions.
        if live < first:
            return taken
        return replace(taken, slices=(*self.slices, Slice(self.taken_through, through, live)))

    def parts(self, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
        """`spans` cut where slices end, each with the live `seq` it comes after; 0 where it was not overtaken."""
        for first, last in spans:
            start = first
            for slice_ in self.slices:
                if slice_.through < start or slice_.after >= last:
                    continue
                if slice_.after >= start:
                    yield start, slice_.after, 0
                    start = slice_.after + 1
                end = min(last, slice_.through)
                yield start, end, slice_.live
                start = end + 1
            if start <= last:
                yield start, last, 0


def read_bulk_order(settings: Settings) -> BulkOrder:
    """What was remembered; without the file nothing was, and the log's order counts. LOG_CORRUPT when it cannot be read."""
    path = _path(settings)
    try:
        found = json.loads(path.read_bytes())
        return BulkOrder(
            int(found["taken_through"]), tuple(Slice(*map(int, row)) for row in found["slices"])
        )
    except FileNotFoundError:
        return BulkOrder()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HandoffError("LOG_CORRUPT", f"{path} cannot be read: {error!r}") from error


def keep_bulk_order(settings: Settings, order: BulkOrder) -> None:
    """Have it on disk before anything relies on it."""
    rows = [[slice_.after, slice_.through, slice_.live] for slice_ in order.slices]
    written = json.dumps({"taken_through": order.taken_through, "slices": rows})
    write_atomically(_path(settings), written)


def _path(settings: Settings) -> Path:
    return settings.log_dir / "bulk_order.json"
