"""Asks a running sandbox to send webhooks again, and waits for what becomes of them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ingestion.errors.catalog import HandoffError

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """Webhooks sent again, as the sandbox shows them: `unsettled` still wait for their next attempt."""

    url: str
    webhooks: list[dict[str, Any]]

    def count(self, *states: str) -> int:
        """How many ended in one of these states."""
        return sum(row["state"] in states for row in self.webhooks)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def replay(url: str, wanted: dict[str, Any], *, dry_run: bool) -> Replayed:
    """Webhooks that fit `wanted` (ids, from, to, persona, system), sent again unless `dry_run`.

    UPSTREAM_UNAVAILABLE when no sandbox answers at `url`, BAD_REQUEST when it cannot do what is asked.
    """
    import httpx

    try:
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as http:
            if dry_run:
                return Replayed(
                    url, _told(http.get("/sandbox/webhooks", params=_query(wanted)))["webhooks"]
                )
            asked = _told(http.post("/sandbox/webhooks/replay", json=wanted))
            ids = set(asked["ids"])
            deadline = time.monotonic() + PATIENCE_SECONDS
            # Not by ids, which could be more than an address holds, and not by the state, which changes.
            same = _query({name: value for name, value in wanted.items() if name != "state"})
            while True:
                rows = _told(http.get("/sandbox/webhooks", params=same))["webhooks"]
                found = [row for row in rows if row["id"] in ids]
                settled = all(row["state"] != "queued" for row in found)
                if settled or time.monotonic() > deadline:
                    return Replayed(url, found)
                time.sleep(0.1)
    except httpx.TransportError as error:
        raise HandoffError(
            "UPSTREAM_UNAVAILABLE",
            f"no sandbox answers at {url}: {error}",
            remedy="Start it with `handoff sandbox`, or name its address with --url.",
        ) from error


def _query(wanted: dict[str, Any]) -> dict[str, str]:
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in wanted.items()
    }


def _told(answer: Any) -> dict[str, Any]:
    if answer.status_code >= 400:
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"status {answer.status_code}"
        raise HandoffError(
            "BAD_REQUEST", detail, remedy="`handoff sandbox-replay --help` lists what can be named."
        )
    content: dict[str, Any] = answer.json()
    return content
