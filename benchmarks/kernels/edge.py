"""The edge over HTTP: signed deliveries and events with a token, single and in batches, many callers at once, and a fixed rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.http_load import Load, closed_loop, open_loop, request
from benchmarks.measure import Kernel, Measurement, compare, peak_mb_of
from benchmarks.records import page_views
from benchmarks.servers import free_port, server

BATCH = 100
ROUNDS = 3
CALLERS = (64, 256)
OPEN_RATE = 1_000.0
OPEN_SECONDS = 10.0
SECRET = "benchmark-secret"

Sends = Callable[[str, int, int, int], list[bytes]]


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` requests of one event per round, and `size` / 20 requests of 100 events."""
    found: list[Measurement] = []
    edge, bare = free_port(), free_port()
    with server("edge", edge, folder / "edge") as process, server("bare", bare, folder / "bare"):
        sending = _Sending(folder / "edge", edge)
        for callers in CALLERS:
            for name, sends, batch in (
                ("one signed event a request", sending.signed, 1),
                ("100 signed events a request", sending.signed, BATCH),
                ("one event a request, with a token", sending.with_token, 1),
                ("100 events a request, with a token", sending.with_token, BATCH),
            ):
                requests = size if batch == 1 else max(size // 20, 1)
                case = f"{name}, {callers} callers"
                found.append(_case(case, sends, requests, batch, callers, edge, bare, process))
        found.append(_fixed_rate(sending.signed, edge, bare, process))
    return found


class _Sending:
    """Prepares requests: what they carry, and what lets them in."""

    def __init__(self, home: Path, port: int) -> None:
        from ingestion.edge.clients import ClientRegistry
        from ingestion.edge.tokens import Tokens
        from ingestion.settings import Settings

        def now() -> datetime:
            return datetime.now(UTC)

        registry = ClientRegistry(Settings(home=home).edge_dir)
        # The limits of every client, out of the way of what is measured.
        limits = {"events": "100000000/minute"}
        secret = registry.add("benchmark", ["events:write"], now(), limits)
        form = {
            "grant_type": "client_credentials",
            "client_id": "benchmark",
            "client_secret": secret,
        }
        self._token = Tokens(registry, now).issue(form, {}).body["access_token"]
        self._port = port

    def with_token(self, prefix: str, port: int, requests: int, batch: int) -> list[bytes]:
        kind = (
            "application/cloudevents+json" if batch == 1 else "application/cloudevents-batch+json"
        )
        return [
            request(port, "/v1/events", body, kind, Authorization=f"Bearer {self._token}")
            for body in _bodies(prefix, requests, batch)
        ]

    def signed(self, prefix: str, port: int, requests: int, batch: int) -> list[bytes]:
        """HubSpot's notifications under its signature v3, which covers time, address and body."""
        import base64
        import hashlib
        import hmac

        import orjson

        stamp = str(int(time.time() * 1_000))
        path = "/webhooks/hubspot"
        # Signed as the edge sees it, also when it goes to the floor.
        signed_url = f"http://127.0.0.1:{self._port}{path}"
        made = []
        for number in range(requests):
            notifications = [_notification(prefix, number * batch + item) for item in range(batch)]
            body = orjson.dumps(notifications)
            text = b"POST" + signed_url.encode() + body + stamp.encode()
            digest = hmac.digest(SECRET.encode(), text, hashlib.sha256)
            made.append(
                request(
                    port,
                    path,
                    body,
                    "application/json",
                    X_HubSpot_Signature_v3=base64.b64encode(digest).decode(),
                    X_HubSpot_Request_Timestamp=stamp,
                )
            )
        return made


def _notification(prefix: str, number: int) -> dict[str, Any]:
    # Eight bytes of the prefix keep the ids of rounds apart.
    return {
        "eventId": int.from_bytes(prefix.encode()[-4:], "big") * 10_000_000 + number,
        "subscriptionId": 1,
        "portalId": 62515,
        "appId": 54321,
        "occurredAt": 1_700_000_000_000 + number,
        "subscriptionType": "contact.propertyChange",
        "attemptNumber": 0,
        "objectId": number % 50_000,
        "propertyName": "jobtitle",
        "propertyValue": f"Head of {prefix} {number}",
        "changeSource": "CRM",
    }


def _case(
    case: str,
    sends: Sends,
    requests: int,
    batch: int,
    callers: int,
    edge: int,
    bare: int,
    process: int,
) -> Measurement:
    ours: list[Load] = []
    floor: list[Load] = []
    for number in range(ROUNDS):
        prefix = f"{case}-{number:04}"
        ours.append(closed_loop(edge, sends(prefix, edge, requests, batch), callers))
        floor.append(closed_loop(bare, sends(prefix, bare, requests, batch), callers))
    for load in (*ours, *floor):
        if load.statuses != {202: requests}:
            raise AssertionError(f"{case}: answers by status: {dict(load.statuses)}")
    every = Load(latencies=[seconds for load in ours for seconds in load.latencies])
    return compare(
        case,
        requests * batch,
        "events",
        [load.seconds for load in ours],
        [load.seconds for load in floor],
        peak_mb_of(process),
        p50=f"{every.percentile_ms(0.5):.1f} ms",
        p99=f"{every.percentile_ms(0.99):.1f} ms",
    )


def _fixed_rate(sends: Sends, edge: int, bare: int, process: int) -> Measurement:
    """A thousand signed events a second whatever the answers take."""
    requests = int(OPEN_RATE * OPEN_SECONDS)
    ours = open_loop(edge, sends("open-0000", edge, requests, 1), OPEN_RATE, 256)
    floor = open_loop(bare, sends("open-0000", bare, requests, 1), OPEN_RATE, 256)
    if ours.statuses != {202: requests}:
        raise AssertionError(f"answers by status: {dict(ours.statuses)}")
    p99, least = ours.percentile_ms(0.99), floor.percentile_ms(0.99)
    told = {
        "p50": f"{ours.percentile_ms(0.5):.1f} ms",
        "p99": f"{p99:.1f} ms",
        "p99_of_the_floor": f"{least:.1f} ms",
    }
    return Measurement(
        f"one signed event a request, {OPEN_RATE:,.0f} a second: its p99",
        1,
        "answer",
        p99 / 1_000,
        least / 1_000,
        p99 / least,
        peak_mb_of(process),
        told,
    )


def _bodies(prefix: str, requests: int, batch: int) -> Iterator[bytes]:
    import orjson

    events = page_views(requests * batch, 1_000)
    for _ in range(requests):
        part: list[dict[str, Any]] = []
        for _ in range(batch):
            event = next(events)
            part.append({**event, "id": f"{prefix}-{event['id']}"})
        yield orjson.dumps(part[0] if batch == 1 else part)


KERNEL = Kernel(
    name="edge",
    measures="Events taken over HTTP by a process of its own: let in by signature or token, parsed"
    " strictly, checked against the contract and on disk before the 202; 64 and 256 callers, and a"
    " fixed rate.",
    floor="A bare Starlette endpoint on the same server and options that reads the same bodies and"
    " answers 202, driven by the same client.",
    size_unit="requests of one event",
    default_size=4_000,
    run=run,
)
