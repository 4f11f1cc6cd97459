"""What the edge asks of the part that decides; whoever starts the edge hands in the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Protocol

from ingestion.log.interface import Lane

Progress = Literal["accepted", "landed", "decided"]


class Decisions(Protocol):
    """Answers from what was published last; nothing of it is decided for the asking."""

    def progress(self, seq: int, lane: Lane) -> Progress:
        """How far the event with this `seq` has come."""
        ...

    async def pushes(self, event: dict[str, Any], received_at: datetime) -> list[dict[str, Any]]:
        """Writes to outside systems about the event's person that were planned since `received_at`,
        oldest first: system, object, action, record_id, status, error_code, and when planned, sent
        and confirmed. Empty while none is published.
        """
        ...

    async def person(self, who: str) -> dict[str, Any]:
        """Everything known of the person with this address, `person_id`, or record
        (`<system>/<record_id>`); HandoffError NOT_FOUND.
        """
        ...
