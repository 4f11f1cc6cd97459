"""How much of a backlog the worker's next batch takes, from what the last ones took; lands and runs nothing."""

from __future__ import annotations

from dataclasses import dataclass

# While nobody waits a slice may take this many times as long: who comes meanwhile waits that much at most, once.
UNWATCHED = 4
# As measured on two cores; what a machine and a warehouse really take is learnt from there.
EVENT_SECONDS = 0.0002
# A machine so busy that even this takes longer still has to come to the end of a backlog.
LEAST_EVENTS = 2_000


@dataclass(slots=True)
class BulkSlices:
    """`seconds` a slice may add to a batch somebody waits for; what batches of the hot path cost: `idle_seconds` whatever they carry, and
    `event_seconds` for each event on top."""

    seconds: float
    idle_seconds: float = 0.0
    event_seconds: float = EVENT_SECONDS

    def size(self, *, somebody_waits: bool) -> int | None:
        """Bulk events for the next batch, so that they add about the seconds that are allowed; None for all there are."""
        if not self.seconds:
            return None
        allowed = self.seconds if somebody_waits else self.seconds * UNWATCHED
        return max(LEAST_EVENTS, int(allowed / self.event_seconds))

    def learn(self, events: int, bulk_events: int, seconds: float) -> None:
        """Take note of a batch of the hot path that landed `events`, `bulk_events` of them bulk, in `seconds` from first to last step."""
        if not bulk_events:
            # The least of late: a batch that had a lot to send says nothing of the next.
            self.idle_seconds = min(seconds, self.idle_seconds * 1.1 or seconds)
        elif bulk_events >= LEAST_EVENTS:
            measured = max(seconds - self.idle_seconds, 0.0) / events
            # No further than half as many or four times as many at once: one batch may have stood still, and a larger one costs otherwise.
            self.event_seconds = min(max(measured, self.event_seconds / 4), self.event_seconds * 2)
